"""SGD as PyTorch defines it, which MoCo, SimSiam and others were trained with."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from simclr_tf.backend import keras


@keras.utils.register_keras_serializable("simclr_tf")
class SGD(keras.optimizers.Optimizer):
    """Momentum SGD with the learning rate outside the slot, and weight decay before the momentum.

    For a variable w with gradient g, slot v (starts at 0) and learning rate lr:

        v = momentum * v + g + weight_decay * w
        w = w - lr * v

    This is `torch.optim.SGD` without dampening and Nesterov. Keras' SGD keeps the learning rate
    inside the slot: both agree while it is constant, and differ for some steps when it has
    changed.

    Every variable is decayed, biases and batch norm too, but for those that are excluded as
    objects, before the optimizer is built, by `exclude_from_weight_decay(var_list=...)`; objects
    are no part of the configuration, so `from_config` does not bring these back.

    Half-precision variables are updated in float32 arithmetic.

    Args:
      learning_rate: A float or a LearningRateSchedule.
      momentum: In [0, 1].
      weight_decay: Strength of the decay that is part of the gradient, as above.
      name: Name of the optimizer.
      jit_compile: Whether to compile each variable's update with XLA, on GPUs.
      **kwargs: Clipping and averaging, as of `keras.optimizers.Optimizer`.
    """

    def __init__(
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        name: str = "SGD",
        jit_compile: bool = False,
        **kwargs,
    ):
        super().__init__(name=name, weight_decay=weight_decay, jit_compile=jit_compile, **kwargs)
        self._learning_rate = self._build_learning_rate(learning_rate)
        self.momentum = momentum

    def decays(self, variable: tf.Variable) -> bool:
        """Whether weight decay acts on a variable."""
        return self._use_weight_decay(variable)

    def build(self, var_list: Sequence[tf.Variable]) -> None:
        """Create the slot of each variable."""
        super().build(var_list)
        if getattr(self, "_built", False):
            return
        self.momentums = [self.add_variable_from_reference(v, "Momentum") for v in var_list]
        self._built = True

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable) -> None:
        """Apply the rule of the class docstring to one variable."""
        slot = self.momentums[self._index_dict[self._var_key(variable)]]
        dtype = variable.dtype if variable.dtype.size >= 4 else tf.float32
        w, g, v = (tf.cast(x, dtype) for x in (variable, gradient, slot))

        v = self.momentum * v + (self.with_decay(w, g) if self.decays(variable) else g)
        slot.assign(tf.cast(v, slot.dtype))
        variable.assign_sub(tf.cast(tf.cast(self.learning_rate, dtype) * v, variable.dtype))

    def with_decay(self, w: tf.Tensor, g: tf.Tensor) -> tf.Tensor:
        """What the slot gets of a decayed variable: g + weight_decay * w, of the shape of both."""
        return g + self.weight_decay * w if self.weight_decay else g

    def _apply_weight_decay(self, variables):
        """Nothing: the base class would decay the weights a second time, beside the gradient."""

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "learning_rate": self._serialize_hyperparameter(self._learning_rate),
            "momentum": self.momentum,
        }
