"""How images are shown without augmentation: shorter side resized, centre cut out."""

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf.data.transfer.preprocessing import resize_then_center_crop


def bicubic_weights(size, new_size):
    """(new_size, size): Keys' kernel with a = -0.5 at half-pixel centres, renormalised at edges."""
    matrix = np.zeros((new_size, size))
    for i in range(new_size):
        centre = (i + 0.5) * size / new_size - 0.5
        for j in range(int(np.floor(centre)) - 1, int(np.floor(centre)) + 3):
            x = abs(centre - j)
            weight = 1.5 * x**3 - 2.5 * x**2 + 1 if x <= 1 else 0
            weight = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if 1 < x < 2 else weight
            if 0 <= j < size:
                matrix[i, j] = weight
    return matrix / matrix.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("height", "width", "shorter", "crop"),
    [(32, 32, 48, 48), (40, 60, 24, 24), (60, 40, 64, 56), (33, 47, 32, 28), (9, 100, 16, 12)],
)
def test_it_is_what_numpy_computes(height, width, shorter, crop):
    image = np.random.default_rng(0).integers(256, size=(height, width, 3)).astype(np.uint8)
    found = resize_then_center_crop(tf.constant(image), shorter, crop)
    scale = shorter / min(height, width)
    new_height, new_width = round(height * scale), round(width * scale)
    rows, columns = bicubic_weights(height, new_height), bicubic_weights(width, new_width)
    resized = np.einsum("ih,jw,hwc->ijc", rows, columns, image / 255)
    top, left = (new_height - crop) // 2, (new_width - crop) // 2
    expected = np.clip(resized[top : top + crop, left : left + crop], 0, 1)
    assert found.shape == (crop, crop, 3)
    np.testing.assert_allclose(found, expected, atol=2e-3)  # TensorFlow tabulates the kernel


def test_small_images_are_enlarged_and_not_padded():
    image = tf.fill((32, 32, 3), tf.constant(255, tf.uint8))
    assert resize_then_center_crop(image, 224, 224).numpy().min() > 0.999


def test_it_works_in_a_pipeline():
    images = tf.data.Dataset.from_generator(
        lambda: (np.full(shape, 51, np.uint8) for shape in ((7, 9, 3), (30, 20, 3))),
        output_signature=tf.TensorSpec((None, None, 3), tf.uint8),
    )
    shown = list(images.map(lambda image: resize_then_center_crop(image, 10, 8)).batch(2))
    assert shown[0].shape == (2, 8, 8, 3)
    np.testing.assert_allclose(shown[0], 0.2, atol=1e-6)
