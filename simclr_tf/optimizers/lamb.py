"""LAMB (arXiv 1904.00962) of tensorflow-addons; import this module only to use it.

It is an optimizer of Keras' legacy kind, so its `learning_rate` is the schedule itself.
"""

from collections.abc import Sequence

import tensorflow as tf

from simclr_tf.backend import keras
from simclr_tf.errors import UserError
from simclr_tf.optimizers.rate_factors import whole

try:
    import tensorflow_addons as tfa
except ImportError as error:
    raise UserError(
        "The optimizer lamb needs tensorflow-addons, which exists for TensorFlow up to 2.15 only. "
        f"Received: TensorFlow {tf.__version__}. Install tensorflow-addons with TensorFlow 2.15, "
        "or choose lars."
    ) from error


@keras.utils.register_keras_serializable("simclr_tf")
class LAMB(tfa.optimizers.LAMB):
    """LAMB that chooses by structure what it decays and adapts, where addons goes by names.

    Variables of rank 0 and 1, and those in `exclude`, get neither weight decay nor layer
    adaptation. Like any objects, those in `exclude` are no part of the configuration.

    Args:
      learning_rate: A float or a LearningRateSchedule.
      weight_decay: Strength of the decay, which is added to Adam's direction before the
        adaptation.
      exclude: Variables.
      name: Name of the optimizer.
      **kwargs: As of `tensorflow_addons.optimizers.LAMB`.
    """

    def __init__(
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule = 0.001,
        weight_decay: float = 0.0,
        exclude: Sequence[tf.Variable] = (),
        name: str = "LAMB",
        **kwargs,
    ):
        super().__init__(learning_rate, weight_decay=weight_decay, name=name, **kwargs)
        self._excluded = {variable._unique_id for variable in exclude}

    def _included(self, variable):
        return variable.shape.rank > 1 and whole(variable)._unique_id not in self._excluded

    def _do_use_weight_decay(self, variable):
        return self._included(variable)

    def _do_layer_adaptation(self, variable):
        return self._included(variable)
