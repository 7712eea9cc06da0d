"""A picture of what the encoder is shown."""

import io
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from simclr_tf.outputs import write_complete
from simclr_tf.paths import AnyPath

_CELL = 1.2  # inches
_LABEL = 2.4


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

    columns = max(len(images) for images in rows.values())
    largest = max(image.shape[0] for images in rows.values() for image in images)
    width, height = _LABEL + _CELL * columns, _CELL * len(rows)
    figure = Figure(figsize=(width, height), dpi=100)
    for i, (label, images) in enumerate(rows.items()):
        middle = 1 - (i + 0.5) / len(rows)
        figure.text(0.1 / width, middle, label.replace(": ", ":\n"), va="center", fontsize=9)
        for j, image in enumerate(images):
            side = 0.94 * _CELL * image.shape[0] / largest
            left = _LABEL + (j + 0.5) * _CELL - side / 2
            box = (left / width, middle - side / 2 / height, side / width, side / height)
            axes = figure.add_axes(box)
            axes.imshow(image, interpolation="nearest", vmin=0, vmax=1)
            axes.set_axis_off()
    png = io.BytesIO()
    figure.savefig(png, format="png")
    write_complete(path, png.getvalue())
    return tf.io.decode_png(png.getvalue(), channels=4).numpy()
