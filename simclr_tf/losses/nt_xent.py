"""NT-Xent, the normalised temperature-scaled cross-entropy of SimCLR (arXiv 2002.05709, eq. 1).

Notation: n images on this replica, N = n * replicas images in the global batch; see `pairs`.
"""

import math

import tensorflow as tf

from simclr_tf.devices import replicas
from simclr_tf.errors import UserError
from simclr_tf.losses.nt_xent_tiled import tiled_loss_and_metrics
from simclr_tf.losses.pairs import NEGATIVES, pairs_of, rows_of
from simclr_tf.losses.rows import TIE, require_choice

MASKED_LOGIT = -1e9
TILED_FROM = 1024 * 1024
IMPLEMENTATIONS = ("auto", "dense", "tiled")


def nt_xent(
    hidden: tf.Tensor,
    temperature: float = 0.1,
    hidden_norm: bool = True,
    memory: tf.Tensor | None = None,
    negatives: str = "both",
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Contrastive loss of two views against all other images of the global batch.

    Each replica computes the rows of its own images; the columns come from all
    replicas, and gradients flow into them too. The mean of the loss over replicas
    is the loss of the global batch.

    Args:
      hidden: (2n, d), any float dtype: the projections of n images under the first
        view, then those of the same images under the second.
      temperature: Divides the similarities; above 0.
      hidden_norm: Whether to l2-normalise the rows, so that similarities are cosines.
      memory: (K, d), any float dtype, further negatives of every row, the same on all replicas.
        They are taken as they are, and no gradient reaches them.
      negatives: "both" views of other images, or only those of the "other_view" of each row.

    Returns:
      loss: float32 scalar, the mean over images of the SUM of both directions (view 1
        to view 2 and back): twice the mean that Algorithm 1 of the paper takes over
        2N rows, and equal to keras_cv.losses.SimCLRLoss.
      logits_ab: (n, N) float32, similarities of a to B over the temperature.
      labels: (n, 2N) float32, one-hot: the column of the row's own image in
        (logits_ab, logits_aa).

    Raises:
      UserError: the number of rows is odd, or `negatives` is neither.
    """
    require_choice("negatives", negatives, NEGATIVES)
    pairs = pairs_of(hidden, hidden_norm)
    a, b, all_a, all_b, own = pairs
    if memory is not None:
        memory = tf.stop_gradient(tf.cast(memory, tf.float32))

    def similarities(rows, columns):
        return tf.matmul(rows, columns, transpose_b=True) / temperature

    def cross_entropy(rows, positives, of_rows):
        logits = [positives]  # (n, N)
        if negatives == "both":
            logits += [tf.where(pairs.itself, MASKED_LOGIT, similarities(rows, of_rows))]
        if memory is not None:
            logits += [similarities(rows, memory)]
        logits = tf.concat(logits, axis=1)  # (n, 2N + K)
        return tf.nn.sparse_softmax_cross_entropy_with_logits(own, logits)  # (n,)

    logits_ab = similarities(a, all_b)
    losses = cross_entropy(a, logits_ab, all_a) + cross_entropy(b, similarities(b, all_a), all_b)
    total = tf.shape(all_a)[0]
    return tf.reduce_mean(losses), logits_ab, tf.one_hot(own, 2 * total)


def contrastive_metrics(
    logits_ab: tf.Tensor, labels: tf.Tensor, scale: tf.Tensor | None = None
) -> tuple[tf.Tensor, tf.Tensor]:
    """How well the first view of an image finds its second among the global batch.

    Args:
      logits_ab: (n, N) float32, from `nt_xent`.
      labels: (n, 2N) one-hot, from `nt_xent`.
      scale: (n,) float32, of each row's rounding errors: the product of the lengths of the two
        projections over the temperature. By default the row's largest magnitude.

    Returns:
      accuracy: float32 scalar, share of rows whose largest logit is the positive. A row whose
        positive ties with c others, within TIE of the scale, counts 1 / (1 + c): if all
        projections are equal the accuracy is that of chance, 1 / N.
      entropy: float32 scalar, mean entropy of softmax(logits_ab) in nats.
    """
    positives = tf.gather(logits_ab, tf.argmax(labels, axis=1), batch_dims=1)  # (n,)
    if scale is None:
        scale = tf.reduce_max(tf.abs(logits_ab), axis=1)
    near = tf.cast(logits_ab >= (positives - TIE * scale)[:, None], tf.float32)
    largest = tf.cast(tf.reduce_max(logits_ab, axis=1) <= positives + TIE * scale, tf.float32)
    found = tf.math.divide_no_nan(largest, tf.reduce_sum(near, axis=1))  # 0 for NaN
    probabilities = tf.nn.softmax(logits_ab)
    entropies = -tf.reduce_sum(probabilities * tf.math.log(probabilities + 1e-8), axis=1)
    return tf.reduce_mean(found), tf.reduce_mean(entropies)


def nt_xent_with_metrics(
    hidden: tf.Tensor,
    temperature: float = 0.1,
    hidden_norm: bool = True,
    implementation: str = "auto",
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The loss of `nt_xent` with its `contrastive_metrics`.

    Args:
      hidden, temperature, hidden_norm: as for `nt_xent`.
      implementation: "dense" holds the similarities of this replica's rows to all columns;
        "tiled" a part of them at a time, see `nt_xent_tiled`; "auto" is tiled from
        TILED_FROM similarities of two views on, but on TPUs, whose shapes cannot change, and
        where the number of rows is known in the step alone.

    Returns:
      Float32 scalars: loss, accuracy, entropy.

    Raises:
      UserError: the number of rows is odd; `implementation` is none of these; or it is "tiled",
        and the number of rows is not known.
    """
    require_choice("implementation", implementation, IMPLEMENTATIONS)
    if implementation == "tiled" and hidden.shape[0] is None:
        raise UserError(
            'implementation="tiled" needs a static number of rows. Received: a tensor of shape '
            f'{tuple(hidden.shape)}. Give "auto" or "dense", or batches of one size.'
        )
    if implementation == "auto":
        rows = (hidden.shape[0] or 0) // 2
        many = rows * rows * replicas.num_replicas() >= TILED_FROM
        tpu = isinstance(tf.distribute.get_strategy(), tf.distribute.TPUStrategy)
        implementation = "tiled" if many and not tpu else "dense"
    if implementation == "dense":
        loss, logits_ab, labels = nt_xent(hidden, temperature, hidden_norm)
        lengths = tf.norm(tf.stop_gradient(rows_of(hidden, hidden_norm)), axis=1)
        of_a, of_b = tf.split(lengths, 2)
        return loss, *contrastive_metrics(logits_ab, labels, of_a * of_b / temperature)
    return tiled_loss_and_metrics(rows_of(hidden, hidden_norm), temperature, hidden_norm)


def chance_level(batch_size: int, memory: int = 0) -> float:
    """The loss of `nt_xent` when all similarities are equal: 2 ln(2N - 1 + K) for N images.

    Args:
      batch_size: N, images of the global batch.
      memory: K, rows of the memory.
    """
    return 2.0 * math.log(2 * batch_size - 1 + memory)
