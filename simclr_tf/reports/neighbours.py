"""The training images that the encoder finds most similar to some test images."""

import numpy as np

from simclr_tf.reports import html
from simclr_tf.reports.measured import Measured
from simclr_tf.reports.record import PRETRAINED

NEIGHBOURS = 6
_QUERIES = 8  # that are shown


def nearest(bank: np.ndarray, queries: np.ndarray, number: int) -> np.ndarray:
    """The rows of the bank with the highest cosine, nearest first.

    Args:
      bank: (n, d) float.
      queries: (m, d) float.
      number: how many; no more than n.

    Returns:
      (m, number) int64.
    """
    from sklearn.neighbors import NearestNeighbors  # takes a second, and is needed only here

    number = min(number, len(bank))
    search = NearestNeighbors(n_neighbors=number, metric="cosine", algorithm="brute").fit(bank)
    return search.kneighbors(queries, return_distance=False)


def section(measured: Measured) -> str:
    """Test images, each with its nearest training images; where there are labels, marked."""
    found = {
        name: nearest(encoder.bank["h"], encoder.queries["h"], NEIGHBOURS)
        for name, encoder in measured.encoders.items()
    }
    intro = (
        "The first test images in random order, not chosen, and the training images whose h has "
        "the highest cosine with theirs, the most similar first."
    )
    if measured.class_names:
        shares = ", ".join(
            f"{_share(measured, neighbours):.1%} ({name})" for name, neighbours in found.items()
        )
        intro += (
            f" A neighbour of the same class has a tick, one of another a cross. Over all test "
            f"images this share of the {NEIGHBOURS} nearest has the same class: {shares}."
        )
    rows = (_row(measured, i, found[PRETRAINED][i]) for i in range(_shown_queries(measured)))
    return html.section(
        "Nearest neighbours",
        html.paragraph(intro),
        f'<div class="neighbours">{"".join(rows)}</div>',
    )


def _shown_queries(measured: Measured) -> int:
    return min(_QUERIES, len(measured.queries.labels))


def _share(measured: Measured, neighbours: np.ndarray) -> float:
    """How many neighbours have the class of their test image, of those where both have one."""
    labels, of_neighbours = measured.queries.labels[:, None], measured.bank.labels[neighbours]
    known = (labels >= 0) & (of_neighbours >= 0)
    return float((labels == of_neighbours)[known].mean()) if known.any() else float("nan")


def _row(measured: Measured, i: int, neighbours: np.ndarray) -> str:
    label = measured.queries.labels[i]
    cells = [_cell(measured.queries.thumbnails[i], "test image", _name(measured, label), "query")]
    for j in neighbours:
        of_neighbour, mark = measured.bank.labels[j], ""
        if label >= 0 and of_neighbour >= 0 and measured.class_names:
            mark = "right" if of_neighbour == label else "wrong"
        name = _name(measured, of_neighbour)
        cells.append(_cell(measured.bank.thumbnails[j], "neighbour", name, mark))
    return f'<div class="row">{"".join(cells)}</div>'


def _name(measured: Measured, label: int) -> str:
    return measured.class_names[label] if measured.class_names and label >= 0 else ""


def _cell(image: np.ndarray, what: str, name: str, mark: str) -> str:
    alt = what + (f" of class {name}" if name else "") + (f", {mark}" if mark in _MARKS else "")
    below = f"{_MARKS.get(mark, '')}{html.text(name)}"
    return (
        f'<div class="cell {mark}">{html.thumbnail(image, alt)}'
        + (f'<span title="{html.text(name)}">{below}</span>' if below else "")
        + "</div>"
    )


_MARKS = {"right": "✓ ", "wrong": "✗ "}
