"""Shuffled batch norm (MoCo, arXiv 1911.05722, section 3.3): replicas exchange their images.

The keys of a replica's images are computed with the batch statistics of others, so that a query
cannot tell its key by the statistics that both share.
"""

import tensorflow as tf

from simclr_tf.devices import replicas


def random_order(number: int, seed: tf.Tensor) -> tf.Tensor:
    """A permutation of the batch, int32 (number,); all replicas draw the same.

    A step that XLA compiles draws others from the same seed.

    Args:
      number: of images in the batch of all replicas.
      seed: int64 (2,).
    """
    return tf.argsort(tf.random.stateless_uniform((number,), seed))  # XLA has no shuffle


def shuffled(images: tf.Tensor, order: tf.Tensor) -> tf.Tensor:
    """This replica's share of the batch in another order.

    Args:
      images: (n, ...) of this replica.
      order: (N,) integers: row i of the batch of all replicas becomes its image order[i].

    Returns:
      (n, ...): rows r n to (r + 1) n of the reordered batch on replica r.
    """
    return _own_rows(images, order)


def restored(rows: tf.Tensor, order: tf.Tensor) -> tf.Tensor:
    """The inverse of `shuffled`: what was computed of this replica's own images.

    Args:
      rows: (n, ...), computed of `shuffled` images.
      order: as given there.
    """
    return _own_rows(rows, tf.argsort(order))


def _own_rows(rows, order):
    n = rows.shape[0]
    start = replicas.replica_id() * n
    return tf.gather(replicas.gather(rows), tf.gather(order, start + tf.range(n)))
