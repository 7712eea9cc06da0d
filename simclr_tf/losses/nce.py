"""Telling images from each other by a bank of rows: InstDisc (1805.01978), CMC (1906.05849)."""

import tensorflow as tf

from simclr_tf.errors import UserError

EPSILON = 1e-7  # beside probabilities, as in the official code


def nce(
    scores: tf.Tensor, num_images: int, num_negatives: int, partition: float | tf.Tensor
) -> tf.Tensor:
    """Noise-contrastive estimation: each row says which of its scores is not noise.

    With P = exp(score) / Z and the noise c = m / N, a row costs
    -ln(P_0 / (P_0 + c)) - sum_j ln(c / (P_j + c)) (arXiv 1805.01978, eq. 7; the official code adds
    1e-7 to both denominators). Every replica computes the rows of its own images; the mean over
    replicas is the loss of the batch.

    Args:
      scores: (n, 1 + m), similarities over the temperature; the image's own comes first.
      num_images: N, of which the others were drawn, uniformly and with replacement.
      num_negatives: m.
      partition: Z, a number above 0, or a scalar; it gets no gradient.

    Returns:
      A float32 scalar, the mean over rows.

    Raises:
      UserError: a row does not have `num_negatives` scores beside its own.
    """
    scores = tf.cast(scores, tf.float32)
    if scores.shape[1] not in (None, 1 + num_negatives):
        raise UserError(
            f"A row has its own score and those of {num_negatives=} others. Received: "
            f"{scores.shape[1]} scores."
        )
    noise = float(num_negatives) / float(num_images)
    logs = scores - tf.math.log(tf.stop_gradient(tf.cast(partition, tf.float32)))
    shares = tf.exp(logs) + EPSILON
    own = tf.math.log(shares[:, 0] + noise) - logs[:, 0]
    others = tf.reduce_sum(tf.math.log1p(shares[:, 1:] / noise), axis=1)
    return tf.reduce_mean(own + others)


def instance_softmax(scores: tf.Tensor, own: tf.Tensor | None = None) -> tf.Tensor:
    """Each image is a class of its own: cross-entropy (arXiv 1805.01978, eq. 2).

    Every replica computes the rows of its own images, as in `nce`.

    Args:
      scores: (n, images), similarities over the temperature.
      own: (n,) integers, the column of each row's own image; None for the first.

    Returns:
      A float32 scalar, the mean over rows.
    """
    scores = tf.cast(scores, tf.float32)
    own = tf.zeros_like(scores[:, 0], tf.int32) if own is None else own
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(own, scores))
