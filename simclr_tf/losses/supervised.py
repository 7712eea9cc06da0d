"""The loss of the supervised head: online probe, fine-tuning, supervised baseline."""

import tensorflow as tf


def supervised_loss(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Softmax cross-entropy, averaged over the rows of this replica.

    Args:
      logits: (n, classes), any float dtype.
      labels: (n,) integers in [0, classes).

    Returns:
      A float32 scalar.
    """
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, tf.cast(logits, tf.float32))
    return tf.reduce_mean(losses)
