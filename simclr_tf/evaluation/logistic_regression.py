"""Exact multinomial logistic regression on frozen features: the linear probe that converges."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import scipy.optimize
import tensorflow as tf

L2_VALUES = np.logspace(5, -6, 45)  # of SimCLR's appendix B.8.1, from the strongest
OPTIMUM_TOLERANCE = 1e-13
ACCURACY_TOLERANCE = 1e-8  # for the accuracy alone: below it that no longer changes
BLOCK = 65_536  # rows that are computed at once
MOST_IN_FLOAT64 = 2**27  # values that are held as such; of more, a block is turned into it


@dataclasses.dataclass(frozen=True)
class LinearClassifier:
    """A linear map from features to logits.

    Attributes:
      weights: (features, classes) float32.
      bias: (classes,) float32.
    """

    weights: np.ndarray
    bias: np.ndarray

    def logits(self, features: np.ndarray) -> np.ndarray:
        """(n, features) -> (n, classes)."""
        return features @ self.weights + self.bias

    def accuracy(self, features: np.ndarray, labels: np.ndarray) -> float:
        """Share of the rows whose largest logit is the label's."""
        return float(np.mean(self.logits(features).argmax(axis=1) == labels))


@dataclasses.dataclass(frozen=True)
class PrincipalAxes:
    """Where features of width d vary.

    Attributes:
      mean: (d,) float64.
      axes: (d, d) float64, in columns, each of length 1.
      variances: (d,) float64, along the axes.
    """

    mean: np.ndarray
    axes: np.ndarray
    variances: np.ndarray


def principal_axes(features: np.ndarray) -> PrincipalAxes:
    """The principal axes of features (n, d)."""
    mean = features.mean(axis=0, dtype=np.float64)
    products = np.zeros((len(mean), len(mean)))
    for first in range(0, len(features), BLOCK):
        rows = features[first : first + BLOCK] - mean
        products += rows.T @ rows
    variances, axes = np.linalg.eigh(products / len(features))
    return PrincipalAxes(mean, axes, np.maximum(variances, 0.0))


def fit_logistic_regression(
    features: np.ndarray,
    labels: np.ndarray,
    *,
    num_classes: int,
    l2: float,
    start: LinearClassifier | None = None,
    axes: PrincipalAxes | None = None,
    tolerance: float = OPTIMUM_TOLERANCE,
    max_iterations: int = 5000,
) -> LinearClassifier:
    """Minimise mean cross-entropy + l2 / 2 * |weights|^2 by L-BFGS (SimCLR appendix B.8.1).

    The loss is convex, so the result depends on nothing but the data and l2. It is computed
    in float64: float32 gradients end the search before the optimum when l2 is weak. The
    search runs on centred features (which moves the bias alone) and on the weights' components
    along the principal axes, multiplied by the square root of their curvature where all classes
    are equally likely, so that it takes few iterations whatever the features' scales, their
    correlations and l2 are.

    Args:
      features: (n, d) float; their scale matters to l2, and none is applied here.
      labels: (n,) integers in [0, num_classes).
      num_classes: number of classes.
      l2: strength of the penalty of the weights (not of the bias); 0 or above.
      start: where to begin, for instance the solution of a neighbouring l2.
      axes: `principal_axes` of these features or similar ones, when several fits share them.
      tolerance: the search ends with the first step that lowers the loss by less.
      max_iterations: bound on the iterations of L-BFGS.
    """
    d = features.shape[1]
    if axes is None:
        axes = principal_axes(features)
    x, y = tf.constant(features, tf.float32), tf.constant(labels, tf.int32)
    if features.size <= MOST_IN_FLOAT64:
        x = tf.cast(x, tf.float64) - axes.mean
    curvature = (1 - 1 / num_classes) / num_classes
    scale = np.maximum(np.sqrt(curvature * axes.variances + l2), 1e-6)
    basis = axes.axes / scale  # (d, d), from what is searched to weights
    constants = [tf.constant(value, tf.float64) for value in (axes.mean, basis, l2)]

    def evaluate(parameters):
        results = _loss_and_gradient(tf.constant(parameters, tf.float64), x, y, *constants)
        return [result.numpy() for result in results]

    begin = np.zeros(d * num_classes + num_classes)
    if start is not None:
        components = scale[:, None] * (axes.axes.T @ start.weights)
        begin = np.concatenate([components.ravel(), start.bias + axes.mean @ start.weights])
    solution = scipy.optimize.minimize(
        evaluate,
        begin,
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": max_iterations, "maxfun": 2 * max_iterations}
        | {"ftol": tolerance, "gtol": 1e-8},
    ).x
    weights = basis @ solution[: d * num_classes].reshape(d, num_classes)
    bias = solution[d * num_classes :] - axes.mean @ weights
    return LinearClassifier(weights.astype(np.float32), bias.astype(np.float32))


@tf.function(reduce_retracing=True)
def _loss_and_gradient(parameters, x, y, mean, basis, l2):
    """The objective and its gradient, in float64, with respect to what is searched.

    `x` are the features in float32, or centred in float64.
    """
    n, d = tf.unstack(tf.shape(x))
    num_classes = tf.size(parameters) // (d + 1)
    weights = tf.matmul(basis, tf.reshape(parameters[: d * num_classes], [d, num_classes]))
    bias = parameters[d * num_classes :]
    total = tf.constant(0.0, tf.float64)
    weights_gradient, bias_gradient = tf.zeros_like(weights), tf.zeros_like(bias)
    for first in tf.range(0, n, BLOCK):
        rows = x[first : first + BLOCK]
        if x.dtype == tf.float32:
            rows = tf.cast(rows, tf.float64) - mean
        targets = tf.one_hot(y[first : first + BLOCK], num_classes, dtype=tf.float64)
        logits = tf.matmul(rows, weights) + bias
        error = tf.nn.softmax(logits) - targets
        total += tf.reduce_sum(tf.nn.softmax_cross_entropy_with_logits(targets, logits))
        weights_gradient += tf.matmul(rows, error, transpose_a=True)
        bias_gradient += tf.reduce_sum(error, axis=0)
    examples = tf.cast(n, tf.float64)
    loss = total / examples + l2 * tf.nn.l2_loss(weights)
    weights_gradient = weights_gradient / examples + l2 * weights
    gradient = tf.matmul(basis, weights_gradient, transpose_a=True)
    return loss, tf.concat([tf.reshape(gradient, [-1]), bias_gradient / examples], axis=0)


def fit_with_best_l2(
    features: np.ndarray,
    labels: np.ndarray,
    held_out: np.ndarray,
    *,
    num_classes: int,
    l2_values: Sequence[float] = L2_VALUES,
) -> tuple[LinearClassifier, float, dict[float, float]]:
    """Choose l2 by the accuracy on a held-out part, then fit to all rows (SimCLR appendix B.8.1).

    Every fit begins at the solution of the l2 before it.

    Args:
      features: (n, d) float.
      labels: (n,) integers in [0, num_classes).
      held_out: (n,) bool, the rows that l2 is chosen by.
      num_classes: number of classes.
      l2_values: strengths of the penalty, in falling order; of equally good ones the
        strongest is chosen.

    Returns:
      The classifier, its l2, and the path: the held-out accuracy by l2.
    """
    path, solutions, classifier = {}, {}, None
    train_features, train_labels = features[~held_out], labels[~held_out]
    unseen, unseen_labels = features[held_out], labels[held_out]
    axes = principal_axes(train_features)
    for l2 in map(float, l2_values):
        classifier = fit_logistic_regression(
            train_features,
            train_labels,
            num_classes=num_classes,
            l2=l2,
            start=classifier,
            axes=axes,
            tolerance=ACCURACY_TOLERANCE,
        )
        path[l2] = classifier.accuracy(unseen, unseen_labels)
        solutions[l2] = classifier
    best = max(path, key=path.get)
    classifier = fit_logistic_regression(
        features, labels, num_classes=num_classes, l2=best, start=solutions[best], axes=axes
    )
    return classifier, best, path
