"""Maps of h and z, of embeddings that separate the classes and that do not."""

import csv
import types

import numpy as np
import pytest
import tensorflow as tf
import training

from simclr_tf.data import datasets, subsets
from simclr_tf.experiment import config as configuration
from simclr_tf.studies.embedding_maps import chosen, draw_maps


def flat(images):
    return tf.reshape(images, (tf.shape(images)[0], -1))


# h is the image, z three pixels of it.
NETWORK = types.SimpleNamespace(
    features=flat,
    projections=lambda images: [flat(images), tf.gather(flat(images), [60, 90, 129], axis=1)],
)


@pytest.mark.slow
def test_maps_of_digits(tmp_path):
    config = configuration.from_dict(training.SMALL)
    bank, queries = (datasets.load("digits", split) for split in ("train", "test"))
    queries = subsets.restrict(queries, np.arange(120))
    found = draw_maps(config, NETWORK, bank, queries, tmp_path)
    assert list(found) == ["z_linear_probe_top_1_accuracy", "z_knn_top_1_accuracy"]
    assert all(0.1 < value < 0.7 for value in found.values())  # of h, above 0.9
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")
    with open(tmp_path / "map.csv", newline="") as file:
        head, *rows = csv.reader(file)
    assert head == ["label", "h_x", "h_y", "z_x", "z_y"]
    rows = np.array(rows, float)
    labels = rows[:, 0].astype(int)
    np.testing.assert_array_equal(labels, subsets.labels_of(queries))
    assert purity(rows[:, 1:3], labels) > 0.8 > 0.5 > purity(rows[:, 3:], labels)


@pytest.mark.thorough
def test_a_map_of_one_image(tmp_path):
    config = configuration.from_dict(training.SMALL)
    bank, queries = (
        subsets.restrict(datasets.load("digits", split), np.arange(count))
        for split, count in (("train", 30), ("test", 1))
    )
    draw_maps(config, NETWORK, bank, queries, tmp_path)
    (label,) = subsets.labels_of(queries)
    assert (tmp_path / "map.csv").read_text().splitlines()[1] == f"{label},0.0,0.0,0.0,0.0"


def purity(places, labels):
    """How many points have the class of their nearest neighbour."""
    distances = np.linalg.norm(places[:, None] - places, axis=-1) + 1e9 * np.eye(len(places))
    return (labels[distances.argmin(axis=1)] == labels).mean()


@pytest.mark.parametrize(
    ("classes", "each", "expected"), [(3, 4, 12), (40, 20, 200), (4, 900, 1000)]
)
def test_ten_classes_and_a_thousand_points(classes, each, expected):
    labels = np.concatenate([np.full(5, -1), np.arange(classes).repeat(each)])
    found = chosen(labels)
    assert len(found) == expected and (np.diff(found) > 0).all()
    counts = np.unique(labels[found], return_counts=True)[1]
    assert (labels[found] >= 0).all() and len(counts) == min(classes, 10)
    np.testing.assert_array_equal(found, chosen(labels))
