"""Transforms that the SimCLR paper studies: a second crop, cutout, Sobel, noise and rotation.

The paper (arXiv 2002.05709) shows them in figure 4 and compares them in figure 5 and table 3, and
gives no strengths but the angles. Ours: a grey square of half the side at a random place; Gaussian
noise with a standard deviation of 0.1; the gradient of each channel by Sobel's filters.

Operations work on planes, float32 (3, height, width) in [0, 1], as those of `augment`.
"""

import functools
import math
from collections.abc import Callable, Sequence

import tensorflow as tf

from simclr_tf.data import augment, strong
from simclr_tf.data.recipe import View
from simclr_tf.data.strong_plan import NUM_ARGUMENTS

PROBABILITIES = {
    "recrop": "recrop_probability",
    "cutout": "cutout_probability",
    "sobel": "sobel_probability",
    "noise": "noise_probability",
    "rotation": "rotation_probability",
}
# The columns of the numbers that a view draws, uniform in [0, 1): whether it undergoes each, and
# what it then is.
DRAWN = {stage: column for column, stage in enumerate(PROBABILITIES)}
AREA, ASPECT, DOWN, ACROSS, FLIP, CUTOUT_DOWN, CUTOUT_ACROSS, TURN = range(5, 13)
NOISE_SEED = slice(13, 15)
NUM_DRAWS = 15
_SEEDS = 2**24  # as many whole numbers are exact in float32


def any_in(recipe: Sequence[View]) -> bool:
    """Whether a view may undergo one of these."""
    return any(probability(stage, view) for stage in PROBABILITIES for view in recipe)


def probability(stage: str, view: View) -> float:
    """How likely a view undergoes one of these."""
    return getattr(view, PROBABILITIES[stage])


def operations(view: View) -> dict[str, Callable]:
    """What may be done, each a function of planes and of (NUM_ARGUMENTS,) numbers, by name."""
    known = {
        "recrop": {"recrop": functools.partial(strong.transform, interpolation="bilinear")},
        "cutout": {
            "cutout": lambda planes, numbers: cutout(planes, numbers[:2], cutout_pixels(view))
        },
        "sobel": {"sobel": lambda planes, _: augment.clip(sobel(planes))},
        "noise": {
            "noise": lambda planes, numbers: augment.clip(
                planes + view.noise_deviation * noise(planes.shape, numbers[:2])
            )
        },
        "rotation": {
            "rotation": lambda planes, _: turned(planes, 1),
            "rotation 180": lambda planes, _: turned(planes, 2),
            "rotation 270": lambda planes, _: turned(planes, 3),
        },
    }
    return {
        name: operation
        for stage, of_stage in known.items()
        if probability(stage, view)
        for name, operation in of_stage.items()
    }


def plan(stage: str, view: View, uniform: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """What each of n views undergoes of one of these.

    Args:
      stage: which one.
      view: its probabilities and extents.
      uniform: float32 (n, NUM_DRAWS), in [0, 1).

    Returns:
      Float32 (n,), below the probability where it is applied; which of its operations, int32
      (n,), counted from 0; and their numbers, float32 (n, NUM_ARGUMENTS).
    """
    drawn = uniform[:, DRAWN[stage]]
    which, numbers = tf.zeros_like(drawn, tf.int32), ()
    if stage == "recrop":
        numbers = _crop_matrix(view, *tf.unstack(uniform[:, AREA : FLIP + 1], axis=1))
    elif stage == "cutout":
        corner = uniform[:, CUTOUT_DOWN : CUTOUT_ACROSS + 1]
        room = view.size - cutout_pixels(view) + 1
        numbers = tf.unstack(tf.floor(room * corner), axis=1)
    elif stage == "noise":
        numbers = tf.unstack(tf.floor(_SEEDS * uniform[:, NOISE_SEED]), axis=1)
    elif stage == "rotation":
        which = tf.cast(tf.floor(3 * uniform[:, TURN]), tf.int32)
    zeros = [tf.zeros_like(drawn)] * (NUM_ARGUMENTS - len(numbers))
    return drawn, which, tf.stack([*numbers, *zeros], axis=1)


def _crop_matrix(view, area, aspect, down, across, flip):
    """The matrix of `strong.transform` that enlarges a crop, drawn as BYOL does."""
    lowest, highest = view.area
    area = lowest + (highest - lowest) * area
    low, high = map(math.log, view.aspect)
    ratio = tf.exp(low + (high - low) * aspect)
    width = tf.minimum(tf.sqrt(area * ratio), 1.0)
    height = tf.minimum(tf.sqrt(area / ratio), 1.0)
    left, top = view.size * across * (1 - width), view.size * down * (1 - height)
    zero, flipped = tf.zeros_like(area), flip < 0.5
    return (
        *(tf.where(flipped, -width, width), zero),
        *(tf.where(flipped, left + view.size * width, left), zero, height, top),
    )


def cutout_pixels(view: View) -> int:
    """The side of the square that cutout covers, in pixels, of at least one."""
    return max(1, round(view.cutout_side * view.size))


def cutout(planes: tf.Tensor, corner: tf.Tensor, side: int) -> tf.Tensor:
    """Cover a square with grey, the middle of black and white.

    Args:
      planes: float32 (3, height, width).
      corner: the row and the column where it begins, (2,) whole numbers.
      side: of the square, in pixels.
    """
    _, height, width = planes.shape
    rows = tf.range(height, dtype=tf.float32)[:, tf.newaxis] - corner[0]
    columns = tf.range(width, dtype=tf.float32) - corner[1]
    covered = (rows >= 0) & (rows < side) & (columns >= 0) & (columns < side)
    return tf.where(covered, 0.5, planes)


def sobel(planes: tf.Tensor) -> tf.Tensor:
    """The length of the gradient by Sobel's filters; at its border the image is reflected."""
    smooth, difference = tf.constant([1.0, 2.0, 1.0]), tf.constant([-1.0, 0.0, 1.0])
    across = augment.blur_across(
        augment.blur_down(planes, smooth, "reflected"), difference, "reflected"
    )
    down = augment.blur_across(
        augment.blur_down(planes, difference, "reflected"), smooth, "reflected"
    )
    return tf.sqrt(tf.square(across) + tf.square(down))


def noise(shape: Sequence[int], seed: tf.Tensor) -> tf.Tensor:
    """Standard normal numbers: float32, the same wherever they are computed.

    Args:
      shape: of the result.
      seed: (2,) whole numbers.
    """
    return tf.math.ndtri(
        tf.random.stateless_uniform(shape, tf.cast(seed, tf.int32), 1e-7, 1.0, alg="philox")
    )


def turned(planes: tf.Tensor, quarters: int) -> tf.Tensor:
    """Turn an image of equal sides counterclockwise by 1, 2 or 3 times 90 degrees."""
    if quarters == 2:
        return tf.reverse(planes, axis=[1, 2])
    return tf.reverse(tf.transpose(planes, (0, 2, 1)), axis=[1 if quarters == 1 else 2])
