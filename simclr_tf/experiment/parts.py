"""From flags to the parts of an experiment; below this floor there are plain arguments only."""

import os
from typing import Any

import numpy as np
import tensorflow as tf

from simclr_tf import optimizers
from simclr_tf.backend import keras
from simclr_tf.data import datasets, pipeline, subsets
from simclr_tf.data.broken import naming_bad_images
from simclr_tf.data.recipe import Recipe
from simclr_tf.data.sources import ImageDataset
from simclr_tf.devices.strategies import choose_strategy, distribute_batches
from simclr_tf.errors import UserError
from simclr_tf.evaluation.features import extract_features, require_finite
from simclr_tf.experiment.config import ExperimentConfig
from simclr_tf.methods import Method
from simclr_tf.models import Network
from simclr_tf.training import callbacks
from simclr_tf.training.plan import Plan, make_plan

FIRST_LOOK = 100  # the step from which on a run is looked at for signs of collapse, or later


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
        split_seed=config.data.split_seed,
        labels=config.data.labels,
        upright=config.data.upright,
        cache=config.data.cache_dataset,
        max_bad_images=config.data.max_bad_images,
        known_bad=known_bad,
    )


def label_seed(config: ExperimentConfig) -> int:
    """--label_seed, or where it was not given, --split_seed."""
    seed = config.data.label_seed
    return config.data.split_seed if seed is None else seed


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
        seed=label_seed(config),
        class_names=dataset.class_names,
    )
    keep = subsets.hide_other_labels if config.distillation.teacher else subsets.restrict
    return keep(dataset, chosen)


def plan_of(
    config: ExperimentConfig,
    num_examples: int,
    num_replicas: int,
    given: frozenset[str] = frozenset(),
) -> Plan:
    """How long the run trains on so many images.

    --train_steps may make a training shorter than the default warm-up; then that is
    shortened with it, unless it is one of the `given` flags.
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
        shorten_warmup="warmup_epochs" not in given,
        warmup_start=config.optimizer.warmup_start,
        schedule=config.optimizer.schedule,
        schedule_by=config.optimizer.schedule_by,
        schedule_milestones=config.optimizer.schedule_milestones,
        schedule_gamma=config.optimizer.schedule_gamma,
        final_rate=config.optimizer.final_rate,
        seed=config.train.seed,
    )


def _larc_has_the_head(config: ExperimentConfig) -> bool:
    """LARC adapts and decays all that it trains, so a head too, unless that is a probe beside."""
    return config.train.train_mode == "finetune" and config.optimizer.optimizer == "larc"


def weight_decay_of_loss(config: ExperimentConfig) -> float:
    """The factor of the l2 term of the loss; 0 where LARC decays all by itself."""
    return 0.0 if _larc_has_the_head(config) else config.optimizer.weight_decay


def make_optimizer(
    config: ExperimentConfig, plan: Plan, method: Method
) -> keras.optimizers.Optimizer:
    """The optimizer; the supervised head is kept from its weight decay and adaptation.

    Only LARC has the head of a fine-tuning too, as in SimSiam's linear evaluation.

    Args:
      config: the flags.
      plan: the numbers of the run.
      method: what it will train.
    """
    head = method.network.supervised_head
    apart = head is not None and not _larc_has_the_head(config)
    return optimizers.build(
        config.optimizer.optimizer,
        plan.schedule,
        momentum=config.optimizer.momentum,
        weight_decay=config.optimizer.weight_decay,
        exclude=head.trainable_weights if apart else [],
        rate_outside=config.optimizer.lars_rate_outside,
        rate_factor=method.rate_factor,
    )


def training_batches(
    config: ExperimentConfig, dataset: ImageDataset, recipe: Recipe, **batches: Any
) -> tf.data.Dataset:
    """Random views by a recipe; `batches` are further arguments of pipeline.training_dataset."""
    return pipeline.training_dataset(
        dataset,
        recipe,
        seed=config.train.seed,
        reduced_decoding=config.data.reduced_decoding,
        **batches,
    )


def evaluation_batches(
    config: ExperimentConfig,
    dataset: ImageDataset,
    strategy: tf.distribute.Strategy | None = None,
    steps: int = 0,
) -> tf.data.Dataset | tf.distribute.DistributedDataset:
    """The images of a split as evaluation shows them, spread over the replicas.

    Args:
      config: the flags; --eval_batch_size is rounded up to what the replicas divide.
      dataset: the split.
      strategy: spreads the batches; by default that of the scope.
      steps: how many batches; 0 is all of them.
    """
    strategy = strategy or tf.distribute.get_strategy()
    replicas = strategy.num_replicas_in_sync
    batch_size = -(-config.eval.eval_batch_size // replicas) * replicas

    def make_batches(host: int, hosts: int) -> tf.data.Dataset:
        batches = pipeline.evaluation_dataset(
            dataset,
            batch_size=batch_size,
            image_size=config.view.image_size,
            host_index=host,
            num_hosts=hosts,
        )
        return batches.take(steps or -1)

    return distribute_batches(strategy, make_batches)


def features_of(
    config: ExperimentConfig,
    network: Network,
    dataset: ImageDataset,
    strategy: tf.distribute.Strategy | None = None,
    layer: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """h of every image as evaluation shows it, or a layer of the projection head, and its label.

    Args:
      config: the flags.
      network: in inference mode.
      dataset: the images, in whose order features are.
      strategy: spreads the batches; by default that of the scope.
      layer: the entry of [h, after layer 1, ..., z].

    Returns:
      Features (n, features) float32, and labels (n,) int64, -1 where there is none.

    Raises:
      UserError: an image can no longer be read.
      NonFiniteFeaturesError: the features are not finite.
    """
    with naming_bad_images(dataset):
        batches = evaluation_batches(config, dataset, strategy)
        features, labels = extract_features(network, batches, strategy, layer)
    require_finite(features)
    return features, labels


def collapse_warning(
    method: Method, plan: Plan, start_step: int, interval: int
) -> callbacks.WarnAtCollapse:
    """The callback that warns once, after the warm-up, where the encoder learns nothing.

    Args:
      method: what is trained.
      plan: the numbers of the run.
      start_step: steps made before.
      interval: steps of a row of metrics.
    """

    def sign(values: dict[str, float]) -> str | None:
        return method.sign_of_collapse(values, plan.batch_size)

    warm = max(plan.warmup_steps, method.settled, FIRST_LOOK)
    return callbacks.WarnAtCollapse(start_step, warm, interval, sign)
