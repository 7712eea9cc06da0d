"""Exact logistic regression: the optimum is scikit-learn's, and l2 is chosen on held-out rows."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from simclr_tf.evaluation import logistic_regression
from simclr_tf.evaluation.logistic_regression import (
    L2_VALUES,
    LinearClassifier,
    fit_logistic_regression,
    fit_with_best_l2,
    principal_axes,
)

DIGITS = load_digits()
X = (DIGITS.data[:600] / 16 * np.geomspace(0.3, 3, 64)).astype(np.float32)  # uneven scales
Y = DIGITS.target[:600]


def loss(classifier, l2, x=X, y=Y):
    """Mean cross-entropy + l2 / 2 * |weights|^2, in float64."""
    weights = classifier.weights.astype(np.float64)
    logits = x.astype(np.float64) @ weights + classifier.bias
    logits -= logits.max(axis=1, keepdims=True)
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return -log_p[np.arange(len(y)), y].mean() + l2 / 2 * (weights**2).sum()


@pytest.mark.parametrize("l2", [1e1, 1e-1, 1e-3])
def test_the_optimum_is_that_of_scikit_learn(l2):
    ours = fit_logistic_regression(X, Y, num_classes=10, l2=l2)
    sklearn = LogisticRegression(C=1 / (l2 * len(Y)), tol=1e-8, max_iter=5000, solver="newton-cg")
    sklearn.fit(X.astype(np.float64), Y)
    theirs = LinearClassifier(sklearn.coef_.T, sklearn.intercept_)
    assert loss(ours, l2) == pytest.approx(loss(theirs, l2), rel=1e-5)
    np.testing.assert_allclose(
        ours.weights - ours.weights.mean(axis=1, keepdims=True), theirs.weights, atol=2e-3
    )


@pytest.mark.slow
def test_the_optima_of_the_whole_path_are_those_of_scikit_learn():
    """Warm-started from the strongest to the weakest of the 45."""
    sklearn = LogisticRegression(tol=1e-8, max_iter=5000, solver="newton-cg", warm_start=True)
    ours, ratios = None, []
    for l2 in map(float, L2_VALUES):
        ours = fit_logistic_regression(X, Y, num_classes=10, l2=l2, start=ours)
        sklearn.set_params(C=1 / (l2 * len(Y))).fit(X.astype(np.float64), Y)
        theirs = LinearClassifier(sklearn.coef_.T, sklearn.intercept_)
        ratios.append(loss(ours, l2) / loss(theirs, l2))
    np.testing.assert_allclose(ratios, 1, atol=1e-6)


@pytest.mark.parametrize("in_float64", [0, X.size])
def test_rows_in_blocks_and_another_start_lead_to_the_same(monkeypatch, in_float64):
    whole = fit_logistic_regression(X, Y, num_classes=10, l2=0.1)
    monkeypatch.setattr(logistic_regression, "BLOCK", 256)
    monkeypatch.setattr(logistic_regression, "MOST_IN_FLOAT64", in_float64)
    start = fit_logistic_regression(X, Y, num_classes=10, l2=1.0)
    blocks = fit_logistic_regression(X, Y, num_classes=10, l2=0.1, start=start)
    assert loss(blocks, 0.1) == pytest.approx(loss(whole, 0.1), rel=1e-9)
    np.testing.assert_allclose(blocks.weights, whole.weights, atol=1e-5)


def test_features_that_never_change_get_no_weight():
    x = np.concatenate([X, np.ones((600, 1), np.float32)], axis=1)
    classifier = fit_logistic_regression(x, Y, num_classes=10, l2=0.1)
    assert np.abs(classifier.weights[-1]).max() < 1e-6
    assert loss(classifier, 0.1, x) == pytest.approx(
        loss(fit_logistic_regression(X, Y, num_classes=10, l2=0.1), 0.1), rel=1e-7
    )


def test_principal_axes_diagonalise_the_covariance(monkeypatch):
    monkeypatch.setattr(logistic_regression, "BLOCK", 256)
    found = principal_axes(X)
    covariance = found.axes @ np.diag(found.variances) @ found.axes.T
    np.testing.assert_allclose(covariance, np.cov(X.T.astype(np.float64), bias=True), atol=1e-12)
    np.testing.assert_allclose(found.axes.T @ found.axes, np.eye(X.shape[1]), atol=1e-12)
    np.testing.assert_allclose(found.mean, X.mean(axis=0, dtype=np.float64))


def test_axes_of_other_features_lead_to_the_same_optimum():
    others = principal_axes(X[:200] + 0.1)
    found = fit_logistic_regression(X, Y, num_classes=10, l2=0.01, axes=others)
    own = fit_logistic_regression(X, Y, num_classes=10, l2=0.01)
    assert loss(found, 0.01) == pytest.approx(loss(own, 0.01), rel=1e-9)
    np.testing.assert_allclose(found.weights, own.weights, atol=1e-5)


def test_the_search_is_no_longer_for_features_that_are_correlated(monkeypatch):
    evaluate, counts = logistic_regression._loss_and_gradient, []
    monkeypatch.setattr(
        logistic_regression, "_loss_and_gradient", lambda *a: counts.append(1) or evaluate(*a)
    )

    def evaluations(x):
        counts.clear()
        fit_logistic_regression(x, Y, num_classes=10, l2=1e-3, tolerance=1e-8)
        return len(counts)

    apart = X @ principal_axes(X).axes
    rotation, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(X.shape[1], X.shape[1])))
    assert evaluations(apart @ rotation) < 1.2 * evaluations(apart)


def test_the_grid_is_that_of_the_paper():
    assert len(L2_VALUES) == 45 and L2_VALUES[0] == 1e5 and L2_VALUES[-1] == pytest.approx(1e-6)
    np.testing.assert_allclose(np.diff(np.log(L2_VALUES)), np.log(1e-11) / 44)


def test_l2_is_chosen_on_the_held_out_rows_and_the_fit_is_to_all():
    held_out = np.arange(600) % 5 == 0
    values = [10.0, 1.0, 0.1, 0.01]
    classifier, l2, path = fit_with_best_l2(X, Y, held_out, num_classes=10, l2_values=values)
    assert list(path) == values
    for value, accuracy in path.items():
        alone = fit_logistic_regression(X[~held_out], Y[~held_out], num_classes=10, l2=value)
        # One row of 120 may fall on the other side: the path stops a little earlier.
        assert accuracy == pytest.approx(alone.accuracy(X[held_out], Y[held_out]), abs=1 / 120)
    assert path[l2] == max(path.values())
    assert l2 == max(value for value in values if path[value] == path[l2])
    assert loss(classifier, l2) == pytest.approx(
        loss(fit_logistic_regression(X, Y, num_classes=10, l2=l2), l2), rel=1e-7
    )
