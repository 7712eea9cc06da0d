"""Operations on one image, each a pure function of its arguments.

Crops are cut out of images (height, width, channels); `crop_boxes` says where. What comes after
works on planes, float32 (3, height, width) with red, green and blue in [0, 1]; right after a
bicubic resize values may lie slightly outside. Planes let a compiler use wide registers. Nothing
here branches or clips its result.

Which operations make a view, and with what probability, is said in `distort` and `views`.
The augmentations are those of appendix A of the SimCLR paper (arXiv 2002.05709).
"""

import numpy as np
import tensorflow as tf

_TINY = 1e-30  # keeps a quotient finite where its numerator is zero too


def resized_crop(
    image: tf.Tensor,
    box: tf.Tensor,
    size: tuple[int, int],
    interpolation: str = "bicubic",
    antialias: bool = False,
) -> tf.Tensor:
    """Cut out a box and resize it.

    Args:
      image: (height, width, channels), of any number type.
      box: int tensor (4,).
      size: height and width of the result.
      interpolation: "bicubic" or "bilinear".
      antialias: whether pixels are averaged where the crop is made smaller.

    Returns:
      float32 (*size, channels) in the units of `image`, not clipped.
    """
    begin, extent = tf.split(box, 2)
    crop = tf.slice(image, tf.concat([begin, [0]], 0), tf.concat([extent, [-1]], 0))
    return tf.image.resize(crop, size, method=interpolation, antialias=antialias)


def crop_and_resize(image: tf.Tensor, box: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """As `resized_crop`, but integers are scaled so that white is 1."""
    return resized_crop(image, box, size) * (1 / white(image.dtype))


def white(dtype: tf.DType) -> float:
    """The value of white in images of a type: 1 for floats, else the largest integer."""
    dtype = tf.as_dtype(dtype)
    return 1.0 if dtype.is_floating else float(dtype.max)


def to_planes(image: tf.Tensor) -> tf.Tensor:
    """(height, width, 3) to (3, height, width)."""
    return tf.stack([image[..., channel] for channel in range(3)])


def from_planes(planes: tf.Tensor) -> tf.Tensor:
    """(3, height, width) to (height, width, 3), as a loop that XLA vectorises."""
    red, green, blue = tf.unstack(planes[..., tf.newaxis])
    channel = tf.range(3)
    return tf.where(channel == 0, red, tf.where(channel == 1, green, blue))


def clip(image: tf.Tensor) -> tf.Tensor:
    """Clip values to [0, 1]."""
    return tf.clip_by_value(image, 0.0, 1.0)


def adjust_brightness(
    planes: tf.Tensor, amount: float | tf.Tensor, mode: str = "multiply"
) -> tf.Tensor:
    """Multiply by `amount` (`mode` "multiply", SimCLRv2) or add it ("add", SimCLRv1)."""
    return planes * amount if mode == "multiply" else planes + amount


def adjust_contrast(planes: tf.Tensor, factor: float | tf.Tensor) -> tf.Tensor:
    """Scale each plane's distance from its mean by `factor`."""
    rows = tf.reduce_mean(planes, axis=2, keepdims=True)  # first: the order that XLA has fast
    mean = tf.reduce_mean(rows, axis=1, keepdims=True)
    return mean + factor * (planes - mean)


def adjust_saturation(planes: tf.Tensor, factor: float | tf.Tensor) -> tf.Tensor:
    """Multiply the saturation in HSV by `factor`, clipped there to [0, 1].

    At a constant hue this scales each channel's distance from the largest one.
    """
    high, low = _extremes(planes)
    most = tf.maximum(high, 0.0) / tf.maximum(high - low, _TINY)  # where the saturation is 1
    scale = tf.minimum(factor, most)
    return tf.stack([high - scale * (high - plane) for plane in tf.unstack(planes)])


def blend_contrast(planes: tf.Tensor, factor: float | tf.Tensor) -> tf.Tensor:
    """Blend with one grey, the mean luma of the image as a whole number of 255, as PIL does."""
    mean = tf.floor(255.0 * tf.reduce_mean(to_grayscale(planes)[0]) + 0.5) / 255.0
    return mean + factor * (planes - mean)


def blend_saturation(planes: tf.Tensor, factor: float | tf.Tensor) -> tf.Tensor:
    """Blend each pixel with its own luma, as PIL does."""
    luma = to_grayscale(planes)
    return luma + factor * (planes - luma)


def solarize(planes: tf.Tensor, threshold: float = 0.5) -> tf.Tensor:
    """Invert what is not darker than a threshold (BYOL, arXiv 2006.07733, appendix B)."""
    return tf.where(planes < threshold, planes, 1.0 - planes)


def adjust_hue(planes: tf.Tensor, delta: float | tf.Tensor) -> tf.Tensor:
    """Turn the hue by `delta`, a share of the circle in [-1, 1]."""
    red, green, blue = tf.unstack(planes)
    high, low = _extremes(planes)
    chroma = high - low
    scale = 1.0 / tf.maximum(chroma, _TINY)
    sextant = tf.where(
        high == red,
        (green - blue) * scale,
        tf.where(high == green, 2.0 + (blue - red) * scale, 4.0 + (red - green) * scale),
    )
    sextant += 6.0 * delta
    sextant -= 6.0 * tf.floor(sextant * (1 / 6))
    shares = (
        tf.abs(sextant - 3.0) - 1.0,
        2.0 - tf.abs(sextant - 2.0),
        2.0 - tf.abs(sextant - 4.0),
    )
    return tf.stack([low + chroma * clip(share) for share in shares])


def to_grayscale(planes: tf.Tensor) -> tf.Tensor:
    """Replace each channel by the luma 0.2989 R + 0.5870 G + 0.1140 B."""
    red, green, blue = tf.unstack(planes)
    luma = 0.2989 * red + 0.5870 * green + 0.1140 * blue
    return tf.stack([luma, luma, luma])


def blur_taps(radius: int, sigma: float | tf.Tensor) -> tf.Tensor:
    """A Gaussian at -radius, ..., radius that sums to 1.

    Args:
      radius: of the kernel, in pixels.
      sigma: standard deviation in pixels, (...,).

    Returns:
      float32 (..., 2 * radius + 1).
    """
    offsets = tf.range(-radius, radius + 1, dtype=tf.float32)
    variance = tf.square(tf.cast(sigma, tf.float32))[..., tf.newaxis]
    return tf.nn.softmax(-tf.square(offsets) / (2.0 * variance))


def blur_down(planes: tf.Tensor, taps: tf.Tensor, border: str = "zeros") -> tf.Tensor:
    """Convolve columns with a symmetric kernel.

    With `blur_across`, this is a Gaussian blur.

    Args:
      planes: float32 (3, height, width).
      taps: float32 (2 * radius + 1,), see `blur_taps`.
      border: what lies outside: "zeros", which make borders darker; the "edge", repeated; or
        the image "reflected", without its edge.

    Returns:
      float32, shaped as `planes`, not clipped.
    """
    radius, height = taps.shape[0] // 2, planes.shape[1]
    padded = _padded(planes, radius, 1, border)
    return tf.add_n([tap * padded[:, i : i + height] for i, tap in enumerate(tf.unstack(taps))])


def blur_across(planes: tf.Tensor, taps: tf.Tensor, border: str = "zeros") -> tf.Tensor:
    """Convolve rows, as `blur_down` does columns."""
    radius, width = taps.shape[0] // 2, planes.shape[2]
    padded = _padded(planes, radius, 2, border)
    return tf.add_n([tap * padded[:, :, i : i + width] for i, tap in enumerate(tf.unstack(taps))])


def _padded(planes, radius, axis, border):
    """Planes with `radius` more pixels at both ends of an axis."""
    if border == "zeros":
        return tf.pad(planes, [[radius, radius] if a == axis else [0, 0] for a in range(3)])
    places = np.arange(-radius, planes.shape[axis] + radius)
    last = planes.shape[axis] - 1
    if border == "edge":
        places = np.clip(places, 0, last)
    elif last:
        places = last - np.abs(np.abs(places) % (2 * last) - last)
    else:
        places = 0 * places
    return tf.gather(planes, places, axis=axis)


def _extremes(planes):
    red, green, blue = tf.unstack(planes)
    return tf.maximum(tf.maximum(red, green), blue), tf.minimum(tf.minimum(red, green), blue)
