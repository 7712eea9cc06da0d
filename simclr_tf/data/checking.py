"""Looking at every image once: which cannot be read, and what is worth a word about the others."""

import dataclasses
import os
import re
from collections.abc import Sequence

import tensorflow as tf
from tqdm import tqdm

from simclr_tf.data import exif
from simclr_tf.data.decode import decode_image
from simclr_tf.data.file_states import states_of

_CHECKED_AT_ONCE = 256
_PROGRESS_BAR_FROM = 5_000


@dataclasses.dataclass(frozen=True)
class Findings:
    """What was found in images by looking at each.

    Attributes:
      reasons: why an image cannot be read or decoded, in one line each, by its number, rising.
      turned: the numbers of the readable JPEGs that EXIF says to turn.
      largest_of_16_bits: the largest value in each readable PNG of 16 bits, by its number.
    """

    reasons: dict[int, str]
    turned: frozenset[int]
    largest_of_16_bits: dict[int, int]


def check_files(paths: Sequence[str]) -> Findings:
    """Read and decode every file once; what is no regular file is not opened.

    What fails is tried once more, as a network file system may fail to read a good file.

    Args:
      paths: of the files, as `os.listdir` gives names.
    """
    reasons = states_of(paths).reasons
    left = [i for i in range(len(paths)) if i not in reasons]
    turned, largest = frozenset(), {}
    for _ in range(2):
        good, of_these, deep = _look_at(_contents(paths, left), len(left))
        turned, largest = turned | of_these, largest | deep
        left = [i for i in left if i not in good]
    reasons |= {i: why_undecodable(paths[i]) or "it can be read at times only" for i in left}
    return Findings(dict(sorted(reasons.items())), turned, largest)


def _contents(paths: Sequence[str], numbers: Sequence[int]) -> tf.data.Dataset:
    """The files with these numbers: (number, content)."""
    encoded_paths = tf.constant([os.fsencode(paths[i]) for i in numbers], tf.string)
    files = tf.data.Dataset.from_tensor_slices((tf.constant(numbers, tf.int64), encoded_paths))
    return files.map(
        lambda i, path: (i, tf.io.read_file(path)), num_parallel_calls=tf.data.AUTOTUNE
    )


def undecodable(images: tf.data.Dataset, count: int) -> list[int]:
    """Decode every image once.

    Args:
      images: of (number in [0, count), scalar int64; encoded image, scalar string). One that
        fails to be read counts as one that cannot be decoded.
      count: number of images.

    Returns:
      The rising numbers of those that cannot be decoded.
    """
    good, _, _ = _look_at(images, count)
    return sorted(set(range(count)) - good)


def _look_at(
    images: tf.data.Dataset, count: int
) -> tuple[set[int], frozenset[int], dict[int, int]]:
    """The numbers of images that can be decoded, and the rest of what `Findings` says of them."""
    if not count:
        return set(), frozenset(), {}
    seen = (
        images.map(_look, num_parallel_calls=tf.data.AUTOTUNE)
        .ignore_errors()
        .batch(_CHECKED_AT_ONCE)
    )
    good, turned, deep = set(), set(), {}
    with tqdm(
        total=count, desc="Checking images", unit="image", disable=count < _PROGRESS_BAR_FROM
    ) as progress:
        for numbers, _, is_turned, largest in seen:
            numbers, is_deep = numbers.numpy(), largest.numpy() >= 0
            good.update(numbers.tolist())
            turned.update(numbers[is_turned.numpy()].tolist())
            deep |= zip(numbers[is_deep].tolist(), largest.numpy()[is_deep].tolist())
            progress.update(len(numbers))
    return good, frozenset(turned), deep


@tf.function(input_signature=[tf.TensorSpec((), tf.int64), tf.TensorSpec((), tf.string)])
def _look(number: tf.Tensor, image: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """What there is to see in one image; traced once, however many data sets are checked."""
    size = tf.size(decode_image(image))
    return number, size, exif.orientation(image) != 1, _largest_of_16_bits(image)


def _largest_of_16_bits(encoded: tf.Tensor) -> tf.Tensor:
    """The largest value of a PNG of 16 bits, scalar int32; -1 for other images."""
    head = tf.io.decode_raw(encoded, tf.uint8, fixed_length=25)
    is_deep = tf.reduce_all(head[:4] == tuple(b"\x89PNG")) & (head[24] == 16)

    def largest() -> tf.Tensor:
        return tf.reduce_max(tf.cast(tf.io.decode_png(encoded, 3, tf.uint16), tf.int32))

    return tf.cond(is_deep, largest, lambda: tf.constant(-1))


def why_undecodable(path: str) -> str | None:
    """Why a regular file cannot be read or decoded, in one line; None if it can."""
    try:
        with open(path, "rb") as file:
            decode_image(tf.constant(file.read()))
    except OSError as error:
        return error.strerror
    except tf.errors.OpError as error:
        return told(error.message)
    return None


def told(message: str) -> str:
    """What TensorFlow has to say in a message, without where in its graph it happened."""
    lines = [
        re.sub(r"{{.*?}} *|\[Op:.*|assertion failed: ", "", line).strip()
        for line in message.splitlines()
    ]
    return [message, *(line for line in lines if line and not line.startswith("[["))][-1]
