"""How good logits are, by the metric of a data set."""

import numpy as np

from simclr_tf.data.transfer.registry import MEAN_AVERAGE_PRECISION, MEAN_PER_CLASS
from simclr_tf.evaluation import metrics


def score(metric: str, logits: np.ndarray, labels: np.ndarray) -> float:
    """The metric, in [0, 1]; 0 when the logits are not finite, as after diverged training.

    Args:
      metric: one of the metrics of the registry.
      logits: (n, classes) float.
      labels: (n,) integers; (n, classes) in {-1, 0, 1} for mean average precision.
    """
    if not np.isfinite(logits).all():
        return 0.0
    if metric == MEAN_AVERAGE_PRECISION:
        return metrics.mean_average_precision(logits, labels)
    predictions = logits.argmax(axis=1)
    if metric == MEAN_PER_CLASS:
        return metrics.mean_per_class(predictions, labels)
    return metrics.top_1(predictions, labels)


def shares(metric: str, logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Each example's share of the accuracy, (n,), for `metrics.permutation_p_value`.

    Average precision is no sum over examples, so where that is the metric, the accuracy of all
    yes-or-no decisions (logit above 0) takes its place, as in the paper.
    """
    if metric == MEAN_AVERAGE_PRECISION:
        counted = labels >= 0
        right = ((logits > 0) == (labels == 1)) & counted
        correct = right.sum(axis=1) / np.maximum(counted.sum(axis=1), 1)
        return metrics.example_shares(correct, labels, per_class=False)
    correct = logits.argmax(axis=1) == labels
    return metrics.example_shares(correct, labels, per_class=metric == MEAN_PER_CLASS)
