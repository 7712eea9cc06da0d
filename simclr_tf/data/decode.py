"""From encoded bytes to pixels."""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from simclr_tf.data import exif
from simclr_tf.data.bmp import decode_bmp
from simclr_tf.data.gif import decode_gif
from simclr_tf.data.graph_call import graph_call

_JPEG_MARGIN = 2
# A JPEG is stored as squares of 8 x 8 pixels, each of which can be decoded as 4 x 4, 2 x 2, or 1.
MOST_HALVINGS = 3


def decode_image(encoded: tf.Tensor, upright: bool = False) -> tf.Tensor:
    """Decode a JPEG, PNG, BMP or GIF image (WebP too, where TensorFlow reads it).

    Grey becomes RGB, a palette is looked up, an alpha channel is dropped, of 16 bits
    the upper 8 remain, and of an animation the first frame, in which what is transparent
    or lies outside of it is black.

    Args:
      encoded: scalar string.
      upright: whether a JPEG is turned as its EXIF orientation says.

    Returns:
      (height, width, 3) uint8; height and width are known when the op runs.

    Raises:
      tf.errors.InvalidArgumentError: when it runs, if the bytes cannot be decoded.
    """

    def decoded() -> tf.Tensor:
        return tf.io.decode_image(encoded, channels=3, expand_animations=False)

    def jpeg() -> tf.Tensor:
        return exif.turned(decoded(), exif.orientation(encoded)) if upright else decoded()

    def other() -> tf.Tensor:
        return tf.cond(_begins(encoded, b"\x89PNG"), decoded, lambda: _decode_rare(encoded))

    image = tf.cond(tf.io.is_jpeg(encoded), jpeg, other)
    image.set_shape((None, None, 3))
    return image


def decode_for_crops(
    encoded: tf.Tensor,
    draw: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]],
    upright: bool = False,
    view_sizes: Sequence[int] | None = None,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Decode what crops of an image need: of a JPEG alone the part that holds all of them.

    Args:
      encoded: scalar string.
      draw: maps the height and width of the image, int32 (2,), to boxes, int32 (n, 4), as
        y, x, height, width, and to something else.
      upright: whether a JPEG is turned as its EXIF orientation says; if it says so, the whole
        image is decoded.
      view_sizes: of the views, one for each box. Given them, a JPEG of which every crop is twice,
        four or eight times as large as its view, or more, is decoded at a half, a quarter or an
        eighth of its size, and the corners of boxes move by at most half a pixel of that size.

    Returns:
      Pixels, (height, width, 3) uint8, equal to those of `decode_image` unless `view_sizes` are
      given; the boxes relative to them; and the something else.

    Raises:
      tf.errors.InvalidArgumentError: when it runs, if the bytes cannot be decoded.
    """

    def part_of_jpeg():
        size = tf.io.extract_jpeg_shape(encoded)[:2]
        boxes, other = draw(size)
        if view_sizes is not None:
            halvings = _halvings(boxes, view_sizes)
            size, boxes = _reduced(size, boxes, 2**halvings)
        first, last = _corners(boxes)
        begin, end = tf.reduce_min(first, axis=0), tf.reduce_max(last, axis=0)
        # Colours are stored at half the resolution. In the outermost columns of what it decodes
        # the decoder has no neighbours to interpolate them from.
        begin = tf.maximum(begin - [0, _JPEG_MARGIN], 0)
        end = tf.minimum(end + [0, _JPEG_MARGIN], size)
        window = tf.concat([begin, end - begin], axis=0)
        if view_sizes is None:
            image = tf.io.decode_and_crop_jpeg(encoded, window, channels=3)
        else:
            image = decode_reduced_jpeg(encoded, window, halvings)
        return image, boxes - tf.concat([begin, [0, 0]], axis=0), other

    def whole_image():
        image = decode_image(encoded, upright)
        return image, *draw(tf.shape(image)[:2])

    in_part = tf.io.is_jpeg(encoded)
    if upright:
        in_part &= exif.orientation(encoded) == 1
    image, boxes, other = tf.cond(in_part, part_of_jpeg, whole_image)
    image.set_shape((None, None, 3))
    return image, boxes, other


def _halvings(boxes: tf.Tensor, view_sizes: Sequence[int]) -> tf.Tensor:
    """How often all crops can be halved and stay as large as their views; scalar int32."""
    times = tf.reduce_min(tf.reduce_min(boxes[:, 2:], axis=1) // tf.constant(view_sizes))
    return tf.reduce_sum(tf.cast(times >= 2 ** np.arange(1, 1 + MOST_HALVINGS), tf.int32))


def _reduced(size: tf.Tensor, boxes: tf.Tensor, ratio: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The size of a reduced image, and the boxes in it, with corners at the nearest pixels."""
    begin, end = ((corner + ratio // 2) // ratio for corner in _corners(boxes))
    return -(-size // ratio), tf.concat([begin, end - begin], axis=1)


def _corners(boxes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    return boxes[:, :2], boxes[:, :2] + boxes[:, 2:]


@graph_call(tf.TensorSpec([], tf.string), tf.TensorSpec([4], tf.int32), tf.TensorSpec([], tf.int32))
def decode_reduced_jpeg(encoded: tf.Tensor, window: tf.Tensor, halvings: tf.Tensor) -> tf.Tensor:
    """Decode a part of a JPEG at a half, a quarter or an eighth of its size, which costs less.

    Args:
      encoded: scalar string.
      window: int32 (4,), y, x, height and width of the part in the reduced image, whose height and
        width are those of the JPEG divided by 2**halvings and rounded up.
      halvings: scalar int32 in [0, MOST_HALVINGS].

    Returns:
      (height, width, 3) uint8.

    Raises:
      tf.errors.InvalidArgumentError: when it runs, if the bytes cannot be decoded.
    """

    def decode_at(ratio: int) -> Callable[[], tf.Tensor]:
        return lambda: tf.io.decode_and_crop_jpeg(encoded, window, channels=3, ratio=ratio)

    image = tf.switch_case(halvings, [decode_at(2**i) for i in range(1 + MOST_HALVINGS)])
    return tf.ensure_shape(image, (None, None, 3))


@graph_call(tf.TensorSpec([], tf.string))
def _decode_rare(encoded: tf.Tensor) -> tf.Tensor:
    """Decode what is neither JPEG nor PNG; two forms need more than TensorFlow's decoders."""

    def other() -> tf.Tensor:
        image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
        return tf.ensure_shape(image, (None, None, 3))

    def gif_or_other() -> tf.Tensor:
        return tf.cond(_begins(encoded, b"GIF8"), lambda: decode_gif(encoded), other)

    return tf.cond(_begins(encoded, b"BM"), lambda: decode_bmp(encoded), gif_or_other)


def _begins(encoded: tf.Tensor, beginning: bytes) -> tf.Tensor:
    return tf.strings.substr(encoded, 0, len(beginning)) == beginning
