"""Linear evaluation by exact logistic regression on features that are computed once.

The classifier becomes the supervised head of the network, so that the run directory can be
evaluated, loaded and exported as any other.
"""

import contextlib
import hashlib
import json
import zipfile
import zlib

import numpy as np
import tensorflow as tf

from simclr_tf import checkpoints
from simclr_tf import flag as flags
from simclr_tf.backend import keras
from simclr_tf.checkpoints.restore import variable_paths
from simclr_tf.checkpoints.run_directory import RunDirectory
from simclr_tf.checkpoints.saver import Saver
from simclr_tf.data.classes import with_classes_of
from simclr_tf.data.holdout import held_out
from simclr_tf.data.sources import ImageDataset, IndexedSource
from simclr_tf.data.subsets import fingerprint
from simclr_tf.devices.hosts import Hosts
from simclr_tf.errors import UserError
from simclr_tf.evaluation.classification import top_k_accuracies
from simclr_tf.evaluation.features import labelled
from simclr_tf.evaluation.logistic_regression import fit_with_best_l2
from simclr_tf.evaluation.overlap import require_apart, require_unseen
from simclr_tf.evaluation.results import EVALUATED_WITH, record_result, result_file
from simclr_tf.experiment import checks, finetuning, parts
from simclr_tf.experiment.config import FinetuneConfig
from simclr_tf.experiment.evaluate import provenance
from simclr_tf.experiment.inputs import (
    Inputs,
    open_inputs,
    record_images,
    remembered,
    require_unclaimed,
)
from simclr_tf.experiment.outputs import export
from simclr_tf.json_files import read_object
from simclr_tf.methods import Method
from simclr_tf.models import Network

STEP = 1  # the fit counts as one


def run(config: FinetuneConfig, given: frozenset[str]) -> int:
    """Fit a linear classifier to the features of --checkpoint, and evaluate it.

    l2 is chosen on --holdout_fraction of the training images (SimCLR appendix B.8.1).

    Args:
      config: the flags, completed by the protocol.
      given: names of the flags that were given and not left at their defaults.

    Returns:
      The exit status, 0.

    Raises:
      UserError: something that the user gave cannot work.
    """
    checks.check_flags(config)
    strategy = parts.make_strategy(config)
    if Hosts(strategy).number > 1:
        raise UserError("--classifier=logistic_regression works on one host alone.")
    inputs = open_inputs(config, given)
    config, directory = inputs.config, inputs.directory
    if inputs.earlier and _is_finished(directory, config):
        print(f"Nothing to do: the run in {directory.path} is finished.")
        return 0
    images = inputs.dataset.source
    if isinstance(images, IndexedSource) and images.labels is not None:
        _require_pairs(np.asarray(images.labels))  # of others labels are read with the images
    test = parts.open_dataset(config, config.data.eval_split)
    if test.num_classes is None:
        raise UserError(f"Split {test.split!r} of {test.name} has no labels that can be used.")
    require_apart(config.data.train_split, inputs.dataset.file_names, test)
    require_unseen(config.train.checkpoint, test, flags.to_dict(config))
    test = with_classes_of(test, inputs.class_names, inputs.num_classes, "the training data")
    source = inputs.source or checkpoints.read(config.train.checkpoint)
    architecture = finetuning.architecture_of(config, inputs.num_classes, given, source)
    keras.utils.set_random_seed(config.train.seed)
    with strategy.scope():
        method = finetuning.build(config, architecture, source=source)
    with directory.locked():
        if not inputs.earlier:
            require_unclaimed(directory, config.run.overwrite)
        return _fit(inputs, strategy, method, test, flags.command(config, given))


def _require_pairs(labels: np.ndarray) -> None:
    """Refuse labels (n,) of which none can be held out."""
    if np.bincount(labels[labels >= 0]).max(initial=0) < 2:
        raise UserError(
            "No class has two images, so none can be held out to choose l2 by. Give more labels."
        )


def _is_finished(directory: RunDirectory, config: FinetuneConfig) -> bool:
    """Whether the result is there, which is written last, and is that of --eval_split."""
    result = result_file(directory, config.eval.eval_name)
    if directory.latest_step != STEP or not result.is_file():
        return False
    with contextlib.suppress(FileNotFoundError):
        measured = read_object(result.with_name(EVALUATED_WITH))
        return measured.get("eval_split") == config.data.eval_split
    return False


def _fit(
    inputs: Inputs,
    strategy: tf.distribute.Strategy,
    method: Method,
    test: ImageDataset,
    command: str,
) -> int:
    """Fit, save, export, and last of all write the result; returns the exit status, 0."""
    config, directory, train = inputs.config, inputs.directory, inputs.dataset
    network = method.network
    stored = flags.to_dict(config) | remembered(inputs, STEP, command)
    directory.claim(stored, network.architecture, config.run.overwrite)
    record_images(directory, train)
    features, labels = labelled(*cached_features(config, strategy, network, train, directory))
    _require_pairs(labels)
    test_features, test_labels = cached_features(config, strategy, network, test, directory)
    keys = [str(i) for i in range(len(labels))]
    held = held_out(keys, labels, config.data.holdout_fraction, parts.label_seed(config))
    print(f"Choosing l2 on {held.sum():,} of {len(labels):,} images.", flush=True)
    classifier, l2, path = fit_with_best_l2(features, labels, held, num_classes=train.num_classes)
    network.supervised_head.kernel.assign(classifier.weights)
    network.supervised_head.bias.assign(classifier.bias)
    exported = directory / "saved_model" / str(STEP)
    if exported.is_dir():  # of an earlier fit, whose checkpoint may have gone on since
        exported.rmtree()
    Saver(method, directory.path, config.run.keep_checkpoint_max).save(STEP)
    export(inputs, STEP)
    result = top_k_accuracies(classifier.logits(test_features), test_labels)
    record_result(
        directory,
        result,
        STEP,
        flags.to_dict(config),
        config.eval.eval_name,
        {"l2": l2, "l2_path": [{"l2": k, "held_out_accuracy": v} for k, v in path.items()]}
        | provenance(stored),
    )
    shown = ", ".join(f"{name} {value:.4f}" for name, value in result.items())
    print(f"l2 {l2:.3g}: {shown}", flush=True)
    return 0


def cached_features(
    config: FinetuneConfig,
    strategy: tf.distribute.Strategy,
    network: Network,
    dataset: ImageDataset,
    directory: RunDirectory,
) -> tuple[np.ndarray, np.ndarray]:
    """What the supervised head would see of every image, and the labels (n,).

    They are kept in the run directory, in a file that is named by the weights and the data.
    """
    path = directory / f"features-{_key(config, network, dataset)}.npz"
    try:
        with path.open("rb") as file, np.load(file) as stored:
            return stored["features"], stored["labels"]
    except FileNotFoundError:
        pass
    except (ValueError, KeyError, EOFError, OSError, zipfile.BadZipFile, zlib.error):
        path.unlink()  # cut off while it was written
    layer = network.architecture.ft_proj_selector
    features, labels = parts.features_of(config, network, dataset, strategy, layer)
    with path.open("wb") as file:
        np.savez(file, features=features, labels=labels)
    return features, labels


def _key(config: FinetuneConfig, network: Network, dataset: ImageDataset) -> str:
    """A short digest of everything that features depend on."""
    digest = hashlib.blake2b(digest_size=8)
    for name, variable in variable_paths(network).items():
        if not name.startswith("supervised_head"):
            digest.update(name.encode() + variable.numpy().tobytes())
    data = flags.to_dict(config)
    names = (
        "dataset",
        "data_dir",
        "holdout_fraction",
        "split_seed",
        "upright",
        "image_size",
        "ft_proj_selector",
    )
    decisive = [dataset.split, fingerprint(dataset), *dataset.skipped_files]
    decisive += [data[name] for name in names]
    decisive += [dataset.content] if dataset.content else []
    digest.update(json.dumps(decisive).encode())
    if dataset.labelled is not None:
        digest.update(dataset.labelled.tobytes())
    return digest.hexdigest()
