"""From flags to the parts of an experiment; below this floor there are plain arguments only."""

from typing import Any

import tensorflow as tf

from simclr_tf import optimizers
from simclr_tf.backend import keras
from simclr_tf.config import ExperimentConfig
from simclr_tf.data import datasets, pipeline
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
    if not config.loss.temperature > 0:
        raise UserError(f"--temperature is above 0. Received: {config.loss.temperature}.")
    strength = config.view.color_jitter_strength
    if not 0 <= strength <= 1.25:
        raise UserError(
            "--color_jitter_strength lies in [0, 1.25]; above, factors would be negative. "
            f"Received: {strength}."
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
        "--keep_checkpoint_max": (config.run.keep_checkpoint_max, 0),
        "--keep_hub_module_max": (config.run.keep_hub_module_max, 0),
        "--max_bad_images": (config.data.max_bad_images, 0),
        "--seed": (config.train.seed, 0),
    }
    for name, (value, least) in smallest.items():
        if value < least:
            raise UserError(f"{name} is at least {least}. Received: {value}.")
    if config.train.train_mode == "pretrain" and config.train.fine_tune_after_block != -1:
        raise UserError(
            "--fine_tune_after_block freezes layers in fine-tuning only. "
            "Give --train_mode=finetune, or leave it out."
        )


def make_strategy(config: ExperimentConfig) -> tf.distribute.Strategy:
    """The strategy that the flags ask for."""
    return choose_strategy(
        config.run.strategy,
        use_tpu=config.run.use_tpu,
        tpu_name=config.run.tpu_name or config.run.master,
        tpu_zone=config.run.tpu_zone,
        gcp_project=config.run.gcp_project,
    )


def open_dataset(
    config: ExperimentConfig, split: str, known_bad: list[str] | None = None
) -> ImageDataset:
    """A split of --dataset; `known_bad` are the unreadable files that an earlier run found."""
    return datasets.load(
        config.data.dataset,
        split,
        data_dir=config.data.data_dir,
        holdout_fraction=config.data.holdout_fraction,
        seed=config.train.seed,
        cache=config.data.cache_dataset,
        max_bad_images=config.data.max_bad_images,
        known_bad=known_bad,
    )


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
