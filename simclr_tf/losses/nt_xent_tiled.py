"""NT-Xent in memory linear in the batch: tile by tile, the matrix of similarities is never held.

Notation as in `nt_xent`. U are the rows of both views of all R replicas over the root of the
temperature, so that the logits are S = U U', and Z_i is the sum of exp(S_ij) over all columns j
but i itself. The loss is the mean over images of the sum over views of log Z_i - S_i,pos(i), and
since S is symmetric

    dloss / dU_i = 1 / n (sum_j (1 / Z_i + 1 / Z_j) exp(S_ij) U_j - 2 U_pos(i)).

Forward computes Z, backward the tiles again. A tile is S of two blocks of rows and serves both:
each pair of rows is computed once, by one replica, and replicas exchange U, Z and the gradient.
What is summed over tiles is stored by block, so that a tile touches nothing as long as the batch.

Z_i is held as (m, sum of exp(S_ij - m)). Rows of length 1 bound the logits by 1 / t; then m is 0,
and an entry costs one exponential and no maximum. Otherwise m is the largest logit so far.
"""

import functools

import tensorflow as tf

from simclr_tf.devices import replicas
from simclr_tf.losses.rows import TIE

LARGEST_BOUND = 50.0  # exp(50), the sum over all columns, and its inverse are plain float32
LOWEST = -1e30  # a logit that does not count; unlike -inf it can be subtracted from itself
BLOCK_ROWS = 1024


def tiled_loss_and_metrics(
    hidden: tf.Tensor, temperature: float, normalized: bool, block_rows: int = BLOCK_ROWS
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The loss of `nt_xent`, and what `contrastive_metrics` says about it.

    Args:
      hidden: (2n, d) float32, first views, then second views; the static shape is known, and
        the same on all replicas.
      temperature: above 0.
      normalized: whether no row is longer than 1.
      block_rows: the most rows of a block.

    Returns:
      Float32 scalars: loss, accuracy and entropy. Only the loss has a gradient. The entropy has
      no 1e-8 in its logarithm, which changes it by at most 1e-8 N.
    """
    bounded = normalized and 1 / temperature <= LARGEST_BOUND

    @tf.custom_gradient
    def contrast(own):  # (2n, d)
        blocks = _Blocks(own.shape[0] // 2, block_rows)
        rows = blocks.cut(replicas.gather(tf.stop_gradient(own)))
        a, b = tf.split(own, 2)
        positives = tf.reduce_sum(a * b, axis=1)  # (n,)
        sums, found, others, entropy = _forward(blocks, rows, bounded)
        of_a, of_b = tf.split(_log(blocks.own(sums)), 2)
        loss = tf.reduce_mean(of_a + of_b - 2 * positives)
        tolerance = TIE * tf.norm(a, axis=1) * tf.norm(b, axis=1)
        accuracy = _accuracy(blocks, rows, found, others, tolerance)

        def gradient(upstream, *of_metrics):
            weight = upstream / blocks.n
            pairs = _backward(blocks, rows, sums, weight, bounded, own.shape[1])
            return blocks.own(pairs) - 2 * weight * tf.concat([b, a], axis=0)

        return (loss, accuracy, entropy), gradient

    return contrast(hidden / temperature**0.5)


class _Blocks:
    """How the rows of all replicas, (2n R, ...), are cut into blocks.

    Each replica has those of A, then those of B; n rows are k blocks of nearly equal size.
    """

    def __init__(self, n, most):
        self.n = n
        self.total = 2 * n * replicas.num_replicas()
        self.k = -(-n // most)
        size = -(-n // self.k)
        self.lengths = [size] * (self.k - 1) + [n - size * (self.k - 1)]

    def cut(self, rows):
        """An array of the blocks of some views, which are read and written one by one."""
        lengths = self.lengths * (rows.shape[0] // self.n)
        array = tf.TensorArray(
            rows.dtype,
            size=len(lengths),
            element_shape=[None, *rows.shape[1:]],
            infer_shape=False,
            clear_after_read=False,
        )
        return array.split(rows, lengths)

    def own(self, rows):
        """The rows of this replica, (2n, ...)."""
        start = replicas.replica_id() * 2 * self.n
        return rows[start : start + 2 * self.n]

    def pairs(self):
        """This replica's share of the pairs of blocks, each (., 2): blocks with themselves,
        with others of the same view, and those of A with those of B.

        The blocks of a view stand in a circle, where each meets the half that follows.
        """
        count = self.k * replicas.num_replicas()
        first = replicas.replica_id() * self.k

        def places(block, view, other, other_view):
            pair = (block, view), (other, other_view)
            return tf.stack([(b // self.k * 2 + v) * self.k + b % self.k for b, v in pair], axis=1)

        own = first * 2 + tf.range(2 * self.k)
        block, step = _combinations(self.k, count // 2)
        block, step = first + block, step + 1
        other = (block + step) % count
        within = [
            tf.boolean_mask(places(block, view, other, view), (2 * step < count) | meets_opposite)
            for view, meets_opposite in enumerate((block < other, block > other))
        ]
        block, other = _combinations(self.k, count)
        across = places(first + block, 0, other, 1)
        return tf.stack([own, own], axis=1), tf.concat(within, axis=0), across


def _combinations(rows, columns):
    """All (row, column), as two vectors."""
    return tf.repeat(tf.range(rows), columns), tf.tile(tf.range(columns), [rows])


def _forward(blocks, rows, bounded):
    """Z of all rows, (2n R, 2); of the images of this replica, as the tiles have them, the logit
    of the positive and the largest other one of A with B, (n,) each, and the mean entropy."""

    def add(sums, i, j, of_rows, of_columns):
        sums = sums.write(i, _merged(sums.read(i), of_rows))
        return sums.write(j, _merged(sums.read(j), of_columns))

    def itself(i, j, sums):
        of_rows, _, _ = _sums(_without_diagonal(_tile(rows, i, j)), bounded)
        return (sums.write(i, of_rows),)

    def within(i, j, sums):
        of_rows, of_columns, _ = _sums(_tile(rows, i, j), bounded)
        return (add(sums, i, j, of_rows, of_columns),)

    def across(i, j, sums, of_a, found, others):
        logits = _tile(rows, i, j)
        of_rows, of_columns, exponentials = _sums(logits, bounded)
        sums = add(sums, i, j, of_rows, of_columns)
        q = i % (2 * blocks.k)  # among the blocks of this replica
        expected = tf.reduce_sum(exponentials * logits, axis=1, keepdims=True)
        of_a = of_a.write(q, _merged(of_a.read(q), tf.concat([of_rows, expected], axis=1)))
        logits, positives = tf.cond(
            j == i + blocks.k,
            lambda: (_without_diagonal(logits), tf.linalg.diag_part(logits)),
            lambda: (logits, found.read(q)),
        )
        largest = tf.maximum(others.read(q), tf.reduce_max(logits, axis=1))
        return sums, of_a, found.write(q, positives), others.write(q, largest)

    pairs = blocks.pairs()
    nothing = 0.0 if bounded else LOWEST
    (sums,) = _over(pairs[0], itself, blocks.cut(tf.fill([blocks.total, 2], nothing)))
    (sums,) = _over(pairs[1], within, sums)
    of_a = blocks.cut(tf.fill([blocks.n, 3], nothing))
    found, others = (blocks.cut(tf.fill([blocks.n], LOWEST)) for _ in range(2))
    sums, of_a, found, others = _over(pairs[2], across, sums, of_a, found, others)
    sums, of_a = tf.ensure_shape(sums.concat(), [blocks.total, 2]), of_a.concat()
    if bounded:
        sums = replicas.sum_over_replicas(sums)
    else:
        sums = functools.reduce(_merged, tf.unstack(replicas.gather(sums[None])))
    entropy = tf.reduce_mean(_log(of_a) - of_a[:, 2] / of_a[:, 1])
    return sums, found.concat(), others.concat(), entropy


def _accuracy(blocks, rows, positives, others, tolerance):
    """Mean over the images of this replica of 1 / (1 + c) where the positive ties with c others
    of A with B, and 0 where another is larger.

    The tiles of blocks with a tie are computed again, and none where there is no tie.

    Args:
      blocks, rows: as everywhere.
      positives, others: (n,), from `_forward`.
      tolerance: (n,), the largest difference of logits that tie.
    """
    ties = tf.split(tf.abs(others - positives) <= tolerance, blocks.lengths)
    ties = tf.stack([tf.reduce_any(tie) for tie in ties])  # (k,)
    least = blocks.cut(positives - tolerance)

    def count(i, j, counts):
        q = i % (2 * blocks.k)
        logits = _tile(rows, i, j)
        logits = tf.cond(j == i + blocks.k, lambda: _without_diagonal(logits), lambda: logits)
        near = tf.cast(logits >= least.read(q)[:, None], tf.float32)
        return (counts.write(q, counts.read(q) + tf.reduce_sum(near, axis=1)),)

    across = blocks.pairs()[2]
    across = tf.boolean_mask(across, tf.gather(ties, across[:, 0] % (2 * blocks.k)))
    (counts,) = _over(across, count, blocks.cut(tf.zeros([blocks.n])))
    largest = tf.cast(others <= positives + tolerance, tf.float32)
    return tf.reduce_mean(largest / (1 + counts.concat()))


def _backward(blocks, rows, sums, weight, bounded, width):
    """sum_j (weight_i / Z_i + weight_j / Z_j) exp(S_ij) U_j; (2n R, width).

    A replica's weight may differ from another's.
    """
    weights = replicas.gather(tf.fill([2 * blocks.n], weight)) / sums[:, 1]
    weights, largest = blocks.cut(weights), blocks.cut(sums[:, 0])

    def weigh(logits, i, j):
        of_rows, of_columns = weights.read(i)[:, None], weights.read(j)
        if bounded:
            return tf.exp(logits) * (of_rows + of_columns)
        of_rows *= tf.exp(logits - largest.read(i)[:, None])
        return of_rows + of_columns * tf.exp(logits - largest.read(j))

    def itself(i, j, total):
        pairs = weigh(_without_diagonal(_tile(rows, i, j)), i, j)
        return (total.write(i, tf.matmul(pairs, rows.read(j))),)

    def both(i, j, total):
        pairs = weigh(_tile(rows, i, j), i, j)
        of_columns = tf.matmul(pairs, rows.read(i), transpose_a=True)
        total = total.write(i, total.read(i) + tf.matmul(pairs, rows.read(j)))
        return (total.write(j, total.read(j) + of_columns),)

    pairs = blocks.pairs()
    (total,) = _over(pairs[0], itself, blocks.cut(tf.zeros([blocks.total, width])))
    (total,) = _over(tf.concat(pairs[1:], axis=0), both, total)
    total = tf.ensure_shape(total.concat(), [blocks.total, width])
    return replicas.sum_over_replicas(total)


def _tile(rows, i, j):
    """S of two blocks."""
    return tf.matmul(rows.read(i), rows.read(j), transpose_b=True)


def _without_diagonal(logits):
    return tf.linalg.set_diag(logits, tf.fill(tf.shape(logits)[:1], LOWEST))


def _sums(logits, bounded):
    """Z of the rows (T, 2) and of the columns (C, 2) of a tile, and exp(S - m) of its rows."""
    if bounded:
        exponentials = [tf.exp(logits)] * 2
        largest = tf.zeros_like(logits[:, 0]), tf.zeros_like(logits[0])
    else:
        largest = [tf.reduce_max(logits, axis) for axis in (1, 0)]
        exponentials = tf.exp(logits - largest[0][:, None]), tf.exp(logits - largest[1])
    of_rows, of_columns = (
        tf.stack([m, tf.reduce_sum(e, axis)], axis=1)
        for m, e, axis in zip(largest, exponentials, (1, 0), strict=True)
    )
    return of_rows, of_columns, exponentials[0]


def _merged(before, more):
    """m, and sums of terms with the factor exp(-m), over the columns of both; (T, .)."""
    largest = tf.maximum(before[:, :1], more[:, :1])
    sums = [sums[:, 1:] * tf.exp(sums[:, :1] - largest) for sums in (before, more)]
    return tf.concat([largest, sums[0] + sums[1]], axis=1)


def _log(sums):
    return sums[:, 0] + tf.math.log(sums[:, 1])


def _over(pairs, tile, *values):
    """Apply values = tile(i, j, *values) to one pair of blocks after the other."""

    def step(p, *values):
        return p + 1, *tile(pairs[p, 0], pairs[p, 1], *values)

    end = tf.shape(pairs)[0]
    return tf.while_loop(lambda p, *_: p < end, step, (0, *values), parallel_iterations=1)[1:]
