"""The loss of a student that learns a teacher's predictions."""

import tensorflow as tf

from simclr_tf import distribute


def distillation_loss(
    logits: tf.Tensor, teacher_logits: tf.Tensor, temperature: float = 1.0
) -> tf.Tensor:
    """-sum_y P_teacher(y | x; T) log P_student(y | x; T), averaged over the rows (SimCLRv2, eq. 3).

    P(y | x; T) = softmax(logits / T), for both. There is no factor T^2, so that gradients
    grow with 1 / T.

    Args:
      logits: (n, classes) of the student, any float dtype.
      teacher_logits: (n, classes); no gradient flows into them.
      temperature: T, above 0.

    Returns:
      A float32 scalar; at least the mean entropy of the teacher's predictions.
    """
    targets = tf.nn.softmax(tf.cast(tf.stop_gradient(teacher_logits), tf.float32) / temperature)
    logits = tf.cast(logits, tf.float32) / temperature
    return tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(targets, logits))


def supervised_loss_where_labelled(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Softmax cross-entropy, averaged over the labelled rows of all replicas.

    Args:
      logits: (n, classes), any float dtype.
      labels: (n,) integers; negative where there is no label.

    Returns:
      A float32 scalar, this replica's sum over the mean number of labelled rows of a
      replica, so that the mean over replicas is that over all rows; 0 without labels.
    """
    labelled = tf.cast(labels >= 0, tf.float32)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
        tf.maximum(labels, 0), tf.cast(logits, tf.float32)
    )
    count = distribute.mean_over_replicas(tf.reduce_sum(labelled))
    return tf.math.divide_no_nan(tf.reduce_sum(losses * labelled), count)
