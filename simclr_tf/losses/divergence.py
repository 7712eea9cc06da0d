"""What a strong view is to tell, taken from a weak view of the same image (CLSA)."""

import tensorflow as tf


def divergence(weak_logits: tf.Tensor, strong_logits: tf.Tensor) -> tf.Tensor:
    """Cross-entropy of the distributions of a weak and a strong view (arXiv 2104.07713, eq. 3).

    Both are over the same entries, such as the rows of a memory. No gradient reaches the weak one.
    The official code takes the logarithm of a softmax, which is minus infinity where a probability
    underflows; here it is a logarithmic softmax.

    Args:
      weak_logits: (n, entries), divided by a temperature.
      strong_logits: (n, entries), likewise.

    Returns:
      The float32 scalar loss, a mean over rows.
    """
    weak, strong = (tf.cast(logits, tf.float32) for logits in (weak_logits, strong_logits))
    wanted = tf.stop_gradient(tf.nn.softmax(weak))
    return -tf.reduce_mean(tf.reduce_sum(wanted * tf.nn.log_softmax(strong), axis=-1))
