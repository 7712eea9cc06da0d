"""Label subsets: even over the classes, seeded, nested; data sets of the chosen images alone."""

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf.data import datasets, image_folder, subsets
from simclr_tf.data.sources import ImageDataset, Positions, indexed
from simclr_tf.errors import UserError

LABELS = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [7, 40, 53]))


def counts(labels, indices, num_classes=3):
    return np.bincount(labels[indices], minlength=num_classes).tolist()


@pytest.mark.parametrize(
    ("fraction", "expected"),
    [
        (0.001, [1, 1, 1]),  # never fewer than one
        (0.06, [2, 2, 2]),
        (0.21, [7, 7, 7]),
        (0.47, [7, 20, 20]),  # a class that has fewer gives all it has
        (0.9, [7, 40, 43]),
        (1.0, [7, 40, 53]),
    ],
)
def test_a_fraction_is_as_even_as_can_be(fraction, expected):
    chosen = subsets.choose(LABELS, 3, fraction=fraction, seed=1)
    assert counts(LABELS, chosen) == expected
    assert np.all(np.diff(chosen) > 0) and chosen.dtype == np.int64


def test_what_is_left_over_goes_to_some_classes_one_each():
    chosen = subsets.choose(LABELS, 3, fraction=0.14, seed=1)
    assert sorted(counts(LABELS, chosen)) == [4, 5, 5]


@pytest.mark.thorough
def test_one_percent_of_imagenet_has_12_or_13_of_every_class():
    sizes = np.full(1000, 1300)
    sizes[:500] = 1262
    labels = np.repeat(np.arange(1000), sizes)[:1_281_000]
    found = counts(labels, subsets.choose(labels, 1000, fraction=0.01, seed=0), 1000)
    assert sum(found) == 12_810 and set(found) == {12, 13}


def test_so_many_of_each_class():
    chosen = subsets.choose(LABELS, 3, per_class=4, fraction=0.5, seed=1)
    assert counts(LABELS, chosen) == [4, 4, 4]


def test_the_choice_depends_on_the_seed_alone_and_larger_ones_hold_smaller_ones():
    first = subsets.choose(LABELS, 3, fraction=0.14, seed=1)
    assert np.array_equal(first, subsets.choose(LABELS, 3, fraction=0.14, seed=1))
    assert not np.array_equal(first, subsets.choose(LABELS, 3, fraction=0.14, seed=2))
    chosen = [set(subsets.choose(LABELS, 3, fraction=k / 100, seed=1)) for k in range(3, 101)]
    assert all(small <= large for small, large in zip(chosen, chosen[1:]))
    assert len(chosen[20]) == 23


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"per_class": 8}, "not 8 labelled images of every class: class cat has 7"),
        ({"fraction": 0.0}, "--label_fraction lies above 0"),
        ({"fraction": 1.5}, "Received: 1.5"),
        ({"per_class": -1}, "--labels_per_class is not negative"),
    ],
)
def test_an_impossible_request_says_what_there_is(arguments, message):
    with pytest.raises(UserError, match=message):
        subsets.choose(LABELS, 3, class_names=("cat", "dog", "owl"), **arguments)


def test_a_class_without_images_is_named():
    with pytest.raises(UserError, match="class 3 has 0"):
        subsets.choose(LABELS, 4, fraction=0.5)


def examples(dataset, seed=None, take=-1):
    return list(dataset.examples(Positions(), seed=seed).take(take).as_numpy_iterator())


def test_images_with_random_access():
    whole = datasets.load("digits", "train")
    labels = subsets.labels_of(whole)
    indices = subsets.choose(labels, 10, per_class=2)
    part = subsets.restrict(whole, indices)
    before, after = examples(whole), examples(part)
    assert part.num_examples == len(after) == 20
    assert [e["image"] for e in after] == [before[i]["image"] for i in indices]
    assert [e["label"] for e in after] == labels[indices].tolist()
    assert np.flatnonzero(part.labelled).tolist() == indices.tolist()
    epoch = examples(part, seed=3, take=20)
    assert sorted(e["image"] for e in epoch) == sorted(e["image"] for e in after)


def test_images_that_are_read_in_sequence(greys_dir):
    whole = datasets.load("tiny_greys", "train", data_dir=greys_dir)
    labels = subsets.labels_of(whole)
    assert np.bincount(labels).tolist() == [8, 8, 7]
    indices = subsets.choose(labels, 3, per_class=2)
    part = subsets.restrict(whole, indices)
    before, after = examples(whole), examples(part)
    assert [e["image"] for e in after] == [before[i]["image"] for i in indices]
    assert [e["label"] for e in after] == labels[indices].tolist()


@pytest.mark.parametrize("name", [pytest.param("digits", marks=pytest.mark.thorough), "tiny_greys"])
def test_the_other_images_lose_their_labels_in_any_order(name, greys_dir):
    whole = datasets.load(name, "train", data_dir=greys_dir)
    labels = subsets.labels_of(whole)
    indices = subsets.choose(labels, whole.num_classes, per_class=2)
    part = subsets.hide_other_labels(whole, indices)
    assert part.num_examples == whole.num_examples
    before = examples(whole)
    chosen = {before[i]["image"]: labels[i] for i in indices}
    for seed in (None, 5):
        found = examples(part, seed=seed, take=whole.num_examples)
        assert len(found) == whole.num_examples
        assert all(e["label"] == chosen.get(e["image"], -1) for e in found)
        assert sum(e["label"] >= 0 for e in found) == len(indices)


def test_file_names_follow_their_images(tmp_path):
    for name in "abcd":
        (tmp_path / f"c{ord(name) % 2}").mkdir(exist_ok=True)
        (tmp_path / f"c{ord(name) % 2}" / f"{name}.png").write_bytes(b"")
    whole = image_folder.load("train", data_dir=str(tmp_path), known_bad=(), holdout_fraction=0.01)
    part = subsets.restrict(whole, np.array([1]))
    assert part.file_names == whole.file_names[1:2] and len(whole.file_names) == 2


def test_images_without_labels_can_be_restricted():
    images = tf.constant([b"a", b"b", b"c"])
    whole = ImageDataset("x", "train", 3, None, None, indexed(images, None))
    found = list(subsets.restrict(whole, np.array([0, 2])).examples())
    assert [example["image"].numpy() for example in found] == [b"a", b"c"]
    assert "label" not in found[0]
