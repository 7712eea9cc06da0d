"""Strong operations on one image, each a pure function of its arguments.

They are those of PIL on images of 8 bits. They work on planes, float32 (3, height, width) in
[0, 1], and round only where PIL's result depends on the level of a pixel (of 255). What a view
draws of them is said in `strong_plan`.
"""

import functools

import numpy as np
import tensorflow as tf

from simclr_tf.data import augment


def autocontrast(planes: tf.Tensor) -> tf.Tensor:
    """Stretch each plane to [0, 1], unless all its pixels have one level."""
    low, high = (
        _levels(extreme(extreme(planes, axis=1, keepdims=True), axis=2, keepdims=True))
        for extreme in (tf.reduce_min, tf.reduce_max)
    )
    varied = high > low
    low, extent = tf.where(varied, low, 0.0), tf.where(varied, high - low, 255.0)
    return augment.clip((planes - low / 255.0) * (255.0 / extent))


def equalize(planes: tf.Tensor) -> tf.Tensor:
    """Make the levels of each plane nearly uniform.

    A level becomes the number of darker pixels, divided by a 255th of those that are not brightest;
    a plane where that is less than one pixel stays as it is.
    """
    levels = tf.cast(_levels(planes), tf.int32)
    counts = _histograms(tf.reshape(levels, (3, -1)))
    brightest = tf.reduce_max(tf.where(counts > 0, np.arange(256), 0), axis=1)
    others = levels.shape.num_elements() // 3 - tf.gather(counts, brightest, batch_dims=1)
    step = others // 255

    # A loop, so that the quotients are there when pixels look them up: XLA would rather compute one
    # for each pixel.
    def following(level, darker, table):
        new = tf.where(step > 0, tf.minimum(darker // tf.maximum(step, 1), 255), level)
        return level + 1, darker + counts[:, level], table.write(level, new)

    start = (0, step // 2, tf.TensorArray(tf.int32, 256))
    _, _, table = tf.while_loop(lambda level, *_: level < 256, following, start)
    found = tf.reshape(table.stack(), [-1])
    equal = tf.gather(found, 3 * levels + np.arange(3)[:, None, None])
    return tf.cast(equal, tf.float32) * (1 / 255)


@functools.partial(tf.function, jit_compile=True, autograph=False)
def _histograms(levels):
    """How many pixels have each level: int32 (3, 256), of int32 (3, pixels).

    One pixel after the other: XLA has no faster way.
    """

    def count(pixel, *histograms):
        return pixel + 1, *(
            tf.tensor_scatter_nd_add(histogram, [[levels[plane, pixel]]], [1])
            for plane, histogram in enumerate(histograms)
        )

    none = (tf.zeros(256, tf.int32),) * 3
    end = levels.shape[1]
    return tf.stack(tf.while_loop(lambda pixel, *_: pixel < end, count, (0, *none))[1:])


def posterize(planes: tf.Tensor, bits: float | tf.Tensor) -> tf.Tensor:
    """Keep the highest bits of each level, a whole number in [0, 8]."""
    step = tf.cast(tf.bitwise.left_shift(1, 8 - tf.cast(bits, tf.int32)), tf.float32)
    return tf.floor(_levels(planes) / step) * step * (1 / 255)


def solarize(planes: tf.Tensor, threshold: float | tf.Tensor) -> tf.Tensor:
    """Invert the levels from a threshold on, a whole number in [0, 256]."""
    return augment.solarize(planes, (threshold - 0.5) / 255.0)


def solarize_add(planes: tf.Tensor, addend: float | tf.Tensor) -> tf.Tensor:
    """Add as many levels to those below 128."""
    return augment.clip(tf.where(planes < 127.5 / 255, planes + addend / 255.0, planes))


def sharpness(planes: tf.Tensor, factor: float | tf.Tensor) -> tf.Tensor:
    """Blend with a smoothed image by 1 - `factor`, all but the border, and clip."""
    height, width = planes.shape[1:]
    inner = planes[:, 1:-1, 1:-1]
    around = [planes[:, i : height - 2 + i, j : width - 2 + j] for i in range(3) for j in range(3)]
    smooth = (tf.add_n(around) + 4.0 * inner) * (1 / 13)
    inner = augment.clip(smooth + factor * (inner - smooth))
    rows = tf.concat([planes[:, 1:-1, :1], inner, planes[:, 1:-1, -1:]], axis=2)
    return tf.concat([planes[:, :1], rows, planes[:, -1:]], axis=1)


def transform(
    planes: tf.Tensor,
    matrix: tf.Tensor,
    interpolation: str = "nearest",
    fill: tuple[int, int, int] = (0, 0, 0),
) -> tf.Tensor:
    """Show at each place what lies at another.

    Args:
      planes: float32 (3, height, width) in [0, 1].
      matrix: float32 (6,), a to f: at (x, y) is shown what lies at (a x + b y + c, d x + e y + f).
        The first pixel lies at (0.5, 0.5).
      interpolation: "nearest", "bilinear", or "bicubic" by cubics of a = -1, as in PIL.
      fill: levels of 255 of what lies outside.

    Returns:
      float32, shaped as `planes`, in [0, 1].
    """
    _, height, width = planes.shape
    a, b, c, d, e, f = tf.unstack(matrix)
    x, y = np.arange(width) + np.float32(0.5), (np.arange(height) + np.float32(0.5))[:, None]
    across, down = a * x + b * y + c, d * x + e * y + f
    inside = (across >= 0) & (across < width) & (down >= 0) & (down < height)
    flat = tf.reshape(planes, (3, height * width))

    def neighbours(place, length):
        """The pixels along one axis that are looked at, and their weights."""
        if interpolation == "nearest":
            return [(_pixel(place, length), None)]
        first = tf.floor(place - 0.5)
        weights = _WEIGHTS[interpolation](place - 0.5 - first)
        offsets = np.arange(len(weights)) - (len(weights) // 2 - 1)
        return [
            (_pixel(first + offset, length), w) for offset, w in zip(offsets, weights, strict=True)
        ]

    columns = neighbours(across, width)

    def blended(terms):
        terms = [value if weight is None else weight * value for value, weight in terms]
        return functools.reduce(tf.add, terms)

    shown = blended(
        (blended((tf.gather(flat, row * width + column, axis=1), w) for column, w in columns), v)
        for row, v in neighbours(down, height)
    )
    return tf.where(inside, augment.clip(shown), np.float32(fill)[:, None, None] / 255)


def rotation(degrees: float | tf.Tensor, height: int, width: int) -> tuple[tf.Tensor, ...]:
    """The matrix of `transform` that turns an image counterclockwise about its middle."""
    cosine, sine = tf.cos(degrees * (np.pi / 180)), tf.sin(degrees * (np.pi / 180))
    x, y = width / 2, height / 2
    return (
        *(cosine, -sine, x - cosine * x + sine * y),
        *(sine, cosine, y - sine * x - cosine * y),
    )


def _levels(planes):
    """The nearest levels of 255."""
    return tf.floor(255.0 * planes + 0.5)


def _pixel(place, length):
    """The number of the pixel at a place, the nearest one of the image where that lies outside."""
    return tf.cast(tf.clip_by_value(tf.floor(place), 0.0, length - 1.0), tf.int32)


_WEIGHTS = {
    "bilinear": lambda t: (1.0 - t, t),
    "bicubic": lambda t: (
        -t * tf.square(1.0 - t),
        1.0 - 2.0 * tf.square(t) + t**3,
        t * (1.0 + t - tf.square(t)),
        -tf.square(t) * (1.0 - t),
    ),
}
