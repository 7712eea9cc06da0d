"""Contrastive gradients of a large batch in the memory of a small one: gradient caching."""

import tensorflow as tf

from simclr_tf.errors import UserError
from simclr_tf.methods.base import Method
from simclr_tf.models.batch_norm import statistics


class MicroBatches(Method):
    """A method whose network may see a batch in slices, while its loss sees all of it.

    With `micro_batch_size` a step has three parts (arXiv 2101.06983, section 3.2):

    1. the embeddings of all images, slice by slice, of which nothing else is kept;
    2. the loss of the whole batch, and its gradient with respect to the embeddings;
    3. slice by slice the embeddings again, now with the gradient of the weights.

    The gradient is that of the loss of the whole batch, where batch statistics are those of a
    slice: of all views of its images on this replica, whatever --global_bn says. (Statistics of
    the whole batch would need a gradient through them, which one cached gradient of the
    embeddings does not hold.) The moving averages of batch norm follow every slice once, in
    part 1. A loop keeps the slices from being computed at the same time.

    A subclass defines `embed` and `objective_of`, and names what it embeds.

    Args:
      micro_batch_size: images of a slice on each replica; 0 computes the batch as one.
    """

    embedding_names: tuple[str, ...] = ()

    def __init__(self, network, micro_batch_size: int = 0, **kwargs):
        super().__init__(network, **kwargs)
        self.micro_batch_size = micro_batch_size

    def embed(self, views: tuple[tf.Tensor, ...]) -> dict[str, tf.Tensor]:
        """What the loss needs, for views (n, height, width, 3) of the same n images.

        Returns:
          Float32 tensors (views * n, ...) named like `embedding_names`: all first views, then
          all second views, and so on.
        """
        raise NotImplementedError

    def objective_of(
        self, embeddings: dict[str, tf.Tensor], labels: tf.Tensor | None
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """The objective of what `embed` returned; see `objective`."""
        raise NotImplementedError

    def objective(self, views, labels):
        return self.objective_of(self.embed(views), labels)

    def values_and_gradients(self, views, labels):
        if not self.micro_batch_size:
            return super().values_and_gradients(views, labels)
        slices = tuple(_in_slices(view, self.micro_batch_size) for view in views)
        embeddings = self._embed_slices(slices)
        variables = self.trainable_variables
        with tf.GradientTape() as tape:
            tape.watch(embeddings)
            share, values = self.add_decay(*self.objective_of(embeddings, labels))
        cached, of_decay = tape.gradient(share, (embeddings, variables))
        gradients = self._backward_slices(slices, cached)
        return values, [
            gradient if decay is None else gradient + decay
            for gradient, decay in zip(gradients, of_decay, strict=True)
        ]

    def _embed_slices(self, slices):
        """Embeddings of the whole batch, in the order of `embed`, without gradient."""

        def embed(i):
            with statistics(local=True):
                return self.embed(tuple(rows[i] for rows in slices))

        embeddings = tf.map_fn(  # over numbers: it would copy the views of the whole batch
            embed,
            tf.range(slices[0].shape[0]),
            fn_output_signature=dict.fromkeys(self.embedding_names, tf.float32),
            parallel_iterations=1,
        )  # (slices, views * micro_batch_size, ...)
        return {name: _joined(e, len(slices)) for name, e in embeddings.items()}

    def _backward_slices(self, slices, cached):
        """Gradients of trainable variables, from those of the embeddings."""
        variables = self.trainable_variables
        count = slices[0].shape[0]
        cached = {name: _parted(g, count, len(slices)) for name, g in cached.items()}

        def add_slice(i, *sums):
            views, upstream = tf.nest.map_structure(lambda rows: rows[i], (slices, cached))
            with tf.GradientTape() as tape, statistics(local=True, update=False):
                embeddings = self.embed(views)
            gradients = tape.gradient(
                embeddings,
                variables,
                output_gradients=upstream,
                unconnected_gradients=tf.UnconnectedGradients.ZERO,
            )
            return i + 1, *(a + b for a, b in zip(sums, gradients, strict=True))

        zeros = [tf.zeros(variable.shape, variable.dtype) for variable in variables]
        return tf.while_loop(
            lambda i, *_: i < count, add_slice, (0, *zeros), parallel_iterations=1
        )[1:]


def _in_slices(view, size):
    """(n, ...) -> (n / size, size, ...)."""
    if view.shape[0] % size:
        raise UserError(
            f"micro_batch_size divides the images that a replica has of a batch, {view.shape[0]}. "
            f"Received: {size}."
        )
    return tf.reshape(view, [-1, size, *view.shape[1:]])


def _joined(embeddings, views):
    """(slices, views * size, ...) -> (views * n, ...)."""
    slices, rows, *rest = embeddings.shape
    parts = tf.reshape(embeddings, [slices, views, rows // views, *rest])
    return tf.reshape(tf.stack(tf.unstack(parts, axis=1)), [slices * rows, *rest])


def _parted(gradients, slices, views):
    """(views * n, ...) -> (slices, views * size, ...), the inverse of `_joined`."""
    rows, *rest = gradients.shape
    parts = tf.reshape(gradients, [views, slices, rows // (slices * views), *rest])
    return tf.reshape(tf.stack(tf.unstack(parts), axis=1), [slices, rows // slices, *rest])
