"""Of a JPEG only the part that crops need is decoded, to the same pixels as the whole."""

import io
import pathlib

import numpy as np
import pytest
import sklearn.datasets
import tensorflow as tf
from PIL import Image

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


def reduced(encoded, boxes, view_sizes):
    """Pixels and boxes relative to them, decoded at less than the whole size."""
    boxes = tf.constant(boxes, tf.int32)
    image, relative, _ = decode_for_crops(
        tf.constant(encoded), lambda size: (boxes, size), view_sizes=view_sizes
    )
    return image.numpy(), relative.numpy().tolist()


def crops(image, boxes):
    return [image[y : y + h, x : x + w] for y, x, h, w in boxes]


@pytest.mark.parametrize(
    ("sizes", "ratio"), [((101, 20), 1), ((100, 20), 2), ((50, 51), 2), ((50, 50), 4), ((1, 3), 8)]
)
def test_a_jpeg_is_decoded_as_small_as_the_largest_view_allows(sizes, ratio):
    boxes = [[100, 203, 200, 221], [9, 0, 210, 200]]
    found = crops(*reduced(JPEG, boxes, sizes))
    whole = tf.io.decode_jpeg(JPEG, channels=3, ratio=ratio).numpy()
    for crop, (y, x, h, w) in zip(found, boxes, strict=True):
        top, left, bottom, right = ((c + ratio // 2) // ratio for c in (y, x, y + h, x + w))
        np.testing.assert_array_equal(crop, whole[top:bottom, left:right])


def test_a_reduced_crop_shows_what_the_crop_shows():
    box = [[0, 1, 427, 639]]
    for size, ratio in ((100, 4), (50, 8)):
        (crop,) = crops(*reduced(JPEG, box, [size]))
        assert crop.shape[:2] == (round(427 / ratio), 640 // ratio)
        view = tf.image.resize(crop, (size, size)).numpy()
        expected, shifted = (
            tf.image.resize(PIXELS[8 * i :, 1:], (size, size), antialias=True).numpy()
            for i in (0, 1)
        )
        apart = np.abs(view - expected).mean()
        assert apart < np.abs(shifted - expected).mean()  # which is 8 pixels lower


def test_other_images_are_not_reduced():
    png, box = ENCODERS["png"](PIXELS), [[5, 6, 400, 300]]
    np.testing.assert_array_equal(*(crops(*reduced(png, box, s))[0] for s in ([20], None)))


def test_webp_is_decoded_where_tensorflow_does_it():
    pixels, encoded = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3), io.BytesIO()
    Image.fromarray(pixels).save(encoded, "WEBP", lossless=True)
    if tf.__version__.startswith("2.15."):
        with pytest.raises(tf.errors.InvalidArgumentError):
            decode_image(tf.constant(encoded.getvalue()))
    else:
        np.testing.assert_array_equal(decode_image(tf.constant(encoded.getvalue())), pixels)
