"""Looking at every image once: which cannot be read, and what is worth a word about the others."""

import dataclasses
import os
import re
import stat
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import tensorflow as tf
from tqdm import tqdm

from simclr_tf.data import exif
from simclr_tf.data.decode import decode_image

LARGEST_FILE = 2**30  # bytes; no image is larger
_CHECKED_AT_ONCE = 256
_PROGRESS_BAR_FROM = 5_000
_THREADS = 16  # that ask for the sizes of files, which takes long where they lie on other machines
_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@dataclasses.dataclass(frozen=True)
class Findings:
    """What was found in images by looking at each.

    Attributes:
      reasons: by the rising numbers of the images that cannot be read or decoded, why, in one line.
      turned: how many of the others are JPEGs that EXIF says to turn.
      largest_of_16_bits: the largest value in each of the others that is a PNG of 16 bits.
    """

    reasons: dict[int, str]
    turned: int
    largest_of_16_bits: tuple[int, ...]


def check_files(paths: Sequence[str]) -> Findings:
    """Read and decode every file once; what is no regular file is not opened.

    Args:
      paths: of the files, as `os.listdir` gives names.
    """
    starts = range(0, len(paths), _CHECKED_AT_ONCE)
    parts = [paths[start : start + _CHECKED_AT_ONCE] for start in starts]
    with ThreadPoolExecutor(_THREADS) as threads:
        answers = threads.map(lambda part: [why_not_to_read(path) for path in part], parts)
        reasons = [reason for part in answers for reason in part]
    numbers = [i for i, reason in enumerate(reasons) if reason is None]
    encoded_paths = tf.constant([os.fsencode(paths[i]) for i in numbers], tf.string)
    files = tf.data.Dataset.from_tensor_slices((tf.constant(numbers, tf.int64), encoded_paths))
    images = files.map(
        lambda i, path: (i, tf.io.read_file(path)), num_parallel_calls=tf.data.AUTOTUNE
    )
    good, turned, largest = _look_at(images, len(numbers))
    bad = {
        i: reason or _why_undecodable(paths[i]) for i, reason in enumerate(reasons) if i not in good
    }
    return Findings(bad, turned, largest)


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


def why_not_to_read(path: str) -> str | None:
    """Why a path should not even be opened, or None: reading a FIFO or a device may never end."""
    try:
        status = os.stat(path)
    except OSError as error:
        return error.strerror
    kind = stat.S_IFMT(status.st_mode)
    if kind != stat.S_IFREG:
        return f"it is {_KINDS.get(kind, 'something else')} and no regular file"
    if status.st_size > LARGEST_FILE:
        return f"its {status.st_size:,} bytes are more than an image has"
    return None


def _look_at(images: tf.data.Dataset, count: int) -> tuple[set[int], int, tuple[int, ...]]:
    """The numbers of images that can be decoded, and the rest of what `Findings` says of them."""
    seen = (
        images.map(_look, num_parallel_calls=tf.data.AUTOTUNE)
        .ignore_errors()
        .batch(_CHECKED_AT_ONCE)
    )
    good, turned, deep = set(), 0, []
    with tqdm(
        total=count, desc="Checking images", unit="image", disable=count < _PROGRESS_BAR_FROM
    ) as progress:
        for numbers, _, is_turned, largest in seen:
            good.update(numbers.numpy().tolist())
            turned += int(is_turned.numpy().sum())
            deep += largest.numpy()[largest.numpy() >= 0].tolist()
            progress.update(len(numbers))
    return good, turned, tuple(deep)


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


def _why_undecodable(path: str) -> str:
    """Why a file that should be read cannot be decoded."""
    try:
        with open(path, "rb") as file:
            decode_image(tf.constant(file.read()))
    except OSError as error:
        return error.strerror
    except tf.errors.OpError as error:
        return _told(error.message.splitlines())
    return "it was unreadable at first and readable when tried again"


def _told(lines: Iterable[str]) -> str:
    """What TensorFlow has to say in a message, without where in its graph it happened."""
    lines = [re.sub(r"{{.*?}} *|\[Op:.*|assertion failed: ", "", line).strip() for line in lines]
    return [line for line in lines if line and not line.startswith("[[")][-1]
