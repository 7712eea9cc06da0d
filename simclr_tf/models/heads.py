"""What stands on the encoder: heads whose layers are data, and the supervised head."""

import dataclasses
from collections.abc import Sequence

import tensorflow as tf

from simclr_tf.backend import keras
from simclr_tf.errors import UserError
from simclr_tf.models.batch_norm import BatchNormalization

STARTS = ("normal", "uniform", "truncated")
MODES = ("none", "linear", "nonlinear")


@dataclasses.dataclass(frozen=True)
class Dense:
    """One layer of a head as data: a dense layer, then batch norm, then ReLU, where it has them.

    The defaults are SimCLR's middle layer.

    Attributes:
      units: width of the output; None is the width of what goes into the whole head.
      bias: whether the dense layer has a bias.
      norm: whether batch norm follows it.
      relu: whether the layer ends in a ReLU.
      center: whether batch norm has an offset.
      scale: whether batch norm has a scale.
      start: what the weights are at first. "normal": the kernel has deviation 0.01, the bias is
        0, as in SimCLR. "uniform": both within 1 / sqrt(inputs) of 0, as PyTorch's Linear.
        "truncated": the kernel has deviation 1 / sqrt(inputs) before it is cut at two of them,
        the bias is 0, as Haiku's Linear.

    Raises:
      UserError: `units` or `start` is not one of these.
    """

    units: int | None = None
    bias: bool = False
    norm: bool = True
    relu: bool = True
    center: bool = True
    scale: bool = True
    start: str = "normal"

    def __post_init__(self):
        if self.units is not None and self.units < 1:
            raise UserError(f"A layer of a head has at least one unit. Received: {self.units}.")
        if self.start not in STARTS:
            raise UserError(
                f"Weights of a head start as one of {', '.join(STARTS)}. Received: {self.start}."
            )

    def __str__(self) -> str:
        """In words: "dense to 4096 with bias, batch norm, ReLU"."""
        width = "as wide as the input" if self.units is None else f"to {self.units}"
        parts = [f"dense {width}{' with bias' if self.bias else ''}"]
        if self.norm:
            lacks = {"scale": not self.scale, "offset": not self.center}
            without = " and ".join(name for name, lacking in lacks.items() if lacking)
            parts.append(f"batch norm{f' without {without}' if without else ''}")
        return ", ".join([*parts, "ReLU"] if self.relu else parts)


def simclr_projector(
    mode: str = "nonlinear", num_layers: int = 3, out_dim: int = 128
) -> tuple[Dense, ...]:
    """SimCLR's projection head (SimCLR section 4.2, SimCLRv2 section 3).

    Middle layers are as wide as h; the last one has no offset and no ReLU. So a nonlinear head
    of one layer is the linear one.

    Args:
      mode: "none" (z = h), "linear" (one last layer) or "nonlinear".
      num_layers: number of layers of a nonlinear head.
      out_dim: width of z.

    Raises:
      UserError: the mode is unknown, or a nonlinear head has no layer.
    """
    if mode not in MODES:
        raise UserError(f"A projection head is one of {', '.join(MODES)}. Received: {mode}.")
    if mode == "nonlinear" and num_layers < 1:
        raise UserError(f"A nonlinear head has at least one layer. Received: {num_layers}.")
    if mode == "none":
        return ()
    middle = num_layers - 1 if mode == "nonlinear" else 0
    return (Dense(),) * middle + (Dense(out_dim, center=False, relu=False),)


def simclr_flags(projector: Sequence[Dense]) -> dict[str, str | int] | None:
    """The flags that make a projection head of SimCLR; None for any other head.

    Without layers it is --proj_head_mode alone. How weights start plays no part.
    """
    if not projector:
        return {"proj_head_mode": "none"}
    count, out_dim = len(projector), projector[-1].units
    trained = without_starts(projector)
    if out_dim is None or trained != simclr_projector("nonlinear", count, out_dim):
        return None
    return {
        "proj_head_mode": "linear" if count == 1 else "nonlinear",
        "num_proj_layers": count,
        "proj_out_dim": out_dim,
    }


def without_starts(structure: Sequence[Dense]) -> tuple[Dense, ...]:
    """The layers of a head, as if all of their weights started alike."""
    return tuple(dataclasses.replace(layer, start="normal") for layer in structure)


def in_words(structure: Sequence[Dense]) -> str:
    """The layers of a head: "dense to 4096 with bias, batch norm, ReLU; dense to 256"."""
    return "; ".join(map(str, structure)) or "no layers"


class ProjectionLayer(keras.layers.Layer):
    """The layer that a `Dense` describes. Its class' name is a part of .weights.h5 files.

    Args:
      layer: what it has.
      units: width of the output, where the layer leaves it open too.
      batch_norm_decay: momentum of the moving averages.
      global_bn: batch statistics over all replicas.
    """

    def __init__(
        self, layer: Dense, units: int, batch_norm_decay: float, global_bn: bool, **kwargs
    ):
        super().__init__(**kwargs)
        self.layer = layer
        self.units = units
        self.batch_norm_decay = batch_norm_decay
        self.global_bn = global_bn

    def build(self, input_shape):
        kernel, bias = _initializers(self.layer.start, input_shape[-1])
        self.dense = keras.layers.Dense(
            self.units,
            use_bias=self.layer.bias,
            kernel_initializer=kernel,
            bias_initializer=bias,
            name="dense",
        )
        self.dense.build(input_shape)
        self.norm = None
        if self.layer.norm:
            self.norm = BatchNormalization(
                momentum=self.batch_norm_decay,
                center=self.layer.center,
                scale=self.layer.scale,
                synchronized=self.global_bn,
                name="norm",
            )
            self.norm.build(tf.TensorShape([None, self.units]))
        super().build(input_shape)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        if self.layer.bias and self.compute_dtype != "float32":
            # The gradient of a bias is a sum over the batch, which bfloat16 does not hold.
            outputs = tf.cast(inputs @ tf.cast(self.dense.kernel, inputs.dtype), tf.float32)
            outputs = tf.cast(outputs + tf.cast(self.dense.bias, tf.float32), inputs.dtype)
        else:
            outputs = self.dense(inputs)
        if self.norm is not None:
            outputs = self.norm(outputs, training=training)
        return tf.nn.relu(outputs) if self.layer.relu else outputs


def _initializers(start: str, inputs: int) -> tuple:
    """Of the kernel and of the bias; see `Dense.start`."""
    initializers = keras.initializers
    limit = inputs**-0.5
    if start == "uniform":
        return (
            initializers.RandomUniform(-limit, limit),
            initializers.RandomUniform(-limit, limit),
        )
    if start == "truncated":
        return initializers.TruncatedNormal(stddev=limit), "zeros"
    return initializers.RandomNormal(stddev=0.01), "zeros"


@keras.saving.register_keras_serializable("simclr_tf")
class Head(keras.layers.Layer):
    """The layers of a head, one on the other: a projection head, which maps h to z, or another.

    Args:
      structure: its layers, the first one first; without any the head hands on what it is given.
      batch_norm_decay: momentum of the moving averages.
      global_bn: batch statistics over all replicas.
    """

    def __init__(
        self,
        structure: Sequence[Dense] = (),
        batch_norm_decay: float = 0.9,
        global_bn: bool = True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.structure = tuple(structure)
        self.batch_norm_decay = batch_norm_decay
        self.global_bn = global_bn

    def widths(self, inputs: int) -> list[int]:
        """Widths of [h, after layer 1, ..., z] for an h of width `inputs`."""
        return [inputs, *(layer.units or inputs for layer in self.structure)]

    def build(self, input_shape):
        widths = self.widths(input_shape[-1])
        self.layers = [
            ProjectionLayer(layer, units, self.batch_norm_decay, self.global_bn, name=f"layer{i}")
            for i, (layer, units) in enumerate(zip(self.structure, widths[1:], strict=True), 1)
        ]
        for layer, width in zip(self.layers, widths, strict=False):
            layer.build((None, width))
        super().build(input_shape)

    def call(self, inputs: tf.Tensor, training: bool = False) -> list[tf.Tensor]:
        """h (batch, features) -> [h, after layer 1, ..., z]."""
        outputs = [inputs]
        for layer in self.layers:
            outputs.append(layer(outputs[-1], training=training))
        return outputs

    def get_config(self):
        return super().get_config() | {
            "structure": [dataclasses.asdict(layer) for layer in self.structure],
            "batch_norm_decay": self.batch_norm_decay,
            "global_bn": self.global_bn,
        }

    @classmethod
    def from_config(cls, config):
        structure = [Dense(**values) for values in config["structure"]]
        return cls(**config | {"structure": structure})


@keras.saving.register_keras_serializable("simclr_tf")
class SupervisedHead(keras.layers.Dense):
    """Linear classifier: features (batch, features) -> logits (batch, classes) in float32."""

    def __init__(self, num_classes: int, name: str = "supervised_head"):
        super().__init__(
            num_classes,
            kernel_initializer=keras.initializers.RandomNormal(stddev=0.01),
            name=name,
            dtype="float32",
        )

    def get_config(self):
        return {"num_classes": self.units, "name": self.name}

    def set_to_zero(self) -> None:
        """Set the kernel and bias to zero: every class becomes equally likely."""
        for variable in self.weights:
            variable.assign(tf.zeros_like(variable))
