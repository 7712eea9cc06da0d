"""What the tests of this folder share."""

import numpy as np
import pytest
import tensorflow as tf
from sklearn.datasets import load_digits

from simclr_tf.backend import keras
from simclr_tf.checkpoints.run_directory import RunDirectory
from simclr_tf.models import Architecture, Network, simclr_projector
from simclr_tf.models.batch_norm import batch_norm_variables


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A ResNet-18 for images of 8 pixels: random weights, and the batch statistics of digits."""
    keras.utils.set_random_seed(0)
    network = Network(
        Architecture(
            resnet_depth=18,
            cifar_stem=True,
            projector=simclr_projector(num_layers=2),
            batch_norm_decay=0.0,
        )
    )
    for variable in batch_norm_variables(network):  # residual branches begin switched off
        if not variable.numpy().any():
            variable.assign(tf.ones_like(variable))
    digits = np.repeat(load_digits().images[:256, ..., None] / 16, 3, axis=-1)
    network(tf.constant(digits, tf.float32), training=True)
    path = tmp_path_factory.mktemp("encoder")
    RunDirectory(str(path)).hold_model(network.architecture)
    saved = tf.train.Checkpoint(method=tf.train.Checkpoint(network=network))
    tf.train.CheckpointManager(saved, str(path), 1, checkpoint_name="ckpt").save(3)
    return str(path)
