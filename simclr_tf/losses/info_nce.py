"""InfoNCE with a queue of negatives (MoCo, arXiv 1911.05722, eq. 1)."""

import tensorflow as tf

from simclr_tf.losses.nce import instance_softmax
from simclr_tf.losses.rows import require_pairs


def info_nce(
    queries: tf.Tensor, keys: tf.Tensor, queue: tf.Tensor, temperature: float = 0.2
) -> tuple[tf.Tensor, tf.Tensor]:
    """Each query has to tell its own key from the keys in the queue.

    The other keys of the batch are no negatives. No gradient reaches keys and queue. Every
    replica computes the rows of its own images; the mean over replicas is the loss of the batch.

    Args:
      queries: (n, d) rows of length 1.
      keys: (n, d) rows of length 1; key i belongs to query i.
      queue: (K, d) rows of length 1.
      temperature: divides the similarities; above 0.

    Returns:
      The float32 scalar loss, a mean over rows, and the logits (n, 1 + K), float32: the own key
      comes first.

    Raises:
      UserError: the shapes of queries and keys differ.
    """
    queries = tf.cast(queries, tf.float32)
    keys, queue = (tf.stop_gradient(tf.cast(rows, tf.float32)) for rows in (keys, queue))
    require_pairs(queries=queries, keys=keys)
    own = tf.reduce_sum(queries * keys, axis=1, keepdims=True)
    others = tf.matmul(queries, queue, transpose_b=True)
    logits = tf.concat([own, others], axis=1) / temperature
    return instance_softmax(logits), logits
