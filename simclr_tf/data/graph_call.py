"""Functions that stay calls in a graph."""

from collections.abc import Callable

import tensorflow as tf


def graph_call(*signature: tf.TensorSpec) -> Callable:
    """A decorator for functions that are called in a branch which most images do not take.

    A branch that is not taken still costs something for every op in it; a call is one op.

    Args:
      *signature: types and shapes of the arguments.
    """
    return tf.function(
        input_signature=signature,
        autograph=False,
        experimental_attributes={"_noinline": True},
    )
