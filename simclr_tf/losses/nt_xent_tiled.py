"""NT-Xent in memory linear in the batch: tile by tile, the matrix of similarities is never held.

Notation as in `nt_xent`, with both views stacked: U[0] is A and U[1] is B, (2, N, d). The logits
are S = U U' / t, and Z_i is the sum of exp(S_ij) over all columns j but i itself. The loss is the
mean over images of the sum over views of log Z_i - S_i,pos(i), and since S is symmetric

    dloss / dU_i = 1 / (t n) (sum_j (1 / Z_i + 1 / Z_j) exp(S_ij) U_j - 2 U_pos(i)).

Forward computes log Z; backward computes the tiles again, which are strips of T images with all
their columns. Rows of length 1 bound the logits by 1 / t, so that an entry costs one exponential
and no maximum, and on one replica each pair of rows is computed once. Replicas exchange U and
log Z, never gradients.
"""

from collections.abc import Callable

import tensorflow as tf

from simclr_tf import distribute

LARGEST_BOUND = 50.0  # exp(50), the sum over all columns, and its inverse are plain float32
TILE_ENTRIES = 2**20
TILE_ROWS = (128, 512)


def tiled_loss_and_metrics(
    hidden: tf.Tensor, temperature: float, normalized: bool, tile_rows: int | None = None
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The loss of `nt_xent`, and what `contrastive_metrics` says about it.

    Args:
      hidden: (2n, d) float32, first views, then second views.
      temperature: above 0.
      normalized: whether no row is longer than 1.
      tile_rows: T; None chooses it by the number of columns.

    Returns:
      Float32 scalars: loss, accuracy and entropy. Only the loss has a gradient. The entropy
      has no 1e-8 in its logarithm, which changes it by at most 1e-8 N.
    """
    bounded = normalized and 1 / temperature <= LARGEST_BOUND
    symmetric = bounded and distribute.num_replicas() == 1

    @tf.custom_gradient
    def contrast(views):  # (2, n, d)
        columns = views if symmetric else _gather(views)
        rows = tile_rows or tf.clip_by_value(TILE_ENTRIES // tf.shape(columns)[1], *TILE_ROWS)
        if symmetric:
            log_sums, found, entropy = _forward_symmetric(views, temperature, rows)
        else:
            log_sums, found, entropy = _forward(views, columns, temperature, rows, bounded)
        n = tf.cast(tf.shape(views)[1], tf.float32)
        positives = tf.reduce_sum(views[0] * views[1], axis=1) / temperature  # (n,)
        loss = tf.reduce_mean(log_sums[0] + log_sums[1] - 2 * positives)

        def gradient(upstream, *of_metrics):
            weight = upstream / n
            if symmetric:
                pairs = _backward_symmetric(views, log_sums, weight, temperature, rows)
            else:
                pairs = _backward(views, columns, log_sums, weight, temperature, rows, bounded)
            return (pairs - 2 * weight * views[::-1]) / temperature

        return (loss, found / n, entropy / n), gradient

    return contrast(tf.stack(tf.split(hidden, 2)))


def _forward_symmetric(views, temperature, rows):
    """log Z (2, n), and the sums over images of `_metrics`, from each pair of rows once."""

    def tile(start, end, sums, found, entropy):
        among, later, cross, cross_logits = _symmetric_strip(views, start, end, temperature)
        own = tf.reduce_sum(among, axis=2) + tf.reduce_sum(later, axis=2)
        own = tf.stack([own[0] + tf.reduce_sum(cross, axis=1), own[1]])
        from_start = tf.concat([own, tf.reduce_sum(later, axis=1)], axis=1)
        sums = _add_from(start, sums, from_start, axis=1)
        b = tf.reduce_sum(cross, axis=0)
        more_found, more_entropy = _metrics(cross_logits, cross, start)
        sums += tf.stack([tf.zeros_like(b), b])
        return sums, found + more_found, entropy + more_entropy

    n = tf.shape(views)[1]
    sums, found, entropy = _over_tiles(n, rows, tile, tf.zeros([2, n]), 0.0, 0.0)
    return tf.math.log(sums), found, entropy


def _backward_symmetric(views, log_sums, weight, temperature, rows):
    """sum_j weight (1 / Z_i + 1 / Z_j) exp(S_ij) U_j; (2, n, d)."""
    inverse = weight * tf.exp(-log_sums)  # (2, n)

    def tile(start, end, of_a, of_b):
        own, later_views = views[:, start:end], views[:, end:]
        of_rows = inverse[:, start:end, None]
        among, later, cross, _ = _symmetric_strip(views, start, end, temperature)
        among *= of_rows + inverse[:, None, start:end]
        later *= of_rows + inverse[:, None, end:]
        cross *= of_rows[0] + inverse[1]
        of_own = tf.matmul(among, own) + tf.matmul(later, later_views)
        of_later = tf.matmul(later, own, transpose_a=True)
        from_start = tf.concat([of_own, of_later], axis=1)
        of_a = _add_from(start, of_a, from_start[0])
        of_a = _add_from(start, of_a, tf.matmul(cross, views[1]))
        of_b = _add_from(start, of_b, from_start[1])
        return of_a, of_b + tf.matmul(cross, own[0], transpose_a=True)

    zeros = tf.zeros_like(views[0])
    return tf.stack(_over_tiles(tf.shape(views)[1], rows, tile, zeros, zeros))


def _symmetric_strip(views, start, end, temperature):
    """exp(S) of images start to end, where no pair comes twice.

    Returns:
      Within each view: among themselves (2, T, T), 0 where a row meets itself, and with all
      later images (2, T, n - end); of A with all of B (T, n); and S of the latter.
    """
    own = views[:, start:end] / temperature
    among = tf.exp(tf.matmul(own, views[:, start:end], transpose_b=True))
    among = tf.linalg.set_diag(among, tf.zeros([2, end - start]))
    later = tf.exp(tf.matmul(own, views[:, end:], transpose_b=True))
    cross_logits = tf.matmul(own[0], views[1], transpose_b=True)
    return among, later, tf.exp(cross_logits), cross_logits


def _forward(views, columns, temperature, rows, bounded):
    """log Z (2, n), and the sums over images of `_metrics`, from this replica's rows."""
    first_column = distribute.replica_id() * tf.shape(views)[1]

    def tile(start, end, log_sums, found, entropy):
        same, cross = _strip(views, columns, start, end, temperature)
        strip = tf.concat([same, cross], axis=2)
        if bounded:
            own = tf.math.log(tf.reduce_sum(tf.exp(strip), axis=2))
        else:
            own = tf.reduce_logsumexp(strip, axis=2)
        logits = cross[0] - tf.reduce_max(cross[0], axis=1, keepdims=True)
        more_found, more_entropy = _metrics(logits, tf.exp(logits), first_column + start)
        log_sums = _add_from(start, log_sums, own, axis=1)
        return log_sums, found + more_found, entropy + more_entropy

    n = tf.shape(views)[1]
    return _over_tiles(n, rows, tile, tf.zeros([2, n]), 0.0, 0.0)


def _backward(views, columns, log_sums, weight, temperature, rows, bounded):
    """sum_j (weight_i / Z_i + weight_j / Z_j) exp(S_ij) U_j; (2, n, d).

    A replica's weight may differ from another's, so both go around.
    """
    of_rows = tf.stack([log_sums, weight * tf.ones_like(log_sums)])  # (2, 2, n)
    of_columns = tf.stack(tf.unstack(_gather(tf.transpose(of_rows, [1, 2, 0])), axis=2))

    def pairs(logits, of_rows, of_columns):  # (2, T, N), (2, 2, T, 1), (2, 2, 1, N)
        if bounded:
            inverse = [w * tf.exp(-log_sum) for log_sum, w in (of_rows, of_columns)]
            return tf.exp(logits) * (inverse[0] + inverse[1])
        return sum(w * tf.exp(logits - log_sum) for log_sum, w in (of_rows, of_columns))

    def tile(start, end, total):
        same, cross = _strip(views, columns, start, end, temperature)
        own, others = of_rows[:, :, start:end, None], of_columns[:, :, None, :]
        of_own = tf.matmul(pairs(same, tf.unstack(own), tf.unstack(others)), columns)
        others = others[:, ::-1]
        of_own += tf.matmul(pairs(cross, tf.unstack(own), tf.unstack(others)), columns[::-1])
        return (_add_from(start, total, of_own, axis=1),)

    (total,) = _over_tiles(tf.shape(views)[1], rows, tile, tf.zeros_like(views))
    return total


def _strip(views, columns, start, end, temperature):
    """S of rows of this replica to their own view, -inf where a row meets itself, and to the
    other; (2, T, N) each."""
    own = views[:, start:end] / temperature
    itself = tf.fill([2, end - start], -float("inf"))
    first_column = distribute.replica_id() * tf.shape(views)[1]
    same = tf.matmul(own, columns, transpose_b=True)
    same = tf.linalg.set_diag(same, itself, k=first_column + start)
    return same, tf.matmul(own, columns[::-1], transpose_b=True)


def _metrics(logits, exponentials, first_column):
    """How many rows of (T, N) are largest at their positive, and the sum of their entropies."""
    positives = first_column + tf.range(tf.shape(logits)[0])
    found = tf.equal(tf.argmax(logits, axis=1, output_type=tf.int32), positives)
    sums = tf.reduce_sum(exponentials, axis=1)
    entropies = tf.math.log(sums) - tf.reduce_sum(exponentials * logits, axis=1) / sums
    return tf.reduce_sum(tf.cast(found, tf.float32)), tf.reduce_sum(entropies)


def _over_tiles(n: tf.Tensor, rows: tf.Tensor, tile: Callable, *values) -> tuple:
    """Apply values = tile(start, end, *values) to one strip of rows after the other."""

    def step(start, *values):
        end = tf.minimum(start + rows, n)
        return end, *tile(start, end, *values)

    loop = tf.while_loop(lambda start, *_: start < n, step, (0, *values), parallel_iterations=1)
    return loop[1:]


def _add_from(start, total, part, axis=0):
    """Add `part` to the entries of `total` along an axis from `start` on."""
    rest = tf.shape(total)[axis] - start - tf.shape(part)[axis]
    around = [[0, 0]] * axis + [[start, rest]] + [[0, 0]] * (part.shape.rank - axis - 1)
    return total + tf.pad(part, around)


def _gather(views):
    """(2, n, ...) of every replica -> (2, N, ...)."""
    images = distribute.gather(tf.stack(tf.unstack(tf.stop_gradient(views)), axis=1))
    images.set_shape([views.shape[1] * distribute.num_replicas(), 2, *views.shape[2:]])
    return tf.stack(tf.unstack(images, axis=1))
