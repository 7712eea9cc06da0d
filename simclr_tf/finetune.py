"""Supervised training: what of a checkpoint is kept, what is frozen, what is trained."""

import dataclasses

from simclr_tf import checkpoints, optimizers
from simclr_tf.config import ExperimentConfig
from simclr_tf.errors import UserError
from simclr_tf.methods import Supervised
from simclr_tf.models import Architecture, Network
from simclr_tf.pretrain import architecture_of as architecture_of_flags


def architecture_of(
    config: ExperimentConfig, num_classes: int | None, explicit: frozenset[str] = frozenset()
) -> Architecture:
    """The architecture of the fine-tuned network.

    The encoder and the projection head are those of --checkpoint, when one is given; of
    the projection head only the layers up to --ft_proj_selector are kept.

    Args:
      config: the flags.
      num_classes: classes of the data set.
      explicit: names of the flags that were given and not left at their defaults.

    Raises:
      UserError: there are no labels, or a flag contradicts the checkpoint.
    """
    if num_classes is None:
        raise UserError(
            f"--train_mode=finetune needs labels, and the data set {config.data.dataset} has none. "
            "Sort the images into one folder for each class."
        )
    architecture = architecture_of_flags(config, num_classes)
    if config.train.checkpoint:
        stored = checkpoints.read(config.train.checkpoint).architecture
        _refuse_contradictions(architecture, stored, explicit)
        architecture = dataclasses.replace(
            stored,
            batch_norm_decay=architecture.batch_norm_decay,
            global_bn=architecture.global_bn,
        )
    selector = config.model.ft_proj_selector
    layers = {"none": 0, "linear": 1, "nonlinear": architecture.num_proj_layers}[
        architecture.proj_head_mode
    ]
    if architecture.kept_proj_layers is not None:
        layers = architecture.kept_proj_layers
    if not -layers - 1 <= selector <= layers:
        raise UserError(
            f"--ft_proj_selector={selector} does not exist: the projection head has {layers} "
            f"layers, so it is 0 (its input) to {layers}, or -1 for its output."
        )
    selector %= layers + 1
    return dataclasses.replace(
        architecture,
        num_classes=num_classes,
        kept_proj_layers=selector,
        ft_proj_selector=selector,
    )


def _refuse_contradictions(
    flags: Architecture, stored: Architecture, explicit: frozenset[str]
) -> None:
    names = (
        "resnet_depth",
        "width_multiplier",
        "sk_ratio",
        "se_ratio",
        "proj_head_mode",
        "num_proj_layers",
        "proj_out_dim",
    )
    contradictions = [
        f"--{name}={getattr(flags, name)}, but the checkpoint has {getattr(stored, name)}"
        for name in names
        if name in explicit and getattr(flags, name) != getattr(stored, name)
    ]
    if "image_size" in explicit and flags.cifar_stem != stored.cifar_stem:
        stem = "the stem for images up to 32 pixels" if stored.cifar_stem else "the ImageNet stem"
        contradictions.append(f"--image_size asks for another stem; the checkpoint has {stem}")
    if contradictions:
        raise UserError(
            f"Flags contradict --checkpoint: {'; '.join(contradictions)}. Leave them out, or give "
            "another checkpoint."
        )


def build(config: ExperimentConfig, architecture: Architecture) -> Supervised:
    """The network with the weights of --checkpoint and a new head, partly frozen, and its method.

    Raises:
      UserError: the checkpoint does not fit.
    """
    train = config.train
    network = Network(architecture, train.mixed_precision)
    if train.checkpoint:
        report = checkpoints.load_into(
            network, train.checkpoint, train.variable_schema, supervised_head=False
        )
        print(report)
    if train.zero_init_logits_layer:
        network.supervised_head.set_to_zero()
    network.encoder.freeze(train.fine_tune_after_block)
    return Supervised(
        network,
        weight_decay=config.optimizer.weight_decay,
        optimizer_decays=config.optimizer.optimizer in optimizers.DECAYS_INSIDE,
    )
