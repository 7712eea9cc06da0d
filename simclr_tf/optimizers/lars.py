"""LARS, layer-wise adaptive rate scaling (arXiv 1708.03888)."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from simclr_tf.backend import keras
from simclr_tf.errors import UserError
from simclr_tf.optimizers.sgd import SGD


@keras.utils.register_keras_serializable("simclr_tf")
class LARS(SGD):
    """Momentum SGD that scales the step of each variable to the variable's own norm.

    For a variable w with gradient g, slot v (starts at 0) and learning rate lr:

        g     = g + weight_decay * w                                 where decayed
        trust = eeta * |w| / |x|  if |w| > 0 and |x| > 0, else 1     where adapted, else 1

    Classic momentum, the default, keeps the learning rate inside the slot and adapts x = g:

        s = lr * trust * g
        v = momentum * v + s
        w = w - v                       Nesterov: w - (momentum * v + s)

    Popular momentum keeps it outside and adapts x = u:

        v = momentum * v + g
        u = v                           Nesterov: momentum * v + g
        w = w - lr * trust * u

    With `rate_outside`, classic momentum adapts x = g too, but the learning rate is outside the
    slot, as in the official code of BYOL, Barlow Twins and VICReg. That equals the first rule
    while the learning rate is constant, and differs when it changes:

        s = trust * g
        v = momentum * v + s
        w = w - lr * v                  Nesterov: w - lr * (momentum * v + s)

    Variables of rank 0 and 1 (biases, gamma and beta of batch norm) are neither decayed nor
    adapted. Others are excluded as objects, before the optimizer is built, by
    `exclude_from_weight_decay(var_list=...)` and `exclude_from_layer_adaptation(var_list=...)`;
    objects are no part of the configuration, so `from_config` does not bring these back.

    Half-precision variables are updated in float32 arithmetic.

    Args:
      learning_rate: A float or a LearningRateSchedule.
      momentum: In [0, 1].
      weight_decay: Strength of the decay that is part of the gradient, as above. (Other Keras
        optimizers decouple theirs: they take it from the weights beside the step.)
      use_nesterov: Whether the step looks ahead along the momentum.
      classic_momentum: Which of the first two rules.
      eeta: The trust coefficient.
      rate_outside: Whether classic momentum keeps the learning rate outside the slot. Popular
        momentum does so anyway.
      name: Name of the optimizer.
      jit_compile: Whether to compile each variable's update with XLA, on GPUs.
      **kwargs: Clipping and averaging, as of `keras.optimizers.Optimizer`.

    Raises:
      UserError: If `rate_outside` is asked for without classic momentum.
    """

    def __init__(
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        use_nesterov: bool = False,
        classic_momentum: bool = True,
        eeta: float = 0.001,
        name: str = "LARS",
        jit_compile: bool = False,
        rate_outside: bool = False,
        **kwargs,
    ):
        if rate_outside and not classic_momentum:
            raise UserError(
                "rate_outside=True is for classic momentum; popular momentum has the rate outside "
                "anyway. Received: classic_momentum=False. Leave one of them out."
            )
        super().__init__(learning_rate, momentum, weight_decay, name, jit_compile, **kwargs)
        self.use_nesterov = use_nesterov
        self.classic_momentum = classic_momentum
        self.eeta = eeta
        self.rate_outside = rate_outside
        self._exclude_from_layer_adaptation = set()

    def exclude_from_layer_adaptation(self, var_list: Sequence[tf.Variable]) -> None:
        """Give these variables the trust ratio 1; in place of those of an earlier call.

        Raises:
          ValueError: If the optimizer is built already.
        """
        if getattr(self, "_built", False):
            raise ValueError(
                "`exclude_from_layer_adaptation()` must be called before the optimizer is built."
            )
        self._exclude_from_layer_adaptation = {self._var_key(variable) for variable in var_list}

    def decays(self, variable: tf.Variable) -> bool:
        """Whether weight decay acts on a variable."""
        return variable.shape.rank > 1 and self._use_weight_decay(variable)

    def adapts(self, variable: tf.Variable) -> bool:
        """Whether a variable's step is scaled to its norm."""
        excluded = self._var_key(variable) in self._exclude_from_layer_adaptation
        return variable.shape.rank > 1 and not excluded

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable) -> None:
        """Apply the rule of the class docstring to one variable."""
        slot = self.momentums[self._index_dict[self._var_key(variable)]]
        dtype = variable.dtype if variable.dtype.size >= 4 else tf.float32
        lr = tf.cast(self.learning_rate, dtype)
        w, g, v = (tf.cast(x, dtype) for x in (variable, gradient, slot))

        if self.decays(variable):
            g = self.with_decay(w, g)
        if self.classic_momentum:
            trust = self._trust(variable, w, g)
            s = (trust if self.rate_outside else lr * trust) * g
            v = self.momentum * v + s
            step = self.momentum * v + s if self.use_nesterov else v
            step = lr * step if self.rate_outside else step
        else:
            v = self.momentum * v + g
            u = self.momentum * v + g if self.use_nesterov else v
            step = lr * self._trust(variable, w, u) * u

        slot.assign(tf.cast(v, slot.dtype))
        variable.assign_sub(tf.cast(step, variable.dtype))

    def _trust(self, variable, w, x):
        """eeta * |w| / |x| where the variable is adapted, 1 where it is not or a norm is 0."""
        if not self.adapts(variable):
            return 1.0
        # l2_loss is half of the squared norm, in one kernel; the halves cancel.
        w_norm, x_norm = tf.sqrt(tf.nn.l2_loss(w)), tf.sqrt(tf.nn.l2_loss(x))
        ratio = tf.math.divide_no_nan(w_norm, x_norm)
        return tf.where((w_norm > 0) & (x_norm > 0), self.eeta * ratio, 1.0)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "use_nesterov": self.use_nesterov,
            "classic_momentum": self.classic_momentum,
            "eeta": self.eeta,
            "rate_outside": self.rate_outside,
        }
