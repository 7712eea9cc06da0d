"""Weighted k-nearest-neighbour classification on frozen features (arXiv 1805.01978, 3.4)."""

import numpy as np
import tensorflow as tf

from simclr_tf.errors import UserError
from simclr_tf.evaluation.features import labelled


def knn_predict(
    bank: np.ndarray,
    bank_labels: np.ndarray,
    queries: np.ndarray,
    *,
    num_classes: int,
    k: int = 200,
    temperature: float = 0.1,
    batch_size: int = 512,
) -> np.ndarray:
    """Scores of every class: the sum of exp(cosine / temperature) over the k nearest of it.

    Args:
      bank: (n, d) float, features of the training images.
      bank_labels: (n,) labels in [0, num_classes).
      queries: (m, d) float, features of the images to classify.
      num_classes: number of classes.
      k: neighbours that vote; no more than n of them do.
      temperature: of the weights of the votes; above 0.
      batch_size: queries that are compared at once.

    Returns:
      (m, num_classes) float32, not normalised; row by row, only the order matters.

    Raises:
      UserError: k or the temperature is not positive.
    """
    if k < 1 or temperature <= 0:
        raise UserError(
            f"kNN needs k of at least 1 and a temperature above 0. Received: k={k}, "
            f"temperature={temperature}."
        )
    bank = tf.math.l2_normalize(tf.cast(bank, tf.float32), axis=1)
    bank_labels = tf.cast(bank_labels, tf.int32)

    @tf.function(reduce_retracing=True)
    def scores(rows):
        rows = tf.math.l2_normalize(tf.cast(rows, tf.float32), axis=1)
        cosines, nearest = tf.math.top_k(tf.matmul(rows, bank, transpose_b=True), min(k, len(bank)))
        # Relative to the nearest, so that no temperature overflows.
        weights = tf.exp((cosines - cosines[:, :1]) / temperature)  # (rows, k)
        votes = tf.gather(bank_labels, nearest)
        return tf.math.bincount(
            votes, weights=weights, minlength=num_classes, maxlength=num_classes, axis=-1
        )

    batches = [scores(queries[i : i + batch_size]) for i in range(0, len(queries), batch_size)]
    return tf.concat(batches, axis=0).numpy()


def knn_accuracy(
    bank: np.ndarray,
    bank_labels: np.ndarray,
    queries: np.ndarray,
    query_labels: np.ndarray,
    *,
    num_classes: int,
    k: int = 200,
    temperature: float = 0.1,
) -> float:
    """Share of the queries whose highest score is their label's; see `knn_predict`.

    Images without label, -1, neither vote nor count.

    Raises:
      UserError: as `knn_predict`; or no image of the bank, or no query, has a label.
    """
    bank, bank_labels = labelled(bank, bank_labels)
    queries, query_labels = labelled(queries, query_labels)
    if not len(bank) or not len(queries):
        raise UserError(
            "kNN compares labelled images with labelled images. Received: "
            f"{len(bank)} with a label to compare with, {len(queries)} to classify. Give splits "
            "with labels."
        )
    scores = knn_predict(
        bank, bank_labels, queries, num_classes=num_classes, k=k, temperature=temperature
    )
    return float(np.mean(scores.argmax(axis=1) == query_labels))
