"""Colour spaces whose planes are views of an image (CMC, arXiv 1906.05849).

Images are RGB in [0, 1]. Values are those of scikit-image's conversions; means and deviations, by
which the official code of CMC and PyContrast standardises them, are those of the spaces' ranges or
of ImageNet.
"""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from simclr_tf.errors import UserError

# Of linear RGB -> XYZ, in columns, with the white of daylight (D65, 2 degrees).
_XYZ = (
    (0.412453, 0.212671, 0.019334),
    (0.357580, 0.715160, 0.119193),
    (0.180423, 0.072169, 0.950227),
)
_WHITE = (0.95047, 1.0, 1.08883)
_YCBCR = (
    (65.481, -37.797, 112.0),
    (128.553, -74.203, -93.786),
    (24.966, 112.0, -18.214),
)
_YDBDR = ((0.299, -0.45, -1.333), (0.587, -0.883, 1.116), (0.114, 1.333, 0.217))

# Mean and deviation of the planes of each space.
SCALES = {
    "lab": ((50.0, 6.025, -6.6895), (50.0, 92.208, 101.1675)),
    "ycbcr": ((116.151, 121.080, 132.342), (109.500, 111.855, 111.964)),
    "ydbdr": ((0.457, -0.082, -0.052), (0.500, 1.331, 1.333)),
}


def check_planes(color_space: str, groups: Any) -> None:
    """Find out whether an encoder can be built that sees these planes; see `Architecture`.

    Args:
      color_space: its name.
      groups: numbers of planes, for each of the encoders.

    Raises:
      UserError: it cannot.
    """
    if color_space not in SCALES:
        raise UserError(f"A colour space is one of {', '.join(SCALES)}. Received: {color_space}.")
    lists = isinstance(groups, list | tuple) and all(isinstance(g, list | tuple) for g in groups)
    if (
        not lists
        or not groups
        or not all(groups)
        or not all(type(n) is int and 0 <= n <= 2 for g in groups for n in g)
    ):
        raise UserError(
            "Each group of planes has some of 0, 1 and 2, the planes of the colour space. "
            f"Received: {groups}."
        )


def planes_in_words(groups: Sequence[Sequence[int]]) -> str:
    """Groups of planes as --planes has them: ((0,), (1, 2)) is "0-12"."""
    return "-".join("".join(map(str, group)) for group in groups)


def planes_of(words: str) -> tuple[tuple[int, ...], ...]:
    """The inverse of `planes_in_words`.

    Raises:
      UserError: these are no planes.
    """
    groups = words.split("-")
    if not all(group and set(group) <= set("012") for group in groups):
        raise UserError(
            "--planes has for each view some of 0, 1 and 2, the planes of the colour space, with "
            f"dashes between, such as 0-12. Received: {words}."
        )
    return tuple(tuple(map(int, group)) for group in groups)


def to_planes(images: tf.Tensor, color_space: str) -> tf.Tensor:
    """The planes of a colour space, less their mean over their deviation.

    Args:
      images: (..., 3), float, in [0, 1].
      color_space: one of SCALES.

    Returns:
      (..., 3) float32.
    """
    convert = {"lab": lab, "ycbcr": ycbcr, "ydbdr": ydbdr}[color_space]
    mean, deviation = SCALES[color_space]
    return (convert(images) - tf.constant(mean)) / tf.constant(deviation)


def lab(images: tf.Tensor) -> tf.Tensor:
    """RGB (..., 3) in [0, 1] -> L in [0, 100], a and b within about 110 of 0, float32."""
    images = tf.cast(images, tf.float32)
    bright = tf.pow((tf.maximum(images, 0.04045) + 0.055) / 1.055, 2.4)
    linear = tf.where(images > 0.04045, bright, images / 12.92)
    xyz = _mixed(linear, _XYZ) / tf.constant(_WHITE)
    root = tf.pow(tf.maximum(xyz, 0.008856), 1 / 3)
    x, y, z = tf.unstack(tf.where(xyz > 0.008856, root, 7.787 * xyz + 16 / 116), axis=-1)
    return tf.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def ycbcr(images: tf.Tensor) -> tf.Tensor:
    """RGB (..., 3) in [0, 1] -> Y in [16, 235], Cb and Cr in [16, 240], float32."""
    return _mixed(images, _YCBCR) + tf.constant((16.0, 128.0, 128.0))


def ydbdr(images: tf.Tensor) -> tf.Tensor:
    """RGB (..., 3) in [0, 1] -> Y in [0, 1], Db and Dr in [-1.333, 1.333], float32."""
    return _mixed(images, _YDBDR)


def _mixed(images, weights):
    """Sums of red, green and blue with weights (3 of RGB, 3 of the planes), in full float32."""
    planes = tf.unstack(tf.cast(images, tf.float32), axis=-1)
    return tf.add_n(
        [plane[..., tf.newaxis] * tf.constant(row) for plane, row in zip(planes, weights)]
    )
