"""Operations on one image, each a pure function of its arguments.

An image is a float32 tensor (height, width, 3) with values in [0, 1]; right
after a bicubic resize they may lie slightly outside. A box is an int32 tensor
(y, x, height, width) in pixels. What is random takes a `seed`, an int tensor of
shape (2,), and is the same whenever the seed is, eagerly or inside `Dataset.map`.
Conditionals run only the branch that was drawn.

Which operations make a view, and in what order, is said in `views`.
The augmentations are those of appendix A of the SimCLR paper (arXiv 2002.05709).
"""

import functools
from collections.abc import Sequence

import tensorflow as tf

from simclr_tf.errors import UserError

BRIGHTNESS_MODES = ("multiply", "add")
JITTER_PROBABILITY = 0.8
JITTER_EXTENTS = (0.8, 0.8, 0.8, 0.2)  # brightness, contrast, saturation, hue at strength 1
MAX_JITTER_STRENGTH = 1.25  # beyond it factors would be negative
GRAYSCALE_PROBABILITY = 0.2
BLUR_PROBABILITY = 0.5
BLUR_SIGMAS = (0.1, 2.0)


def random_crop_box(image_size: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Draw the box of a random resized crop.

    The aspect ratio (width / height) is uniform in [3/4, 4/3], then the height is
    uniform among those that keep the area between 10% and 100% of the image: the
    area is asked to be in [0.08, 1], and every crop must cover a tenth of the image.
    After 100 failed attempts the box is the whole image.

    Args:
      image_size: int tensor (2,), height and width of the image.
      seed: int tensor (2,).

    Returns:
      The box, int32 (4,).
    """
    begin, size, _ = tf.image.stateless_sample_distorted_bounding_box(
        tf.concat([image_size, [3]], axis=0),
        bounding_boxes=tf.constant([[[0.0, 0.0, 1.0, 1.0]]]),
        seed=seed,
        min_object_covered=0.1,
        aspect_ratio_range=(3 / 4, 4 / 3),
        area_range=(0.08, 1.0),
        max_attempts=100,
        use_image_if_no_bounding_boxes=True,
    )
    return tf.concat([begin[:2], size[:2]], axis=0)


def central_crop_box(
    image_size: tf.Tensor, size: tuple[int, int], proportion: float = 0.875
) -> tf.Tensor:
    """Return the largest central box with the aspect of `size`, scaled by `proportion`.

    Args:
      image_size: int tensor (2,), height and width of the image.
      size: height and width that the crop will be resized to.
      proportion: side of the box relative to the largest one, in (0, 1].

    Returns:
      The box, int32 (4,), its sides rounded half to even.
    """
    height, width = tf.unstack(tf.cast(image_size, tf.float32))
    aspect = size[1] / size[0]
    box_height = tf.minimum(height, width / aspect)
    box_width = tf.minimum(width, height * aspect)
    box_size = tf.cast(tf.round(proportion * tf.stack([box_height, box_width])), tf.int32)
    begin = (tf.cast(image_size, tf.int32) - box_size + 1) // 2
    return tf.concat([begin, box_size], axis=0)


def crop_and_resize(image: tf.Tensor, box: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """Cut out a box and resize it by bicubic interpolation without antialiasing.

    Args:
      image: (height, width, channels); integers are scaled to [0, 1].
      box: int tensor (4,).
      size: height and width of the result.

    Returns:
      float32 (*size, channels), not clipped.
    """
    y, x, height, width = tf.unstack(box)
    crop = image[y : y + height, x : x + width]
    crop = tf.image.convert_image_dtype(crop, tf.float32)
    return tf.image.resize(crop, size, method="bicubic", antialias=False)


def clip(image: tf.Tensor) -> tf.Tensor:
    """Clip values to [0, 1]."""
    return tf.clip_by_value(image, 0.0, 1.0)


def random_flip(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Mirror left and right with probability 0.5."""
    drawn = tf.random.stateless_uniform((), seed) < 0.5
    return tf.cond(drawn, lambda: tf.reverse(image, axis=[1]), lambda: image)


def adjust_brightness(
    image: tf.Tensor, amount: float | tf.Tensor, mode: str = "multiply"
) -> tf.Tensor:
    """Multiply the image by `amount` (SimCLRv2) or add `amount` to it (SimCLRv1).

    Raises:
      UserError: if `mode` is neither "multiply" nor "add".
    """
    _check_brightness_mode(mode)
    return image * amount if mode == "multiply" else image + amount


def adjust_contrast(image: tf.Tensor, factor: float | tf.Tensor) -> tf.Tensor:
    """Scale each channel's distance from its mean over the image by `factor`."""
    return tf.image.adjust_contrast(image, factor)


def adjust_saturation(image: tf.Tensor, factor: float | tf.Tensor) -> tf.Tensor:
    """Multiply the saturation in HSV by `factor`, clipped there to [0, 1]."""
    return tf.image.adjust_saturation(image, factor)


def adjust_hue(image: tf.Tensor, delta: float | tf.Tensor) -> tf.Tensor:
    """Turn the hue by `delta`, a share of the circle in [-1, 1]."""
    return tf.image.adjust_hue(image, delta)


def to_grayscale(image: tf.Tensor) -> tf.Tensor:
    """Replace each channel by the luma 0.2989 R + 0.5870 G + 0.1140 B."""
    return tf.image.grayscale_to_rgb(tf.image.rgb_to_grayscale(image))


def color_jitter(
    image: tf.Tensor,
    factors: Sequence[float] | tf.Tensor,
    order: Sequence[int] | tf.Tensor,
    mode: str = "multiply",
) -> tf.Tensor:
    """Change brightness, contrast, saturation and hue, clipping to [0, 1] after each.

    Args:
      image: float32 (height, width, 3).
      factors: (4,), the arguments of `adjust_brightness`, `adjust_contrast`,
        `adjust_saturation` and `adjust_hue`.
      order: int (4,), a permutation: which of the four comes first, second, ...
        May be known only at run time.
      mode: of the brightness, "multiply" or "add".

    Returns:
      float32 (height, width, 3) in [0, 1].

    Raises:
      UserError: if `mode` is neither "multiply" nor "add".
    """
    brightness, contrast, saturation, hue = tf.unstack(tf.convert_to_tensor(factors, tf.float32))
    operations = (
        lambda image: adjust_brightness(image, brightness, mode),
        lambda image: adjust_contrast(image, contrast),
        lambda image: adjust_saturation(image, saturation),
        lambda image: adjust_hue(image, hue),
    )
    for index in tf.unstack(tf.convert_to_tensor(order, tf.int32)):
        branches = [functools.partial(operation, image) for operation in operations]
        image = clip(tf.switch_case(index, branches))
    return image


def random_jitter_factors(
    seed: tf.Tensor, strength: float = 1.0, mode: str = "multiply"
) -> tf.Tensor:
    """Draw the factors of `color_jitter`, each uniform about the value that changes nothing.

    With s the strength: brightness, contrast and saturation in [1 - 0.8 s, 1 + 0.8 s]
    (brightness in [-0.8 s, 0.8 s] in mode "add") and hue in [-0.2 s, 0.2 s].

    Returns:
      float32 (4,).

    Raises:
      UserError: if the strength is outside [0, 1.25], where factors would be negative,
        or the mode unknown.
    """
    if not 0 <= strength <= MAX_JITTER_STRENGTH:
        raise UserError(
            f"color_jitter_strength must lie in [0, {MAX_JITTER_STRENGTH}], where no factor is "
            f"negative. Received: {strength}."
        )
    _check_brightness_mode(mode)
    unchanged = (1.0 if mode == "multiply" else 0.0, 1.0, 1.0, 0.0)
    extents = strength * tf.constant(JITTER_EXTENTS)
    return unchanged + extents * tf.random.stateless_uniform((4,), seed, -1.0, 1.0)


def random_color_jitter(
    image: tf.Tensor, seed: tf.Tensor, strength: float = 1.0, brightness: str = "multiply"
) -> tf.Tensor:
    """Jitter the colours with probability 0.8, then make it grey with probability 0.2.

    Args:
      image: float32 (height, width, 3).
      seed: int tensor (2,).
      strength: of the jitter, in [0, 1.25]; see `random_jitter_factors`.
      brightness: "multiply" (SimCLRv2) or "add" (SimCLRv1).

    Returns:
      float32 (height, width, 3); in [0, 1] when the jitter was drawn, else with the
      range of the input.

    Raises:
      UserError: as `random_jitter_factors` does.
    """
    draws_seed, factors_seed, order_seed = tf.unstack(tf.random.split(seed, 3))
    draws = tf.random.stateless_uniform((2,), draws_seed)

    factors = random_jitter_factors(factors_seed, strength, brightness)
    order = tf.random.experimental.stateless_shuffle(tf.range(4), order_seed)
    image = tf.cond(
        draws[0] < JITTER_PROBABILITY,
        lambda: color_jitter(image, factors, order, brightness),
        lambda: image,
    )
    return tf.cond(draws[1] < GRAYSCALE_PROBABILITY, lambda: to_grayscale(image), lambda: image)


def gaussian_blur(images: tf.Tensor, kernel_size: int, sigma: float | tf.Tensor) -> tf.Tensor:
    """Convolve with a Gaussian of 2 * (kernel_size // 2) + 1 taps that sum to 1.

    Outside the image there are zeros, so borders get darker.

    Args:
      images: float32 (height, width, 3) or (batch, height, width, 3).
      kernel_size: nominal side of the kernel; its radius is half of it, rounded down.
      sigma: standard deviation in pixels, a scalar.

    Returns:
      float32, shaped as `images`, not clipped.
    """
    if images.shape.rank == 3:
        return gaussian_blur(images[tf.newaxis], kernel_size, sigma)[0]
    radius = kernel_size // 2
    offsets = tf.range(-radius, radius + 1, dtype=tf.float32)
    taps = tf.nn.softmax(-tf.square(offsets) / (2.0 * tf.square(sigma)))
    for shape in ((-1, 1, 1, 1), (1, -1, 1, 1)):
        kernel = tf.tile(tf.reshape(taps, shape), [1, 1, 3, 1])
        images = tf.nn.depthwise_conv2d(images, kernel, strides=(1, 1, 1, 1), padding="SAME")
    return images


def random_blur_sigma(seed: tf.Tensor) -> tf.Tensor:
    """Draw the standard deviation of a blur, uniform in [0.1, 2]."""
    return tf.random.stateless_uniform((), seed, *BLUR_SIGMAS)


def random_blur(image: tf.Tensor, seed: tf.Tensor, kernel_size: int) -> tf.Tensor:
    """Blur with probability 0.5, with a sigma drawn for this image; clip to [0, 1]."""
    draw_seed, sigma_seed = tf.unstack(tf.random.split(seed, 2))
    drawn = tf.random.stateless_uniform((), draw_seed) < BLUR_PROBABILITY
    image = tf.cond(
        drawn,
        lambda: gaussian_blur(image, kernel_size, random_blur_sigma(sigma_seed)),
        lambda: image,
    )
    return clip(image)


def _check_brightness_mode(mode: str) -> None:
    if mode not in BRIGHTNESS_MODES:
        raise UserError(f"brightness must be one of {BRIGHTNESS_MODES}. Received: {mode!r}.")
