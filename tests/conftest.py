"""What all tests share: memory is given back after each file."""

import ctypes
import gc

import pytest
from tensorflow.python.framework import ops


@pytest.fixture(autouse=True, scope="module")
def memory_given_back():
    """Let go of the graphs of a file's tests.

    TensorFlow keeps the gradient of every `tf.custom_gradient` that it traced, and with it the
    graph and its variables: a hundred megabytes for each training run.
    """
    yield
    registered = ops.gradient_registry._registry
    for name in [name for name in registered if name.startswith("CustomGradient-")]:
        del registered[name]
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
