"""Exact multinomial logistic regression on frozen features: the linear probe that converges."""

import dataclasses

import numpy as np
import scipy.optimize
import tensorflow as tf


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


def fit_logistic_regression(
    features: np.ndarray,
    labels: np.ndarray,
    *,
    num_classes: int,
    l2: float,
    start: LinearClassifier | None = None,
    max_iterations: int = 1000,
) -> LinearClassifier:
    """Minimise mean cross-entropy + l2 / 2 * |weights|^2 by L-BFGS (SimCLR appendix B.8.1).

    The loss is convex, so the result depends on nothing but the data and l2.

    Args:
      features: (n, d) float; their scale matters to l2, and none is applied here.
      labels: (n,) integers in [0, num_classes).
      num_classes: number of classes.
      l2: strength of the penalty of the weights (not of the bias); 0 or above.
      start: where to begin, for instance the solution of a neighbouring l2.
      max_iterations: bound on the iterations of L-BFGS.
    """
    x = tf.cast(features, tf.float32)
    y = tf.one_hot(labels, num_classes)
    d = features.shape[1]
    count = tf.cast(tf.shape(x)[0], tf.float32)

    @tf.function
    def loss_and_gradient(parameters):
        weights = tf.reshape(parameters[: d * num_classes], [d, num_classes])
        bias = parameters[d * num_classes :]
        logits = tf.matmul(x, weights) + bias
        cross_entropy = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(y, logits))
        error = (tf.nn.softmax(logits) - y) / count
        gradient = tf.matmul(x, error, transpose_a=True) + l2 * weights
        loss = cross_entropy + l2 * tf.nn.l2_loss(weights)
        return loss, tf.concat([tf.reshape(gradient, [-1]), tf.reduce_sum(error, axis=0)], axis=0)

    def evaluate(parameters):
        loss, gradient = loss_and_gradient(tf.cast(parameters, tf.float32))
        return float(loss), gradient.numpy().astype(np.float64)

    first = np.zeros(d * num_classes + num_classes)
    if start is not None:
        first = np.concatenate([start.weights.ravel(), start.bias]).astype(np.float64)
    solution = scipy.optimize.minimize(
        evaluate, first, jac=True, method="L-BFGS-B", options={"maxiter": max_iterations}
    ).x.astype(np.float32)
    return LinearClassifier(
        solution[: d * num_classes].reshape(d, num_classes), solution[d * num_classes :]
    )
