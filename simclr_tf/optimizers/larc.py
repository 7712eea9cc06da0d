"""LARC, layer-wise adaptive rate control, as SwAV was trained with it (arXiv 2006.09882)."""

from typing import Any

import tensorflow as tf

from simclr_tf.backend import keras
from simclr_tf.optimizers.sgd import SGD


@keras.utils.register_keras_serializable("simclr_tf")
class LARC(SGD):
    """SGD that scales the gradient of each variable to the variable's own norm.

    For a variable w with gradient g, slot v (starts at 0) and learning rate lr:

        trust = eeta * |w| / (|g| + weight_decay * |w| + epsilon)
        g = trust * (g + weight_decay * w)         if |w| > 0 and |g| > 0, else g as it is
        v = momentum * v + g
        w = w - lr * v

    This is LARC of NVIDIA's apex around `torch.optim.SGD`, without clipping. It differs from
    LARS in three things: the denominator is a sum of norms and not the norm of the sum; biases
    and batch norm are decayed and adapted like all other variables, so that a bias that starts at
    0 makes its first step at the full rate; and where a norm is 0 nothing is decayed.

    Variables that are excluded as objects, before the optimizer is built, by
    `exclude_from_weight_decay(var_list=...)` are neither decayed nor adapted.

    Args:
      learning_rate: A float or a LearningRateSchedule.
      momentum: In [0, 1].
      weight_decay: Strength of the decay that is part of the gradient, as above.
      eeta: The trust coefficient.
      epsilon: Keeps the denominator above 0.
      name: Name of the optimizer.
      **kwargs: As of `SGD`.
    """

    def __init__(
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        eeta: float = 0.001,
        epsilon: float = 1e-8,
        name: str = "LARC",
        **kwargs,
    ):
        super().__init__(learning_rate, momentum, weight_decay, name=name, **kwargs)
        self.eeta = eeta
        self.epsilon = epsilon

    def adapts(self, variable: tf.Variable) -> bool:
        """Whether a variable's step is scaled to its norm."""
        return self.decays(variable)

    def with_decay(self, w: tf.Tensor, g: tf.Tensor) -> tf.Tensor:
        """What the slot gets of an adapted variable: its decayed and scaled gradient."""
        w_norm, g_norm, decay = tf.norm(w), tf.norm(g), self.weight_decay or 0.0
        trust = self.eeta * w_norm / (g_norm + decay * w_norm + self.epsilon)
        adapted = trust * (g + decay * w)
        return tf.where((w_norm > 0) & (g_norm > 0), adapted, g)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "eeta": self.eeta, "epsilon": self.epsilon}
