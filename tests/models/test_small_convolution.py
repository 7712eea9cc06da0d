"""Convolutions of few pixels, by other means, equal TensorFlow's own."""

import functools

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
    """In bfloat16, of small whole numbers whose sums it holds exactly."""
    monkeypatch.setattr(small_convolution, "MANY_CHANNELS", 3)
    draw = functools.partial(np.random.default_rng(0).integers, -1, 2)
    images, filters, upstream = (
        tf.cast(draw(size=shape), tf.bfloat16)
        for shape in ((2, *pixels, 3), (3, 3, 3, 4), (2, *pixels, 4))
    )
    used, of_patches = [], small_convolution.of_patches

    def spy(inputs, weights):
        used.append(weights.shape)
        return of_patches(inputs, weights)

    monkeypatch.setattr(small_convolution, "of_patches", spy)
    expected = gradients(lambda x, w: tf.nn.conv2d(x, w, 1, "SAME"), images, filters, upstream)
    results = gradients(
        lambda x, w: small_convolution.convolve(x, w, 1, "SAME"), images, filters, upstream
    )
    assert used == ([(3, 3, 3, 4), (3, 3, 4, 3)] if patches else [])
    for result, value in zip(results, expected, strict=True):
        np.testing.assert_array_equal(tf.cast(result, tf.float32), tf.cast(value, tf.float32))


@pytest.mark.parametrize(
    ("dtype", "size", "channels", "strides", "most"),
    [
        (tf.bfloat16, 3, 2, 1, 49),
        (tf.bfloat16, 1, 2, 2, 49),
        (tf.float32, 3, 256, 1, 16),
        (tf.float32, 3, 255, 1, 0),
        (tf.float32, 1, 256, 1, 0),
        (tf.float32, 3, 256, 2, 0),
        (tf.float64, 3, 256, 1, 0),
    ],
)
def test_it_pays_on_a_cpu_where_outputs_are_small(dtype, size, channels, strides, most):
    images = tf.zeros([1, 4, 4, channels], dtype)
    shape = (size, size, channels, 300)
    paying = [n for n in range(1, 65) if small_convolution.pays(images, shape, strides, n)]
    assert paying == list(range(1, most + 1))
    assert not small_convolution.pays(images, shape, strides, None)


def test_it_does_not_pay_where_there_is_an_accelerator(monkeypatch):
    monkeypatch.setattr(small_convolution.strategies, "on_cpu", lambda: False)
    assert not small_convolution.pays(tf.zeros([1, 2, 2, 512]), (3, 3, 512, 512), 1, 4)


def test_a_convolution_in_float32_takes_it_where_it_pays(monkeypatch):
    monkeypatch.setattr(small_convolution, "MANY_IN_FLOAT32", 3)
    used = []
    exchanged = small_convolution.by_filters_exchanged
    monkeypatch.setattr(
        small_convolution, "by_filters_exchanged", lambda *a: used.append(0) or exchanged(*a)
    )
    layer = blocks.Convolution(4, 3)
    for pixels, times in ((5, 0), (4, 1)):
        with tf.GradientTape() as tape:
            outputs = layer(tf.ones([2, pixels, pixels, 3]))
        tape.gradient(outputs, layer.kernel)
        assert len(used) == times


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
    # TensorFlow's own kernel adds up in bfloat16 on processors that do not compute in it.
    tolerance = 0.01 if own else 0.03
    assert np.linalg.norm(gradient - expected) < tolerance * np.linalg.norm(expected)
