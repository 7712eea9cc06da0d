"""BMP files have the pixels that other programs show, or are refused."""

import io
import struct

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from simclr_tf.data.decode import decode_image

RNG = np.random.default_rng(0)
MASKS = {"bgra": (0xFF0000, 0xFF00, 0xFF), "rgba": (0xFF, 0xFF00, 0xFF0000), "10": (0x3FF, 0, 0)}


def bmp(pixels, bits, palette=None, header=40, compression=0, top_down=False, used=0, **more):
    """Write a BMP by hand.

    Args:
      pixels: (height, width) numbers of colours, or (height, width, bytes) as they are stored.
      palette: (colours, 3) uint8, red first.
      header: bytes of the second header; 12 is that of OS/2.
      used: number of colours that the header states.
      more: `masks`, three integers; `gap`, bytes before the pixels; `data` in their place.
    """
    height, width = pixels.shape[:2]
    rows = []
    for row in pixels if top_down else pixels[::-1]:
        if bits < 8:
            digits = "".join(f"{number:0{bits}b}" for number in row)
            digits += "0" * (-len(digits) % 8)
            row = np.array([int(digits[i : i + 8], 2) for i in range(0, len(digits), 8)])
        row = row.astype(np.uint8).tobytes()
        rows.append(row + b"\xaa" * (-len(row) % 4))
    data = more.get("data", b"".join(rows))
    if header == 12:
        second = struct.pack("<IHHHH", header, width, height, 1, bits)
    else:
        size = (width, -height if top_down else height)
        second = struct.pack("<IiiHHIIiiII", header, *size, 1, bits, compression, 0, 0, 0, used, 0)
        second += struct.pack("<III", *more.get("masks", (0, 0, 0)))
        # Of the short header the masks are no part, but they follow it where they are needed.
        second = second.ljust(header, b"\0")[: header + 12 * (compression == 3)]
    if palette is not None:
        fill = b"" if header == 12 else b"\x55"
        second += b"".join(bytes(color[::-1]) + fill for color in palette)
    offset = 14 + len(second) + more.get("gap", 0)
    first = b"BM" + struct.pack("<IHHI", offset + len(data), 0, 0, offset)
    return first + second + b"\x99" * more.get("gap", 0) + data


def decoded(encoded):
    return decode_image(tf.constant(encoded)).numpy()


@pytest.mark.parametrize("width", [1, 2, 3, 4, 9, 33])
def test_a_palette_as_pillow_writes_it(width):
    pixels = RNG.integers(0, 256, (5, width, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).quantize(7)
    buffer = io.BytesIO()
    image.save(buffer, "BMP")
    np.testing.assert_array_equal(decoded(buffer.getvalue()), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("top_down", [False, True])
@pytest.mark.parametrize("header", [12, 40, 64, 108, 124])
@pytest.mark.parametrize("bits", [1, 4, 8])
def test_palettes(bits, header, top_down):
    if header == 12 and top_down:
        pytest.skip("OS/2 has no negative heights")
    palette = RNG.integers(0, 256, (2**bits, 3), dtype=np.uint8)
    numbers = RNG.integers(0, 2**bits, (5, 11))
    encoded = bmp(numbers, bits, palette, header, top_down=top_down)
    np.testing.assert_array_equal(decoded(encoded), palette[numbers])
    if not top_down:
        shown = np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"))
        np.testing.assert_array_equal(shown, palette[numbers])


@pytest.mark.parametrize("used", [0, 6, 256])
def test_a_short_palette(used):
    """A palette ends where the pixels begin, whatever is said of its length."""
    palette = RNG.integers(0, 256, (6, 3), dtype=np.uint8)
    numbers = RNG.integers(0, 6, (5, 7))
    encoded = bmp(numbers, 8, palette, used=used)
    np.testing.assert_array_equal(decoded(encoded), palette[numbers])


def test_what_lies_between_palette_and_pixels_is_skipped():
    palette = RNG.integers(0, 256, (6, 3), dtype=np.uint8)
    numbers = RNG.integers(0, 6, (5, 7))
    encoded = bmp(numbers, 8, palette, used=6, gap=10)
    np.testing.assert_array_equal(decoded(encoded), palette[numbers])


@pytest.mark.parametrize("header", [12, 40, 124])
@pytest.mark.parametrize("bits", [24, 32])
def test_colors_without_palette(bits, header):
    stored = RNG.integers(0, 256, (5, 7, bits // 8), dtype=np.uint8)
    np.testing.assert_array_equal(decoded(bmp(stored, bits, header=header)), stored[..., 2::-1])


@pytest.mark.parametrize("header", [40, 56, 108])
@pytest.mark.parametrize(("order", "channels"), [("bgra", [2, 1, 0]), ("rgba", [0, 1, 2])])
def test_masks_that_are_bytes(order, channels, header):
    stored = RNG.integers(0, 256, (5, 7, 4), dtype=np.uint8)
    encoded = bmp(stored, 32, header=header, compression=3, masks=MASKS[order])
    np.testing.assert_array_equal(decoded(encoded), stored[..., channels])


NUMBERS = RNG.integers(0, 6, (4, 8))
PALETTE = RNG.integers(0, 256, (6, 3), dtype=np.uint8)
GOOD = bmp(NUMBERS, 8, PALETTE)


@pytest.mark.parametrize(
    "encoded",
    [
        bmp(np.zeros((4, 4, 2)), 16),
        bmp(np.zeros((4, 4, 2)), 16, compression=3, masks=(0xF800, 0x7E0, 0x1F)),
        bmp(np.zeros((4, 4, 4)), 32, compression=3, masks=MASKS["10"]),
        bmp(NUMBERS, 8, PALETTE, compression=1, data=b"\1\2" * 30 + b"\0\1"),  # longer than pixels
        bmp(NUMBERS, 4, PALETTE, compression=2, data=b"\1\2" * 30 + b"\0\1"),
        bmp(NUMBERS + 3, 8, PALETTE),  # numbers that the palette lacks
        bmp(NUMBERS, 8, PALETTE, header=16),
        bmp(np.zeros((0, 4)), 8, PALETTE),
        GOOD[:-1],
        GOOD[:60],
        GOOD[:2],
        GOOD[:18] + struct.pack("<ii", 2**31 - 1, 2**31 - 1) + GOOD[26:],
        GOOD[:18] + struct.pack("<ii", -8, 4) + GOOD[26:],
        GOOD[:22] + struct.pack("<i", -(2**31)) + GOOD[26:],
        GOOD[:10] + bytes(4) + GOOD[14:],
    ],
)
def test_others_are_refused(encoded):
    with pytest.raises(tf.errors.InvalidArgumentError):
        decoded(encoded)
