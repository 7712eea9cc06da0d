"""A predictor: a head on the projection, which a method keeps beside the network."""

from collections.abc import Sequence

import tensorflow as tf

from simclr_tf.backend import keras
from simclr_tf.models import Dense, Head


def predictor(network: keras.Model, structure: Sequence[Dense]) -> Head:
    """A head for what the network's projection head returns, with batch norm like its own.

    Args:
      network: one with a projection head.
      structure: the layers of the predictor.
    """
    projection = network.projection_head
    head = Head(structure, projection.batch_norm_decay, projection.global_bn, name="predictor")
    head.build((None, projection.layers[-1].units))
    return head


def predictions(head: Head, projections: tf.Tensor) -> tf.Tensor:
    """What a predictor makes of each view, in training mode, one pass for each.

    Args:
      head: the predictor.
      projections: (n, views, width).

    Returns:
      (n, views, width of the predictor's output), float32.
    """
    views = tf.unstack(projections, axis=1)
    return tf.stack([tf.cast(head(view, training=True)[-1], tf.float32) for view in views], axis=1)
