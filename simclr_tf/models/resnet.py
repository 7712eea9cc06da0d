"""The encoder: ResNets as SimCLR uses them, of any depth and width."""

import itertools
from collections.abc import Sequence

import tensorflow as tf

from simclr_tf.backend import keras
from simclr_tf.errors import UserError
from simclr_tf.models.blocks import BasicBlock, BottleneckBlock, Stem, spatial_mean
from simclr_tf.models.images import check_images, check_input, standardized
from simclr_tf.models.recompute import recomputed

# Depth -> (whether blocks are bottlenecks, number of blocks of each group).
DEPTHS = {
    18: (False, (2, 2, 2, 2)),
    34: (False, (3, 4, 6, 3)),
    50: (True, (3, 4, 6, 3)),
    101: (True, (3, 4, 23, 3)),
    152: (True, (3, 8, 36, 3)),
    200: (True, (3, 24, 36, 3)),
}


@keras.saving.register_keras_serializable("simclr_tf")
class ResNet(keras.Model):
    """A ResNet encoder; see `resnet` for the arguments, of which two are its own.

    Args:
      channels: of the images.
      block_width: multiplies the channels of the blocks, and not those of the stem.

    Attributes:
      recompute: in training, keep of each block its input alone, see `recomputed`.
    """

    def __init__(
        self,
        depth: int = 50,
        width_multiplier: int = 1,
        sk_ratio: float = 0.0,
        se_ratio: float = 0.0,
        cifar_stem: bool = False,
        batch_norm_decay: float = 0.9,
        global_bn: bool = True,
        input_mean: Sequence[float] | None = None,
        input_deviation: Sequence[float] | None = None,
        pool_padding: str = "same",
        channels: int = 3,
        block_width: float = 1.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if depth not in DEPTHS:
            raise UserError(f"The depth of a ResNet is one of {sorted(DEPTHS)}. Received: {depth}.")
        if width_multiplier < 1:
            raise UserError(
                f"The width multiplier is a whole number from 1. Received: {width_multiplier}."
            )
        if int(64 * width_multiplier * block_width) < 1:
            raise UserError(f"A block of a ResNet has a channel at least. Received: {block_width}.")
        check_input(input_mean, input_deviation, pool_padding)
        self.architecture = {
            "depth": depth,
            "width_multiplier": width_multiplier,
            "sk_ratio": sk_ratio,
            "se_ratio": se_ratio,
            "cifar_stem": cifar_stem,
            "batch_norm_decay": batch_norm_decay,
            "global_bn": global_bn,
            "input_mean": input_mean and tuple(input_mean),
            "input_deviation": input_deviation and tuple(input_deviation),
            "pool_padding": pool_padding,
            "channels": channels,
            "block_width": block_width,
        }
        self.frozen_groups = -1
        self.recompute = False

        norm = {"momentum": batch_norm_decay, "synchronized": global_bn}
        bottleneck, block_counts = DEPTHS[depth]
        block_class = BottleneckBlock if bottleneck else BasicBlock
        self.stem = Stem(
            64 * width_multiplier, cifar_stem, sk_ratio > 0, norm, pool_padding, name="stem"
        )
        self.groups = []
        for g, count in enumerate(block_counts):
            filters = int(64 * width_multiplier * block_width) * 2**g
            blocks = [
                block_class(
                    filters,
                    strides=2 if g > 0 and b == 0 else 1,
                    projected=b == 0,
                    sk_ratio=sk_ratio,
                    se_ratio=se_ratio,
                    norm=norm,
                    name=f"group{g + 1}_block{b + 1}",
                )
                for b in range(count)
            ]
            self.groups.append(blocks)
        self.feature_dim = filters * (4 if bottleneck else 1)

    def __call__(self, images: tf.Tensor, *args, **kwargs) -> tf.Tensor:
        """Check that images are (batch, height, width, channels) and float, and `call`."""
        images = check_images(images, self.architecture["channels"])
        return super().__call__(images, *args, **kwargs)

    # No layer branches on tensors in Python, and looking for it takes a second.
    @tf.autograph.experimental.do_not_convert
    def endpoints(self, images: tf.Tensor, training: bool = False) -> dict[str, tf.Tensor]:
        """What the network computes on the way to h, by the original's names.

        Args:
          images: (batch, height, width, channels), float; of three in [0, 1].
          training: batch statistics instead of moving averages, except in frozen layers.

        Returns:
          initial_conv, initial_max_pool, block_group1 to block_group4: (batch, height,
          width, channels); final_avg_pool: h, (batch, feature_dim).
        """
        inputs = standardized(
            check_images(images, self.architecture["channels"]),
            self.architecture["input_mean"],
            self.architecture["input_deviation"],
        )
        first, outputs = self.stem(inputs, training=training)
        endpoints = {"initial_conv": first, "initial_max_pool": outputs}
        for g, blocks in enumerate(self.groups):
            if self.frozen_groups == g:
                outputs = tf.stop_gradient(outputs)
            for block in blocks:
                run = recomputed(block) if self.recompute and training else block
                outputs = run(outputs, training=training)
            endpoints[f"block_group{g + 1}"] = outputs
        features = spatial_mean(outputs)
        if self.frozen_groups == len(self.groups):
            features = tf.stop_gradient(features)
        return endpoints | {"final_avg_pool": features}

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """(batch, height, width, 3) in [0, 1] -> h, (batch, feature_dim)."""
        return self.endpoints(images, training=training)["final_avg_pool"]

    def start_residuals_at_one(self) -> None:
        """Give the last batch norm of every residual branch a scale of 1, and not of 0."""
        for block in itertools.chain(*self.groups):
            block.last_norm.gamma.assign(tf.ones_like(block.last_norm.gamma))

    def freeze(self, groups: int) -> None:
        """Freeze the stem and the first `groups` (0 to 4) block groups; -1 freezes nothing.

        Frozen layers are not trainable and run in inference mode, batch norm included,
        and no gradient goes below them.
        """
        if not -1 <= groups <= len(self.groups):
            raise UserError(
                "fine_tune_after_block is -1 (train everything), 0 (freeze the stem) or 1 to 4 "
                f"(freeze that many block groups too). Received: {groups}."
            )
        self.frozen_groups = groups
        self.stem.trainable = groups < 0
        for g, blocks in enumerate(self.groups):
            for block in blocks:
                block.trainable = g >= groups

    def get_config(self):
        return dict(self.architecture)


def resnet(
    depth: int = 50,
    width_multiplier: int = 1,
    sk_ratio: float = 0.0,
    se_ratio: float = 0.0,
    cifar_stem: bool = False,
    batch_norm_decay: float = 0.9,
    global_bn: bool = True,
    input_mean: Sequence[float] | None = None,
    input_deviation: Sequence[float] | None = None,
    pool_padding: str = "same",
) -> ResNet:
    """A built ResNet encoder, images (batch, height, width, 3) in [0, 1] -> h (batch, features).

    h is 512 * width_multiplier wide for depths 18 and 34, else 2048 * width_multiplier. Images of
    another rank, number of channels, or type than a float one are a UserError of the model.

    Args:
      depth: 18, 34, 50, 101, 152 or 200.
      width_multiplier: multiplies all channels.
      sk_ratio: above 0, selective kernels (bottlenecks only) and the ResNet-D stem and
        shortcuts, as in SimCLRv2 (arXiv 2006.10029).
      se_ratio: above 0, squeeze and excitation.
      cifar_stem: 3x3 stem without pooling, for images of 32 pixels.
      batch_norm_decay: momentum of the moving averages.
      global_bn: batch statistics over all replicas.
      input_mean: of red, green and blue, subtracted from the images first; None for nothing.
      input_deviation: what is divided by after it, there with `input_mean` alone.
      pool_padding: of the max pooling: "same", TensorFlow's, or "symmetric", as torchvision's.

    Raises:
      UserError: the depth, the width or the padding does not exist, or mean and deviation do not
        go together.
    """
    model = ResNet(
        depth,
        width_multiplier,
        sk_ratio,
        se_ratio,
        cifar_stem,
        batch_norm_decay,
        global_bn,
        input_mean,
        input_deviation,
        pool_padding,
    )
    model.build((None, None, None, 3))
    return model
