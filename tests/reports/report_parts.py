"""What tests of the report share: a page taken apart, and images with embeddings made up."""

import html.parser
import json
import pathlib

import numpy as np
import tensorflow as tf
import training

from simclr_tf.models import Architecture, Network, simclr_projector
from simclr_tf.reports.measured import PRETRAINED, RANDOM, Embedded, Measured, Shown

# Attributes by which a page asks for something that does not lie in it.
_REFERENCES = ("src", "href", "srcset", "data", "action", "poster", "background")
_EMPTY = ("meta", "img", "link", "br", "hr", "input")

CLASSES = [str(i) for i in range(10)]
# Of metrics, 4 steps of 16 images.
ROWS = [
    {"step": 2, "contrast_loss": 5.0, "learning_rate": 0.5, "images_per_second": 16.0},
    {"step": 4, "contrast_loss": 4.0, "learning_rate": 0.1, "images_per_second": 8.0},
]


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


def write_run(
    path: pathlib.Path, num_classes: int | None = 10, head: str = "nonlinear", **values
) -> pathlib.Path:
    """Write a run directory that is finished at step 4, with random weights.

    Args:
      path: of the directory.
      num_classes: of its data; None are data without labels.
      head: kind of projection head.
      values: what else run.json has.
    """
    tf.random.set_seed(0)
    projector = simclr_projector(head, num_layers=2, out_dim=16)
    architecture = Architecture(18, cifar_stem=True, projector=projector, num_classes=num_classes)
    names = CLASSES if num_classes else None
    facts = {"num_classes": num_classes, "class_names": names, "command": "python run.py --a --b"}
    facts |= {"color_jitter_strength": 0.0}  # the views of the tests are cropped and flipped alone
    training.write_run(path, Network(architecture), 4, **facts | values)
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def made_up(
    labels: list[int] | None, queries: list[int] | None, classes: int = 3, name: str = "class"
) -> Measured:
    """Images that are embedded beside those of their class.

    Args:
      labels, queries: of the training and the test images; None are images without labels.
      classes: number of classes.
      name: what the names of classes begin with.
    """
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
        None if labels is None else tuple(f"{name} {i}" for i in range(classes)),
        {PRETRAINED: embedded(0.1), RANDOM: embedded(10.0)},
        {"image": np.zeros((6, 8, 8, 3)), "view 1: 8 px": np.ones((6, 8, 8, 3))},
        None,
    )
