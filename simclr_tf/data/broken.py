"""Naming the image files that can no longer be read while a data set is being used."""

import contextlib
from collections.abc import Iterator

import tensorflow as tf

from simclr_tf.data.checking import check_files, undecodable
from simclr_tf.data.sources import ImageDataset
from simclr_tf.errors import UserError, printable

_NAMED = 5  # of the files, in the message
# What is raised for other reasons than the contents of a file, such as too little memory.
_NOT_OF_FILES = (
    tf.errors.ResourceExhaustedError,
    tf.errors.CancelledError,
    tf.errors.AbortedError,
    tf.errors.DeadlineExceededError,
)


@contextlib.contextmanager
def naming_bad_images(*datasets: ImageDataset) -> Iterator[None]:
    """Turn an error of TensorFlow into one that names the image files that cannot be read.

    Everything that takes batches of the data sets belongs inside. After an error all files of the
    data sets are looked at. If each can be read, or they are no files, the error is raised as it
    came.

    Args:
      *datasets: whose batches are taken.

    Raises:
      UserError: there was an error, and files cannot be read or decoded.
    """
    try:
        yield
    except (tf.errors.OpError, UnicodeDecodeError) as error:
        # The latter is what becomes of a message with a name that is not UTF-8.
        if isinstance(error, _NOT_OF_FILES):
            raise
        bad: dict[str, str] = {}
        for dataset in datasets:
            if paths := dataset.paths():
                bad |= {paths[i]: reason for i, reason in check_files(paths).reasons.items()}
        if not bad:
            raise
        first, *others = list(bad)[:_NAMED]
        also = f" So it is with {', '.join(map(printable, others))}" if others else ""
        also += f" and {len(bad) - _NAMED} more." if len(bad) > _NAMED else "." if others else ""
        raise UserError(
            f"{printable(first)} could be read when the run began and cannot be now: "
            f"{bad[first].rstrip('.')}.{also} Put {'them' if others else 'it'} back; the same "
            "command goes on."
        ) from error


def unreadable(dataset: ImageDataset) -> list[int]:
    """The rising numbers of the images that cannot be read or decoded, after a look at each."""
    if paths := dataset.paths():
        return list(check_files(paths).reasons)
    images = dataset.examples(transform=lambda example: (example["position"], example["image"]))
    return undecodable(images, dataset.num_examples)
