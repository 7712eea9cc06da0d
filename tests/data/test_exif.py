"""JPEGs are turned as their EXIF says; what is malformed says nothing."""

import io
import struct

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from simclr_tf.data import exif
from simclr_tf.data.decode import decode_for_crops, decode_image

SMOOTH = np.add.outer(np.arange(24) * 5, np.arange(40) * 3)[..., None] + [0, 10, 20]
PLAIN = tf.io.encode_jpeg(SMOOTH.astype(np.uint8), quality=95).numpy()
STORED = decode_image(tf.constant(PLAIN)).numpy()
JFIF, TABLES = PLAIN[2:20], PLAIN[20:]


def segment(content, marker=0xE1):
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def entry(order, tag=0x112, kind=3, number=1, value=6):
    return struct.pack(f"{order}HHI", tag, kind, number) + struct.pack(
        f"{order}I" if kind == 4 else f"{order}HH", *((value,) if kind == 4 else (value, 0))
    )


def tiff(value=6, order=">", at=8, count=None, others=(), **more):
    """A TIFF file whose first directory has the orientation behind the entries `others`."""
    entries = [*others, entry(order, value=value, **more)]
    count = len(entries) if count is None else count
    begin = {">": b"MM", "<": b"II"}[order] + struct.pack(f"{order}HI", 42, at)
    directory = struct.pack(f"{order}H", count) + b"".join(entries) + bytes(4)
    return begin + bytes(max(at - 8, 0)) + directory


def jpeg(*segments):
    """The JPEG with these segments at its beginning."""
    return b"\xff\xd8" + b"".join(segments) + TABLES


def with_exif(content):
    return jpeg(segment(b"Exif\0\0" + content))


def orientation(encoded):
    return int(exif.orientation(tf.constant(encoded)))


XMP = segment(b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta/>")


@pytest.mark.parametrize("value", range(1, 9))
def test_every_orientation_is_turned_as_pillow_turns_it(value):
    expected = Image.fromarray(STORED)
    expected.getexif()[0x112] = value
    expected = np.asarray(ImageOps.exif_transpose(expected))
    for encoded in (with_exif(tiff(value, "<")), jpeg(JFIF, segment(b"Exif\0\0" + tiff(value)))):
        assert Image.open(io.BytesIO(encoded)).getexif()[0x112] == value
        image = decode_image(tf.constant(encoded), upright=True)
        np.testing.assert_array_equal(image, expected)
        np.testing.assert_array_equal(decode_image(tf.constant(encoded)), STORED)


@pytest.mark.parametrize(
    "encoded",
    [
        with_exif(tiff(kind=4)),
        with_exif(tiff(kind=4, order="<")),
        with_exif(tiff(others=[entry(">", tag=0x10F, kind=2)])),
        with_exif(tiff(at=300)),
        with_exif(tiff(count=500)),  # more than there are
        with_exif(tiff(others=[entry(">", tag=0x10F)]) + tiff(3)),  # a thumbnail's directory
        jpeg(XMP, segment(b"Exif\0\0" + tiff())),
        jpeg(segment(b"Exif\0\0" + tiff()), XMP),
        jpeg(segment(b"Exif\0\0" + tiff(6)), segment(b"Exif\0\0" + tiff(3))),
        jpeg(JFIF, XMP, segment(b"x" * 60000, 0xE2), segment(b"Exif\0\0" + tiff())),
        jpeg(segment(b"a comment", 0xFE), segment(b"Exif\0\0" + tiff())),
        jpeg(JFIF, b"\xff\xff", segment(b"Exif\0\0" + tiff())),  # filled up
    ],
)
def test_where_the_orientation_is_found(encoded):
    assert orientation(encoded) == 6
    assert decode_image(tf.constant(encoded), upright=True).shape == (40, 24, 3)


LAST = with_exif(tiff())


@pytest.mark.parametrize(
    "encoded",
    [
        PLAIN,
        with_exif(tiff(0)),
        with_exif(tiff(9)),
        with_exif(tiff(65535)),
        with_exif(tiff(2**32 - 1, kind=4)),
        with_exif(tiff(kind=2)),
        with_exif(tiff(number=0)),
        with_exif(tiff(number=2)),
        with_exif(tiff(number=2**32 - 1)),
        with_exif(tiff(count=0)),
        with_exif(tiff(count=1, others=[entry(">", tag=0x10F)])),
        with_exif(tiff(at=4000)[:40]),
        with_exif(tiff()[:4] + b"\xff\xff\xff\xff" + tiff()[8:]),
        with_exif(tiff()[:4] + b"\0\0\0\0" + tiff()[8:]),
        with_exif(tiff()[:9]),
        with_exif(tiff()[:18]),
        with_exif(b"MM\0*"),
        with_exif(b""),
        with_exif(b"MM*\0" + tiff()[4:]),  # orders of the bytes that contradict each other
        with_exif(b"XX\0*" + tiff()[4:]),
        with_exif(b"II*\0" + tiff()[4:]),
        jpeg(segment(b"Exif\0")),
        jpeg(segment(b"EXIF\0\0" + tiff())),
        jpeg(segment(b"Exif\0\0" + tiff(), 0xE2)),
        jpeg(XMP, JFIF),
        jpeg(segment(b"Exif\0\0" + tiff(1)), segment(b"Exif\0\0" + tiff())),
        jpeg(TABLES, segment(b"Exif\0\0" + tiff())),
    ],
)
def test_what_says_nothing(encoded):
    assert orientation(encoded) == 1
    np.testing.assert_array_equal(decode_image(tf.constant(encoded), upright=True), STORED)


@pytest.mark.parametrize("cut", [*range(0, 50, 3), 52, 53, 54, 55])
def test_files_that_end_within_exif_fail_as_ever(cut):
    assert orientation(LAST[:cut]) in (1, 6)
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode_image(tf.constant(LAST[:cut]), upright=True)


@pytest.mark.parametrize("length", [0, 1, 5, 65535])
def test_segments_of_wrong_lengths(length):
    wrong = b"\xff\xe1" + struct.pack(">H", length) + b"Exif\0\0"
    assert orientation(b"\xff\xd8" + wrong) == 1
    assert orientation(b"\xff\xd8" + b"\xff\xe2" + struct.pack(">H", length)) == 1


@pytest.mark.parametrize("other", [b"", b"\xff", b"text", b"BM\xff\xe1\0\x20Exif\0\0" + tiff()])
def test_other_bytes_have_no_orientation(other):
    assert orientation(other) == 1


def test_png_and_bmp_stay_as_they_are():
    encoded = tf.io.encode_png(STORED)
    np.testing.assert_array_equal(decode_image(encoded, upright=True), STORED)


BOXES = tf.constant([[1, 2, 5, 6], [10, 3, 7, 9]])


@pytest.mark.parametrize("value", [1, 2, 6, pytest.param(8, marks=pytest.mark.slow)])
def test_crops_of_turned_images(value):
    encoded = tf.constant(with_exif(tiff(value)))
    whole = decode_image(encoded, upright=True).numpy()
    decode = tf.function(lambda: decode_for_crops(encoded, lambda size: (BOXES, size), True))
    image, boxes, size = decode()
    assert size.numpy().tolist() == list(whole.shape[:2])
    for (y, x, h, w), (v, u, _, _) in zip(boxes.numpy(), BOXES.numpy(), strict=True):
        np.testing.assert_array_equal(image[y : y + h, x : x + w], whole[v : v + h, u : u + w])
    assert (image.shape == whole.shape) == (value != 1)  # else a part is decoded
