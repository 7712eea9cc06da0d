"""Labels follow the names of the classes, not their numbers."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf.data.classes import with_classes_of
from simclr_tf.data.sources import ImageDataset, Positions, indexed
from simclr_tf.errors import UserError

LABELS = np.array([0, 1, 2, 1, -1])


@dataclasses.dataclass(frozen=True)
class InSequence:
    """A source without random access, as TFRecord files are."""

    labels: np.ndarray

    def records(self, positions, seed, shuffle_buffer):
        del seed, shuffle_buffer
        records = tf.data.Dataset.from_tensor_slices(self.labels).enumerate()
        return records.skip(positions.start), lambda position, label: {
            "position": position,
            "image": tf.constant(b""),
            "label": label,
        }


def dataset(names, number=None, source=None):
    number = len(names) if number is None else number
    source = source or indexed(tf.constant([b""] * len(LABELS)), LABELS)
    return ImageDataset("photos", "test", len(LABELS), number, names, source)


def labels_of(found):
    return [int(e["label"]) for e in found.examples(Positions())]


@pytest.mark.parametrize("source", [None, InSequence(LABELS)], ids=["indexed", "in sequence"])
def test_labels_become_those_of_the_same_names(source):
    found = with_classes_of(
        dataset(("cow", "ant", "bee"), source=source), ("ant", "bee", "cow", "dog"), 4, "the run"
    )
    assert labels_of(found) == [2, 0, 1, 0, -1]
    assert found.class_names == ("ant", "bee", "cow", "dog") and found.num_classes == 4


def test_the_same_names_change_nothing():
    given = dataset(("a", "b", "c"))
    assert with_classes_of(given, ["a", "b", "c"], 3, "the run") is given


def test_names_that_the_model_does_not_know_are_named():
    with pytest.raises(UserError) as error:
        with_classes_of(dataset(("Cow", "ant", "bee")), ("ant", "bee", "cow"), 3, "the run in x")
    assert "not those of the run in x. Only the data have 'Cow'; only the model has 'cow'" in str(
        error.value
    )
    assert "Did you mean: cow?" in str(error.value)


def test_many_unknown_names_are_counted():
    names = tuple(f"class {i}" for i in range(12))
    with pytest.raises(UserError, match="'class 4' and 7 more; only the model has 'a', 'b'"):
        with_classes_of(dataset(names), ("a", "b"), 2, "the run")


def test_without_names_the_numbers_have_to_agree():
    for of_data, of_model in [(None, ("a", "b", "c")), (("a", "b", "c"), None), (None, None)]:
        given = dataset(of_data, number=3)
        assert with_classes_of(given, of_model, 3, "the run") is given
    with pytest.raises(UserError, match="has 3 classes, and the run has 2"):
        with_classes_of(dataset(None, number=3), ("a", "b"), 2, "the run")


def test_names_that_are_there_twice_are_told_apart_by_nothing():
    twice = ("crane", "crane", "maillot")
    given = dataset(twice)
    assert with_classes_of(given, twice, 3, "the run") is given
    with pytest.raises(UserError, match="are not those of"):
        with_classes_of(dataset(("crane", "maillot", "maillot")), twice, 3, "the run")


def test_without_labels_or_head_nothing_is_compared():
    unlabelled = dataclasses.replace(dataset(("a",)), num_classes=None, class_names=None)
    assert with_classes_of(unlabelled, ("a", "b"), 2, "the run") is unlabelled
    labelled = dataset(("a", "b", "c"))
    assert with_classes_of(labelled, None, None, "the run") is labelled
