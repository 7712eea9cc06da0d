"""Gradients of a large batch in the memory of a small one: gradient caching.

A step has three parts (arXiv 2101.06983, section 3.2):

1. the embeddings of all images, slice by slice, of which nothing else is kept;
2. the loss of the whole batch, and its gradient with respect to the embeddings;
3. slice by slice the embeddings again, now with the gradient of the weights.

The gradient is that of the loss of the whole batch, where batch statistics are those of a
slice: of the images of this replica that are embedded together, whatever --global_bn says.
(Statistics of the whole batch would need a gradient through them, which one cached gradient of
the embeddings does not hold.) The moving averages of batch norm follow every slice once, in
part 1. Loops keep the slices from being computed at the same time.
"""

from collections.abc import Callable, Sequence

import tensorflow as tf

from simclr_tf.errors import UserError
from simclr_tf.models.batch_norm import statistics

Embed = Callable[[tuple[tf.Tensor, ...]], dict[str, tf.Tensor]]


def in_slices(views: Sequence[tf.Tensor], size: int) -> tuple[tf.Tensor, ...]:
    """Views (n, ...) as slices (n / size, size, ...).

    Raises:
      UserError: the size does not divide n.
    """
    images = views[0].shape[0]
    if images % size:
        raise UserError(
            f"micro_batch_size divides the images that a replica has of a batch, {images}. "
            f"Received: {size}."
        )
    return tuple(tf.reshape(view, [-1, size, *view.shape[1:]]) for view in views)


def embed_slices(embed: Embed, slices: tuple[tf.Tensor, ...]) -> dict[str, tf.Tensor]:
    """The embeddings of all images, without gradient.

    Args:
      embed: `Method.embed`.
      slices: see `in_slices`.

    Returns:
      What `embed` would return for all images at once, but for batch statistics.
    """

    def embed_slice(i):
        return embed(_slice(slices, i))

    with statistics(local=True):
        like = _signature(embed_slice)
        parts = tf.map_fn(  # over numbers: it would copy the views of the whole batch
            embed_slice,
            tf.range(slices[0].shape[0]),
            fn_output_signature=like,
            parallel_iterations=1,
        )
    return {name: tf.reshape(rows, [-1, *rows.shape[2:]]) for name, rows in parts.items()}


def _signature(embed_slice):
    """Names, shapes and types of a slice's embeddings, from a graph that never runs."""
    with statistics(update=False):
        traced = tf.function(embed_slice, autograph=False).get_concrete_function(
            tf.TensorSpec((), tf.int32)
        )
    outputs = traced.structured_outputs
    return {name: tf.TensorSpec(t.shape, t.dtype) for name, t in outputs.items()}


def slice_gradients(
    embed: Embed,
    slices: tuple[tf.Tensor, ...],
    upstream: dict[str, tf.Tensor],
    variables: Sequence[tf.Variable],
    outside: Sequence[tf.Tensor],
) -> list[tf.Tensor]:
    """Gradients of variables, from those of the embeddings.

    Args:
      embed: `Method.embed`.
      slices: see `in_slices`.
      upstream: gradients of the loss with respect to the embeddings of all images.
      variables: whose gradients are wanted.
      outside: the gradients of the variables that do not pass through the embeddings.
    """
    count = slices[0].shape[0]
    upstream = {
        name: tf.reshape(rows, [count, -1, *rows.shape[1:]]) for name, rows in upstream.items()
    }

    def add_slice(i, *sums):
        with tf.GradientTape() as tape, statistics(local=True, update=False):
            embeddings = embed(_slice(slices, i))
        gradients = tape.gradient(
            embeddings,
            variables,
            output_gradients={name: rows[i] for name, rows in upstream.items()},
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )
        return i + 1, *(a + b for a, b in zip(sums, gradients, strict=True))

    return tf.while_loop(lambda i, *_: i < count, add_slice, (0, *outside), parallel_iterations=1)[
        1:
    ]


def _slice(slices, i):
    return tuple(rows[i] for rows in slices)
