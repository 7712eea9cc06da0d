"""An encoder for each of several views, planes of a colour space (CMC, arXiv 1906.05849)."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from simclr_tf.backend import keras
from simclr_tf.models.colors import check_planes, to_planes
from simclr_tf.models.heads import Dense, Head
from simclr_tf.models.images import check_images
from simclr_tf.models.resnet import ResNet


@keras.saving.register_keras_serializable("simclr_tf")
class LabEncoder(keras.Model):
    """ResNets that see planes of a colour space; RGB images come in, joined features go out.

    Attributes:
      streams: the ResNets, one for each group of planes.
      feature_dim: width of the joined features.

    Args:
      color_space: one of `colors.SCALES`.
      plane_groups: numbers of the planes, 0 to 2, that each ResNet sees.
      block_width: multiplies the channels of their blocks, and not those of their stems.
      **resnet: further arguments of each `ResNet`.

    Raises:
      UserError: there is no such colour space or plane, or as `ResNet`.
    """

    def __init__(
        self,
        color_space: str = "lab",
        plane_groups: Sequence[Sequence[int]] = ((0,), (1, 2)),
        block_width: float = 1.0,
        *,
        name: str | None = None,
        **resnet: Any,
    ):
        super().__init__(name=name, autocast=False)  # colours are converted in float32
        check_planes(color_space, plane_groups)
        self.color_space = color_space
        self.plane_groups = tuple(map(tuple, plane_groups))
        self.options = {"block_width": block_width} | resnet
        self.streams = [
            ResNet(channels=len(planes), name=f"stream{i}", **self.options)
            for i, planes in enumerate(self.plane_groups)
        ]
        self.feature_dim = sum(stream.feature_dim for stream in self.streams)

    def build(self, input_shape):
        for stream, planes in zip(self.streams, self.plane_groups, strict=True):
            stream.build((None, None, None, len(planes)))
        self.built = True

    def get_build_config(self):
        return {"input_shape": (None, None, None, 3)}

    def __call__(self, images: tf.Tensor, *args, **kwargs) -> tf.Tensor:
        """Check that images are (batch, height, width, 3) and float, and `call`."""
        return super().__call__(check_images(images), *args, **kwargs)

    def views(self, images: tf.Tensor) -> list[tf.Tensor]:
        """What each ResNet sees of RGB images (batch, height, width, 3) in [0, 1]: its planes."""
        planes = to_planes(check_images(images), self.color_space)
        return [tf.gather(planes, group, axis=-1) for group in self.plane_groups]

    def endpoints(self, images: tf.Tensor, training: bool = False) -> dict[str, tf.Tensor]:
        """Those of all ResNets, with channels joined; see `ResNet.endpoints`."""
        found = [
            stream.endpoints(view, training=training)
            for stream, view in zip(self.streams, self.views(images), strict=True)
        ]
        return {name: tf.concat([one[name] for one in found], axis=-1) for name in found[0]}

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """(batch, height, width, 3) in [0, 1] -> h, (batch, feature_dim)."""
        return self.endpoints(images, training=training)["final_avg_pool"]

    @property
    def recompute(self) -> bool:
        """See `ResNet.recompute`."""
        return self.streams[0].recompute

    @recompute.setter
    def recompute(self, value: bool) -> None:
        for stream in self.streams:
            stream.recompute = value

    def start_residuals_at_one(self) -> None:
        """See `ResNet.start_residuals_at_one`."""
        for stream in self.streams:
            stream.start_residuals_at_one()

    def freeze(self, groups: int) -> None:
        """Freeze as much of every ResNet; see `ResNet.freeze`."""
        for stream in self.streams:
            stream.freeze(groups)

    def get_config(self):
        own = {"color_space": self.color_space, "plane_groups": self.plane_groups}
        return own | self.options | {"name": self.name}


@keras.saving.register_keras_serializable("simclr_tf")
class SplitHead(keras.layers.Layer):
    """A projection head for each part of h, whose outputs are joined.

    Args:
      number: of parts, which are of the same width.
      structure, batch_norm_decay, global_bn: of each `Head`.
    """

    def __init__(
        self,
        number: int,
        structure: Sequence[Dense] = (),
        batch_norm_decay: float = 0.9,
        global_bn: bool = True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.heads = [
            Head(structure, batch_norm_decay, global_bn, name=f"head{i}") for i in range(number)
        ]

    @property
    def layers(self) -> list[keras.layers.Layer]:
        """The layers of all heads."""
        return [layer for head in self.heads for layer in head.layers]

    def widths(self, inputs: int) -> list[int]:
        """Widths of [h, after layer 1, ..., z], joined, for an h of width `inputs`."""
        number = len(self.heads)
        return [number * width for width in self.heads[0].widths(inputs // number)]

    def build(self, input_shape):
        for head in self.heads:
            head.build((None, input_shape[-1] // len(self.heads)))
        super().build(input_shape)

    def call(self, inputs: tf.Tensor, training: bool = False) -> list[tf.Tensor]:
        """h (batch, features) -> [h, after layer 1, ..., z], each of all parts."""
        parts = tf.split(inputs, len(self.heads), axis=-1)
        outputs = [
            head(part, training=training) for head, part in zip(self.heads, parts, strict=True)
        ]
        return [tf.concat(rows, axis=-1) for rows in zip(*outputs, strict=True)]

    def get_config(self):
        one = self.heads[0].get_config()
        del one["name"]
        return super().get_config() | one | {"number": len(self.heads)}

    @classmethod
    def from_config(cls, config):
        structure = [Dense(**values) for values in config["structure"]]
        return cls(**config | {"structure": structure})
