"""What tests of the report share: a page taken apart, and images with embeddings made up."""

import html.parser

import numpy as np

from simclr_tf.reports.measured import PRETRAINED, RANDOM, Embedded, Measured, Shown

# Attributes by which a page asks for something that does not lie in it.
_REFERENCES = ("src", "href", "srcset", "data", "action", "poster", "background")
_EMPTY = ("meta", "img", "link", "br", "hr", "input")


class Page(html.parser.HTMLParser):
    """A page that was parsed.

    Attributes:
      images: attributes of the pictures.
      references: what attributes refer to.
      titles: of its sections.
      rows: of its tables, each a list of cells.
      words: all text.

    Raises:
      AssertionError: an element is not closed, or another is.
    """

    def __init__(self, text: str):
        super().__init__()
        self.images, self.references, self.titles, self.rows, self.words = [], [], [], [], ""
        self._open = []
        self.feed(text)
        self.close()
        assert not self._open, f"not closed: {self._open}"

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        assert tag not in ("script", "link", "iframe", "object", "embed")
        self.references += [attributes[name] for name in _REFERENCES if name in attributes]
        if tag not in _EMPTY:
            self._open.append(tag)
        if tag == "img":
            self.images.append(attributes)
        elif tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
        elif tag == "h2":
            self.titles.append("")

    def handle_endtag(self, tag):
        assert self._open and self._open.pop() == tag, f"{tag} is closed and was not open"

    def handle_data(self, data):
        if "style" in self._open:
            assert "url(" not in data and "@import" not in data
            return
        self.words += data
        if "h2" in self._open:
            self.titles[-1] += data
        if self._open and self._open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


def checked(text: str) -> Page:
    """The page, which needs no other file, and whose pictures are described."""
    page = Page(text)
    assert all(image.get("alt", "").strip() for image in page.images)
    assert all(reference.startswith("data:image/") for reference in page.references)
    return page


def made_up(labels: list[int] | None, queries: list[int] | None, classes: int = 3) -> Measured:
    """Images that are embedded beside those of their class; None are images without labels."""
    random = np.random.default_rng(0)

    def shown(name, labels):
        count = 12 if labels is None else len(labels)
        labels = np.full(count, -1) if labels is None else np.array(labels)
        thumbnails = random.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
        return Shown(name, count, thumbnails, labels.astype(np.int64))

    def layers(labels, spread):
        places = np.eye(classes + 1, 6)[labels] * 3
        return {
            "h": (places + spread * random.normal(size=places.shape)).astype(np.float32),
            "z": random.normal(size=(len(labels), 4)).astype(np.float32),
        }

    bank, tested = shown("made up, split train", labels), shown("made up, split test", queries)

    def embedded(spread):
        views = tuple(layers(tested.labels, spread) for _ in range(2))
        return Embedded(layers(bank.labels, spread), layers(tested.labels, spread), views)

    return Measured(
        bank,
        tested,
        None if labels is None else tuple(f"class {i}" for i in range(classes)),
        {PRETRAINED: embedded(0.1), RANDOM: embedded(10.0)},
        {"image": np.zeros((6, 8, 8, 3)), "view 1: 8 px": np.ones((6, 8, 8, 3))},
        None,
    )
