"""The one place that decides which Keras the package speaks.

TensorFlow up to 2.15 carries the Keras 2 API itself; from 2.16 on the same API
is the package tf-keras. Every other module imports `keras` from here.
"""

import contextlib
from collections.abc import Iterator

import tensorflow as tf

if tuple(int(part) for part in tf.__version__.split(".")[:2]) < (2, 16):
    keras = tf.keras
else:
    import tf_keras as keras

__all__ = ["activations_in", "keras"]


@contextlib.contextmanager
def activations_in(dtype: str) -> Iterator[None]:
    """Layers constructed in this context compute in `dtype` and keep their weights in float32."""
    before = keras.mixed_precision.global_policy()
    wanted = "mixed_bfloat16" if dtype == "bfloat16" else dtype
    if before.name == wanted:  # all threads share the policy, so it is left alone where it can be
        yield
        return
    keras.mixed_precision.set_global_policy(wanted)
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy(before)
