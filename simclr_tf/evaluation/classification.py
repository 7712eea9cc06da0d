"""Accuracy of the supervised head on a whole split, each image counted once."""

from collections.abc import Iterable, Sequence

import numpy as np
import tensorflow as tf

from simclr_tf.models import Network
from simclr_tf.optimizers import l2_term


def evaluate_classifier(
    network: Network,
    batches: Iterable,
    strategy: tf.distribute.Strategy | None = None,
    *,
    decayed_variables: Sequence[tf.Variable] = (),
    weight_decay: float = 0.0,
) -> dict[str, float]:
    """Top-1 and top-5 accuracy and the regularisation loss.

    Args:
      network: with a supervised head; without one only the regularisation loss is given.
      batches: of (images (batch, height, width, 3) float32 in [0, 1], labels (batch,) int64,
        weights (batch,) float32); rows of weight 0 and rows without label, -1, do not count.
        Distributed by `strategy`, if one is given.
      strategy: the strategy that the network's variables belong to.
      decayed_variables, weight_decay: of the l2 term of the training loss.

    Returns:
      label_top_1_accuracy, label_top_5_accuracy (from 5 classes on), regularization_loss.
      Where no row has a label there are no accuracies.
    """
    result = {"regularization_loss": float(l2_term(decayed_variables, weight_decay))}
    if network.supervised_head is None:
        return result
    strategy = strategy or tf.distribute.get_strategy()
    top_k = _top_k(network.architecture.num_classes)

    def count(images, labels, weights):
        logits = network.logits(images)
        weights *= tf.cast(labels >= 0, tf.float32)
        hits = [
            tf.reduce_sum(weights * tf.cast(is_in_top_k(logits, labels, k), tf.float32))
            for k in top_k
        ]
        return tf.stack([tf.reduce_sum(weights), *hits])

    @tf.function
    def step(images, labels, weights):
        counts = strategy.run(count, args=(images, labels, weights))
        return strategy.reduce(tf.distribute.ReduceOp.SUM, counts, axis=None)

    totals = sum(tf.cast(step(*batch), tf.float64) for batch in batches)
    if totals[0] == 0:
        return result
    accuracies = (totals[1:] / totals[0]).numpy()
    return {
        name: float(value) for name, value in zip(top_k.values(), accuracies, strict=True)
    } | result


def top_k_accuracies(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """label_top_1_accuracy and, from 5 classes on, label_top_5_accuracy.

    Args:
      logits: (n, classes) float.
      labels: (n,) integers below `classes`; rows without label, -1, do not count.

    Returns:
      Neither of them where no row has a label.
    """
    labels = np.asarray(labels)
    logits, labels = logits[labels >= 0], labels[labels >= 0]
    if not len(labels):
        return {}
    return {
        name: float(tf.reduce_mean(tf.cast(is_in_top_k(logits, labels, k), tf.float64)))
        for k, name in _top_k(logits.shape[1]).items()
    }


def is_in_top_k(logits: tf.Tensor, labels: tf.Tensor, k: int) -> tf.Tensor:
    """Whether the class of each row is among those with its k largest logits, bool (n,).

    Of equal logits the first count as the larger ones, so that a network that tells no class from
    another is right by chance alone. A row with a logit that is not finite is wrong.

    Args:
      logits: (n, classes) float.
      labels: (n,) integers.
      k: at most the number of classes.
    """
    found = tf.math.top_k(logits, k).indices == tf.cast(labels, tf.int32)[:, tf.newaxis]
    finite = tf.reduce_all(tf.math.is_finite(logits), axis=1)
    return tf.reduce_any(found, axis=1) & finite


def _top_k(num_classes: int) -> dict[int, str]:
    names = {1: "label_top_1_accuracy", 5: "label_top_5_accuracy"}
    return {k: name for k, name in names.items() if k == 1 or k <= num_classes}
