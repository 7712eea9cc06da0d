"""From encoded bytes to pixels, and finding files for which that fails."""

import re
from collections.abc import Callable, Sequence

import tensorflow as tf
from tqdm import tqdm

_CHECKED_AT_ONCE = 256
_PROGRESS_BAR_FROM = 5_000
_JPEG_MARGIN = 2


def decode_image(encoded: tf.Tensor) -> tf.Tensor:
    """Decode a JPEG, PNG, BMP or GIF image (WebP too, where TensorFlow reads it).

    Grey becomes RGB, a palette is looked up, an alpha channel is dropped, of 16 bits
    the upper 8 remain, and of an animation the first frame.

    Args:
      encoded: scalar string.

    Returns:
      (height, width, 3) uint8; height and width are known when the op runs.

    Raises:
      tf.errors.InvalidArgumentError: when it runs, if the bytes cannot be decoded.
    """
    image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
    image.set_shape((None, None, 3))
    return image


def decode_for_crops(
    encoded: tf.Tensor, draw: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Decode what crops of an image need: of a JPEG alone the part that holds all of them.

    Args:
      encoded: scalar string.
      draw: maps the height and width of the image, int32 (2,), to boxes, int32 (n, 4), as
        y, x, height, width, and to something else.

    Returns:
      Pixels, (height, width, 3) uint8, equal to those of `decode_image`; the boxes relative
      to them; and the something else.

    Raises:
      tf.errors.InvalidArgumentError: when it runs, if the bytes cannot be decoded.
    """

    def part_of_jpeg():
        size = tf.io.extract_jpeg_shape(encoded)[:2]
        boxes, other = draw(size)
        begin = tf.reduce_min(boxes[:, :2], axis=0)
        end = tf.reduce_max(boxes[:, :2] + boxes[:, 2:], axis=0)
        # Colours are stored at half the resolution. In the outermost columns of what it decodes
        # the decoder has no neighbours to interpolate them from.
        begin = tf.maximum(begin - [0, _JPEG_MARGIN], 0)
        end = tf.minimum(end + [0, _JPEG_MARGIN], size)
        window = tf.concat([begin, end - begin], axis=0)
        image = tf.io.decode_and_crop_jpeg(encoded, window, channels=3)
        return image, boxes - tf.concat([begin, [0, 0]], axis=0), other

    def whole_image():
        image = decode_image(encoded)
        return image, *draw(tf.shape(image)[:2])

    image, boxes, other = tf.cond(tf.io.is_jpeg(encoded), part_of_jpeg, whole_image)
    image.set_shape((None, None, 3))
    return image, boxes, other


def undecodable_files(paths: Sequence[str]) -> dict[int, str]:
    """Read and decode every file once.

    Returns:
      The reason (one line) for the index of each file that cannot be decoded.
    """
    files = tf.data.Dataset.from_tensor_slices(tf.constant(paths, tf.string)).enumerate()
    images = files.map(
        lambda i, path: (i, tf.io.read_file(path)), num_parallel_calls=tf.data.AUTOTUNE
    )
    return {i: _reason(paths[i]) for i in undecodable(images, len(paths))}


def undecodable(images: tf.data.Dataset, count: int) -> list[int]:
    """Decode every image once.

    Args:
      images: of (number in [0, count), scalar int64; encoded image, scalar string). One that
        fails to be read counts as one that cannot be decoded.
      count: number of images.

    Returns:
      The rising numbers of those that cannot be decoded.
    """
    good = (
        images.map(
            lambda number, image: (number, tf.size(decode_image(image))),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        .ignore_errors()
        .batch(_CHECKED_AT_ONCE)
    )
    bad = set(range(count))
    with tqdm(
        total=count, desc="Checking images", unit="image", disable=count < _PROGRESS_BAR_FROM
    ) as progress:
        for numbers, _ in good:
            bad.difference_update(numbers.numpy().tolist())
            progress.update(len(numbers))
    return sorted(bad)


def _reason(path: str) -> str:
    """Why a file cannot be decoded."""
    try:
        decode_image(tf.io.read_file(path))
    except tf.errors.OpError as error:
        return re.sub(r"{{.*?}} *|\[Op:.*", "", error.message).splitlines()[0].strip()
    return "it was unreadable at first and readable when tried again"
