"""Metrics of the transfer experiments, and whether two models differ (SimCLR appendix B.8)."""

import numpy as np

from simclr_tf.errors import UserError

_RECALLS = 11
_DRAWS_AT_ONCE = 10_000_000


def top_1(predictions: np.ndarray, labels: np.ndarray) -> float:
    """Share of predictions (n,) that are the label (n,)."""
    return float(np.mean(np.asarray(predictions) == np.asarray(labels)))


def mean_per_class(predictions: np.ndarray, labels: np.ndarray) -> float:
    """Mean over classes of the share of their examples that are predicted as the class.

    Classes without examples do not count.

    Args:
      predictions, labels: (n,) integers.
    """
    classes, members = np.unique(labels, return_inverse=True)
    hits = np.bincount(members, np.asarray(predictions) == np.asarray(labels), len(classes))
    return float(np.mean(hits / np.bincount(members)))


def average_precision_11_points(scores: np.ndarray, labels: np.ndarray) -> float:
    """Average precision of VOC 2007 (Everingham et al. 2010, section 4.2).

    The mean over recalls r = 0, 0.1, ..., 1 of the highest precision at any recall of r or
    more; 0 where no recall is as high. Examples of equal score are found together, so that the
    order of the examples does not matter.

    Args:
      scores: (n,) float, higher for the class.
      labels: (n,) integers: 1 for the class, 0 against it, -1 for examples that do not count.

    Returns:
      In [0, 1]; NaN without an example of the class.
    """
    scores, labels = np.asarray(scores), np.asarray(labels)
    scores, labels = scores[labels >= 0], labels[labels >= 0]
    positives = int(labels.sum())
    if not positives:
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    last_of_equals = np.append(np.diff(scores[order]) != 0, True)
    hits = np.cumsum(labels[order])[last_of_equals]
    precisions = hits / (np.arange(1, len(scores) + 1)[last_of_equals])
    # Recall hits / positives >= i / 10, in whole numbers.
    reached = (_RECALLS - 1) * hits >= np.arange(_RECALLS)[:, None] * positives
    return float(np.mean(np.max(np.where(reached, precisions, 0.0), axis=1)))


def mean_average_precision(scores: np.ndarray, labels: np.ndarray) -> float:
    """Mean of `average_precision_11_points` over classes; those without examples do not count.

    Args:
      scores: (n, classes) float.
      labels: (n, classes) integers in {-1, 0, 1}.

    Raises:
      UserError: no class has an example.
    """
    columns = zip(np.transpose(scores), np.transpose(labels), strict=True)
    found = [average_precision_11_points(*column) for column in columns]
    if np.isnan(found).all():
        raise UserError("Mean average precision needs an example of some class, and there is none.")
    return float(np.nanmean(found))


def permutation_p_value(differences: np.ndarray, *, samples: int = 100_000, seed: int = 0) -> float:
    """How often two models would differ as much if they were equally good (two-sided).

    The predictions of the two models are exchanged for each example with probability 1/2, which
    turns the sign of the example's share of the difference. For top-1 accuracy this is the exact
    McNemar test, up to the number of samples.

    Args:
      differences: (n,) float: each example's share of the metric of one model, minus that of
        the other; their sum is the difference that was observed.
      samples: number of random exchanges.
      seed: of these.

    Returns:
      (1 + e) / (1 + samples), where e samples differ at least as much as what was observed; in
      [1 / (1 + samples), 1]. What was observed counts as one of the exchanges, which it is.
      Without it the result could be 0, and of equally good models a larger share than p would
      have a result of at most p (Phipson and Smyth 2010).
    """
    differences = np.asarray(differences, np.float64)
    # Rounded: shares that are equal up to the last bits are one size.
    sizes, counts = np.unique(
        np.round(np.abs(differences[differences != 0]), 14), return_counts=True
    )
    observed = abs(differences.sum()) - 1e-12
    random = np.random.default_rng(seed)
    extreme, step = 0, max(_DRAWS_AT_ONCE // max(len(sizes), 1), 1)
    for start in range(0, samples, step):
        shape = (min(step, samples - start), len(sizes))
        # Examples of one size: the sum of m random signs is 2 * Binomial(m, 1/2) - m.
        signs = 2 * random.binomial(counts, 0.5, shape) - counts
        extreme += np.count_nonzero(np.abs(signs @ sizes) >= observed)
    return (extreme + 1) / (samples + 1)


def example_shares(correct: np.ndarray, labels: np.ndarray, *, per_class: bool) -> np.ndarray:
    """Each example's share of an accuracy, so that they sum to it.

    Args:
      correct: (n,) bool or, for several labels to an image, the share in [0, 1] of its labels
        that were predicted.
      labels: (n,) integers, the classes; only used with `per_class`.
      per_class: whether the accuracy is the mean over classes or over examples.

    Returns:
      (n,) float64.
    """
    correct = np.asarray(correct, np.float64)
    if not per_class:
        return correct / len(correct)
    _, members, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    return correct / (len(sizes) * sizes[members])
