"""What happens to a view after its crop: flip, jitter, greyscale and blur, compiled by XLA.

Everything random about a view is drawn beforehand as a row of uniform numbers. From its
row follows the list of operations that the view undergoes, and a loop applies one after
the other. So an operation is compiled once and costs time only in views that drew it.
"""

import functools
from collections.abc import Sequence

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
    crops: Sequence[tf.Tensor],
    draws: tf.Tensor,
    color_jitter_strength: float,
    use_blur: bool,
    brightness: str,
    white: float,
) -> tuple[tf.Tensor, ...]:
    """Make views of crops.

    Args:
      crops: float32 (images, size, size, 3), the first view's of all images, then the second's, ...
      draws: float32 (images, views, NUM_DRAWS), see `draw`.
      color_jitter_strength: in [0, 1.25]; 0 switches jitter and greyscale off.
      use_blur: whether views are blurred, with probability 0.5.
      brightness: "multiply" (SimCLRv2) or "add" (SimCLRv1).
      white: the value of white in `crops`, such as 255.

    Returns:
      As many tensors, float32 (images, size, size, 3) in [0, 1].

    Raises:
      UserError: if the strength or `brightness` is not one of those above.
    """
    size = crops[0].shape[1]
    radii = blur_radii(blur_kernel_size(size))
    operations = _operations(brightness, radii)

    def view(crop_and_plan):
        crop, steps, count, *arguments = crop_and_plan

        def apply_next(done, planes):
            branches = [functools.partial(operate, planes, *arguments) for operate in operations]
            return done + 1, tf.switch_case(steps[done], branches)

        def changed():
            planes = augment.to_planes(crop) * (1 / white)
            _, planes = tf.while_loop(lambda done, _: done < count, apply_next, (0, planes))
            return augment.from_planes(augment.clip(planes))

        # XLA divides loops among threads, which costs more than it gains with loops this short,
        # but not inside a conditional.
        return tf.cond(count > 0, changed, lambda: augment.clip(crop * (1 / white)))

    return tuple(
        _of_each(view, crop, *_plan(drawn, radii, color_jitter_strength, use_blur, brightness))
        for crop, drawn in zip(crops, tf.unstack(draws, axis=1), strict=True)
    )


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


def _of_each(view, crops, *plan):
    """The views of crops (n, size, size, 3); a loop, unless there is one alone."""
    if crops.shape[0] == 1:
        return view([tensor[0] for tensor in (crops, *plan)])[tf.newaxis]
    return tf.map_fn(view, (crops, *plan), fn_output_signature=tf.TensorSpec(crops.shape[1:]))


# Places in `_operations`: four of jitter, and two for each radius of blur.
_FLIP_STEP, _JITTER_STEPS, _GRAYSCALE_STEP, _CLIP_STEP, _BLUR_STEPS = 0, 1, 5, 6, 7


def _operations(brightness, radii):
    """What may be done to planes, each a function of planes, factors and taps.

    The two directions of a blur are two operations, since the second wants the first's whole
    result at hand.
    """

    def jitter(index, operation):
        return lambda planes, factors, _: augment.clip(operation(planes, factors[index]))

    def blur(direction, radius):
        def operate(planes, _, taps):
            outside = taps.shape[0] // 2 - radius
            return direction(planes, taps[outside : taps.shape[0] - outside])

        return operate

    return [
        lambda planes, *_: tf.reverse(planes, axis=[2]),
        jitter(0, functools.partial(augment.adjust_brightness, mode=brightness)),
        jitter(1, augment.adjust_contrast),
        jitter(2, augment.adjust_saturation),
        jitter(3, augment.adjust_hue),
        lambda planes, *_: augment.to_grayscale(planes),
        lambda planes, *_: augment.clip(planes),
        *(blur(d, r) for r in radii for d in (augment.blur_down, augment.blur_across)),
    ]


def _plan(draws, radii, strength, use_blur, brightness):
    """What each of n views undergoes, from draws (n, NUM_DRAWS).

    Returns:
      The places of its operations in `_operations`, in their order, int32 (n, 9), the number of
      them that were drawn (n,), the factors of its jitter (n, 4), and the taps of its blur.
    """
    sigma = blur_sigma(draws)
    wider = sum(tf.cast(5.0 * sigma > radius + 1, tf.int32) for radius in radii[:-1])
    blur = _BLUR_STEPS + 2 * (wider * tf.ones(sigma.shape, tf.int32))
    whether = {
        FLIP: draws[:, FLIP] < 0.5,
        JITTER: (draws[:, JITTER] < JITTER_PROBABILITY) & (strength != 0),
        GRAYSCALE: (draws[:, GRAYSCALE] < GRAYSCALE_PROBABILITY) & (strength != 0),
        BLUR: (draws[:, BLUR] < BLUR_PROBABILITY) & use_blur,
    }
    planned = [
        (whether[FLIP], tf.fill(sigma.shape, _FLIP_STEP)),
        *((whether[JITTER], _JITTER_STEPS + i) for i in tf.unstack(jitter_order(draws), axis=1)),
        (whether[GRAYSCALE], tf.fill(sigma.shape, _GRAYSCALE_STEP)),
        (whether[BLUR], tf.fill(sigma.shape, _CLIP_STEP)),
        (whether[BLUR], blur),
        (whether[BLUR], blur + 1),
    ]
    drawn, steps = (tf.stack(column, axis=1) for column in zip(*planned, strict=True))
    drawn_first = tf.argsort(tf.cast(~drawn, tf.int32), axis=1, stable=True)
    return (
        tf.gather(steps, drawn_first, axis=1, batch_dims=1),
        tf.reduce_sum(tf.cast(drawn, tf.int32), axis=1),
        jitter_factors(draws, strength, brightness),
        augment.blur_taps(radii[-1], sigma),
    )
