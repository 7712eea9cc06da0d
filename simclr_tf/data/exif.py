"""The orientation that a JPEG's EXIF states, read and applied inside the graph.

A JPEG begins with segments: a marker (0xFF and a byte), the length of what follows as 16 bits, and
that. EXIF is a segment APP1 that begins with "Exif" and two zeros; then comes a TIFF file, in whose
first directory the tag 0x0112 holds the orientation. What is malformed states nothing.
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from simclr_tf.data.graph_call import graph_call

_EXIF = np.frombuffer(b"Exif\0\0", np.uint8)
_ORIENTATION_TAG = 0x0112
_SHORT, _LONG = 3, 4  # types of numbers of 16 and 32 bits
_APP1, _COMMENT, _FILLING = 0xE1, 0xFE, 0xFF  # markers; FF fills up what lies before a marker
_SEGMENT_HEAD = 4 + len(_EXIF)  # bytes
_TIFF_HEAD = 8
_ENTRY = 12

# The first bytes of a JPEG without EXIF, as most programs write it: a JFIF segment of 16 bytes, and
# then the tables.
_JFIF_ALONE = np.zeros(22, np.uint8)
_JFIF_ALONE[[0, 1, 2, 3, 4, 5, 20, 21]] = 0xFF, 0xD8, 0xFF, 0xE0, 0, 16, 0xFF, 0xDB
_ANY = np.ones(22, bool)
_ANY[[0, 1, 2, 3, 4, 5, 20, 21]] = False


def orientation(jpeg: tf.Tensor) -> tf.Tensor:
    """The orientation that a JPEG's EXIF states.

    Args:
      jpeg: scalar string. Of other bytes the orientation is 1.

    Returns:
      Scalar int32 in [1, 8]; 1, which is upright, where EXIF says nothing or nothing valid.
    """
    head = tf.io.decode_raw(jpeg, tf.uint8, fixed_length=len(_JFIF_ALONE))
    jfif_alone = tf.reduce_all((head == _JFIF_ALONE) | _ANY)
    return tf.cond(jfif_alone, lambda: tf.constant(1), lambda: _in_segments(jpeg))


def turned(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """An image as it is to be shown.

    Args:
      image: (height, width, 3) uint8, as it is stored.
      orientation: scalar int32 in [1, 8].

    Returns:
      (height, width, 3) uint8, or (width, height, 3) from orientation 5 on.
    """
    return tf.cond(orientation == 1, lambda: image, lambda: _turn(image, orientation))


@graph_call(tf.TensorSpec([None, None, 3], tf.uint8), tf.TensorSpec([], tf.int32))
def _turn(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    def changed(image: tf.Tensor, change: Callable, *orientations: int) -> tf.Tensor:
        is_one = tf.reduce_any(orientation == orientations)
        return tf.cond(is_one, lambda: change(image), lambda: image)

    image = changed(image, lambda x: tf.transpose(x, (1, 0, 2)), 5, 6, 7, 8)
    image = changed(image, lambda x: tf.reverse(x, [1]), 2, 3, 6, 7)
    return changed(image, lambda x: tf.reverse(x, [0]), 3, 4, 7, 8)


@graph_call(tf.TensorSpec([], tf.string))
def _in_segments(jpeg: tf.Tensor) -> tf.Tensor:
    """Look through the segments APP0 to APP15 and the comments at the beginning of a JPEG."""
    content = tf.io.decode_raw(jpeg, tf.uint8)
    size = tf.size(content)
    padded = tf.pad(content, [[0, _SEGMENT_HEAD]])

    def head_at(at: tf.Tensor) -> tf.Tensor:
        """Marker, length, and the name of what is in the segment; zeros behind the end."""
        return tf.slice(padded, [at], [_SEGMENT_HEAD])

    def is_exif(head: tf.Tensor) -> tf.Tensor:
        return (head[1] == _APP1) & tf.reduce_all(head[4:] == _EXIF)

    def goes_on(at: tf.Tensor) -> tf.Tensor:
        head = head_at(at)
        is_application = head[1] & 0xF0 == 0xE0
        is_segment = is_application | (head[1] == _COMMENT) | (head[1] == _FILLING)
        return (head[0] == 0xFF) & is_segment & ~is_exif(head)

    def step(at: tf.Tensor) -> tuple[tf.Tensor]:
        head = head_at(at)
        length = 2 + tf.cast(_number(head[2:4], True), tf.int32)
        return (tf.minimum(at + tf.where(head[1] == _FILLING, 1, length), size),)

    first = tf.where(tf.io.is_jpeg(jpeg), 2, size)
    (at,) = tf.while_loop(goes_on, step, (first,))
    head = head_at(at)
    end = at + 2 + tf.cast(_number(head[2:4], True), tf.int32)
    begin = tf.minimum(at + _SEGMENT_HEAD, end)
    return tf.cond(is_exif(head), lambda: _in_tiff(content[begin:end]), lambda: tf.constant(1))


def _in_tiff(tiff: tf.Tensor) -> tf.Tensor:
    """The orientation in the first directory of a TIFF file, (n,) uint8."""
    size = tf.size(tiff, tf.int64)
    padded = tf.pad(tiff, [[0, _TIFF_HEAD]])
    head = tf.slice(padded, [0], [_TIFF_HEAD])
    big_endian = tf.reduce_all(head[:4] == (0x4D, 0x4D, 0, 42))
    little_endian = tf.reduce_all(head[:4] == (0x49, 0x49, 42, 0))
    directory = tf.minimum(_number(head[4:], big_endian), size)
    entries = tiff[directory + 2 :]
    count = _number(tf.slice(padded, [directory], [2]), big_endian)
    count = tf.minimum(count, tf.size(entries, tf.int64) // _ENTRY)
    entries = tf.reshape(entries[: count * _ENTRY], (-1, _ENTRY))
    is_orientation = _number(entries[:, :2], big_endian) == _ORIENTATION_TAG
    # Behind the entries one of zeros, so that there always is one.
    entry = tf.concat([entries[is_orientation], tf.zeros((1, _ENTRY), tf.uint8)], axis=0)[0]
    kind, number = _number(entry[2:4], big_endian), _number(entry[4:8], big_endian)
    short, long = _number(entry[8:10], big_endian), _number(entry[8:12], big_endian)
    value = tf.where(kind == _LONG, long, short)
    is_number = ((kind == _SHORT) | (kind == _LONG)) & (number == 1)
    is_valid = (big_endian | little_endian) & is_number & (value >= 1) & (value <= 8)
    return tf.cast(tf.where(is_valid, value, 1), tf.int32)


def _number(digits: tf.Tensor, big_endian: tf.Tensor | bool) -> tf.Tensor:
    """Numbers of bytes, (..., digits) uint8, as int64 (...)."""
    powers = np.int64(256) ** np.arange(digits.shape[-1], dtype=np.int64)
    return tf.reduce_sum(tf.cast(digits, tf.int64) * tf.where(big_endian, powers[::-1], powers), -1)
