"""What networks take: batches of images."""

from typing import Any

import tensorflow as tf

from simclr_tf.errors import UserError

BATCH = (None, None, None, 3)


def check_images(images: Any) -> Any:
    """Images as they are, a list of them as one tensor, if a network can take them.

    A tf.function that has seen batches and then a single image forgets the rank, and TensorFlow
    ends the process in a convolution without rank. So this is called before one is entered;
    inside, the graph checks a rank that is not known. Values are never checked.

    Args:
      images: (batch, height, width, 3) of a float type; an array, a tensor or a list.

    Raises:
      UserError: they have another rank, number of channels, or type.
    """
    if not hasattr(images, "shape"):
        try:
            images = tf.convert_to_tensor(images)
        except (TypeError, ValueError):
            raise UserError(
                "Images are one array (batch, height, width, 3), all of the same size. Received: "
                f"something else ({type(images).__name__})."
            ) from None
    shape = tf.TensorShape(images.shape)
    if shape.rank is None:
        images = tf.ensure_shape(images, BATCH)
    if not shape.is_compatible_with(BATCH):
        single = " Give a single image as images[tf.newaxis]." if shape.rank == 3 else ""
        raise UserError(f"Images are (batch, height, width, 3). Received: {shape}.{single}")
    dtype = tf.as_dtype(images.dtype)
    if not dtype.is_floating:
        raise UserError(
            f"Images are float in [0, 1]. Received: {dtype.name}. Give values of 0 to 255 as "
            "tf.cast(images, tf.float32) / 255."
        )
    return images
