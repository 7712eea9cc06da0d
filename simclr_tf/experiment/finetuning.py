"""Supervised training: what of a checkpoint is kept, what is frozen, what is trained."""

import dataclasses

from simclr_tf import optimizers
from simclr_tf.checkpoints.contradictions import contradictions
from simclr_tf.checkpoints.loading import load_stored_into, network_of
from simclr_tf.checkpoints.stored_network import StoredNetwork
from simclr_tf.data.recipe import Recipe, cropped, finetuning_recipe
from simclr_tf.errors import UserError
from simclr_tf.experiment.config import ExperimentConfig
from simclr_tf.experiment.parts import weight_decay_of_loss
from simclr_tf.experiment.pretraining import architecture_of as architecture_of_flags
from simclr_tf.methods.supervised.classes import Supervised
from simclr_tf.methods.supervised.distillation import Distillation
from simclr_tf.models import Architecture, Network
from simclr_tf.training.plan import Plan


def architecture_of(
    config: ExperimentConfig,
    num_classes: int | None,
    given: frozenset[str] = frozenset(),
    source: StoredNetwork | None = None,
) -> Architecture:
    """The architecture of the fine-tuned network.

    The encoder and the projection head are those of --checkpoint, when one is given; of
    the projection head only the layers up to --ft_proj_selector are kept.

    Args:
      config: the flags.
      num_classes: classes of the data set, or of the teacher; None without labels.
      given: names of the flags that were given and not left at their defaults.
      source: what --checkpoint holds.

    Raises:
      UserError: there are no labels, or a flag contradicts the checkpoint.
    """
    if num_classes is None:
        raise UserError(
            f"--train_mode=finetune needs labels, and the data set {config.data.dataset} has none "
            "that can be used. Sort the images into a folder for each class, of which there are "
            "two at least, or give --labels=FILE.csv."
        )
    architecture = architecture_of_flags(config, num_classes, source=source)
    if source is not None:
        _refuse_contradictions(architecture, source.architecture, given)
        architecture = dataclasses.replace(
            source.architecture,
            batch_norm_decay=architecture.batch_norm_decay,
            global_bn=architecture.global_bn,
        )
    selector = config.model.ft_proj_selector
    layers = len(architecture.kept_projector)
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


def check_teacher(
    config: ExperimentConfig, teacher: StoredNetwork, num_classes: int | None
) -> None:
    """Refuse a teacher that cannot teach.

    Args:
      config: the flags.
      teacher: what --teacher holds.
      num_classes: classes of the data set; None without labels.

    Raises:
      UserError: the teacher has no classes, or labels are missing.
    """
    if teacher.architecture.num_classes is None:
        raise UserError(
            f"--teacher={config.distillation.teacher} has no supervised head. Give a fine-tuned "
            "model."
        )
    if num_classes is None and config.distillation.distillation_alpha < 1:
        raise UserError(
            f"--distillation_alpha={config.distillation.distillation_alpha:g} needs labels, and "
            f"the data set {config.data.dataset} has none. Leave it out."
        )


def _refuse_contradictions(
    asked: Architecture, stored: Architecture, given: frozenset[str]
) -> None:
    differences = contradictions(asked, stored, given)
    if differences:
        raise UserError(
            f"Flags contradict --checkpoint: {'; '.join(differences)}. Leave them out, or give "
            "another checkpoint."
        )


def recipe_of(config: ExperimentConfig) -> Recipe:
    """The one view that is shown; distillation always shows crops and flips."""
    if config.distillation.teacher:
        return cropped(config.view.image_size)
    return finetuning_recipe(config.view)


def build(
    config: ExperimentConfig,
    architecture: Architecture,
    plan: Plan | None = None,
    source: StoredNetwork | None = None,
    teacher: StoredNetwork | None = None,
) -> Supervised | Distillation:
    """The network with a new head, partly frozen, and its method.

    When the whole encoder is frozen, the projection head is frozen with it: the supervised
    head alone is trained.

    Args:
      config: the flags.
      architecture: of the network.
      plan: the numbers of the run, which nothing here asks for.
      source: what --checkpoint holds, if its weights are to be loaded: all but the head's.
      teacher: what --teacher holds.

    Raises:
      UserError: the checkpoint does not fit, or its encoder takes other sizes.
    """
    del plan
    train = config.train
    network = Network(architecture, train.mixed_precision)
    network.require_size(config.view.image_size)
    if source is not None:
        report = load_stored_into(
            network,
            source,
            train.checkpoint,
            train.variable_schema,
            supervised_head=False,
            rescale_v1_weights=train.rescale_v1_weights,
        )
        print(report)
    if train.zero_init_logits_layer:
        network.supervised_head.set_to_zero()
    network.freeze(train.fine_tune_after_block)
    decay = {
        "weight_decay": weight_decay_of_loss(config),
        "optimizer_decays": config.optimizer.optimizer in optimizers.DECAYS_INSIDE,
    }
    if teacher is not None:
        taught_by = network_of(teacher, config.distillation.teacher)
        taught_by.require_size(config.view.image_size)
        return Distillation(
            network,
            taught_by.logits,
            temperature=config.distillation.distillation_temperature,
            alpha=config.distillation.distillation_alpha,
            **decay,
        )
    return Supervised(network, **decay)
