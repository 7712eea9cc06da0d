"""Less memory for more computation: activations that are computed again when they are needed."""

from collections.abc import Callable

import tensorflow as tf

from simclr_tf.backend import keras
from simclr_tf.models.batch_norm import chosen_statistics, statistics


def recomputed(layer: keras.layers.Layer) -> Callable[..., tf.Tensor]:
    """A layer whose activations are not kept for the backward pass, but computed again in it.

    Values and gradients stay the same (arXiv 1604.06174): batch statistics are chosen as in the
    first computation, which alone the moving averages follow.
    """

    def call(inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        computed, chosen = False, chosen_statistics()

        def compute(inputs):
            nonlocal computed
            again, computed = computed, True
            with statistics(update=not again, **chosen):
                return layer(inputs, training=training)

        return tf.recompute_grad(compute)(inputs)

    return call
