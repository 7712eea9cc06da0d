"""Evaluation of a run: its supervised head, and kNN on its features."""

import time
from typing import Any

import numpy as np
import tensorflow as tf

from simclr_tf import checkpoints, optimizers
from simclr_tf import flag as flags
from simclr_tf.checkpoints.description import TrainingData
from simclr_tf.checkpoints.run_directory import RunDirectory, checkpoint_step
from simclr_tf.data.broken import naming_bad_images
from simclr_tf.data.classes import with_classes_of
from simclr_tf.data.sources import ImageDataset
from simclr_tf.devices.hosts import Hosts
from simclr_tf.errors import UserError
from simclr_tf.evaluation.classification import evaluate_classifier
from simclr_tf.evaluation.knn import knn_accuracy
from simclr_tf.evaluation.overlap import contradiction, of_same_data, require_apart, require_unseen
from simclr_tf.evaluation.results import record_result, result_file, watch_checkpoints
from simclr_tf.experiment import config as configuration
from simclr_tf.experiment import parts
from simclr_tf.experiment.config import ExperimentConfig
from simclr_tf.flag import check_ranges, check_types
from simclr_tf.methods import Method
from simclr_tf.methods.decay import l2_variables
from simclr_tf.models import Network
from simclr_tf.outputs import require_writable

POLL_SECONDS = 5
LOOKS = 2  # at a directory without run.json, which a run that begins just now may have made


def evaluate_run(
    config: ExperimentConfig, strategy: tf.distribute.Strategy, given: frozenset[str]
) -> None:
    """Evaluate every new checkpoint of --model_dir until that of the last step.

    What is not said by flags is taken from the run itself.

    Args:
      config: the flags.
      strategy: spreads the batches.
      given: names of the flags that were given and not left at their defaults.

    Raises:
      UserError: a flag contradicts the run, or the split cannot be evaluated.
    """
    hosts = Hosts(strategy)
    directory = RunDirectory(config.run.model_dir)
    _wait_for_run(directory)
    own = RunDirectory(hosts.own_directory(directory.path))
    require_writable(result_file(own, config.eval.eval_name), f"--model_dir={own.path}")
    stored = directory.config()
    config = completed(config, stored, given)
    dataset = parts.open_dataset(config, config.data.eval_split)
    for source in (directory.path, config.train.checkpoint):
        require_unseen(source, dataset, flags.to_dict(config))
    same = of_same_data(flags.to_dict(config), TrainingData.of_run(stored))
    if same and stored["num_classes"] is not None:
        require_apart(stored["train_split"], directory.image_names(), dataset)
    dataset = _with_classes_of_run(dataset, stored, str(directory.path))
    with strategy.scope():
        network = Network(directory.architecture())
    if config.train.train_mode == "finetune":  # the l2 term is that of what was trained
        network.freeze(config.train.fine_tune_after_block)
    if network.supervised_head is None:
        print("The run has no supervised head, so its accuracy is not evaluated.")
    knn_bank = None
    if config.eval.knn_every_epochs:
        if stored["num_classes"] is None or dataset.num_classes is None:
            raise UserError("--knn_every_epochs needs labels, and the images have none.")
        knn_bank = parts.open_training_dataset(config, known_bad=stored["skipped_files"])
        knn_bank = _with_classes_of_run(knn_bank, stored, str(directory.path))

    def evaluate_checkpoint(prefix: str) -> None:
        checkpoints.load_into(network, prefix)
        result = evaluate_network(config, strategy, network, dataset)
        if knn_bank is not None:
            result |= evaluate_knn(config, strategy, network, knn_bank, dataset)
        step = checkpoint_step(prefix)
        record_result(
            own,
            result,
            step,
            flags.to_dict(config),
            config.eval.eval_name,
            provenance(stored),
        )
        shown = ", ".join(f"{name} {value:.4f}" for name, value in result.items())
        if hosts.is_chief:
            print(f"step {step}: {shown}", flush=True)

    def newest() -> str | None:
        step = hosts.from_chief(directory.latest_step)
        return directory.checkpoint(step) if step else None

    watch_checkpoints(newest, stored["planned_steps"], evaluate_checkpoint)


def _wait_for_run(directory: RunDirectory) -> None:
    """Wait until a run has begun, where it is not plain that none will.

    Raises:
      UserError: there is something else.
    """
    told, looks = False, 0
    while not directory.holds_run():
        if directory.path.exists() and not directory.path.is_dir():
            raise UserError(f"--model_dir={directory.path} is a file, and no run directory.")
        if directory.path.exists():
            looks += 1
        if looks > LOOKS:
            raise UserError(
                f"--model_dir={directory.path} is no run directory: it has no run.json. Give the "
                "--model_dir of a run."
            )
        if not told:
            print(f"Waiting for a run in {directory.path}.", flush=True)
        told = True
        time.sleep(POLL_SECONDS)


def provenance(stored: dict[str, Any]) -> dict[str, Any]:
    """What a result of finetune.py says besides its numbers; nothing for other runs.

    Args:
      stored: what the run directory remembers.
    """
    if not stored.get("protocol"):
        return {}
    return {
        name: stored[name] for name in ("protocol", "dataset", "fraction", "checkpoint", "command")
    }


def completed(
    config: ExperimentConfig, stored: dict[str, Any], given: frozenset[str]
) -> ExperimentConfig:
    """The flags, with those of the run where none was given.

    Raises:
      UserError: a flag that decides what was trained has another value in the run, or one that
        divides its data.
    """
    values = flags.to_dict(config)
    contradictions = [
        f"--{name}={values[name]!r}, but the run has {stored[name]!r}"
        for name in flags.identity(config)
        if name in given and name != "label_seed" and values[name] != stored.get(name, values[name])
    ]
    if contradictions:
        raise UserError(
            f"Flags contradict the run in --model_dir: {'; '.join(contradictions)}. "
            "Leave them out; evaluation reads them from the run."
        )
    merged = stored | {name: values[name] for name in given}
    if problem := contradiction(merged, given, TrainingData.of_run(stored)):
        raise UserError(problem)
    config_class = configuration.config_class(stored["method"])
    check_types(stored, config_class, "run.json")
    config = configuration.from_dict(merged)
    check_ranges(config)
    return config


def _with_classes_of_run(dataset: ImageDataset, stored: dict[str, Any], path: str) -> ImageDataset:
    """The data with the labels of the run's supervised head, if it has one.

    Raises:
      UserError: the classes are others, or there are no labels where the run had some.
    """
    if dataset.num_classes is None and stored["num_classes"] is not None:
        if not stored.get("teacher"):
            raise UserError(
                f"The run in {path} was trained with {stored['num_classes']} classes, and split "
                f"{dataset.split!r} of {dataset.name} has no labels that can be used."
            )
        print("The images have no labels: accuracy is not measured.", flush=True)
    return with_classes_of(
        dataset, stored["class_names"], stored["num_classes"], f"the run in {path}"
    )


def evaluate_network(
    config: ExperimentConfig,
    strategy: tf.distribute.Strategy,
    network: Network,
    dataset: ImageDataset,
) -> dict[str, float]:
    """Accuracy and regularisation loss on a split, or on its first --eval_steps batches."""
    batches = parts.evaluation_batches(config, dataset, strategy, config.eval.eval_steps)
    optimizer_decays = config.optimizer.optimizer in optimizers.DECAYS_INSIDE
    with naming_bad_images(dataset):
        return evaluate_classifier(
            network,
            batches,
            strategy,
            decayed_variables=l2_variables(network, optimizer_decays),
            weight_decay=parts.weight_decay_of_loss(config),
        )


def evaluate_knn(
    config: ExperimentConfig,
    strategy: tf.distribute.Strategy,
    network: Network,
    bank: ImageDataset,
    queries: ImageDataset,
) -> dict[str, float]:
    """Top-1 accuracy of kNN: the images of `queries` by their neighbours in `bank`."""
    accuracy = knn_accuracy(
        *parts.features_of(config, network, bank, strategy),
        *parts.features_of(config, network, queries, strategy),
        num_classes=bank.num_classes,
        k=config.eval.knn_k,
        temperature=config.eval.knn_temperature,
    )
    return {"knn_top_1_accuracy": accuracy}


def evaluate_memory(
    config: ExperimentConfig,
    strategy: tf.distribute.Strategy,
    method: Method,
    memory: tf.Tensor,
    labels: np.ndarray,
    queries: ImageDataset,
) -> dict[str, float]:
    """Top-1 accuracy of kNN in the bank of a method, which needs no pass over the training images.

    Args:
      config: the flags.
      strategy: spreads the batches.
      method: whose network is evaluated.
      memory: its `memory`, (images, d).
      labels: (images,) of the training images, by their numbers.
      queries: the images to classify.
    """
    projections, query_labels = parts.features_of(config, method.network, queries, strategy, -1)
    accuracy = knn_accuracy(
        memory.numpy(),
        labels,
        method.compared_with_memory(projections).numpy(),
        query_labels,
        num_classes=queries.num_classes,
        k=config.eval.knn_k,
        temperature=config.eval.knn_temperature,
    )
    return {"bank_knn_top_1_accuracy": accuracy}
