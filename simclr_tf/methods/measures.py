"""What methods report beside their losses."""

import tensorflow as tf

from simclr_tf.losses import mean_over_labelled


def accuracy(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Share of labelled rows whose largest logit is the label's, averaged as the loss is.

    Args:
      logits: (n, classes).
      labels: (n,) integers; negative where there is no label.

    Returns:
      A float32 scalar; see `losses.mean_over_labelled`.
    """
    found = tf.equal(tf.argmax(logits, axis=1), tf.cast(labels, tf.int64))
    return mean_over_labelled(tf.cast(found, tf.float32), labels)


def spread(embeddings: tf.Tensor) -> tf.Tensor:
    """How far directions of rows differ: 1 where they are independent, 0 where all are the same.

    That is the deviation of a coordinate over the batch, times the root of their number
    (SimSiam, arXiv 2011.10566, section 4.1).

    Args:
      embeddings: (n, d), of any length; they are normalised here.

    Returns:
      A float32 scalar.
    """
    rows = tf.math.l2_normalize(tf.stop_gradient(embeddings), axis=1)
    return tf.reduce_mean(tf.math.reduce_std(rows, axis=0)) * rows.shape[1] ** 0.5
