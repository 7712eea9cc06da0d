"""Learning rates of single variables, as factors of what an optimizer does to them."""

from collections.abc import Callable

import tensorflow as tf

from simclr_tf.backend import keras
from simclr_tf.errors import UserError
from simclr_tf.optimizers.schedules import Warmup

RateFactor = Callable[[tf.Variable], tf.Tensor | float | None]


def whole(variable: tf.Variable) -> tf.Variable:
    """The variable that a replica's copy belongs to; a variable without copies is its own whole."""
    return getattr(variable.handle, "_distributed_container", lambda: variable)()


def peak_rate(optimizer: keras.optimizers.Optimizer, train_steps: int) -> float | None:
    """The highest learning rate that the schedule of an optimizer has in so many steps.

    Args:
      optimizer: of Keras' new kind.
      train_steps: of the training; a schedule that is none of ours is called with each of them.

    Returns:
      A number; None where the optimizer's rate is one, and no schedule.
    """
    schedule = optimizer._learning_rate
    if not isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule):
        return None
    if isinstance(schedule, Warmup):
        return schedule.peak
    with tf.init_scope():  # a step may be traced around
        steps = tf.range(train_steps, dtype=tf.int64)
        rate = lambda step: tf.cast(schedule(step), tf.float32)  # noqa: E731
        rates = tf.function(lambda: tf.map_fn(rate, steps, fn_output_signature=tf.float32))
        return float(tf.reduce_max(rates()))


def constant_rate_factor(rate: float, scheduled: tf.Tensor) -> tf.Tensor:
    """The factor with which a variable keeps a constant learning rate, whatever the schedule.

    That holds for optimizers with the learning rate outside of their slots. Where it is inside
    (`momentum`, classic LARS), the factor of a step multiplies what is left of earlier steps too.

    Args:
      rate: The learning rate that the variable has in every step.
      scheduled: The learning rate of the step, such as `optimizer.learning_rate`.

    Returns:
      A scalar, rate / scheduled; 0 in a step whose scheduled rate is 0, in which the variable
      therefore stays as it is.
    """
    return tf.math.divide_no_nan(tf.cast(rate, scheduled.dtype), scheduled)


def with_rate_factors(
    optimizer: keras.optimizers.Optimizer, rate_factor: RateFactor
) -> keras.optimizers.Optimizer:
    """Let an optimizer multiply its updates of single variables.

    The factor multiplies what is added to a variable, after momentum, adaptation and learning
    rate; gradients and slots do not see it. (A factor of the gradient would change nothing under
    LARS and Adam, which divide by its norm.) In a step whose factor is 0 neither the variable nor
    its slots change: there is no momentum and no decay. Adam goes on counting steps meanwhile,
    so its averages are not corrected for their start when such a variable begins to move.

    Like any objects, factors are no part of the optimizer's configuration.

    Args:
      optimizer: of Keras' new kind; it is changed.
      rate_factor: Called with each variable when a step is traced, with the whole variable where
        replicas have copies of it. Returns a scalar of any float dtype, which may depend on the
        step (`optimizer.iterations`, which counts the steps made before), a number, or None for
        a variable that is updated as ever.

    Returns:
      The optimizer.

    Raises:
      UserError: the optimizer is of a kind whose updates cannot be multiplied.
    """
    unfit = (keras.optimizers.Ftrl, keras.mixed_precision.LossScaleOptimizer)
    if not hasattr(optimizer, "update_step") or isinstance(optimizer, unfit):
        raise UserError(_cannot(type(optimizer).__name__))
    update = optimizer.update_step

    def update_step(gradient: tf.Tensor, variable: tf.Variable) -> None:
        factor = rate_factor(whole(variable))
        if factor is None:
            update(gradient, variable)
            return
        factor = tf.convert_to_tensor(factor)
        scaled = _Scaled(variable, factor, type(optimizer).__name__)

        # A function of its own, which is not inlined: of the branch of a condition TensorFlow
        # executes a part even where the other is taken, if it has rewritten sums in it to save
        # memory (TemporaryVariable), and then fails in the next step.
        @tf.function(autograph=False, experimental_attributes={"_noinline": True})
        def move():
            update(gradient, scaled)
            return tf.constant(0)

        tf.cond(factor != 0, move, lambda: tf.constant(0))

    optimizer.update_step = update_step
    return optimizer


def _cannot(name):
    return (
        f"The method has several learning rates, and the optimizer {name} cannot keep to them: it "
        "is of Keras' legacy kind, wraps another one, or sets variables instead of adding to "
        "them. Give another, such as keras.optimizers.SGD or AdamW."
    )


class _Scaled:
    """Stands for a variable in an optimizer's step: what is added to it is multiplied by a factor.

    Multiplying here is exact. The difference of the variable before and after a step is not:
    it is rounded to the variable, and a large factor would show that.
    """

    def __init__(self, variable, factor, of_optimizer):
        self._of_optimizer = of_optimizer
        self._variable = variable
        self._factor = tf.cast(factor, variable.dtype)
        self._unique_id = whole(variable)._unique_id  # by which an optimizer finds the slots

    def __getattr__(self, name):
        return getattr(self._variable, name)

    def __tf_tensor__(self, dtype=None, name=None):
        return tf.convert_to_tensor(self._variable, dtype, name=name)

    def assign(self, value):
        raise UserError(_cannot(self._of_optimizer))

    def assign_add(self, delta):
        return self._variable.assign_add(self._factor * delta)

    def assign_sub(self, delta):
        return self._variable.assign_sub(self._factor * delta)
