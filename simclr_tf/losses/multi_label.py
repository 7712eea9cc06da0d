"""The loss of images that have several labels each."""

import tensorflow as tf


def multi_label_loss(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Logistic loss of every class against the rest, summed over classes, averaged over rows.

    Args:
      logits: (n, classes), any float dtype.
      labels: (n, classes) integers: 1 where the class is there, 0 where it is not, -1 where
        that does not count.

    Returns:
      A float32 scalar.
    """
    targets = tf.cast(labels == 1, tf.float32)
    losses = tf.nn.sigmoid_cross_entropy_with_logits(targets, tf.cast(logits, tf.float32))
    losses = tf.where(labels >= 0, losses, 0.0)
    return tf.reduce_mean(tf.reduce_sum(losses, axis=1))
