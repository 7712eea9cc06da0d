"""From flags to the parts of an experiment; below this floor there are plain arguments only."""

import os
from typing import Any

import tensorflow as tf

from simclr_tf import config as configuration
from simclr_tf import optimizers
from simclr_tf.backend import keras
from simclr_tf.config import ExperimentConfig
from simclr_tf.data import datasets, pipeline, subsets
from simclr_tf.data.augment import MAX_JITTER_STRENGTH
from simclr_tf.data.sources import ImageDataset
from simclr_tf.distribute import choose_strategy
from simclr_tf.errors import UserError
from simclr_tf.models import Network
from simclr_tf.plan import Plan, make_plan


def check_flags(config: ExperimentConfig) -> None:
    """Check what can be checked without data, devices and checkpoints.

    Raises:
      UserError: a flag, or a combination of flags, cannot work.
    """
    if not config.run.model_dir:
        raise UserError("--model_dir is missing: give the directory for the results of the run.")
    positive = {
        "--temperature": config.loss.temperature,
        "--knn_temperature": config.eval.knn_temperature,
        "--learning_rate": config.optimizer.learning_rate,
    }
    for name, value in positive.items():
        if not value > 0:
            raise UserError(f"{name} is above 0. Received: {value:g}.")
    shares = {
        "--momentum": config.optimizer.momentum,
        "--batch_norm_decay": config.model.batch_norm_decay,
    }
    for name, value in shares.items():
        if not 0 <= value < 1:
            raise UserError(f"{name} lies in [0, 1). Received: {value:g}.")
    if config.train.train_mode == "pretrain" and config.train.train_batch_size == 1:
        raise UserError(
            "--train_batch_size is at least 2 in pretraining: an image is told from the others."
        )
    strength = config.view.color_jitter_strength
    if not 0 <= strength <= MAX_JITTER_STRENGTH:
        raise UserError(
            f"--color_jitter_strength lies in [0, {MAX_JITTER_STRENGTH}]; above, factors would be "
            f"negative. Received: {strength}."
        )
    smallest = {
        "--image_size": (config.view.image_size, 8),
        "--width_multiplier": (config.model.width_multiplier, 1),
        "--proj_out_dim": (config.model.proj_out_dim, 1),
        "--num_proj_layers": (config.model.num_proj_layers, 1),
        "--eval_batch_size": (config.eval.eval_batch_size, 1),
        "--eval_steps": (config.eval.eval_steps, 0),
        "--knn_every_epochs": (config.eval.knn_every_epochs, 0),
        "--knn_k": (config.eval.knn_k, 1),
        "--train_summary_steps": (config.run.train_summary_steps, 0),
        "--steps_per_execution": (config.train.steps_per_execution, 1),
        "--micro_batch_size": (config.train.micro_batch_size, -1),
        "--keep_checkpoint_max": (config.run.keep_checkpoint_max, 0),
        "--keep_hub_module_max": (config.run.keep_hub_module_max, 0),
        "--max_bad_images": (config.data.max_bad_images, 0),
        "--seed": (config.train.seed, 0),
    }
    smallest |= {
        "--weight_decay": (config.optimizer.weight_decay, 0),
        "--sk_ratio": (config.model.sk_ratio, 0),
        "--se_ratio": (config.model.se_ratio, 0),
    }
    for name, (value, least) in smallest.items():
        if value < least:
            raise UserError(f"{name} is at least {least}. Received: {value}.")
    if config.train.train_mode == "pretrain":
        _refuse_flags_of_finetuning(config)
    elif config.train.micro_batch_size or config.train.recompute:
        raise UserError("--micro_batch_size and --recompute are for pretraining only.")
    if not config.distillation.distillation_temperature > 0:
        raise UserError(
            "--distillation_temperature is above 0. Received: "
            f"{config.distillation.distillation_temperature:g}."
        )
    if not 0 < config.distillation.distillation_alpha <= 1:
        raise UserError(
            "--distillation_alpha lies above 0 and is at most 1. Received: "
            f"{config.distillation.distillation_alpha:g}."
        )


def _refuse_flags_of_finetuning(config: ExperimentConfig) -> None:
    inert = {
        "fine_tune_after_block": -1,
        "label_fraction": 1.0,
        "labels_per_class": 0,
        "finetune_augmentation": "crop_flip",
        "teacher": None,
    }
    values = configuration.to_dict(config)
    for name, value in inert.items():
        if values[name] != value:
            raise UserError(
                f"--{name} is for fine-tuning only. Give --train_mode=finetune, or leave it out."
            )


def make_strategy(config: ExperimentConfig) -> tf.distribute.Strategy:
    """The strategy that the flags ask for.

    Raises:
      UserError: the hardware is not there, or --jit_compile was given for several devices.
    """
    strategy = choose_strategy(
        config.run.strategy,
        use_tpu=config.run.use_tpu,
        tpu_name=config.run.tpu_name or config.run.master,
        tpu_zone=config.run.tpu_zone,
        gcp_project=config.run.gcp_project,
        communication=config.run.communication,
    )
    if config.train.jit_compile and strategy.num_replicas_in_sync > 1:
        raise UserError(
            "--jit_compile is for one device; what replicas tell each other cannot be compiled. "
            f"There are {strategy.num_replicas_in_sync}. Leave it out, or give --strategy=one."
        )
    return strategy


def open_dataset(
    config: ExperimentConfig, split: str, known_bad: list[str] | None = None
) -> ImageDataset:
    """A split of --dataset; `known_bad` are the unreadable files that an earlier run found."""
    return datasets.load(
        config.data.dataset,
        split,
        data_dir=config.data.data_dir and os.path.expanduser(config.data.data_dir),
        holdout_fraction=config.data.holdout_fraction,
        seed=config.train.seed,
        cache=config.data.cache_dataset,
        max_bad_images=config.data.max_bad_images,
        known_bad=known_bad,
    )


def open_training_dataset(
    config: ExperimentConfig, known_bad: list[str] | None = None
) -> ImageDataset:
    """--train_split, with the labels that --label_fraction or --labels_per_class leaves.

    Without a teacher the other images are left out; with one they stay, without labels.
    """
    dataset = open_dataset(config, config.data.train_split, known_bad)
    fraction, per_class = config.data.label_fraction, config.data.labels_per_class
    if fraction == 1 and not per_class:
        return dataset
    if dataset.num_classes is None:
        raise UserError(
            f"--label_fraction and --labels_per_class choose among labels, and {dataset.name} has "
            "none. Leave them out."
        )
    chosen = subsets.choose(
        subsets.labels_of(dataset),
        dataset.num_classes,
        fraction=fraction,
        per_class=per_class,
        seed=config.train.seed,
        class_names=dataset.class_names,
    )
    keep = subsets.hide_other_labels if config.distillation.teacher else subsets.restrict
    return keep(dataset, chosen)


def plan_of(
    config: ExperimentConfig,
    num_examples: int,
    num_replicas: int,
    explicit: frozenset[str] = frozenset(),
) -> Plan:
    """How long the run trains on so many images.

    --train_steps may make a training shorter than the default warm-up; then that is
    shortened with it, unless it is one of the `explicit` flags.
    """
    return make_plan(
        num_examples,
        batch_size=config.train.train_batch_size,
        train_epochs=config.train.train_epochs,
        train_steps=config.train.train_steps,
        warmup_epochs=config.optimizer.warmup_epochs,
        checkpoint_epochs=config.run.checkpoint_epochs,
        checkpoint_steps=config.run.checkpoint_steps,
        learning_rate=config.optimizer.learning_rate,
        learning_rate_scaling=config.optimizer.learning_rate_scaling,
        num_replicas=num_replicas,
        shorten_warmup="warmup_epochs" not in explicit,
    )


def make_optimizer(
    config: ExperimentConfig, plan: Plan, network: Network
) -> keras.optimizers.Optimizer:
    """The optimizer; the supervised head is kept from its weight decay and adaptation."""
    head = network.supervised_head
    return optimizers.build(
        config.optimizer.optimizer,
        plan.schedule,
        momentum=config.optimizer.momentum,
        weight_decay=config.optimizer.weight_decay,
        exclude=[] if head is None else head.trainable_weights,
    )


def training_batches(
    config: ExperimentConfig, dataset: ImageDataset, method: Any, **batches: Any
) -> tf.data.Dataset:
    """Random views as `method` wants them; `batches` are arguments of pipeline.training_dataset."""
    return pipeline.training_dataset(
        dataset,
        image_size=config.view.image_size,
        seed=config.train.seed,
        augmentation=method.augmentation,
        number_of_views=method.number_of_views,
        color_jitter_strength=config.view.color_jitter_strength,
        use_blur=config.view.use_blur,
        blur_sigma=config.view.blur_sigma,
        brightness=config.view.brightness,
        **batches,
    )


def evaluation_batches(
    config: ExperimentConfig, dataset: ImageDataset, host: int = 0, hosts: int = 1
) -> tf.data.Dataset:
    """The images of a split as evaluation shows them; this host's part."""
    return pipeline.evaluation_dataset(
        dataset,
        batch_size=config.eval.eval_batch_size,
        image_size=config.view.image_size,
        host_index=host,
        num_hosts=hosts,
    )
