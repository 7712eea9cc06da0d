"""The loss of the supervised head: online probe, fine-tuning, supervised baseline."""

import tensorflow as tf

from simclr_tf.devices import replicas


def supervised_loss(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Softmax cross-entropy, averaged over the labelled rows of all replicas.

    Args:
      logits: (n, classes), any float dtype.
      labels: (n,) integers below `classes`; negative where there is no label.

    Returns:
      A float32 scalar; see `mean_over_labelled`.
    """
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
        tf.maximum(labels, 0), tf.cast(logits, tf.float32)
    )
    return mean_over_labelled(losses, labels)


def mean_over_labelled(values: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Mean of the values that have a label, over all replicas.

    Args:
      values: float32, of any shape.
      labels: integers of the same shape; negative where there is no label.

    Returns:
      A float32 scalar, this replica's sum over the mean number of labels of a replica, so
      that the mean over replicas is that over all values; 0 without labels.
    """
    labelled = tf.cast(labels >= 0, tf.float32)
    count = replicas.mean_over_replicas(tf.reduce_sum(labelled))
    return tf.math.divide_no_nan(tf.reduce_sum(values * labelled), count)
