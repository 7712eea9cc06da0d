"""What replicas tell each other.

These functions may be called anywhere: outside of a strategy, and while a model is being
built, there is one replica and they are identities.
"""

import tensorflow as tf

from simclr_tf.errors import UserError


def num_replicas() -> int:
    """Number of replicas that take part in the current step."""
    context = tf.distribute.get_replica_context()
    return context.num_replicas_in_sync if context is not None else 1


def replica_id() -> int | tf.Tensor:
    """Number of this replica among all replicas of all hosts, from 0."""
    if num_replicas() == 1:
        return 0
    return tf.distribute.get_replica_context().replica_id_in_sync_group


def gather(tensor: tf.Tensor) -> tf.Tensor:
    """Concatenate a tensor of every replica, in the order of the replicas.

    Gradients flow through all copies: the gradient of a replica's own rows is the
    sum of what every replica sends back for them.

    Args:
      tensor: (n, ...), of the same static shape on all replicas.

    Returns:
      (n * replicas, ...).

    Raises:
      UserError: there are several replicas, and n is known in the step alone.
    """
    if num_replicas() == 1:
        return tensor
    context = tf.distribute.get_replica_context()
    rows = tensor.shape[0]
    if rows is None:
        raise UserError(
            "Replicas gather tensors of a static number of rows. Received: a tensor of shape "
            f"{tuple(tensor.shape)}. Give batches of one size, as drop_remainder=True makes them."
        )

    @tf.custom_gradient
    def gather_rows(own):
        gathered = context.all_gather(own, axis=0)
        gathered.set_shape([rows * context.num_replicas_in_sync, *own.shape[1:]])

        def gradient(upstream):
            total = context.all_reduce(tf.distribute.ReduceOp.SUM, upstream)
            start = context.replica_id_in_sync_group * rows
            return tf.gather(total, start + tf.range(rows))

        return gathered, gradient

    return gather_rows(tensor)


def sum_over_replicas(tensor: tf.Tensor) -> tf.Tensor:
    """Sum of a tensor over all replicas; differentiable."""
    if num_replicas() == 1:
        return tensor
    context = tf.distribute.get_replica_context()
    return context.all_reduce(tf.distribute.ReduceOp.SUM, tensor)


def mean_over_replicas(tensor: tf.Tensor) -> tf.Tensor:
    """Mean of a tensor over all replicas; differentiable."""
    return sum_over_replicas(tensor) / num_replicas()
