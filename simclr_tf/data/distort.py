"""What happens to a view after its crop: flip, jitter, greyscale and blur, compiled by XLA.

Everything random about a view is drawn beforehand as a row of uniform numbers. From its
row follows the list of operations that the view undergoes, and a loop applies one after
the other. So an operation is compiled once and costs time only in views that drew it.
"""

import functools

import tensorflow as tf

from simclr_tf.data import augment
from simclr_tf.errors import UserError

JITTER_PROBABILITY = 0.8
JITTER_EXTENTS = (0.8, 0.8, 0.8, 0.2)  # brightness, contrast, saturation, hue at strength 1
GRAYSCALE_PROBABILITY = 0.2
BLUR_PROBABILITY = 0.5
BLUR_SIGMAS = (0.1, 2.0)
BLUR_RADII = (3, 6, 9)

# The columns of the numbers that a view draws.
FLIP, JITTER, GRAYSCALE, BLUR, SIGMA = range(5)
ORDER = slice(5, 9)
FACTORS = slice(9, 13)
NUM_DRAWS = 13


def draw(seed: tf.Tensor, number_of_views: int) -> tf.Tensor:
    """Draw what `distort` needs, uniform in [0, 1): float32 (number_of_views, NUM_DRAWS).

    Args:
      seed: int tensor (2,).
      number_of_views: that the numbers are for.
    """
    return tf.random.stateless_uniform((number_of_views, NUM_DRAWS), seed)


@functools.partial(tf.function, jit_compile=True, autograph=False)
def distort(
    crops: tf.Tensor,
    draws: tf.Tensor,
    color_jitter_strength: float,
    use_blur: bool,
    brightness: str,
    white: float,
) -> tuple[tf.Tensor, ...]:
    """Make views of crops, several of each image.

    Args:
      crops: float32 (images, number, size, size, 3).
      draws: float32 (images, number, NUM_DRAWS), see `draw`.
      color_jitter_strength: in [0, 1.25]; 0 switches jitter and greyscale off.
      use_blur: whether views are blurred, with probability 0.5.
      brightness: "multiply" (SimCLRv2) or "add" (SimCLRv1).
      white: the value of white in `crops`, such as 255.

    Returns:
      `number` tensors, float32 (images, size, size, 3) in [0, 1].

    Raises:
      UserError: if the strength or `brightness` is not one of those above.
    """
    _, number, size, _, channels = crops.shape
    radii = blur_radii(blur_kernel_size(size))
    jitter = (
        functools.partial(augment.adjust_brightness, mode=brightness),
        augment.adjust_contrast,
        augment.adjust_saturation,
        augment.adjust_hue,
    )
    operations = [lambda planes, _: tf.reverse(planes, axis=[2])]
    operations += [functools.partial(_clipped, operation) for operation in jitter]
    operations += [lambda planes, _: augment.to_grayscale(planes)]
    operations += [functools.partial(_blur, radius=radius) for radius in radii]

    crops = tf.reshape(tf.transpose(crops, (1, 0, 2, 3, 4)), (-1, size, size, channels))
    draws = tf.reshape(tf.transpose(draws, (1, 0, 2)), (-1, NUM_DRAWS))

    def view(crop_and_plan):
        crop, steps, count, arguments = crop_and_plan

        def apply_next(done, planes):
            index = steps[done]
            branches = [
                functools.partial(operation, planes, argument)
                for operation, argument in zip(operations, tf.unstack(arguments), strict=True)
            ]
            return done + 1, tf.switch_case(index, branches)

        planes = augment.to_planes(crop) * (1 / white)
        _, planes = tf.while_loop(lambda done, _: done < count, apply_next, (0, planes))
        return augment.from_planes(augment.clip(planes))

    plan = _plan(draws, radii, color_jitter_strength, use_blur, brightness)
    views = tf.map_fn(view, (crops, *plan), fn_output_signature=tf.TensorSpec(crops.shape[1:]))
    # Split here, each has a buffer of its own; parts of one would be copied by what comes after.
    return tuple(tf.split(views, number))


def jitter_factors(draws: tf.Tensor, strength: float, mode: str) -> tf.Tensor:
    """Scale draws to factors, each uniform about the value that changes nothing.

    With s the strength: brightness, contrast and saturation in [1 - 0.8 s, 1 + 0.8 s]
    (brightness in [-0.8 s, 0.8 s] in mode "add") and hue in [-0.2 s, 0.2 s].

    Args:
      draws: float32 (..., NUM_DRAWS), see `draw`.
      strength: in [0, 1.25].
      mode: "multiply" or "add".

    Returns:
      float32 (..., 4).

    Raises:
      UserError: if the strength is outside [0, 1.25], where factors would be negative,
        or the mode unknown.
    """
    if not 0 <= strength <= augment.MAX_JITTER_STRENGTH:
        raise UserError(
            f"color_jitter_strength must lie in [0, {augment.MAX_JITTER_STRENGTH}], where no "
            f"factor is negative. Received: {strength}."
        )
    augment.check_brightness_mode(mode)
    unchanged = (1.0 if mode == "multiply" else 0.0, 1.0, 1.0, 0.0)
    extents = strength * tf.constant(JITTER_EXTENTS)
    return unchanged + extents * (2.0 * draws[..., FACTORS] - 1.0)


def jitter_order(draws: tf.Tensor) -> tf.Tensor:
    """Which of brightness, contrast, saturation and hue come first, second, ...: int32 (..., 4).

    Every permutation is as likely as any other.

    Args:
      draws: float32 (..., NUM_DRAWS), see `draw`.
    """
    return tf.argsort(draws[..., ORDER], axis=-1)


def blur_sigma(draws: tf.Tensor) -> tf.Tensor:
    """The standard deviations of blurs, uniform in [0.1, 2]: float32 (...,)."""
    lowest, highest = BLUR_SIGMAS
    return lowest + (highest - lowest) * draws[..., SIGMA]


def blur_kernel_size(image_size: int) -> int:
    """Return the nominal side of the blur's kernel: a tenth of the view."""
    return image_size // 10


def blur_radii(kernel_size: int) -> tuple[int, ...]:
    """The radii of kernels that blurs are computed with, the smallest that serves each sigma.

    A radius r serves up to sigma (r + 1) / 5: what lies outside of it weighs less than
    4e-6 of the middle. The last one serves all other sigmas.
    """
    radius = kernel_size // 2
    return tuple(sorted({min(radius, r) for r in BLUR_RADII}))


def _clipped(operation, planes, amount):
    return augment.clip(operation(planes, amount))


def _blur(planes, sigma, radius):
    return augment.gaussian_blur(augment.clip(planes), radius, sigma)


def _plan(draws, radii, strength, use_blur, brightness):
    """What each view undergoes.

    Returns:
      The indices of its operations in their order, int32 (n, 7), the number of them that
      were drawn (n,), and the argument of each operation, float32 (n, 6 + len(radii)).
    """
    sigma = blur_sigma(draws)[:, tf.newaxis]
    zero = tf.zeros_like(sigma)
    factors = jitter_factors(draws, strength, brightness)
    arguments = tf.concat([zero, factors, zero, *([sigma] * len(radii))], axis=1)

    flip, jitter, gray, blur = (tf.fill(sigma.shape, index) for index in (0, 1, 5, 6))
    for radius in radii[:-1]:
        blur += tf.cast(5.0 * sigma > radius + 1, tf.int32)
    steps = tf.concat([flip, jitter + jitter_order(draws), gray, blur], axis=1)
    colored = strength != 0
    drawn = tf.concat(
        [
            draws[:, FLIP, tf.newaxis] < 0.5,
            tf.repeat(draws[:, JITTER, tf.newaxis] < JITTER_PROBABILITY, 4, axis=1) & colored,
            (draws[:, GRAYSCALE, tf.newaxis] < GRAYSCALE_PROBABILITY) & colored,
            (draws[:, BLUR, tf.newaxis] < BLUR_PROBABILITY) & use_blur,
        ],
        axis=1,
    )
    drawn_first = tf.argsort(tf.cast(~drawn, tf.int32), axis=1, stable=True)
    steps = tf.gather(steps, drawn_first, axis=1, batch_dims=1)
    return steps, tf.reduce_sum(tf.cast(drawn, tf.int32), axis=1), arguments
