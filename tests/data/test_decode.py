"""Of a JPEG only the part that crops need is decoded, to the same pixels as the whole."""

import pathlib

import numpy as np
import pytest
import sklearn.datasets
import tensorflow as tf

from simclr_tf.data.decode import decode_for_crops, decode_image

_FILE = sklearn.datasets.load_sample_images().filenames[0]
JPEG = pathlib.Path(sklearn.datasets.__file__).parent.joinpath("images", _FILE).read_bytes()
PIXELS = decode_image(tf.constant(JPEG)).numpy()  # (427, 640, 3), colours at half the resolution
ENCODERS = {
    "jpeg": lambda image: JPEG,
    "grey": lambda image: tf.io.encode_jpeg(image[..., :1]).numpy(),
    "png": lambda image: tf.io.encode_png(image).numpy(),
}


@pytest.mark.parametrize("form", ENCODERS)
def test_crops_have_the_pixels_of_the_whole_image(form):
    encoded = ENCODERS[form](PIXELS)
    whole = decode_image(tf.constant(encoded)).numpy()
    rng = np.random.default_rng(0)
    decode = tf.function(lambda boxes: decode_for_crops(encoded, lambda size: (boxes, size)))
    for _ in range(40):
        height, width = rng.integers(1, 400, 2)
        corners = rng.integers(0, (427 - height + 1, 640 - width + 1), (2, 2))
        boxes = np.int32([[y, x, height, width] for y, x in corners])
        image, relative, size = decode(tf.constant(boxes))
        assert size.numpy().tolist() == [427, 640]
        for (y, x, h, w), (top, left, rows, columns) in zip(boxes, relative.numpy(), strict=True):
            np.testing.assert_array_equal(
                image[top : top + rows, left : left + columns], whole[y : y + h, x : x + w]
            )


def test_only_a_part_of_a_jpeg_is_decoded():
    box = tf.constant([[100, 200, 50, 60]])
    image, _, _ = decode_for_crops(tf.constant(JPEG), lambda size: (box, size))
    assert image.shape[0] == 50 and 60 <= image.shape[1] <= 64


def test_bytes_that_are_no_image():
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode_for_crops(tf.constant(b"text"), lambda size: (tf.zeros((1, 4), tf.int32), size))
