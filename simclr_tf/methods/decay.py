"""Which variables the l2 term of the loss has."""

from collections.abc import Sequence

import tensorflow as tf

from simclr_tf.backend import keras
from simclr_tf.models.batch_norm import batch_norm_variables


def l2_variables(network: keras.Model, optimizer_decays: bool) -> list[tf.Variable]:
    """The variables of a network whose l2 term belongs to the loss.

    Args:
      network: frozen as it will be trained.
      optimizer_decays: whether the optimizer decays the rest by itself (LARS, LAMB); then
        the kernel of the supervised head alone is left to the loss. Otherwise all trainable
        variables but those of batch norm.
    """
    if optimizer_decays:
        return [] if network.supervised_head is None else [network.supervised_head.kernel]
    return without_batch_norm(network.trainable_variables, network)


def without_batch_norm(variables: Sequence[tf.Variable], model: keras.Model) -> list[tf.Variable]:
    """Those of the variables that do not belong to a batch norm layer of the model."""
    of_batch_norm = {id(variable) for variable in batch_norm_variables(model)}
    return [v for v in variables if id(v) not in of_batch_norm]
