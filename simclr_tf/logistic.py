"""Linear evaluation by exact logistic regression on features that are computed once.

The classifier becomes the supervised head of the network, so that the run directory can be
evaluated, loaded and exported as any other.
"""

import hashlib
import json
import zipfile

import numpy as np
import tensorflow as tf

from simclr_tf import assemble, distribute, finetune
from simclr_tf import config as configuration
from simclr_tf.backend import keras
from simclr_tf.checkpoints.restore import variable_paths
from simclr_tf.checkpoints.run_directory import RunDirectory
from simclr_tf.checkpoints.saver import Saver
from simclr_tf.config import FinetuneConfig
from simclr_tf.data.holdout import held_out
from simclr_tf.data.sources import ImageDataset
from simclr_tf.errors import UserError
from simclr_tf.evaluate import provenance
from simclr_tf.evaluation.classification import top_k_accuracies
from simclr_tf.evaluation.features import extract_features
from simclr_tf.evaluation.logistic_regression import fit_with_best_l2
from simclr_tf.evaluation.record import record_result
from simclr_tf.experiment import export, facts, record_labelled
from simclr_tf.hosts import Hosts
from simclr_tf.models import Network

STEP = 1  # the fit counts as one


def run(config: FinetuneConfig, explicit: frozenset[str]) -> int:
    """Fit a linear classifier to the features of --checkpoint, and evaluate it.

    l2 is chosen on --holdout_fraction of the training images (SimCLR appendix B.8.1).

    Args:
      config: the flags, completed by the protocol.
      explicit: names of the flags that were given and not left at their defaults.

    Returns:
      The exit status, 0.

    Raises:
      UserError: something that the user gave cannot work.
    """
    assemble.check_flags(config)
    strategy = assemble.make_strategy(config)
    if Hosts(strategy).number > 1:
        raise UserError("--classifier=logistic_regression works on one host alone.")
    directory = RunDirectory(config.run.model_dir)
    directory.check(configuration.identity(config), config.run.resume, config.run.overwrite)
    if directory.latest_checkpoint and not config.run.overwrite:
        print(f"Nothing to do: the run in {directory.path} is finished.")
        return 0
    train = assemble.open_training_dataset(config)
    test = assemble.open_dataset(config, config.data.eval_split)
    keras.utils.set_random_seed(config.train.seed)
    architecture = finetune.architecture_of(config, train.num_classes, explicit)
    if test.num_classes != train.num_classes:
        raise UserError(
            f"Split {train.split!r} of {train.name} has {train.num_classes} classes, and split "
            f"{test.split!r} has {test.num_classes}."
        )
    with strategy.scope():
        method = finetune.build(config, architecture)
    network = method.network
    remembered = facts(train, STEP, configuration.command(config, explicit))
    stored = configuration.to_dict(config) | remembered
    directory.claim(stored, architecture, config.run.overwrite)
    record_labelled(directory, train)

    features, labels = cached_features(config, strategy, network, train, directory)
    test_features, test_labels = cached_features(config, strategy, network, test, directory)
    keys = [str(i) for i in range(len(labels))]
    fraction = config.data.holdout_fraction
    held = held_out(keys, labels, fraction, config.train.seed)
    if not held.any():
        raise UserError(
            "No class has two images, so none can be held out to choose l2 by. Give more labels."
        )
    print(f"Choosing l2 on {held.sum():,} of {len(labels):,} images.", flush=True)
    classifier, l2, path = fit_with_best_l2(features, labels, held, num_classes=train.num_classes)
    network.supervised_head.kernel.assign(classifier.weights)
    network.supervised_head.bias.assign(classifier.bias)
    Saver(method, directory.path, config.run.keep_checkpoint_max).save(STEP)
    result = top_k_accuracies(classifier.logits(test_features), test_labels)
    record_result(
        directory,
        result,
        STEP,
        configuration.to_dict(config),
        config.eval.eval_name,
        {"l2": l2, "l2_path": [{"l2": k, "held_out_accuracy": v} for k, v in path.items()]}
        | provenance(stored),
    )
    shown = ", ".join(f"{name} {value:.4f}" for name, value in result.items())
    print(f"l2 {l2:.3g}: {shown}", flush=True)
    export(config, directory, train, STEP)
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
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile):
        path.unlink()  # cut off while it was written
    features, labels = extract_features(
        network,
        distribute.distribute_batches(
            strategy,
            lambda host, hosts: assemble.evaluation_batches(config, dataset, host, hosts),
        ),
        strategy,
        layer=network.architecture.ft_proj_selector,
    )
    with path.open("wb") as file:
        np.savez(file, features=features, labels=labels)
    return features, labels


def _key(config: FinetuneConfig, network: Network, dataset: ImageDataset) -> str:
    """A short digest of everything that features depend on."""
    digest = hashlib.blake2b(digest_size=8)
    for name, variable in variable_paths(network).items():
        if not name.startswith("supervised_head"):
            digest.update(name.encode() + variable.numpy().tobytes())
    data = configuration.to_dict(config)
    names = ("dataset", "data_dir", "holdout_fraction", "image_size", "seed", "ft_proj_selector")
    facts = [dataset.split, dataset.num_examples, *dataset.skipped_files]
    facts += [data[name] for name in names]
    digest.update(json.dumps(facts).encode())
    if dataset.labelled is not None:
        digest.update(dataset.labelled.tobytes())
    return digest.hexdigest()
