"""What pretraining was worth: the encoder of a run beside the same encoder with random weights.

    python -m simclr_tf.probe RUN_DIR [flags of run.py]

Both are frozen; exact logistic regression and kNN are fitted to the features of the
training split, without augmentation, and measured on --eval_split. The table goes to
the screen and to probe.json in the run directory.

The random encoder has the weights that training begins with, but gamma 1 in all of its batch
norm layers, and for their moving statistics those of up to 2,048 images of the training split:
as training begins, with gamma 0 at the end of every residual branch and statistics of no
images, an encoder is no more than its stem and shortcuts. Its weights depend on the run's
--seed alone. probe.json holds `step`, the step of the checkpoint, and under `pretrained` and
`random weights` what `probe` returns for each encoder.
"""

import numpy as np
import tensorflow as tf

from simclr_tf import checkpoints, cli
from simclr_tf.checkpoints.run_directory import RunDirectory, checkpoint_step, write_json
from simclr_tf.data import pipeline
from simclr_tf.data.broken import naming_bad_images
from simclr_tf.data.classes import with_classes_of
from simclr_tf.data.recipe import unchanged
from simclr_tf.data.sources import ImageDataset
from simclr_tf.errors import UserError
from simclr_tf.evaluation.features import extract_features, labelled
from simclr_tf.evaluation.knn import knn_accuracy
from simclr_tf.evaluation.linear_probe import fit_linear_probe
from simclr_tf.evaluation.random_twin import IMAGES, random_twin
from simclr_tf.experiment import parts
from simclr_tf.experiment.config import ExperimentConfig
from simclr_tf.experiment.evaluate import completed
from simclr_tf.flag import check_ranges
from simclr_tf.models import Network


def open_splits(config: ExperimentConfig) -> tuple[ImageDataset, ImageDataset]:
    """--train_split and --eval_split, with the same classes; image files are checked once here.

    Raises:
      UserError: the data have no labels, or the splits other classes.
    """
    bank = parts.open_dataset(config, config.data.train_split)
    queries = parts.open_dataset(config, config.data.eval_split)
    for dataset in (bank, queries):
        if dataset.num_classes is None:
            raise UserError(
                f"A probe needs labels, and split {dataset.split!r} of {dataset.name} has none "
                "that can be used."
            )
    queries = with_classes_of(queries, bank.class_names, bank.num_classes, "the training data")
    return bank, queries


def probe(
    config: ExperimentConfig, network: Network, bank: ImageDataset, queries: ImageDataset
) -> dict[str, float]:
    """Accuracy of a linear probe and of kNN on the features of a network.

    Args:
      config: the flags.
      network: in inference mode.
      bank: what both are fitted to, with labels.
      queries: what they are measured on, with the labels of the same classes.
    """
    features, labels = _features(config, network, bank)
    unseen, unseen_labels = _features(config, network, queries)
    classifier = fit_linear_probe(features, labels, num_classes=bank.num_classes)
    return {
        "linear_probe_top_1_accuracy": classifier.accuracy(unseen, unseen_labels),
        "knn_top_1_accuracy": knn_accuracy(
            features,
            labels,
            unseen,
            unseen_labels,
            num_classes=bank.num_classes,
            k=config.eval.knn_k,
            temperature=config.eval.knn_temperature,
        ),
    }


def _features(
    config: ExperimentConfig, network: Network, dataset: ImageDataset
) -> tuple[np.ndarray, np.ndarray]:
    """Features and labels of the images that have a label."""
    with naming_bad_images(dataset):
        return labelled(*extract_features(network, parts.evaluation_batches(config, dataset)))


def shuffled_images(config: ExperimentConfig, dataset: ImageDataset) -> tf.data.Dataset:
    """Batches of images as evaluation shows them, in random order, as `random_twin` wants.

    In the order of an image folder, the first ones might all be of one class.
    """
    batch_size = min(config.eval.eval_batch_size, dataset.num_examples)
    batches = pipeline.training_dataset(
        dataset,
        unchanged(config.view.image_size),
        batch_size=batch_size,
        seed=config.train.seed,
    )
    whole = batches.take(dataset.num_examples // batch_size)
    return whole.map(lambda views, *labels: views[0])


def compare(run_dir: str, config: ExperimentConfig, given: frozenset[str]) -> str:
    """Probe the encoder of a run and a random one, write probe.json, and return the table.

    Flags that were not given are those of the run.
    """
    check_ranges(config)
    directory = RunDirectory(run_dir)
    config = completed(config, directory.config(), given)
    prefix = directory.latest_checkpoint  # read once: the run may go on beside
    if prefix is None:
        raise UserError(f"The run directory {directory.path} has no checkpoint yet.")
    step = checkpoint_step(prefix)
    trained = checkpoints.load(prefix)
    splits = open_splits(config)
    with naming_bad_images(*splits):
        images = shuffled_images(config, splits[0])
        random = random_twin(trained.architecture, images, seed=config.train.seed)
    networks = {"pretrained": trained, "random weights": random}
    results = {name: probe(config, network, *splits) for name, network in networks.items()}
    write_json(directory / "probe.json", {"step": step, **results})
    exported = directory / "saved_model" / str(step)
    lines = [
        f"{'encoder':<16}{'linear probe':>14}{'kNN':>9}",
        *(
            f"{name:<16}{result['linear_probe_top_1_accuracy']:>14.1%}"
            f"{result['knn_top_1_accuracy']:>9.1%}"
            for name, result in results.items()
        ),
        "",
        "random weights: gamma 1 in batch norm, whose statistics are those of up to "
        f"{IMAGES:,} training images",
        "",
        f"run directory   {directory.path}",
        f"checkpoint      {prefix}",
        f"SavedModel      {exported if exported.exists() else 'none'}",
    ]
    return "\n".join(lines)


def program(run_dir: str, config: ExperimentConfig, given: frozenset[str]) -> int:
    """Print the comparison of a run with random weights; returns the exit status."""
    print(compare(run_dir, config, given))
    return 0


def main() -> None:
    cli.run(program, ExperimentConfig, about=__doc__, argument="RUN_DIR")


if __name__ == "__main__":
    main()
