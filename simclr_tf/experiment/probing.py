"""A linear probe and kNN on the frozen features of a network, exactly and without augmentation."""

import dataclasses

import numpy as np

from simclr_tf.data import subsets
from simclr_tf.data.classes import with_classes_of
from simclr_tf.data.sources import ImageDataset
from simclr_tf.errors import UserError
from simclr_tf.evaluation.features import labelled
from simclr_tf.evaluation.knn import knn_accuracy
from simclr_tf.evaluation.linear_probe import fit_linear_probe
from simclr_tf.evaluation.overlap import require_apart
from simclr_tf.experiment import parts
from simclr_tf.experiment.config import ExperimentConfig
from simclr_tf.flag import flag
from simclr_tf.models import Network


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProbeFlags:
    """What linear probe and kNN are fitted to."""

    probe_images: int = flag(
        0,
        "Most images of --train_split that the probe and kNN are fitted to, as many of each class, "
        "but one of each at least; 0 are all.",
        at_least=0,
    )


def open_splits(config: ExperimentConfig) -> tuple[ImageDataset, ImageDataset]:
    """--train_split and --eval_split, with the same classes; image files are checked once here.

    Raises:
      UserError: the data have no labels, the splits other classes, or one is a part of the other.
    """
    bank = parts.open_dataset(config, config.data.train_split)
    queries = parts.open_dataset(config, config.data.eval_split)
    require_apart(bank.split, bank.file_names, queries)
    for dataset in (bank, queries):
        if dataset.num_classes is None:
            raise UserError(
                f"A probe needs labels, and split {dataset.split!r} of {dataset.name} has none "
                "that can be used."
            )
    queries = with_classes_of(queries, bank.class_names, bank.num_classes, "the training data")
    return bank, queries


def limit_images(bank: ImageDataset, number: int) -> ImageDataset:
    """As many labelled images; of each class the same number, if it has them, and one at least.

    Args:
      bank: with labels; it is returned as it is where no more of its images have one.
      number: of images; 0 are all.

    Raises:
      UserError: a class has none.
    """
    if not number or number >= bank.num_examples:
        return bank
    labels = subsets.labels_of(bank)
    labelled_images = np.count_nonzero(labels >= 0)
    if number >= labelled_images:
        return bank
    chosen = subsets.choose(
        labels,
        bank.num_classes,
        fraction=number / labelled_images,
        class_names=bank.class_names,
    )
    return subsets.restrict(bank, chosen)


def probe(
    config: ExperimentConfig,
    network: Network,
    bank: ImageDataset,
    queries: ImageDataset,
    layer: int = 0,
) -> dict[str, float]:
    """Accuracy of a linear probe and of kNN on the features of a network.

    Args:
      config: the flags.
      network: in inference mode.
      bank: what both are fitted to, with labels.
      queries: what they are measured on, with the labels of the same classes.
      layer: of h and the layers of the projection head, counted from 0.

    Raises:
      NonFiniteFeaturesError: the features are not finite.
    """
    features, labels = features_of(config, network, bank, layer)
    unseen, unseen_labels = features_of(config, network, queries, layer)
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


def features_of(
    config: ExperimentConfig, network: Network, dataset: ImageDataset, layer: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, features) and labels (n,) of the images that have a label; see `probe`.

    Raises:
      NonFiniteFeaturesError: the features are not finite.
    """
    return labelled(*parts.features_of(config, network, dataset, layer=layer))
