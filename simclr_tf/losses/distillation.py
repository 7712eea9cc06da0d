"""The loss of a student that learns a teacher's predictions."""

import tensorflow as tf


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
