"""A picture of what the encoder is shown."""

import io

import numpy as np
import tensorflow as tf

from simclr_tf.outputs import write_complete
from simclr_tf.paths import AnyPath


def save_views(views: tuple[np.ndarray, ...], path: AnyPath, images: int = 8) -> np.ndarray:
    """Write a gallery with one row for each view and one column for each image.

    Args:
      views: each (n, height, width, 3), float in [0, 1].
      path: of the PNG file.
      images: how many of the n images are shown.

    Returns:
      The picture that was written, (height, width, 4) uint8.
    """
    import keras_cv  # slow to import, and needed only here

    shown = np.concatenate([view[:images] for view in views])
    png = io.BytesIO()
    keras_cv.visualization.plot_image_gallery(
        shown,
        value_range=(0, 1),
        rows=len(views),
        cols=len(shown) // len(views),
        path=png,
        dpi=100,
    )
    write_complete(path, png.getvalue())
    return tf.io.decode_png(png.getvalue(), channels=4).numpy()
