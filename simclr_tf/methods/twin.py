"""What several methods keep beside the network: a twin that follows it, and a queue."""

import logging

import tensorflow as tf

from simclr_tf.backend import keras
from simclr_tf.training.plan import Plan


def twin(network: keras.Model) -> keras.Model:
    """A copy of a network, with the same weights, in variables of its own.

    It stays trainable, so that its batch norm uses the statistics of its batches; the method
    names it in `untrained`.

    Args:
      network: one that `from_config` rebuilds from its `get_config`.
    """
    copy = type(network).from_config(network.get_config())
    copy.set_weights(network.get_weights())
    return copy


def follow(twin: keras.Model, network: keras.Model, decay: float | tf.Tensor) -> None:
    """Move the weights of a twin towards those of the network: decay * old + (1 - decay) * new.

    Moving statistics of batch norm stay: they follow the batches that the twin sees itself.
    Call it in every replica.

    Args:
      twin: what follows.
      network: what it follows.
      decay: in [0, 1].
    """
    for old, new in zip(twin.trainable_variables, network.trainable_variables, strict=True):
        old.assign(decay * old + (1 - decay) * new)


class Queue(tf.Module):
    """The newest rows, first in, first out, as a ring.

    All replicas hold the same rows, so what is pushed has to be gathered.

    Attributes:
      rows: (size, width) float32; at the beginning random rows of length 1.
      next_row: where the next one goes, int64.

    Args:
      size: number of rows.
      width: of a row.
    """

    def __init__(self, size: int, width: int, name: str = "queue"):
        super().__init__(name)
        shared = {"trainable": False, "aggregation": tf.VariableAggregation.ONLY_FIRST_REPLICA}
        rows = keras.initializers.RandomNormal(stddev=1.0)((size, width))
        self.rows = tf.Variable(tf.math.l2_normalize(rows, axis=1), name="rows", **shared)
        self.next_row = tf.Variable(0, dtype=tf.int64, name="next_row", **shared)

    def push(self, rows: tf.Tensor) -> None:
        """Put rows (n, width) in the place of the oldest; of more than `size`, the last remain.

        Call it in every replica with the same rows.
        """
        size = self.rows.shape[0]
        kept = rows[-size:]
        start = self.next_row + rows.shape[0] - kept.shape[0]
        places = (start + tf.range(kept.shape[0], dtype=tf.int64)) % size
        self.rows.assign(tf.tensor_scatter_nd_update(self.rows, places[:, tf.newaxis], kept))
        self.next_row.assign((start + kept.shape[0]) % size)


def queue_of(size: int, width: int, plan: Plan | None, rows_per_image: int = 1) -> Queue:
    """A queue of what a momentum encoder makes of images, whose rows are negatives of later ones.

    It warns where the queue holds images of the batch itself, from an epoch ago.

    Args:
      size: number of rows in the queue.
      width: of a row.
      plan: the numbers of the run; without, nothing is known of the images.
      rows_per_image: that a step pushes.
    """
    images = -(-size // rows_per_image)
    if plan is not None and images + plan.batch_size > plan.num_examples:
        logging.warning(
            "A queue of %d images and a batch of %d are more than the %d of the training split: "
            "images meet themselves as negatives. Give a --queue_size of at most %d.",
            images,
            plan.batch_size,
            plan.num_examples,
            max(1, rows_per_image * (plan.num_examples - plan.batch_size)),
        )
    return Queue(size, width)
