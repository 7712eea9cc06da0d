"""The losses that SimCLR is compared with: NT-Logistic and the margin (2002.05709, tables 2, 4).

The paper leaves open what is averaged; here it is as follows. For row i of n images, s_ii is the
cosine of its two views, and s_ij that with the second view of another image j of the global batch
(with `negatives` "both", those with the first view of another too). Rows are averaged, and both
directions, from the first view to the second and back, added up, as in `nt_xent`. Cosines within
TIE of each other are equal: of equal images, neither is smaller than the other.
"""

from collections.abc import Callable

import tensorflow as tf

from simclr_tf.losses.pairs import NEGATIVES, pairs_of
from simclr_tf.losses.rows import TIE, require_choice

MINING = ("none", "semi_hard")


def nt_logistic(
    hidden: tf.Tensor,
    temperature: float = 0.1,
    negative_mining: str = "none",
    negatives: str = "other_view",
) -> tf.Tensor:
    """softplus(-s_ii / t) + the mean of softplus(s_ij / t) over negatives j.

    With semi-hard mining the only negative of a row is the largest s_ij that is smaller than s_ii;
    a row without one has the first term alone.

    Args:
      hidden: (2n, d), any float dtype: the projections of n images under the first view, then
        those of the same images under the second.
      temperature: t, above 0.
      negative_mining: "none" or "semi_hard".
      negatives: "other_view", or "both".

    Returns:
      The float32 scalar loss; the mean over replicas is that of the global batch.

    Raises:
      UserError: an option is none of these, or the number of rows is odd.
    """

    def loss(own, others):
        return tf.math.softplus(others / temperature)

    def of_positives(own):
        return tf.math.softplus(-own / temperature)

    return _of_rows(hidden, loss, of_positives, -tf.float32.max, negative_mining, negatives)


def margin_triplet(
    hidden: tf.Tensor,
    margin: float = 0.8,
    negative_mining: str = "none",
    negatives: str = "other_view",
) -> tf.Tensor:
    """The mean of max(s_ij - s_ii + margin, 0) over negatives j.

    With semi-hard mining the only negative of a row is the largest s_ij that is smaller than s_ii
    and larger than s_ii - margin; a row without one is 0.

    Args:
      hidden, negative_mining, negatives: as for `nt_logistic`.
      margin: at least 0.

    Returns:
      As `nt_logistic`.

    Raises:
      UserError: as for `nt_logistic`.
    """

    def loss(own, others):
        return tf.maximum(others - own + margin, 0.0)

    return _of_rows(hidden, loss, tf.zeros_like, -margin, negative_mining, negatives)


def _of_rows(
    hidden: tf.Tensor,
    of_negatives: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
    of_positives: Callable[[tf.Tensor], tf.Tensor],
    lowest: float,
    negative_mining: str,
    negatives: str,
) -> tf.Tensor:
    """The mean over rows of both directions.

    Args:
      of_negatives: a loss of s_ii (n, 1) and s_ij (n, columns).
      of_positives: a loss of s_ii (n, 1).
      lowest: how far below s_ii a semi-hard negative may be, as a number below 0.
    """
    require_choice("negative_mining", negative_mining, MINING)
    require_choice("negatives", negatives, NEGATIVES)
    pairs = pairs_of(hidden)

    def direction(rows, of_rows, of_others):
        columns = [of_others, of_rows] if negatives == "both" else [of_others]
        cosines = tf.concat([tf.matmul(rows, c, transpose_b=True) for c in columns], axis=1)
        negative = tf.concat([~pairs.itself] * len(columns), axis=1)
        own = tf.gather(cosines, pairs.own, batch_dims=1)[:, tf.newaxis]
        if negative_mining == "none":
            found = tf.where(negative, of_negatives(own, cosines), 0.0)
            count = tf.reduce_sum(tf.cast(negative, tf.float32), axis=1)
            found = tf.math.divide_no_nan(tf.reduce_sum(found, axis=1), count)
        else:
            semi_hard = negative & (cosines < own - TIE) & (cosines > own + lowest)
            hardest = tf.reduce_max(tf.where(semi_hard, cosines, -2.0), axis=1, keepdims=True)
            found = tf.where(hardest > -2.0, of_negatives(own, hardest), 0.0)[:, 0]
        return tf.reduce_mean(found + of_positives(own)[:, 0])

    return direction(pairs.a, pairs.all_a, pairs.all_b) + direction(
        pairs.b, pairs.all_b, pairs.all_a
    )
