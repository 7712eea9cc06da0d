"""Which classes a linear probe takes for which, and the images that it does so with."""

import io

import numpy as np

from simclr_tf.reports import charts, html
from simclr_tf.reports.measured import Measured

_NUMBERED = 12  # classes, at most, whose counts are written into the matrix
_NAMED = 30  # classes, at most, that are named at its sides
_DRAWN = 200  # classes, at most, for which there is a matrix
_WORST = 6  # pairs that are shown
_IMAGES = 6  # of each


def section(measured: Measured, predictions: np.ndarray) -> str:
    """The confusion matrix, and the pairs of classes that are confused most, with images.

    Args:
      measured: with labels.
      predictions: (n,) classes of the test images.
    """
    from sklearn.metrics import confusion_matrix  # takes a second, and is needed only here

    names, labels = measured.class_names, measured.queries.labels
    known = labels >= 0
    matrix = confusion_matrix(labels[known], predictions[known], labels=np.arange(len(names)))
    right, total = int(np.trace(matrix)), int(matrix.sum())
    intro = (
        f"A linear probe on h, fitted to {len(measured.bank.labels):,} training images, puts "
        f"{right:,} of {total:,} test images into their class."
    )
    parts = [_picture(matrix, names)] if len(names) <= _DRAWN else []
    if pairs := worst(matrix, _WORST):
        strips = [_pair(measured, predictions, matrix, *pair) for pair in pairs]
        parts.append(
            html.paragraph("The pairs that are confused most, with test images:") + "".join(strips)
        )
    return html.section("Confusions", html.paragraph(intro), html.panels(parts, "two"))


def worst(matrix: np.ndarray, number: int) -> list[tuple[int, int]]:
    """The pairs (class, other class that it is taken for) with the most images, most first.

    Args:
      matrix: (classes, classes) counts, by class and prediction.
      number: how many pairs, at most; those without an image are left out.
    """
    wrong = matrix - np.diag(np.diag(matrix))
    order = np.argsort(-wrong, axis=None, kind="stable")[:number]
    pairs = np.stack(np.unravel_index(order, wrong.shape), axis=1)
    return [(int(i), int(j)) for i, j in pairs if wrong[i, j]]


def _picture(matrix: np.ndarray, names: tuple[str, ...]) -> str:
    content = io.BytesIO()
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    with charts.chart(content, height=charts.WIDTH) as axes:
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        axes.grid(False)
        axes.set(xlabel="taken for", ylabel="class", xticks=[], yticks=[])
        if len(names) <= _NAMED:
            ticks, shown = range(len(names)), [charts.label(name, 16) for name in names]
            upright = max(map(len, shown)) > 2
            axes.set_xticks(ticks, shown, rotation=90 if upright else 0)
            axes.set_yticks(ticks, shown)
        if len(names) <= _NUMBERED:
            for (i, j), count in np.ndenumerate(matrix):
                if count:
                    colour = "white" if shares[i, j] > 0.5 else "black"
                    axes.text(j, i, count, ha="center", va="center", color=colour, fontsize=8)
    alt = f"Confusion matrix of {len(names)} classes; dark on the diagonal where classes are found."
    return html.figure(html.picture(content.getvalue(), "svg+xml", alt))


def _pair(
    measured: Measured, predictions: np.ndarray, matrix: np.ndarray, label: int, other: int
) -> str:
    name, taken = measured.class_names[label], measured.class_names[other]
    confused = (measured.queries.labels == label) & (predictions == other)
    images = measured.queries.thumbnails[np.flatnonzero(confused)[:_IMAGES]]
    alt = f"test image of class {name}, taken for {taken}"
    count, of = matrix[label, other], matrix[label].sum()
    return html.strip(
        [html.thumbnail(image, alt) for image in images],
        f"{name} taken for {taken}: {count} of {of}",
    )
