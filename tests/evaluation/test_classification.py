"""Accuracy over a split: every image counts once, padding does not count."""

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf.evaluation.classification import evaluate_classifier, top_k_accuracies
from simclr_tf.models import Architecture, Network

LOGITS = np.random.default_rng(0).normal(size=(11, 7)).astype(np.float32)
LABELS = np.random.default_rng(1).integers(0, 7, 11)


def share_in_top(k, logits=LOGITS, labels=LABELS):
    return np.mean([label in np.argsort(-row)[:k] for row, label in zip(logits, labels)])


class Fixed:
    """Stands for a network: its logits are the first pixels of the images."""

    supervised_head = True

    def __init__(self, num_classes):
        self.architecture = Architecture(num_classes=num_classes)

    def logits(self, images):
        return images[:, 0, : self.architecture.num_classes, 0]


def batches(size, labels=LABELS):
    """The logits as images, in batches of one size; the last filled up with black and label -1."""
    missing = -len(LOGITS) % size
    images = np.zeros((len(LOGITS) + missing, 1, 7, 3), np.float32)
    images[: len(LOGITS), 0, :, 0] = LOGITS
    labels = np.concatenate([labels, np.full(missing, -1)])
    weights = (np.arange(len(labels)) < len(LOGITS)).astype(np.float32)
    return tf.data.Dataset.from_tensor_slices((images, labels, weights)).batch(size)


@pytest.mark.parametrize("size", [1, 4, 11, 20])
def test_the_batch_size_does_not_matter(size):
    result = evaluate_classifier(Fixed(7), batches(size))
    assert result == {
        "label_top_1_accuracy": pytest.approx(share_in_top(1), abs=1e-12),
        "label_top_5_accuracy": pytest.approx(share_in_top(5), abs=1e-12),
        "regularization_loss": 0.0,
    }


@pytest.mark.parametrize("size", [3, 20])
def test_images_without_label_do_not_count(size):
    """Label -1 with weight 1: such an image is neither right nor wrong."""
    labels = np.where(np.arange(11) % 3 == 1, -1, LABELS)
    known = labels >= 0
    expected = {
        f"label_top_{k}_accuracy": pytest.approx(
            share_in_top(k, LOGITS[known], labels[known]), abs=1e-12
        )
        for k in (1, 5)
    }
    found = evaluate_classifier(Fixed(7), batches(size, labels))
    assert found == expected | {"regularization_loss": 0.0}
    assert top_k_accuracies(LOGITS, labels) == expected


def test_without_labels_there_is_no_accuracy():
    labels = np.full(11, -1)
    assert evaluate_classifier(Fixed(7), batches(4, labels)) == {"regularization_loss": 0.0}
    assert top_k_accuracies(LOGITS, labels) == {}


def test_top_5_is_left_out_below_five_classes():
    assert "label_top_5_accuracy" not in evaluate_classifier(Fixed(4), batches(4))
    assert set(top_k_accuracies(LOGITS[:, :4], LABELS % 4)) == {"label_top_1_accuracy"}


def test_accuracies_of_given_logits():
    assert top_k_accuracies(LOGITS, LABELS) == {
        "label_top_1_accuracy": pytest.approx(share_in_top(1), abs=1e-12),
        "label_top_5_accuracy": pytest.approx(share_in_top(5), abs=1e-12),
    }


@pytest.mark.parametrize("fill", [0.0, np.nan])
def test_a_network_that_is_constant_is_right_by_chance(fill):
    """Equal logits tell no class; the first counts. What is not finite is wrong."""
    labels, logits = np.arange(21) % 7, np.full((21, 7), fill, np.float32)
    expected = (1 / 7, 5 / 7) if fill == 0 else (0, 0)
    found = top_k_accuracies(logits, labels)
    assert tuple(found.values()) == pytest.approx(expected)
    images = np.tile(logits[:, np.newaxis, :, np.newaxis], (1, 1, 1, 3))
    stream = tf.data.Dataset.from_tensor_slices((images, labels, np.ones(21, np.float32)))
    result = evaluate_classifier(Fixed(7), stream.batch(7))
    assert {name: result[name] for name in found} == pytest.approx(found)


def test_regularisation_loss():
    variables = [tf.Variable([3.0, 4.0]), tf.Variable([[1.0]])]
    result = evaluate_classifier(
        Fixed(7), batches(4), decayed_variables=variables, weight_decay=0.1
    )
    assert result["regularization_loss"] == pytest.approx(0.1 * 26 / 2)


def test_a_network_without_classes_has_no_accuracy():
    network = Network(Architecture(resnet_depth=18, cifar_stem=True, projector=()))
    assert evaluate_classifier(network, batches(4)) == {"regularization_loss": 0.0}
