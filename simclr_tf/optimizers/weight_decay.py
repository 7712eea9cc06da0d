"""Weight decay as a term of the loss, for variables that no optimizer decays by itself."""

from collections.abc import Sequence

import tensorflow as tf


def l2_term(variables: Sequence[tf.Variable], weight_decay: float) -> tf.Tensor:
    """weight_decay * (sum of all squared values) / 2, so that its gradient is weight_decay * v.

    Args:
      variables: Those to decay, of any shapes and float dtypes; the caller chooses them.
      weight_decay: Strength, 0 or above.

    Returns:
      A float32 scalar; 0 without variables.
    """
    if not variables:
        return tf.constant(0.0)
    return weight_decay * tf.add_n([tf.nn.l2_loss(tf.cast(v, tf.float32)) for v in variables])
