"""What is stored of an image that is packed: its own bytes, or an upright and smaller image."""

import tensorflow as tf

from simclr_tf.data import exif
from simclr_tf.data.decode import MOST_HALVINGS, decode_image, decode_reduced_jpeg

JPEG_QUALITY = 95
ANY_LENGTH = 2**31 - 1  # of a shorter side: no image is larger


@tf.function(input_signature=[tf.TensorSpec([], tf.string), tf.TensorSpec([], tf.int32)])
def packed_image(
    encoded: tf.Tensor, shorter_side: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Decode an image, and make what is stored of it.

    A JPEG or PNG that is upright, and not larger than wanted, stays as it is. A JPEG that EXIF says
    to turn is turned. Where the shorter side is longer than wanted, a JPEG is decoded at the
    smallest of its size, a half, a quarter and an eighth at which it is long enough; the rest is
    antialiased bicubic. What is made of a JPEG is one of quality 95, with colours at half the
    resolution; what is made of another image is a PNG.

    Args:
      encoded: scalar string.
      shorter_side: scalar int32, pixels that the shorter side has at most.

    Returns:
      Scalar string: a JPEG or PNG. Scalar bool: whether it is `encoded` itself. Scalar int32:
      pixels that were decoded; not to be dropped, because what is not used is not decoded.

    Raises:
      tf.errors.InvalidArgumentError: when it runs, if the bytes cannot be decoded.
    """

    def is_too_large(size: tf.Tensor) -> tf.Tensor:
        return tf.reduce_min(size) > shorter_side

    def scaled(image: tf.Tensor) -> tf.Tensor:
        size = tf.shape(image)[:2]
        return tf.cond(is_too_large(size), lambda: _scaled(image, shorter_side), lambda: image)

    def jpeg() -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        size = tf.io.extract_jpeg_shape(encoded)[:2]
        orientation = exif.orientation(encoded)

        def made() -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            halvings = _halvings(size, shorter_side)
            window = tf.concat([[0, 0], -(-size // 2**halvings)], axis=0)
            image = decode_reduced_jpeg(encoded, window, halvings)
            shown = scaled(exif.turned(image, orientation))
            return (
                tf.io.encode_jpeg(shown, quality=JPEG_QUALITY),
                tf.constant(False),
                tf.size(image),
            )

        return tf.cond(is_too_large(size) | (orientation != 1), made, itself)

    def other() -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        image = decode_image(encoded)
        is_png = tf.strings.substr(encoded, 0, 4) == b"\x89PNG"
        stays = is_png & ~is_too_large(tf.shape(image)[:2])
        stored = tf.cond(stays, lambda: encoded, lambda: tf.io.encode_png(scaled(image)))
        return stored, stays, tf.size(image)

    def itself() -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        return encoded, tf.constant(True), tf.size(decode_image(encoded))

    return tf.cond(tf.io.is_jpeg(encoded), jpeg, other)


def _halvings(size: tf.Tensor, shorter_side: tf.Tensor) -> tf.Tensor:
    """How often a size, int32 (2,), can be halved and stay long enough; scalar int32."""
    lengths = tf.reduce_min(size) // 2 ** tf.range(1, 1 + MOST_HALVINGS)
    return tf.reduce_sum(tf.cast(lengths >= shorter_side, tf.int32))


def _scaled(image: tf.Tensor, shorter_side: tf.Tensor) -> tf.Tensor:
    """An image, (height, width, 3) uint8, whose shorter side has so many pixels."""
    size = tf.shape(image)[:2]
    new = size / tf.reduce_min(size) * tf.cast(shorter_side, tf.float64)
    smaller = tf.image.resize(image, tf.cast(tf.round(new), tf.int32), "bicubic", antialias=True)
    return tf.cast(tf.clip_by_value(tf.round(smaller), 0, 255), tf.uint8)
