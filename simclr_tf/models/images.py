"""What networks take: batches of images, and what their encoder makes of them first."""

import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from simclr_tf.errors import UserError

POOL_PADDINGS = ("same", "symmetric")


def check_images(images: Any, channels: int = 3) -> Any:
    """Images as they are, a list of them as one tensor, if a network can take them.

    A tf.function that has seen batches and then a single image forgets the rank, and TensorFlow
    ends the process in a convolution without rank. So this is called before one is entered;
    inside, the graph checks a rank that is not known. Values are never checked.

    Args:
      images: (batch, height, width, channels) of a float type; an array, a tensor or a list.
      channels: how many there have to be.

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
    shape, batch = tf.TensorShape(images.shape), (None, None, None, channels)
    if shape.rank is None:
        images = tf.ensure_shape(images, batch)
    if not shape.is_compatible_with(batch):
        single = " Give a single image as images[tf.newaxis]." if shape.rank == 3 else ""
        raise UserError(
            f"Images are (batch, height, width, {channels}). Received: {shape}.{single}"
        )
    dtype = tf.as_dtype(images.dtype)
    if not dtype.is_floating:
        raise UserError(
            f"Images are float in [0, 1]. Received: {dtype.name}. Give values of 0 to 255 as "
            "tf.cast(images, tf.float32) / 255."
        )
    return images


def check_input(
    mean: Sequence[float] | None, deviation: Sequence[float] | None, pool_padding: str
) -> None:
    """Find out whether an encoder can be built that takes images this way; see `Architecture`.

    Raises:
      UserError: it cannot.
    """
    if (mean is None) != (deviation is None):
        raise UserError(
            "An encoder has a mean and a deviation of its input, or neither. Received: mean "
            f"{mean}, deviation {deviation}."
        )
    if mean is not None and not (_is_colour(mean) and _is_colour(deviation) and min(deviation) > 0):
        raise UserError(
            "Mean and deviation of the input are three numbers each, deviations above 0. "
            f"Received: mean {mean}, deviation {deviation}."
        )
    if pool_padding not in POOL_PADDINGS:
        raise UserError(
            f"Max pooling is padded as one of {', '.join(POOL_PADDINGS)}. Received: {pool_padding}."
        )


def _is_colour(values: Any) -> bool:
    """Whether values are a finite number for each of red, green and blue."""
    return (
        isinstance(values, list | tuple)
        and len(values) == 3
        and all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
        and all(map(math.isfinite, values))
    )


def standardized(
    images: tf.Tensor, mean: Sequence[float] | None, deviation: Sequence[float] | None
) -> tf.Tensor:
    """(images - mean) / deviation in float32, or images as they are where there is no mean.

    Args:
      images: (batch, height, width, 3), float, in [0, 1].
      mean: of red, green and blue.
      deviation: likewise.
    """
    if mean is None:
        return images
    return (tf.cast(images, tf.float32) - tf.constant(mean)) / tf.constant(deviation)
