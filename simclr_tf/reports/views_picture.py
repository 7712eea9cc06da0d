"""A picture of what the encoder is shown."""

import io
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from simclr_tf.outputs import write_complete
from simclr_tf.paths import AnyPath

_DPI = 100
_CELL = 120  # pixels
_LABEL = 240


def save_views(rows: Mapping[str, np.ndarray], path: AnyPath) -> np.ndarray:
    """Write a picture with one labelled row for each view and one column for each image.

    Views keep the proportions of their sizes: the largest fills its cell.

    Args:
      rows: by its label, (n, height, width, 3), float in [0, 1]; the sizes may differ.
      path: of the PNG file.

    Returns:
      The picture that was written, (height, width, 4) uint8.
    """
    from matplotlib.figure import Figure  # slow to import, and needed only here

    cells = _in_cells(list(rows.values()))
    height, width = cells.shape[0], _LABEL + cells.shape[1]
    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI)
    axes = figure.add_axes((_LABEL / width, 0, 1 - _LABEL / width, 1))
    axes.imshow(cells, interpolation="nearest")
    axes.set_axis_off()
    for i, label in enumerate(rows):
        middle = 1 - (i + 0.5) / len(rows)
        figure.text(10 / width, middle, label.replace(": ", ":\n"), va="center", fontsize=9)
    png = io.BytesIO()
    figure.savefig(png, format="png")
    write_complete(path, png.getvalue())
    return tf.io.decode_png(png.getvalue(), channels=4).numpy()


def _in_cells(rows):
    """The images on white, each in the middle of a cell of its row."""
    columns = max(map(len, rows))
    largest = max(image.shape[0] for images in rows for image in images)
    cells = np.ones((_CELL * len(rows), _CELL * columns, 3), np.float32)
    for i, images in enumerate(rows):
        for j, image in enumerate(images):
            side = round(0.94 * _CELL * image.shape[0] / largest)
            pixels = np.arange(side) * image.shape[0] // side
            top, left = (_CELL * place + (_CELL - side) // 2 for place in (i, j))
            cells[top : top + side, left : left + side] = image[np.ix_(pixels, pixels)]
    return cells
