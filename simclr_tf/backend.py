"""The one place that decides which Keras the package speaks.

TensorFlow up to 2.15 carries the Keras 2 API itself; from 2.16 on the same API
is the package tf-keras. Every other module imports `keras` from here.
"""

import tensorflow as tf

if tuple(int(part) for part in tf.__version__.split(".")[:2]) < (2, 16):
    keras = tf.keras
else:
    import tf_keras as keras

__all__ = ["keras"]
