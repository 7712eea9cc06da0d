"""The first picture of a GIF file at its place on the canvas, decoded inside the graph.

TensorFlow's own decoder takes the size of the picture for that of the canvas. A GIF has a header
with the size of the canvas, perhaps a table of colours, and then blocks: extensions, which consist
of parts that begin with their lengths, and pictures with their place and size.
"""

import tensorflow as tf

_HEADER = 13  # bytes
_SIZE, _FLAGS = 6, 10  # where they are
_EXTENSION, _PICTURE = 0x21, 0x2C
_LARGEST_CANVAS = 2**27  # pixels


def decode_gif(encoded: tf.Tensor) -> tf.Tensor:
    """Decode the first picture of a GIF file; the canvas around it is black.

    Args:
      encoded: scalar string.

    Returns:
      (height, width, 3) uint8, of the canvas, or larger where the picture goes beyond it.

    Raises:
      tf.errors.InvalidArgumentError: when it runs, if the bytes cannot be decoded, or the canvas
        has more than 2**27 pixels.
    """
    content = tf.cast(tf.io.decode_raw(encoded, tf.uint8), tf.int32)
    size = tf.size(content)
    padded = tf.pad(content, [[0, _HEADER]])

    def number(at: tf.Tensor | int) -> tf.Tensor:
        low, high = tf.unstack(tf.slice(padded, [at], [2]))
        return low + 256 * high

    at = _first_picture(padded, size)
    left, top, width, height = (number(at + i) for i in (1, 3, 5, 7))
    canvas_width = tf.maximum(number(_SIZE), left + width)
    canvas_height = tf.maximum(number(_SIZE + 2), top + height)

    def decoded(gif: tf.Tensor) -> tf.Tensor:
        return tf.io.decode_image(gif, channels=3, expand_animations=False)

    def placed() -> tf.Tensor:
        pixels = tf.cast(canvas_width, tf.int64) * tf.cast(canvas_height, tf.int64)
        said = "the canvas of a GIF is larger than any image:"
        check = tf.debugging.Assert(pixels <= _LARGEST_CANVAS, [said, canvas_width, canvas_height])
        with tf.control_dependencies([check]):
            before = tf.strings.substr(encoded, 0, at + 1)
            at_origin = tf.strings.join(
                [before, b"\0\0\0\0", tf.strings.substr(encoded, at + 5, size)]
            )
        below, right = canvas_height - top - height, canvas_width - left - width
        return tf.pad(decoded(at_origin), [[top, below], [left, right], [0, 0]])

    fills_canvas = (canvas_width == width) & (canvas_height == height)
    is_found = (padded[at] == _PICTURE) & (at + 9 <= size)
    return tf.cond(is_found & ~fills_canvas, placed, lambda: decoded(encoded))


def _first_picture(padded: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Where the first block that is no extension begins, at most `size`; scalar int32."""
    flags = padded[_FLAGS]
    has_colors = flags >= 128
    colors = tf.bitwise.left_shift(tf.constant(2), flags % 8)
    first = _HEADER + tf.where(has_colors, 3 * colors, 0)

    def goes_on(at: tf.Tensor, in_extension: tf.Tensor) -> tf.Tensor:
        return (at < size) & (in_extension | (padded[at] == _EXTENSION))

    def step(at: tf.Tensor, in_extension: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        length = padded[at]
        at = at + tf.where(in_extension, 1 + length, 2)
        return tf.minimum(at, size), ~in_extension | (length > 0)

    return tf.while_loop(goes_on, step, (tf.minimum(first, size), tf.constant(False)))[0]
