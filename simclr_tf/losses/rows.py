"""What losses ask of their rows: how many there are, and which belong together."""

import tensorflow as tf

from simclr_tf.errors import UserError

# Products of rows a and b that differ by less than this share of |a| |b| tie: rounding alone
# decides which of them is larger. Sums in another order were seen to differ by 2.4 ulp.
TIE = 8 * 2.0**-23


def number_of(rows: tf.Tensor) -> int | tf.Tensor:
    """How many rows there are; a float32 scalar where that is known in the step alone."""
    number = rows.shape[0]
    return tf.cast(tf.shape(rows)[0], tf.float32) if number is None else number


def require_pairs(**rows: tf.Tensor) -> None:
    """Refuse rows of which one cannot belong to one, as those of one image would to many.

    Args:
      **rows: two tensors (n, d), by the names of their arguments.

    Raises:
      UserError: their shapes differ, as far as they are known.
    """
    (first, a), (second, b) = rows.items()
    if not a.shape.is_compatible_with(b.shape):
        raise UserError(
            f"{first} and {second} belong together row by row, so they have one shape. Received: "
            f"{tuple(a.shape)} and {tuple(b.shape)}."
        )


def require_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Refuse what is none of the values of an argument.

    Raises:
      UserError: `value` is not among `choices`.
    """
    if value not in choices:
        raise UserError(f"{name} is one of {', '.join(choices)}. Received: {value}.")
