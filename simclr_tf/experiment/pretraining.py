"""Pretraining: which network, and which method trains it."""

import tensorflow as tf

from simclr_tf import optimizers
from simclr_tf.backend import keras
from simclr_tf.checkpoints.loading import load_stored_into
from simclr_tf.checkpoints.stored_network import CIFAR_SIZE, StoredNetwork
from simclr_tf.data.recipe import Recipe, adjusted
from simclr_tf.errors import UserError
from simclr_tf.experiment.config import ExperimentConfig
from simclr_tf.methods import METHODS, Method
from simclr_tf.models import Architecture, Network
from simclr_tf.training import growing
from simclr_tf.training.plan import Plan

RECOMMENDED_SLICE = 64  # images; docs/large_batches.md has what was measured


def architecture_of(
    config: ExperimentConfig,
    num_classes: int | None,
    given: frozenset[str] = frozenset(),
    source: StoredNetwork | None = None,
) -> Architecture:
    """The architecture that the flags describe.

    Args:
      config: the flags.
      num_classes: of the linear probe; None without labels.
      given: names of the flags that were given; here all count, given or not.
      source: what --checkpoint holds. What its encoder subtracts from images and how it pads them,
        for which there are no flags, is always taken; its stem where --cifar_stem=auto.
    """
    del given
    model = config.model
    stored = Architecture() if source is None else source.architecture
    return Architecture(
        resnet_depth=model.resnet_depth,
        width_multiplier=model.width_multiplier,
        sk_ratio=model.sk_ratio,
        se_ratio=model.se_ratio,
        cifar_stem=_cifar_stem(config, source),
        projector=METHODS[config.train.method].projector(config.method),
        ft_proj_selector=model.ft_proj_selector,
        num_classes=num_classes if model.lineareval_while_pretraining else None,
        batch_norm_decay=model.batch_norm_decay,
        global_bn=model.global_bn,
        input_mean=stored.input_mean,
        input_deviation=stored.input_deviation,
        pool_padding=stored.pool_padding,
        **METHODS[config.train.method].encoder_fields(config.method),
    )


def _cifar_stem(config: ExperimentConfig, source: StoredNetwork | None) -> bool:
    """--cifar_stem, where `auto` is what the source has, or else what fits the image size."""
    if config.model.cifar_stem != "auto":
        return config.model.cifar_stem == "true"
    if source is not None:
        return source.architecture.cifar_stem
    return config.view.image_size <= CIFAR_SIZE


def recipe_of(config: ExperimentConfig) -> Recipe:
    """The views that the method wants, as the flags adjust them.

    Raises:
      UserError: the flags do not fit together.
    """
    method, view = METHODS[config.train.method], config.view
    recipe = adjusted(method.recipe(config.method, view), view)
    growing.require_views(recipe, view.image_size_schedule, view.image_size)
    return recipe


def build(
    config: ExperimentConfig,
    architecture: Architecture,
    plan: Plan,
    source: StoredNetwork | None = None,
    teacher: StoredNetwork | None = None,
    encoder: keras.Model | None = None,
) -> Method:
    """The network with random weights, or those of a source, and its method.

    Args:
      config: the flags.
      architecture: of the network.
      plan: the numbers of the run.
      source: what --checkpoint holds, if its weights are to be loaded.
      teacher: of fine-tuning; there is none here.
      encoder: the user's own, in place of a ResNet, see `Network`.

    Raises:
      UserError: the checkpoint does not fit the flags, or --micro_batch_size the batch.
    """
    del teacher
    method, flags = METHODS[config.train.method], config.method
    if config.train.jit_compile:
        flags = method.for_xla(flags)
    micro_batch_size = _micro_batch_size(config)
    network = Network(architecture, config.train.mixed_precision, config.train.recompute, encoder)
    if not method.zero_residuals and network.architecture.encoder != "keras":
        network.encoder.start_residuals_at_one()
    if source is not None:
        report = load_stored_into(
            network,
            source,
            config.train.checkpoint,
            config.train.variable_schema,
            rescale_v1_weights=config.train.rescale_v1_weights,
        )
        print(report)
        if config.train.zero_init_logits_layer and network.supervised_head is not None:
            network.supervised_head.set_to_zero()
    return method(
        network,
        flags,
        plan,
        micro_batch_size=micro_batch_size,
        weight_decay=config.optimizer.weight_decay,
        optimizer_decays=config.optimizer.optimizer in optimizers.DECAYS_INSIDE,
    )


def _micro_batch_size(config: ExperimentConfig) -> int:
    """--micro_batch_size, which divides what each replica has of a batch."""
    size = config.train.micro_batch_size
    if size and not METHODS[config.train.method].sliceable:
        raise UserError(
            f"--method={config.train.method} cannot embed a batch in slices. Leave out "
            f"--micro_batch_size. Received: {size}."
        )
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
    alone = size or (0 if config.model.global_bn else images)
    method = METHODS[config.train.method]
    if alone == 1 and not method.together and any(d.norm for d in method.projector(config.method)):
        raise UserError(
            f"--method={config.train.method} embeds one view of all images at a time, and its head "
            "has batch norm, which would be of a single image here. Give --micro_batch_size or "
            "--train_batch_size so that 2 images or more come together, or --global_bn."
        )
    return size
