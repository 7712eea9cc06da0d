"""Two views of the images of the global batch, whose rows every contrastive loss compares."""

from typing import NamedTuple

import tensorflow as tf

from simclr_tf.devices import replicas
from simclr_tf.errors import UserError

NEGATIVES = ("both", "other_view")


class Pairs(NamedTuple):
    """Rows of this replica's n images, and of all N images.

    Attributes:
      a, b: (n, d) float32, of the first and of the second view.
      all_a, all_b: (N, d) float32, of the global batch.
      own: (n,) int32, the places of this replica's images among all.
    """

    a: tf.Tensor
    b: tf.Tensor
    all_a: tf.Tensor
    all_b: tf.Tensor
    own: tf.Tensor

    @property
    def itself(self) -> tf.Tensor:
        """Which of all images each one is: bool (n, N)."""
        total = tf.shape(self.all_a)[0]
        return tf.one_hot(self.own, total, on_value=True, off_value=False, dtype=tf.bool)


def rows_of(hidden: tf.Tensor, hidden_norm: bool) -> tf.Tensor:
    """The rows whose products are the similarities, in float32.

    Raises:
      UserError: they are not those of two views.
    """
    hidden = tf.cast(hidden, tf.float32)
    if (hidden.shape[0] or 0) % 2:
        raise UserError(
            "The projections are those of two views, n rows of the first and then n of the "
            f"second. Received: {hidden.shape[0]} rows."
        )
    return tf.math.l2_normalize(hidden, axis=1) if hidden_norm else hidden


def pairs_of(hidden: tf.Tensor, hidden_norm: bool = True) -> Pairs:
    """The pairs of projections, with those of all replicas; gradients flow into all of them.

    Args:
      hidden: (2n, d): the projections of n images under the first view, then those of the same
        images under the second.
      hidden_norm: whether to l2-normalise the rows.

    Raises:
      UserError: the number of rows is odd.
    """
    a, b = tf.split(rows_of(hidden, hidden_norm), 2)
    both_views = replicas.gather(tf.concat([a, b], axis=1))  # (N, 2d)
    all_a, all_b = tf.split(both_views, 2, axis=1)
    n = tf.shape(a)[0]
    return Pairs(a, b, all_a, all_b, replicas.replica_id() * n + tf.range(n))
