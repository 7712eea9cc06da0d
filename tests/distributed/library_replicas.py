"""Pretraining of an own encoder on two logical devices, by the library."""

import pathlib
import sys

import numpy as np
import tensorflow as tf

sys.path[:0] = [str(pathlib.Path(__file__).parents[2])]

import simclr_tf  # noqa: E402
from simclr_tf.backend import keras  # noqa: E402
from simclr_tf.errors import UserError  # noqa: E402

PIXELS = np.random.default_rng(0).integers(0, 256, (21, 8, 8, 3)).astype(np.uint8)
SETTINGS = {"image_size": 8, "train_batch_size": 8, "train_steps": 2, "warmup_epochs": 0.0}
SETTINGS |= {"proj_out_dim": 4, "num_proj_layers": 1}


def encoder():
    layers = keras.layers
    return keras.Sequential(
        [keras.Input((8, 8, 3)), layers.Conv2D(6, 3), layers.GlobalAveragePooling2D()]
    )


class FeaturesOfEachEpoch(keras.callbacks.Callback):
    """Looks at features in between, where Keras is within the scope of the strategy."""

    def on_epoch_end(self, epoch, logs=None):
        self.found = training.features(PIXELS, batch_size=5)


(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
outside = encoder()
with strategy.scope():
    try:
        simclr_tf.Pretraining(PIXELS, encoder=outside, **SETTINGS)
    except UserError as error:
        print(error)
    training = simclr_tf.Pretraining(PIXELS, encoder=encoder(), **SETTINGS)
callback = FeaturesOfEachEpoch()
training.fit(callbacks=[callback], verbose=0)
features, labels = callback.found
expected = training.network.features(PIXELS / np.float32(255))
np.testing.assert_allclose(features, expected, rtol=1e-5, atol=1e-6)
assert labels.tolist() == [-1] * 21
print(int(training.method.step))
