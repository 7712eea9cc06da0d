"""Uncompressed BMP files, decoded inside the graph.

TensorFlow's own decoder takes the numbers of a palette for grey, and knows neither compression nor
the header of OS/2. A BMP has a header of 14 bytes, another of 12 (OS/2) or 40 and more bytes, for
some forms a palette or the masks of the colours, and rows of pixels, whose lengths are filled up to
multiples of 4 bytes and of which the lowest comes first unless the height is negative. All numbers
begin with their lowest byte.
"""

import numpy as np
import tensorflow as tf

_FILE_HEADER, _OS2_HEADER, _HEADER = 14, 12, 40  # bytes
_MASKS = _FILE_HEADER + _HEADER  # where they are
_UNCOMPRESSED, _WITH_MASKS = 0, 3
_BLUE_GREEN_RED = np.array([2, 1, 0])
_ONE = np.int64(1)


def decode_bmp(encoded: tf.Tensor) -> tf.Tensor:
    """Decode a BMP file of 1, 4 or 8 bits with a palette, or of 24 or 32 bits.

    Args:
      encoded: scalar string.

    Returns:
      (height, width, 3) uint8. A fourth byte of a pixel is dropped.

    Raises:
      tf.errors.InvalidArgumentError: when it runs, if the file is compressed, of another number of
        bits, has colours that are no bytes, or is damaged.
    """
    head = tf.io.decode_raw(encoded, tf.uint8, fixed_length=_MASKS + 12)
    content = tf.io.decode_raw(encoded, tf.uint8)
    size = tf.size(content, tf.int64)
    offset, header = _number(head[10:14]), _number(head[14:18])
    is_os2 = header == _OS2_HEADER
    width = tf.where(is_os2, _number(head[18:20]), _number(head[18:22]))
    height = tf.where(is_os2, _number(head[20:22]), _signed(head[22:26]))
    bits = tf.where(is_os2, _number(head[24:26]), _number(head[28:30]))
    compression = tf.where(is_os2, np.int64(_UNCOMPRESSED), _number(head[30:34]))
    masks = tf.reshape(head[_MASKS:], (3, 4))
    row = (width * bits + 31) // 32 * 4
    is_palette = _is_one_of(bits, 1, 4, 8)
    is_known = (is_os2 | (header >= _HEADER)) & tf.where(
        compression == _WITH_MASKS,
        (bits == 32) & _are_bytes(masks),
        (compression == _UNCOMPRESSED) & (is_palette | _is_one_of(bits, 24, 32)),
    )
    # Each factor is bounded first, since their product could be too large for an integer.
    fits = (width > 0) & (height != 0) & (row <= size) & (tf.abs(height) <= size)
    fits &= (offset >= _FILE_HEADER + header) & (offset + tf.abs(height) * row <= size)
    said = "a BMP of a kind that is not read, or a damaged one; bits, compression, width, height:"
    check = tf.debugging.Assert(is_known & fits, [said, bits, compression, width, height])
    with tf.control_dependencies([check]):
        rows = tf.reshape(content[offset : offset + tf.abs(height) * row], (tf.abs(height), row))

    def looked_up() -> tf.Tensor:
        begin = _FILE_HEADER + header
        color_bytes = tf.where(is_os2, np.int64(3), np.int64(4))
        stated = tf.where(is_os2, np.int64(0), _number(head[46:50]))
        colors = tf.where(stated == 0, tf.bitwise.left_shift(_ONE, bits), stated)
        colors = tf.minimum(colors, (offset - begin) // color_bytes)
        palette = content[begin : begin + colors * color_bytes]
        palette = tf.reshape(palette, (-1, color_bytes))[:, 2::-1]
        shifts = tf.range(8 - bits, -1, -bits)  # the first pixel of a byte is in its highest bits
        numbers = tf.bitwise.right_shift(rows[..., tf.newaxis], tf.cast(shifts, tf.uint8))
        numbers &= tf.cast(tf.bitwise.left_shift(_ONE, bits) - 1, tf.uint8)
        numbers = tf.reshape(numbers, (tf.abs(height), -1))[:, :width]
        return tf.gather(palette, tf.cast(numbers, tf.int32))

    def direct() -> tf.Tensor:
        pixels = tf.reshape(rows[:, : width * bits // 8], (tf.abs(height), width, bits // 8))
        order = tf.where(compression == _WITH_MASKS, tf.argmax(masks, axis=1), _BLUE_GREEN_RED)
        return tf.gather(pixels, order, axis=2)

    image = tf.cond(is_palette, looked_up, direct)
    image = tf.cond(height > 0, lambda: tf.reverse(image, [0]), lambda: image)
    return tf.ensure_shape(image, (None, None, 3))


def _are_bytes(masks: tf.Tensor) -> tf.Tensor:
    """Whether each mask, (3, 4) uint8, stands for one whole byte; scalar bool."""
    each = tf.reduce_sum(tf.cast(masks, tf.int32), axis=1) == 255
    return tf.reduce_all(each & (tf.reduce_max(masks, axis=1) == 255))


def _is_one_of(number: tf.Tensor, *values: int) -> tf.Tensor:
    """Whether a number, scalar int64, has one of these values; scalar bool."""
    return tf.reduce_any(number == tf.constant(values, tf.int64))


def _number(digits: tf.Tensor) -> tf.Tensor:
    """A number of bytes, (digits,) uint8, as scalar int64."""
    return tf.reduce_sum(tf.cast(digits, tf.int64) * 256 ** np.arange(digits.shape[0]))


def _signed(digits: tf.Tensor) -> tf.Tensor:
    """A number of 4 bytes that may be negative, as scalar int64."""
    number = _number(digits)
    return tf.where(number < 2**31, number, number - 2**32)
