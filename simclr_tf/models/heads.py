"""What stands on the encoder: the projection head and the supervised head."""

import tensorflow as tf

from simclr_tf.backend import keras
from simclr_tf.errors import UserError
from simclr_tf.models.batch_norm import BatchNormalization

MODES = ("none", "linear", "nonlinear")


class ProjectionLayer(keras.layers.Layer):
    """Dense without bias, batch norm, and, but for the last layer, an offset and ReLU."""

    def __init__(self, units: int, last: bool, batch_norm_decay: float, global_bn: bool, **kwargs):
        super().__init__(**kwargs)
        self.last = last
        self.dense = keras.layers.Dense(
            units,
            use_bias=False,
            kernel_initializer=keras.initializers.RandomNormal(stddev=0.01),
            name="dense",
        )
        self.norm = BatchNormalization(
            momentum=batch_norm_decay, center=not last, synchronized=global_bn, name="norm"
        )

    def build(self, input_shape):
        self.dense.build(input_shape)
        self.norm.build(tf.TensorShape([None, self.dense.units]))
        super().build(input_shape)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        outputs = self.norm(self.dense(inputs), training=training)
        return outputs if self.last else tf.nn.relu(outputs)


class ProjectionHead(keras.layers.Layer):
    """Maps h to z, where the contrastive loss works (SimCLR section 4.2, SimCLRv2 section 3).

    Middle layers keep the input's width, the last layer is `out_dim` wide.

    Args:
      mode: "none" (z = h), "linear" (one last layer) or "nonlinear".
      num_layers: number of layers of a nonlinear head.
      out_dim: width of z.
      batch_norm_decay: momentum of the moving averages.
      global_bn: batch statistics over all replicas.
      kept_layers: only the first so many layers, as a fine-tuned model has them; None is all.
    """

    def __init__(
        self,
        mode: str = "nonlinear",
        num_layers: int = 3,
        out_dim: int = 128,
        batch_norm_decay: float = 0.9,
        global_bn: bool = True,
        kept_layers: int | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if mode not in MODES:
            raise UserError(f"A projection head is one of {', '.join(MODES)}. Received: {mode}.")
        if mode == "nonlinear" and num_layers < 1:
            raise UserError(f"A nonlinear head has at least one layer. Received: {num_layers}.")
        self.mode = mode
        self.num_layers = num_layers
        self.out_dim = out_dim
        self.batch_norm_decay = batch_norm_decay
        self.global_bn = global_bn
        self.kept_layers = kept_layers
        self._num_layers = {"none": 0, "linear": 1, "nonlinear": num_layers}[mode]

    def widths(self, feature_dim: int) -> list[int]:
        """Widths of [h, after layer 1, ..., z] for an h of `feature_dim`."""
        count = self._num_layers
        widths = [feature_dim] * max(count, 1) + [self.out_dim] * min(count, 1)
        return widths if self.kept_layers is None else widths[: self.kept_layers + 1]

    def build(self, input_shape):
        widths = self.widths(input_shape[-1])
        self.layers = [
            ProjectionLayer(
                units,
                last=i == self._num_layers,
                batch_norm_decay=self.batch_norm_decay,
                global_bn=self.global_bn,
                name=f"layer{i}",
            )
            for i, units in enumerate(widths[1:], start=1)
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
            "mode": self.mode,
            "num_layers": self.num_layers,
            "out_dim": self.out_dim,
            "batch_norm_decay": self.batch_norm_decay,
            "global_bn": self.global_bn,
            "kept_layers": self.kept_layers,
        }


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
