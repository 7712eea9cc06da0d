"""The first picture of a GIF lies on its canvas where the file says."""

import io
import struct

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from simclr_tf.data.decode import decode_image

PIXELS = np.random.default_rng(0).integers(1, 256, (20, 30, 3), dtype=np.uint8)


def gif(**options):
    """A GIF of 30 x 20 pixels, and these."""
    image = Image.fromarray(PIXELS).quantize(32)
    buffer = io.BytesIO()
    image.save(buffer, "GIF", **options)
    return buffer.getvalue(), np.asarray(image.convert("RGB"))


def moved(encoded, canvas, left, top):
    """The same GIF on a canvas of another size, (width, height), and elsewhere on it."""
    encoded = bytearray(encoded)
    encoded[6:10] = struct.pack("<HH", *canvas)
    at = encoded.index(b"," + struct.pack("<HHHH", 0, 0, 30, 20))
    encoded[at + 1 : at + 5] = struct.pack("<HH", left, top)
    return bytes(encoded)


def decoded(encoded):
    return decode_image(tf.constant(encoded)).numpy()


@pytest.mark.parametrize("interlace", [0, 1])
def test_a_picture_that_fills_the_canvas(interlace):
    encoded, pixels = gif(interlace=interlace)
    np.testing.assert_array_equal(decoded(encoded), pixels)


@pytest.mark.parametrize("comment", [b"", b"x" * 700])
@pytest.mark.parametrize(("left", "top"), [(0, 0), (7, 0), (5, 16)])
def test_a_picture_on_a_larger_canvas(left, top, comment):
    encoded, pixels = gif(comment=comment)
    image = decoded(moved(encoded, (300, 50), left, top))
    assert image.shape == (50, 300, 3)
    np.testing.assert_array_equal(image[top : top + 20, left : left + 30], pixels)
    image[top : top + 20, left : left + 30] = 0
    assert not image.any()


def test_a_picture_that_goes_beyond_the_canvas():
    encoded, pixels = gif()
    image = decoded(moved(encoded, (20, 20), 5, 0))
    np.testing.assert_array_equal(image, np.pad(pixels, ((0, 0), (5, 0), (0, 0))))


@pytest.mark.parametrize("cut", [6, 12, 14, 100, 130, 200])
def test_damaged_files_are_refused(cut):
    encoded = moved(gif(comment=b"x" * 700)[0], (300, 50), 5, 16)
    with pytest.raises(tf.errors.InvalidArgumentError):
        decoded(encoded[:cut])


def test_a_canvas_that_no_memory_holds_is_refused():
    with pytest.raises(tf.errors.InvalidArgumentError, match="larger than any image"):
        decoded(moved(gif()[0], (65535, 65535), 0, 0))
