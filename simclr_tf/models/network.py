"""The whole network: encoder, projection head, supervised head."""

from typing import Any

import tensorflow as tf

from simclr_tf.backend import activations_in, keras
from simclr_tf.errors import UserError
from simclr_tf.models.architecture import Architecture
from simclr_tf.models.heads import Head, SupervisedHead
from simclr_tf.models.images import check_images
from simclr_tf.models.lab import LabEncoder, SplitHead
from simclr_tf.models.own_encoder import described, image_shape, rebuilt
from simclr_tf.models.resnet import ResNet

GROUPS = 4  # of blocks, of any ResNet


@keras.saving.register_keras_serializable("simclr_tf")
class Network(keras.Model):
    """Images -> h -> projections and logits; all variables exist once it is constructed.

    Attributes:
      architecture: what the network was built from.
      encoder: the ResNet, the LabEncoder, or the user's own.
      projection_head: the Head, or the SplitHead with one for each ResNet; without layers when the
        architecture keeps none.
      supervised_head: the SupervisedHead, or None.

    Args:
      architecture: what to build.
      activations: "float32", or "bfloat16" for activations in bfloat16 with float32 weights.
      recompute: compute the activations of residual blocks again for the backward pass.
      encoder: the user's own, in place of what the architecture describes: a Keras model from
        images (batch, height, width, 3) in [0, 1] to (batch, d). It keeps its weights.

    Raises:
      UserError: a part of the architecture does not exist, or the encoder is no such model.
    """

    def __init__(
        self,
        architecture: Architecture,
        activations: str = "float32",
        recompute: bool = False,
        encoder: keras.Model | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if encoder is not None:
            architecture = architecture.with_keras_encoder(**described(encoder))
        self.architecture = architecture
        self.activations = activations
        self.recompute = recompute
        if architecture.encoder == "keras":
            if recompute:
                raise UserError("recompute is for ResNets; an own encoder has no residual blocks.")
            self.encoder = encoder or rebuilt(architecture.keras_model, "The encoder")
        with activations_in(activations):
            self._build(architecture)

    def _build(self, a: Architecture) -> None:
        resnet = {
            "depth": a.resnet_depth,
            "width_multiplier": a.width_multiplier,
            "sk_ratio": a.sk_ratio,
            "se_ratio": a.se_ratio,
            "cifar_stem": a.cifar_stem,
            "batch_norm_decay": a.batch_norm_decay,
            "global_bn": a.global_bn,
            "pool_padding": a.pool_padding,
            "name": "encoder",
        }
        head = a.kept_projector, a.batch_norm_decay, a.global_bn
        if a.encoder == "keras":
            self.projection_head = Head(*head, name="projection_head")
        elif a.encoder == "lab":
            if a.input_mean is not None:
                raise UserError(
                    "An encoder of colour planes has a mean and a deviation of its own. Received: "
                    f"input_mean {a.input_mean}."
                )
            self.encoder = LabEncoder(a.color_space, a.plane_groups, a.view_width, **resnet)
            self.projection_head = SplitHead(len(a.plane_groups), *head, name="projection_head")
        else:
            scale = {"input_mean": a.input_mean, "input_deviation": a.input_deviation}
            self.encoder = ResNet(**resnet, **scale)
            self.projection_head = Head(*head, name="projection_head")
        widths = self.projection_head.widths(a.feature_dim)
        if not -len(widths) <= a.ft_proj_selector < len(widths):
            raise UserError(
                f"ft_proj_selector counts the {len(widths)} outputs of the projection head from 0 "
                f"(its input) to {len(widths) - 1}, or from -1 backwards. "
                f"Received: {a.ft_proj_selector}."
            )
        self.supervised_head = None
        if a.num_classes is not None:
            self.supervised_head = SupervisedHead(a.num_classes)
            self.supervised_head.build((None, widths[a.ft_proj_selector]))
        if a.encoder != "keras":
            self.encoder.build((None, None, None, 3))
            self.encoder.recompute = self.recompute
        self.projection_head.build((None, a.feature_dim))
        self.built = True

    @property
    def image_shape(self) -> tuple[int | None, int | None]:
        """Height and width of the images that the encoder takes; None where it takes any."""
        if self.architecture.encoder != "keras":
            return None, None
        return image_shape(self.encoder)

    def require_size(self, size: int) -> None:
        """Refuse images of another height and width than an own encoder takes.

        Args:
          size: height and width.

        Raises:
          UserError: the encoder does not take it.
        """
        taken = self.image_shape
        if any(side not in (None, size) for side in taken):
            raise UserError(
                f"This encoder takes images of {taken[0]}x{taken[1]}, and {size}x{size} are shown. "
                f"Give image_size={taken[0]}, or build it for (None, None, 3)."
            )

    def freeze(self, groups: int) -> None:
        """Freeze the encoder up to a group of blocks, and with all of it the projection head.

        Args:
          groups: -1 freezes nothing, 0 the stem, 1 to 4 so many groups of blocks too, see
            `ResNet.freeze`; an own encoder is frozen with 4, or not with -1.

        Raises:
          UserError: there are no such groups.
        """
        if self.architecture.encoder != "keras":
            self.encoder.freeze(groups)
        elif groups in (-1, GROUPS):
            self.encoder.trainable = groups == -1
        else:
            raise UserError(
                "fine_tune_after_block is -1 (train everything) or 4 (freeze the encoder) where it "
                f"is an own one, which has no groups of blocks. Received: {groups}."
            )
        self.projection_head.trainable = groups < GROUPS

    @property
    def probed_layer(self) -> int:
        """Which entry of [h, after layer 1, ..., z] feeds the supervised head."""
        return self.architecture.ft_proj_selector

    def call(self, images: tf.Tensor, training: bool = False) -> dict[str, Any]:
        """Run the network.

        Args:
          images: (batch, height, width, 3) float in [0, 1].
          training: use batch statistics.

        Returns:
          The encoder's endpoints, of which an own encoder has `final_avg_pool` alone, h;
          `projections`: [h, after layer 1, ..., z]; and `logits`:
          (batch, classes) float32, when there is a supervised head. All but the logits are
          in the type of the activations.
        """
        outputs = self._endpoints(images, training)
        projections = self.projection_head(outputs["final_avg_pool"], training=training)
        outputs["projections"] = projections
        if self.supervised_head is not None:
            outputs["logits"] = self.supervised_head(projections[self.probed_layer])
        return outputs

    def _endpoints(self, images: tf.Tensor, training: bool) -> dict[str, Any]:
        if self.architecture.encoder != "keras":
            return self.encoder.endpoints(images, training=training)
        return {
            "final_avg_pool": self.encoder(images, training=training and self.encoder.trainable)
        }

    def __call__(self, images: tf.Tensor, *args, **kwargs) -> dict[str, Any]:
        """Check images as `features` takes them, and `call`."""
        return super().__call__(check_images(images), *args, **kwargs)

    @tf.function(reduce_retracing=True)
    def _features(self, images: tf.Tensor) -> tf.Tensor:
        return tf.cast(self.encoder(images, training=False), tf.float32)

    @tf.function(reduce_retracing=True)
    def _projections(self, images: tf.Tensor) -> list[tf.Tensor]:
        return [tf.cast(p, tf.float32) for p in self.call(images)["projections"]]

    @tf.function(reduce_retracing=True)
    def _logits(self, images: tf.Tensor) -> tf.Tensor:
        return self.call(images)["logits"]

    def features(self, images: tf.Tensor) -> tf.Tensor:
        """h in inference mode, (batch, features) float32.

        Args:
          images: (batch, height, width, 3), float in [0, 1]; values are not checked.

        Raises:
          UserError: they have another rank, number of channels, or type.
        """
        return self._features(check_images(images))

    def projections(self, images: tf.Tensor) -> list[tf.Tensor]:
        """[h, after layer 1, ..., z] in inference mode, for images as in `features`.

        Raises:
          UserError: the network has no projection head, or as `features`.
        """
        if not self.projection_head.layers:
            raise UserError("This model has no projection head; only features are to be had.")
        return self._projections(check_images(images))

    def logits(self, images: tf.Tensor) -> tf.Tensor:
        """Logits (batch, classes) of the supervised head, for images as in `features`.

        Raises:
          UserError: the network has no supervised head, or as `features`.
        """
        if self.supervised_head is None:
            raise UserError("This model has no supervised head; it was trained without labels.")
        return self._logits(check_images(images))

    def get_config(self):
        return {
            "architecture": self.architecture.to_json(),
            "activations": self.activations,
            "recompute": self.recompute,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        architecture = Architecture.from_json(config["architecture"], "The configuration")
        return cls(architecture, config["activations"], config["recompute"])
