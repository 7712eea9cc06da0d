"""Metrics of the transfer experiments: by hand, by scikit-learn, and by the VOC definition."""

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, precision_recall_curve

from simclr_tf.errors import UserError
from simclr_tf.evaluation import metrics


def voc_average_precision(scores, labels):
    """VOCdevkit's definition (VOCevalcls.m), for scores that are all different."""
    order = np.argsort(-scores)
    true = labels[order] > 0
    false = labels[order] == 0
    hits, misses = np.cumsum(true), np.cumsum(false)
    recall, precision = hits / true.sum(), hits / np.maximum(hits + misses, 1)
    total = 0.0
    for i in range(11):
        enough = precision[recall >= i / 10 - 1e-12]
        total += (enough.max() if len(enough) else 0) / 11
    return total


def test_accuracies_are_those_of_scikit_learn():
    random = np.random.default_rng(0)
    labels, predictions = random.integers(7, size=(2, 200))
    assert metrics.top_1(predictions, labels) == pytest.approx(accuracy_score(labels, predictions))
    assert metrics.mean_per_class(predictions, labels) == pytest.approx(
        balanced_accuracy_score(labels, predictions)
    )


def test_mean_per_class_by_hand():
    # Class 0: 1 of 2, class 1: 4 of 4, class 3: 0 of 1; class 2 has no examples.
    labels = [0, 0, 1, 1, 1, 1, 3]
    predictions = [0, 2, 1, 1, 1, 1, 2]
    assert metrics.mean_per_class(predictions, labels) == pytest.approx((0.5 + 1 + 0) / 3)
    assert metrics.top_1(predictions, labels) == pytest.approx(5 / 7)


def test_average_precision_by_hand():
    # Found in the order +, -, +, -: precision 1 up to recall 0.5 (6 points), then 2/3 (5 points).
    scores, labels = np.array([0.9, 0.8, 0.7, 0.1]), np.array([1, 0, 1, 0])
    expected = (6 * 1 + 5 * 2 / 3) / 11
    assert metrics.average_precision_11_points(scores, labels) == pytest.approx(expected)
    perfect = metrics.average_precision_11_points(scores, np.array([1, 1, 0, 0]))
    assert perfect == pytest.approx(1)
    worst = metrics.average_precision_11_points(scores, np.array([0, 0, 0, 1]))
    assert worst == pytest.approx(1 / 4)


@pytest.mark.parametrize("positives", [1, 3, 10, 40])
def test_average_precision_is_that_of_voc(positives):
    random = np.random.default_rng(positives)
    scores = random.permutation(120) + 0.5
    labels = np.zeros(120, int)
    labels[random.permutation(120)[:positives]] = 1
    labels[random.permutation(120)[:15]] = -1
    labels[np.argmin(scores)] = 1
    assert metrics.average_precision_11_points(scores, labels) == pytest.approx(
        voc_average_precision(scores, labels), abs=1e-12
    )


def test_average_precision_is_interpolated_from_scikit_learns_curve():
    random = np.random.default_rng(5)
    scores = random.integers(12, size=90) / 3  # many ties
    labels = random.integers(2, size=90)
    precision, recall, _ = precision_recall_curve(labels, scores)
    precision, recall = precision[:-1], recall[:-1]  # without its last, made-up point
    expected = np.mean([precision[recall >= i / 10 - 1e-12].max() for i in range(11)])
    assert metrics.average_precision_11_points(scores, labels) == pytest.approx(expected)


def test_ties_are_found_together():
    scores, labels = np.array([0.5, 0.5, 0.5, 0.5, 0.1]), np.array([1, 0, 0, 1, 1])
    # All four at once: precision 1/2, recall 2/3; then 3/5 at recall 1.
    for order in (np.arange(5), np.array([4, 1, 2, 0, 3])):
        assert metrics.average_precision_11_points(scores[order], labels[order]) == pytest.approx(
            3 / 5
        )


def test_examples_that_do_not_count_are_left_out():
    scores, labels = np.array([0.9, 0.8, 0.7]), np.array([-1, 1, 0])
    assert metrics.average_precision_11_points(scores, labels) == pytest.approx(1)


def test_mean_average_precision_leaves_out_classes_without_examples():
    scores = np.array([[0.9, 0.1, 0.3], [0.2, 0.5, 0.2], [0.1, 0.7, 0.1]])
    labels = np.array([[1, 0, 0], [0, 1, 0], [0, 0, -1]])
    # Class 0: 1; class 1: found second, 1/2; class 2: never there.
    assert metrics.mean_average_precision(scores, labels) == pytest.approx(0.75)
    with pytest.raises(UserError, match="needs an example"):
        metrics.mean_average_precision(scores, np.zeros((3, 3), int))


def test_permutation_of_top_1_is_the_mcnemar_test():
    # 30 examples are right with the first model alone, 15 with the second alone.
    first = np.array([1] * 30 + [0] * 15 + [1] * 200 + [0] * 55)
    second = np.array([0] * 30 + [1] * 15 + [1] * 200 + [0] * 55)
    shares = [metrics.example_shares(c, None, per_class=False) for c in (first, second)]
    p_value = metrics.permutation_p_value(shares[0] - shares[1])
    exact = binomtest(30, 45, 0.5).pvalue
    assert p_value == pytest.approx(exact, abs=0.002)
    assert metrics.permutation_p_value(shares[1] - shares[0]) == p_value


def test_permutation_of_mean_per_class_is_that_of_exchanged_predictions():
    random = np.random.default_rng(3)
    labels = np.repeat([0, 1, 2], [5, 20, 60])
    first, second = random.random((2, 85)) < np.array([[0.8], [0.6]])
    shares = [metrics.example_shares(c, labels, per_class=True) for c in (first, second)]

    def accuracy(correct):
        return np.mean([correct[labels == c].mean() for c in range(3)])

    assert shares[0].sum() == pytest.approx(accuracy(first))
    observed = abs(accuracy(first) - accuracy(second))
    larger = 0
    for _ in range(4000):
        exchanged = random.random(85) < 0.5
        one, other = np.where(exchanged, second, first), np.where(exchanged, first, second)
        larger += abs(accuracy(one) - accuracy(other)) >= observed - 1e-12
    p_value = metrics.permutation_p_value(shares[0] - shares[1])
    assert p_value == pytest.approx(larger / 4000, abs=0.02)


def test_models_that_are_equal_do_not_differ():
    assert metrics.permutation_p_value(np.zeros(10)) == 1


def test_models_that_differ_everywhere_do():
    """No exchange of 100,000 is as extreme as what was observed, which counts itself."""
    assert metrics.permutation_p_value(np.full(100, 0.01)) == 1 / 100_001


def test_a_p_value_is_never_0_and_few_samples_say_little():
    for samples in (1, 19, 999):
        p_value = metrics.permutation_p_value(np.full(60, -0.5), samples=samples)
        assert p_value == pytest.approx(1 / (samples + 1), rel=1e-12)


def test_of_equal_models_no_more_are_below_a_threshold_than_it_says():
    """With 19 samples p is 1/20, 2/20, ...; without the one, 1/19 would happen to 2 of 20."""
    random = np.random.default_rng(0)
    found = [
        metrics.permutation_p_value(random.normal(size=30), samples=19, seed=i) for i in range(2000)
    ]
    assert np.mean(np.array(found) <= 1 / 19 + 1e-9) == pytest.approx(0.05, abs=0.015)
