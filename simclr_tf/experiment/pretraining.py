"""Contrastive pretraining: which network, and which method trains it."""

import tensorflow as tf

from simclr_tf import optimizers
from simclr_tf.checkpoints.loading import load_stored_into
from simclr_tf.checkpoints.stored import CIFAR_SIZE, StoredNetwork
from simclr_tf.errors import UserError
from simclr_tf.experiment.config import ExperimentConfig
from simclr_tf.methods import SimCLR
from simclr_tf.models import Architecture, Network

RECOMMENDED_SLICE = 64  # images; docs/large_batches.md has what was measured


def architecture_of(
    config: ExperimentConfig,
    num_classes: int | None,
    explicit: frozenset[str] = frozenset(),
    source: StoredNetwork | None = None,
) -> Architecture:
    """The architecture that the flags describe.

    Args:
      config: the flags.
      num_classes: of the linear probe; None without labels.
      explicit: names of the flags that were given; here all count, given or not.
      source: what --checkpoint holds, whose stem is taken where the flags leave it open.
    """
    del explicit
    model = config.model
    return Architecture(
        resnet_depth=model.resnet_depth,
        width_multiplier=model.width_multiplier,
        sk_ratio=model.sk_ratio,
        se_ratio=model.se_ratio,
        cifar_stem=_cifar_stem(config, source),
        proj_head_mode=model.proj_head_mode,
        num_proj_layers=model.num_proj_layers,
        proj_out_dim=model.proj_out_dim,
        ft_proj_selector=model.ft_proj_selector,
        num_classes=num_classes if config.loss.lineareval_while_pretraining else None,
        batch_norm_decay=model.batch_norm_decay,
        global_bn=model.global_bn,
    )


def _cifar_stem(config: ExperimentConfig, source: StoredNetwork | None) -> bool:
    """--cifar_stem, where `auto` is what the source has, or else what fits the image size."""
    if config.model.cifar_stem != "auto":
        return config.model.cifar_stem == "true"
    if source is not None:
        return source.architecture.cifar_stem
    return config.view.image_size <= CIFAR_SIZE


def build(
    config: ExperimentConfig,
    architecture: Architecture,
    source: StoredNetwork | None = None,
    teacher: StoredNetwork | None = None,
) -> SimCLR:
    """The network with random weights, or those of a source, and its method.

    Args:
      config: the flags.
      architecture: of the network.
      source: what --checkpoint holds, if its weights are to be loaded.
      teacher: of fine-tuning; there is none here.

    Raises:
      UserError: the checkpoint does not fit the flags, or --micro_batch_size the batch.
    """
    del teacher
    network = Network(architecture, config.train.mixed_precision, config.train.recompute)
    if source is not None:
        report = load_stored_into(
            network,
            source,
            config.train.checkpoint,
            config.train.variable_schema,
            rescale_v1_weights=config.train.rescale_v1_weights,
        )
        print(report)
    return SimCLR(
        network,
        temperature=config.loss.temperature,
        hidden_norm=config.loss.hidden_norm,
        loss_implementation=_loss_implementation(config),
        micro_batch_size=_micro_batch_size(config),
        weight_decay=config.optimizer.weight_decay,
        optimizer_decays=config.optimizer.optimizer in optimizers.DECAYS_INSIDE,
    )


def _loss_implementation(config: ExperimentConfig) -> str:
    """--loss_implementation, which XLA leaves no choice: its shapes are constant."""
    implementation = config.loss.loss_implementation
    if not config.train.jit_compile:
        return implementation
    if implementation == "tiled":
        raise UserError(
            "--loss_implementation=tiled cannot be compiled by XLA. Leave out --jit_compile, or "
            "give --loss_implementation=dense."
        )
    return "dense"


def _micro_batch_size(config: ExperimentConfig) -> int:
    """--micro_batch_size, which divides what each replica has of a batch."""
    size = config.train.micro_batch_size
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    images = config.train.train_batch_size // replicas
    given = f"--micro_batch_size={size}"
    if size == -1:
        size = RECOMMENDED_SLICE if images > RECOMMENDED_SLICE else 0
        given += f", which takes {RECOMMENDED_SLICE},"
    if size and images % size:
        raise UserError(
            f"{given} does not divide the {images} images that each of "
            f"{replicas} replica(s) has of --train_batch_size={config.train.train_batch_size}. "
            "Give a divisor."
        )
    return size
