"""What a view predicts of another: the regression losses of BYOL and SimSiam."""

import tensorflow as tf

from simclr_tf.losses.rows import require_pairs

SMALLEST_NORM = 1e-8  # of a row in `simsiam`; a shorter one is divided by this


def byol(predictions: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Squared distance of normalised rows, 2 - 2 cos (BYOL, arXiv 2006.07733, eq. 2).

    That is one direction; BYOL adds the other. No gradient reaches the targets.

    Args:
      predictions: (n, d), of any length.
      targets: (n, d), of any length.

    Returns:
      A float32 scalar in [0, 4], the mean over rows.

    Raises:
      UserError: the shapes differ.
    """
    predictions, targets = _rows(predictions, targets)
    distances = tf.math.squared_difference(
        tf.math.l2_normalize(predictions, axis=1), tf.math.l2_normalize(targets, axis=1)
    )
    return tf.reduce_mean(tf.reduce_sum(distances, axis=1))


def simsiam(predictions: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Minus the cosine (SimSiam, arXiv 2011.10566, eq. 1).

    That is one direction; SimSiam takes the mean of both. No gradient reaches the targets.

    Args:
      predictions: (n, d), of any length.
      targets: (n, d), of any length.

    Returns:
      A float32 scalar in [-1, 1], the mean over rows.

    Raises:
      UserError: the shapes differ.
    """
    predictions, targets = _rows(predictions, targets)
    cosines = tf.reduce_sum(_unit(predictions) * _unit(targets), axis=1)
    return -tf.reduce_mean(cosines)


def _rows(predictions, targets):
    predictions, targets = tf.cast(predictions, tf.float32), tf.cast(targets, tf.float32)
    require_pairs(predictions=predictions, targets=targets)
    return predictions, tf.stop_gradient(targets)


def _unit(rows):
    squares = tf.reduce_sum(tf.square(rows), axis=1, keepdims=True)
    return rows / tf.sqrt(tf.maximum(squares, SMALLEST_NORM**2))
