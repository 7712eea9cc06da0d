"""Convolutions as products of matrices equal TensorFlow's own."""

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf.models import blocks, small_convolution

RNG = np.random.default_rng(0)


def gradients(convolve, images, filters, upstream):
    with tf.GradientTape() as tape:
        tape.watch([images, filters])
        outputs = convolve(images, filters)
    return outputs, *tape.gradient(outputs, [images, filters], output_gradients=upstream)


@pytest.mark.parametrize(
    ("size", "strides", "padding", "pixels"),
    [
        (3, 1, "SAME", (4, 3)),
        (1, 1, "SAME", (2, 2)),
        (3, 2, "VALID", (9, 8)),
        (7, 2, "VALID", (9, 9)),
    ],
)
def test_values_and_gradients_are_those_of_conv2d(size, strides, padding, pixels):
    images = tf.constant(RNG.normal(size=(5, *pixels, 3)), tf.float32)
    filters = tf.constant(RNG.normal(size=(size, size, 3, 4)), tf.float32)
    plain = tf.nn.conv2d(images, filters, strides, padding)
    upstream = tf.constant(RNG.normal(size=plain.shape), tf.float32)
    expected = gradients(
        lambda x, w: tf.nn.conv2d(x, w, strides, padding), images, filters, upstream
    )
    results = gradients(
        lambda x, w: small_convolution.convolve(x, w, strides, padding), images, filters, upstream
    )
    for result, value in zip(results, expected, strict=True):
        np.testing.assert_allclose(result, value, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("pixels", "patches"), [((4, 4), True), ((1, 3), True), ((4, 5), False)])
def test_patches_give_the_values_and_gradients_of_conv2d(pixels, patches, monkeypatch):
    monkeypatch.setattr(small_convolution, "MANY", 3)
    images = tf.constant(RNG.normal(size=(5, *pixels, 3)), tf.float32)
    filters = tf.constant(RNG.normal(size=(3, 3, 3, 4)), tf.float32)
    used, of_patches = [], small_convolution.of_patches

    def spy(inputs, weights):
        used.append(weights.shape)
        return of_patches(inputs, weights)

    monkeypatch.setattr(small_convolution, "of_patches", spy)
    upstream = tf.constant(RNG.normal(size=(5, *pixels, 4)), tf.float32)
    expected = gradients(lambda x, w: tf.nn.conv2d(x, w, 1, "SAME"), images, filters, upstream)
    results = gradients(
        lambda x, w: small_convolution.convolve(x, w, 1, "SAME"), images, filters, upstream
    )
    assert used == ([(3, 3, 3, 4), (3, 3, 4, 3)] if patches else [])
    for result, value in zip(results, expected, strict=True):
        np.testing.assert_allclose(result, value, rtol=1e-5, atol=1e-5)


def test_it_pays_in_bfloat16_on_a_cpu_where_outputs_are_small():
    images = tf.zeros([1, 4, 4, 2], tf.bfloat16)
    assert small_convolution.pays(images, 49)
    assert not small_convolution.pays(images, 64)
    assert not small_convolution.pays(images, None)
    assert not small_convolution.pays(tf.cast(images, tf.float32), 16)


@pytest.mark.parametrize(("strides", "pixels", "own"), [(1, 4, True), (2, 8, True), (1, 16, False)])
def test_a_convolution_in_bfloat16_takes_it_where_it_pays(strides, pixels, own, monkeypatch):
    used = []
    convolve = small_convolution.convolve

    def spy(*arguments):
        used.append(arguments[2:])
        return convolve(*arguments)

    monkeypatch.setattr(small_convolution, "convolve", spy)
    layer = blocks.Convolution(4, 3, strides, dtype="mixed_bfloat16")
    images = tf.cast(RNG.normal(size=(8, pixels, pixels, 3)), tf.bfloat16)
    with tf.GradientTape() as tape:
        outputs = layer(images)
        loss = tf.reduce_sum(tf.cast(outputs, tf.float32) ** 2)
    gradient = tape.gradient(loss, layer.kernel)
    assert bool(used) == own
    assert outputs.dtype == tf.bfloat16 and gradient.dtype == tf.float32

    exact = blocks.Convolution(4, 3, strides)
    exact.build(images.shape)
    exact.kernel.assign(layer.kernel)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(exact(tf.cast(images, tf.float32)) ** 2)
    expected = tape.gradient(loss, exact.kernel)
    assert np.linalg.norm(gradient - expected) < 0.01 * np.linalg.norm(expected)
