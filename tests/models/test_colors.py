"""Colour spaces against scikit-image with the means and deviations of CMC and PyContrast."""

import numpy as np
import pytest
import recorded
import tensorflow as tf

from simclr_tf.models import colors

RECORDED = np.load(recorded.GOLDEN / "banks.npz")


@pytest.mark.parametrize("color_space", colors.SCALES)
def test_recorded_planes(color_space):
    images = RECORDED["cmc/colour/rgb"] / np.float32(255)
    expected = RECORDED[f"cmc/colour/{color_space}"]
    found = colors.to_planes(tf.constant(images), color_space)
    assert found.dtype == tf.float32 and found.shape == images.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("rgb", "expected"),
    [
        ((0, 0, 0), (0, 0, 0)),
        ((1, 1, 1), (100, 0, 0)),
        ((1, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 0, 1), (32.30, 79.19, -107.86)),
    ],
)
def test_lab_of_colours_that_tables_have(rgb, expected):
    np.testing.assert_allclose(colors.lab(tf.constant(rgb, tf.float32)), expected, atol=0.02)


def test_gradients_of_black_pixels_are_finite():
    images = tf.zeros((1, 2, 2, 3))
    for color_space in colors.SCALES:
        with tf.GradientTape() as tape:
            tape.watch(images)
            planes = colors.to_planes(images, color_space)
        assert np.isfinite(tape.gradient(planes, images)).all()


def test_activations_of_16_bits_are_converted_in_float32():
    images = tf.cast(tf.random.stateless_uniform((2, 3, 3, 3), (1, 2)), tf.bfloat16)
    found = colors.to_planes(images, "lab")
    np.testing.assert_array_equal(found, colors.to_planes(tf.cast(images, tf.float32), "lab"))
