"""Batch normalization whose statistics are those of the global batch."""

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from simclr_tf.backend import keras
from simclr_tf.devices import replicas, strategies
from simclr_tf.errors import UserError


class _Statistics(threading.local):
    """What layers do in this thread; each replica of a MirroredStrategy has its own."""

    local = False
    update = True
    groups = 1
    portable = False


_statistics = _Statistics()


@contextlib.contextmanager
def statistics(
    *,
    local: bool = False,
    update: bool = True,
    groups: int | None = None,
    portable: bool = False,
) -> Iterator[None]:
    """How BatchNormalization layers that are called in this context treat batch statistics.

    Contexts add up: an inner one can neither make statistics global nor update again.

    Args:
      local: they are those of the inputs, and not of all replicas.
      update: the moving averages follow them. Where a part of a network is computed a second
        time, for its gradient, they must not.
      groups: from 2 on they are those of a part of the inputs: row i belongs to group
        i mod `groups`, as if every group were on a device of its own (MoCo's SplitBatchNorm),
        and the moving averages follow the mean over groups. None leaves the outer context's.
      portable: graphs that are built here will be executed on devices of any kind, and so have no
        kernels that mean something else on another kind.
    """
    before = vars(_statistics).copy()
    _statistics.local |= local
    _statistics.update &= update
    _statistics.groups = groups or _statistics.groups
    _statistics.portable |= portable
    try:
        yield
    finally:
        vars(_statistics).clear()
        vars(_statistics).update(before)


def chosen_statistics() -> dict[str, Any]:
    """Which statistics layers use here, for `statistics` where they are computed again."""
    return {"local": _statistics.local, "groups": _statistics.groups}


class BatchNormalization(keras.layers.Layer):
    """Batch normalization over all axes but the last (arXiv 1502.03167).

    In training, mean and variance are those of the batch of all replicas (or of this
    replica alone when `synchronized` is False), and the moving averages follow them;
    `statistics` makes exceptions.
    The moving variance takes the biased variance, as the original's does; Keras' own
    layer takes the unbiased one. Statistics are computed in float32 in two passes, the
    variance from the differences to the mean.
    A layer that is not trainable always runs in inference mode and never changes.

    Args:
      momentum: decay of the moving averages, in [0, 1].
      epsilon: added to the variance.
      center: whether there is an offset beta.
      scale: whether there is a scale gamma.
      gamma_initializer: initial value of the scale gamma.
      synchronized: statistics over all replicas.
    """

    def __init__(
        self,
        momentum: float = 0.9,
        epsilon: float = 1e-5,
        center: bool = True,
        scale: bool = True,
        gamma_initializer: str = "ones",
        synchronized: bool = True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.momentum = momentum
        self.epsilon = epsilon
        self.center = center
        self.scale = scale
        self.gamma_initializer = gamma_initializer
        self.synchronized = synchronized

    def build(self, input_shape):
        kind = {"shape": input_shape[-1:], "dtype": "float32", "experimental_autocast": False}
        self.gamma = None
        if self.scale:
            self.gamma = self.add_weight("gamma", initializer=self.gamma_initializer, **kind)
        self.beta = self.add_weight("beta", initializer="zeros", **kind) if self.center else None
        kind |= {
            "trainable": False,
            "synchronization": tf.VariableSynchronization.ON_READ,
            "aggregation": tf.VariableAggregation.MEAN,
        }
        self.moving_mean = self.add_weight("moving_mean", initializer="zeros", **kind)
        self.moving_variance = self.add_weight("moving_variance", initializer="ones", **kind)
        super().build(input_shape)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Normalize (batch, ..., channels); the outputs have the shape and dtype of the inputs."""
        if not (training and self.trainable):
            return self._normalize(inputs, self.moving_mean, self.moving_variance)
        synchronized = self.synchronized and not _statistics.local
        if _statistics.groups > 1:
            outputs, mean, variance = self._normalize_groups(inputs, _statistics.groups)
        elif _statistics.portable or synchronized and replicas.num_replicas() > 1:
            outputs, mean, variance = self._normalize_globally(inputs)
        else:
            outputs, mean, variance = self._normalize_here(inputs)
        if _statistics.update:
            self._update(self.moving_mean, mean)
            self._update(self.moving_variance, variance)
        return outputs

    def _normalize(self, inputs, mean, variance):
        scale = tf.math.rsqrt(variance + self.epsilon)
        scale = scale if self.gamma is None else self.gamma * scale
        offset = -mean * scale if self.beta is None else self.beta - mean * scale
        return inputs * tf.cast(scale, inputs.dtype) + tf.cast(offset, inputs.dtype)

    def _normalize_globally(self, inputs):
        values = tf.cast(inputs, tf.float32)
        mean = replicas.mean_over_replicas(_mean(values))
        variance = replicas.mean_over_replicas(_mean(tf.math.squared_difference(values, mean)))
        return tf.cast(self._normalize(values, mean, variance), inputs.dtype), mean, variance

    def _normalize_groups(self, inputs, groups):
        """Each group by itself; the means of their means and variances."""
        rows, *shape = inputs.shape
        if rows is not None and rows % groups:
            raise UserError(
                f"Batch statistics in {groups} groups need a batch that {groups} divides. "
                f"Received: {rows} images."
            )
        parts = tf.reshape(inputs, tf.concat([[-1, groups], tf.shape(inputs)[1:]], axis=0))
        parts = tf.ensure_shape(parts, [None, groups, *shape])
        normalized = [self._normalize_here(part) for part in tf.unstack(parts, axis=1)]
        outputs, means, variances = zip(*normalized, strict=True)
        outputs = tf.reshape(tf.stack(outputs, axis=1), tf.shape(inputs))
        return outputs, tf.add_n(means) / groups, tf.add_n(variances) / groups

    def _normalize_here(self, inputs):
        if inputs.dtype == tf.float32 and not strategies.has_gpu():
            return self._normalize_exactly(inputs)
        return self._normalize_in_one_kernel(inputs)

    def _normalize_exactly(self, inputs):
        """Statistics that keep their digits, and TensorFlow's kernels for the rest.

        Its kernel for training adds up all rows of a batch one after the other (half of them with
        two threads), and errors grow with their number. The kernel for the gradient takes the
        variance everywhere but on a GPU, where it takes the inverse deviation.
        """
        values = tf.stop_gradient(inputs)
        mean = _mean(values)
        variance = _mean(tf.math.squared_difference(values, mean))

        @tf.custom_gradient
        def normalize(images, gamma, beta):
            outputs = tf.raw_ops.FusedBatchNormV3(
                x=images,
                scale=gamma,
                offset=beta,
                mean=mean,
                variance=variance,
                epsilon=self.epsilon,
                is_training=False,
            )

            def gradient(upstream):
                return tf.raw_ops.FusedBatchNormGradV3(
                    y_backprop=upstream,
                    x=images,
                    scale=gamma,
                    reserve_space_1=mean,
                    reserve_space_2=variance,
                    reserve_space_3=outputs.reserve_space_3,
                    epsilon=self.epsilon,
                    is_training=True,
                )[:3]

            return outputs.y, gradient

        outputs = normalize(_as_images(inputs), *self._scale_and_offset())
        return tf.reshape(outputs, tf.shape(inputs)), mean, variance

    def _normalize_in_one_kernel(self, inputs):
        """The kernel for training; it reports the unbiased variance, which is made biased."""
        scale, offset = self._scale_and_offset()
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=_as_images(inputs),
            scale=scale,
            offset=offset,
            mean=[],
            variance=[],
            epsilon=self.epsilon,
            is_training=True,
        )
        count = tf.cast(tf.size(inputs, tf.int64) // inputs.shape[-1], tf.float32)
        return tf.reshape(outputs, tf.shape(inputs)), mean, variance * (count - 1) / count

    def _scale_and_offset(self):
        shape = self.moving_mean.shape
        scale = tf.ones(shape) if self.gamma is None else tf.convert_to_tensor(self.gamma)
        offset = tf.zeros(shape) if self.beta is None else tf.convert_to_tensor(self.beta)
        return scale, offset

    def _update(self, moving, value):
        moving.assign_sub((moving - tf.stop_gradient(value)) * (1 - self.momentum))

    def get_config(self):
        return super().get_config() | {
            "momentum": self.momentum,
            "epsilon": self.epsilon,
            "center": self.center,
            "scale": self.scale,
            "gamma_initializer": self.gamma_initializer,
            "synchronized": self.synchronized,
        }


def _mean(values: tf.Tensor) -> tf.Tensor:
    """Mean over all axes but the last, (..., channels) -> (channels,), of one axis at a time.

    So no sum has many terms, and rounding errors do not add up.
    """
    while values.shape.rank > 1:
        values = tf.reduce_mean(values, axis=-2)
    return values


def _as_images(inputs: tf.Tensor) -> tf.Tensor:
    """(..., channels) with four axes."""
    if inputs.shape.rank == 4:
        return inputs
    return tf.reshape(inputs, [-1, 1, 1, inputs.shape[-1]])


def batch_norm_variables(module: tf.Module) -> list[tf.Variable]:
    """The trainable scales and offsets of every batch norm, ours or Keras', in a layer or model."""
    return [
        variable
        for layer in module.submodules
        if isinstance(layer, BatchNormalization | keras.layers.BatchNormalization)
        for variable in layer.trainable_weights
    ]
