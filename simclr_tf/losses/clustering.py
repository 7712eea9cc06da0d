"""Assigning images to prototypes, and predicting one view's assignment from another (SwAV)."""

import tensorflow as tf

from simclr_tf.devices import replicas
from simclr_tf.errors import UserError
from simclr_tf.losses.rows import number_of


def sinkhorn(scores: tf.Tensor, epsilon: float = 0.05, iterations: int = 3) -> tf.Tensor:
    """Assign the images of the global batch to prototypes, about as many to each.

    That is Sinkhorn's and Knopp's algorithm for arXiv 2006.09882, eq. 3 to 5: in turn every
    prototype gets the same share of the batch and every image one prototype in all. It ends with
    the images, so prototypes are nearly balanced. It runs on logarithms, so that no `epsilon`
    makes it overflow. No gradient flows through it.

    Args:
      scores: (n, K) similarities of the images of this replica to K prototypes.
      epsilon: how soft the assignments are; above 0.
      iterations: how often both are balanced; at least 1.

    Returns:
      float32 (n, K); each row has the sum 1.

    Raises:
      UserError: there is no iteration.
    """
    if iterations < 1:
        raise UserError(f"Assignments are balanced at least once. Received: {iterations=}.")
    found = tf.stop_gradient(tf.cast(scores, tf.float32)) / epsilon
    for _ in range(iterations):
        of_prototypes = tf.reduce_logsumexp(found, axis=0, keepdims=True)
        found -= tf.reduce_logsumexp(replicas.gather(of_prototypes), axis=0, keepdims=True)
        found -= tf.reduce_logsumexp(found, axis=1, keepdims=True)
    return tf.exp(found)


def swapped_prediction(
    scores: tf.Tensor, assignments: tf.Tensor, temperature: float = 0.1
) -> tf.Tensor:
    """Predict the assignment of each assigned view from every other view (2006.09882, eq. 2).

    Every replica has the loss of its own images; the mean over replicas is that of the batch.

    Args:
      scores: (n, views, K) similarities to K prototypes, any float dtype.
      assignments: (n, assigned, K) of the first views, likewise; no gradient reaches them.
      temperature: divides the scores; above 0.

    Returns:
      The float32 scalar loss, a mean over images and over pairs of an assigned and another view.
    """
    predictions = tf.nn.log_softmax(tf.cast(scores, tf.float32) / temperature)
    assignments = tf.stop_gradient(tf.cast(assignments, tf.float32))
    number, views = assignments.shape[1], scores.shape[1]
    of_pairs = tf.einsum("nak,nvk->av", assignments, predictions) / number_of(scores)
    of_others = of_pairs * (1 - tf.eye(number, views))
    return -tf.reduce_sum(of_others) / (number * (views - 1))
