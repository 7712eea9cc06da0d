"""Which strong operations a view draws, and the numbers that they are given."""

import functools
from collections.abc import Callable

import tensorflow as tf

from simclr_tf.data import augment, strong
from simclr_tf.data.rand_augment import StrongOperations
from simclr_tf.data.recipe import Recipe

# The columns of the numbers that each operation draws, uniform in [0, 1).
WHICH, APPLIED, LEVEL, DEVIATION, SIGN, INTERPOLATION = range(6)
NUM_DRAWS = 6
NUM_ARGUMENTS = 6  # numbers that an operation may need
_MOVES = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")
_WHOLE = ("posterize", "solarize", "solarize_add")  # these go whole steps


def number_of_draws(recipe: Recipe) -> int:
    """The most strong operations that a view draws."""
    return max(view.strong.draws if view.strong else 0 for view in recipe)


def operations(drawn: StrongOperations) -> dict[str, Callable]:
    """What may be done, each a function of planes and of (NUM_ARGUMENTS,) numbers, by name.

    Rotations, shears and translations are one, with the matrix of `transform`.
    """
    with_one = {
        "brightness": augment.adjust_brightness,
        "color": augment.blend_saturation,
        "contrast": augment.blend_contrast,
        "sharpness": strong.sharpness,
        "posterize": strong.posterize,
        "solarize": strong.solarize,
        "solarize_add": strong.solarize_add,
    }
    with_none = {
        "autocontrast": strong.autocontrast,
        "equalize": strong.equalize,
        "invert": lambda x: 1.0 - x,
    }

    def given_one(operation):
        return lambda planes, numbers: augment.clip(operation(planes, numbers[0]))

    def given_none(operation):
        return lambda planes, _: operation(planes)

    found = {}
    for name in drawn.names:
        if name in _MOVES:
            for kind in drawn.interpolations:
                found[kind] = functools.partial(
                    strong.transform, interpolation=kind, fill=drawn.fill
                )
        elif name in with_one:
            found[name] = given_one(with_one[name])
        elif name in with_none:
            found[name] = given_none(with_none[name])
    return found


def plan(
    drawn: StrongOperations, numbers: tf.Tensor, size: int
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """What each of n views undergoes.

    Args:
      drawn: says what may be.
      numbers: float32 (n, draws * NUM_DRAWS or more), uniform in [0, 1).
      size: height and width of the views.

    Returns:
      Whether each operation is applied, bool (n, draws); its place in `operations`, int32
      (n, draws); and its arguments, float32 (n, draws, NUM_ARGUMENTS).
    """
    numbers = numbers[:, : drawn.draws * NUM_DRAWS]
    columns = tf.unstack(tf.reshape(numbers, (-1, drawn.draws, NUM_DRAWS)), axis=2)
    which = _one_of(len(drawn.names), columns[WHICH])
    level = level_of(drawn, columns[LEVEL], columns[DEVIATION])
    sign = tf.where(columns[SIGN] < 0.5, -1.0, 1.0)
    kind = _one_of(len(drawn.interpolations), columns[INTERPOLATION])
    places = {name: i for i, name in enumerate(operations(drawn))}
    of_each = [_arguments(drawn, i, level, sign, size) for i in range(len(drawn.names))]
    changes = tf.constant([name != "identity" for name in drawn.names])
    first = [
        places.get(drawn.interpolations[0] if name in _MOVES else name, 0) for name in drawn.names
    ]
    moves = tf.constant([int(name in _MOVES) for name in drawn.names])
    return (
        (columns[APPLIED] < drawn.probability) & tf.gather(changes, which),
        tf.gather(first, which) + tf.gather(moves, which) * kind,
        tf.gather(tf.stack(of_each, axis=2), which, axis=2, batch_dims=2),
    )


def level_of(drawn: StrongOperations, uniform: tf.Tensor, deviation: tf.Tensor) -> tf.Tensor:
    """The levels of operations: float32, shaped as the numbers in [0, 1) that they come from."""
    lowest, highest = drawn.levels
    level = lowest + tf.floor((highest - lowest + 1) * uniform)
    if drawn.level_deviation:
        level += drawn.level_deviation * tf.math.ndtri(deviation)
    return tf.clip_by_value(level, 0.0, 10.0)


def _arguments(drawn, i, level, sign, size):
    """(n, draws, NUM_ARGUMENTS) for one operation at levels (n, draws)."""
    name, lowest, highest = drawn.ranges[i]
    way = (highest - lowest) * level / 10
    if name in _WHOLE:
        way = tf.sign(way) * tf.floor(tf.abs(way))
    amount = lowest + way
    if name in ("translate_x", "translate_y"):
        amount *= size
        amount = tf.floor(amount) if "nearest" in drawn.interpolations else amount
    zero, one = tf.zeros_like(level), tf.ones_like(level)
    signed = sign * amount
    matrices = {
        "rotate": lambda: strong.rotation(signed, size, size),
        "shear_x": lambda: (one, signed, zero, zero, one, zero),
        "shear_y": lambda: (one, zero, zero, signed, one, zero),
        "translate_x": lambda: (one, zero, signed, zero, one, zero),
        "translate_y": lambda: (one, zero, zero, zero, one, signed),
    }
    numbers = matrices[name]() if name in matrices else (amount, *[zero] * (NUM_ARGUMENTS - 1))
    return tf.stack(numbers, axis=2)


def _one_of(number, uniform):
    """A whole number below `number`, int32, of one that is uniform in [0, 1)."""
    return tf.cast(tf.floor(number * uniform), tf.int32)
