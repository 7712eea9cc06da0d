"""The untrained network beside a trained one: its statistics against NumPy, layer by layer."""

import numpy as np
import pytest
import tensorflow as tf
import toy

from simclr_tf.backend import keras
from simclr_tf.evaluation.random_twin import random_twin
from simclr_tf.models import Architecture, Network, simclr_projector

pytestmark = pytest.mark.usefixtures("toy_encoder")

SMALL = Architecture(18, cifar_stem=True, projector=simclr_projector(num_layers=2, out_dim=8))
IMAGES = np.random.default_rng(0).uniform(size=(300, 8, 8, 3)).astype(np.float32)


def batches(size, images=IMAGES):
    """Of one size, but for the last."""
    return tf.data.Dataset.from_tensor_slices(images).batch(size)


@pytest.fixture(scope="module")
def twin():
    return random_twin(SMALL, batches(64), seed=3)


def statistics_of(network, images):
    """Mean and variance of the inputs of every batch norm, in float64, each layer's inputs from
    layers that normalise by those of the same images."""
    found = {}

    def norm(layer, inputs):
        inputs = np.asarray(inputs, np.float64)
        axes = tuple(range(inputs.ndim - 1))
        mean, variance = inputs.mean(axes), inputs.var(axes)
        found[id(layer)] = mean, variance
        return ((inputs - mean) / np.sqrt(variance + layer.epsilon)).astype(np.float32)

    stem = network.encoder.stem
    outputs = tf.nn.relu(norm(stem.norms[0], stem.convolutions[0](images)))
    for block in (block for group in network.encoder.groups for block in group):
        shortcut = outputs
        if block.shortcut is not None:
            shortcut = norm(block.shortcut.norm, block.shortcut.convolution(outputs))
        inner = tf.nn.relu(norm(block.norm1, block.convolution1(outputs)))
        outputs = tf.nn.relu(norm(block.norm2, block.convolution2(inner)) + shortcut)
    outputs = np.mean(outputs, axis=(1, 2))
    for layer in network.projection_head.layers:
        outputs = norm(layer.norm, layer.dense(outputs))
        outputs = tf.nn.relu(outputs) if layer.layer.relu else outputs
    return found


def test_moving_statistics_are_the_means_of_those_of_the_batches(twin):
    """300 images are batches of 128, 128 and 44, whatever the batches that come are."""
    parts = [IMAGES[:128], IMAGES[128:256], IMAGES[256:]]
    found = [statistics_of(twin, part) for part in parts]
    layers = {id(layer): layer for layer in twin.submodules if id(layer) in found[0]}
    assert len(layers) == toy.CONVOLUTIONS + 2
    for name, layer in layers.items():
        for i, moving in enumerate((layer.moving_mean, layer.moving_variance)):
            expected = sum(len(p) * f[name][i] for p, f in zip(parts, found)) / 300
            scale = np.sqrt(layer.moving_variance.numpy().max()) if i == 0 else expected.max()
            np.testing.assert_allclose(moving, expected, rtol=1e-4, atol=1e-4 * scale)
        np.testing.assert_array_equal(layer.gamma, np.ones(layer.gamma.shape))
        assert layer.momentum == SMALL.batch_norm_decay


def test_features_come_from_all_layers(twin):
    """Those of a network that training begins with do not change with a residual branch."""
    keras.utils.set_random_seed(3)
    fresh = Network(SMALL)
    kernel = fresh.encoder.groups[3][0].convolution1.kernel
    np.testing.assert_array_equal(kernel, twin.encoder.groups[3][0].convolution1.kernel)
    found = {}
    for name, network in (("fresh", fresh), ("twin", twin)):
        kernel = network.encoder.groups[3][0].convolution1.kernel
        before, value = network.features(IMAGES[:32]).numpy(), kernel.numpy()
        kernel.assign(-value)
        after = network.features(IMAGES[:32]).numpy()
        kernel.assign(value)
        found[name] = np.abs(after - before).max() / before.std()
    assert found["fresh"] == 0 and found["twin"] > 0.1


def test_outputs_of_the_last_layer_are_normalised(twin):
    """z of the images that the statistics are from has mean 0 and variance 1, nearly: those of
    three batches are not exactly those of all images."""
    z = twin.projections(IMAGES)[-1].numpy()
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=0.1)
    np.testing.assert_allclose(z.var(axis=0), 1, atol=0.25)


def test_the_seed_decides_and_nothing_else(twin):
    tf.random.normal([3])  # moves the global generator
    policy = keras.mixed_precision.global_policy().name
    again = random_twin(SMALL, batches(7), seed=3)
    assert keras.mixed_precision.global_policy().name == policy
    for a, b in zip(twin.variables, again.variables, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    other = random_twin(SMALL, batches(64, IMAGES[:40]), seed=4)
    kernels = [network.encoder.stem.convolutions[0].kernel for network in (twin, other)]
    assert np.abs(kernels[0] - kernels[1]).max() > 0.01


def test_no_more_images_are_read_than_it_says(monkeypatch):
    monkeypatch.setattr("simclr_tf.evaluation.random_twin.IMAGES", 150)
    found = random_twin(SMALL, batches(50), seed=3)
    expected = random_twin(SMALL, batches(50, IMAGES[:150]), seed=3)
    for a, b in zip(found.variables, expected.variables, strict=True):
        np.testing.assert_array_equal(a, b)


def test_batch_norm_of_keras_has_these_statistics_too():
    """Of an encoder of one's own, whose momentum of 0.99 would leave it near its start."""
    encoder = keras.Sequential(
        [
            keras.Input((None, None, 3)),
            keras.layers.Conv2D(4, 3),
            keras.layers.BatchNormalization(),
            keras.layers.GlobalAveragePooling2D(),
        ]
    )
    architecture = Network(Architecture(projector=()), encoder=encoder).architecture
    network = random_twin(architecture, batches(64), seed=3)
    convolution, norm, _ = network.encoder.layers
    outputs = convolution(IMAGES).numpy()
    assert norm.momentum == 0.99
    np.testing.assert_allclose(norm.moving_mean, outputs.mean((0, 1, 2)), atol=1e-4)
    np.testing.assert_allclose(norm.moving_variance, outputs.var((0, 1, 2)), rtol=0.1)
