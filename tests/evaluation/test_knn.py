"""Weighted kNN against its formula in NumPy, and against scikit-learn."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier

from simclr_tf.errors import UserError
from simclr_tf.evaluation.knn import knn_accuracy, knn_predict

DIGITS = load_digits()
BANK, BANK_LABELS = DIGITS.data[:400], DIGITS.target[:400]
QUERIES, QUERY_LABELS = DIGITS.data[400:700], DIGITS.target[400:700]


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.1), (7, 0.5), (1000, 0.07)])
def test_scores_are_those_of_the_formula(k, temperature):
    scores = knn_predict(
        BANK,
        BANK_LABELS,
        QUERIES,
        num_classes=10,
        k=k,
        temperature=temperature,
        batch_size=128,
    )
    cosines = unit(QUERIES) @ unit(BANK).T
    for found, row in zip(scores, cosines):
        nearest = np.argsort(-row)[:k]
        weights = np.exp(row[nearest] / temperature)
        expected = np.bincount(BANK_LABELS[nearest], weights, minlength=10)
        np.testing.assert_allclose(found / found.sum(), expected / expected.sum(), atol=1e-4)


def test_accuracy_is_that_of_scikit_learn():
    theirs = KNeighborsClassifier(
        n_neighbors=20, metric="cosine", weights=lambda distances: np.exp((1 - distances) / 0.1)
    ).fit(BANK, BANK_LABELS)
    ours = knn_accuracy(BANK, BANK_LABELS, QUERIES, QUERY_LABELS, num_classes=10, k=20)
    assert ours == pytest.approx(theirs.score(QUERIES, QUERY_LABELS), abs=1e-12)
    assert ours > 0.8


def test_images_without_label_neither_vote_nor_count():
    random = np.random.default_rng(0)
    voting, asked = random.random(400) < 0.3, random.random(300) < 0.5
    found = knn_accuracy(
        BANK,
        np.where(voting, BANK_LABELS, -1),
        QUERIES,
        np.where(asked, QUERY_LABELS, -1),
        num_classes=10,
        k=20,
    )
    scores = knn_predict(BANK[voting], BANK_LABELS[voting], QUERIES[asked], num_classes=10, k=20)
    assert found == np.mean(scores.argmax(axis=1) == QUERY_LABELS[asked])


@pytest.mark.parametrize("part", ["bank_labels", "query_labels"])
def test_without_labels_there_is_nothing_to_compare(part):
    given = {"bank_labels": BANK_LABELS, "query_labels": QUERY_LABELS}
    given[part] = np.full_like(given[part], -1)
    with pytest.raises(UserError, match="labelled images.* Received: .*0 "):
        knn_accuracy(BANK, queries=QUERIES, num_classes=10, **given)


def test_a_low_temperature_does_not_overflow():
    scores = knn_predict(BANK, BANK_LABELS, BANK, num_classes=10, k=5, temperature=1e-3)
    assert np.isfinite(scores).all()
    assert np.array_equal(scores.argmax(axis=1), BANK_LABELS)


@pytest.mark.parametrize("arguments", [{"k": 0}, {"temperature": 0.0}])
def test_bad_arguments(arguments):
    with pytest.raises(UserError, match="k of at least 1 and a temperature above 0"):
        knn_predict(BANK, BANK_LABELS, QUERIES, num_classes=10, **arguments)
