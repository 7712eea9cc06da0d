"""Naming the image files that can no longer be read while a data set is being used."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager

import tensorflow as tf

from simclr_tf.data.checking import check_files, told, undecodable
from simclr_tf.data.sources import ImageDataset
from simclr_tf.devices.hosts import LOST
from simclr_tf.errors import UserError, printable

_NAMED = 4  # of the files besides the first, in the message
# What is raised for other reasons than the contents of a file: too little memory, a lost host.
_NOT_OF_FILES = (tf.errors.ResourceExhaustedError, *LOST)


@contextlib.contextmanager
def naming_bad_files(paths: Callable[[], Sequence[str]]) -> Iterator[None]:
    """Turn an error of TensorFlow into one that names the image files that cannot be read.

    After an error all files are looked at. If each can be read, the error is raised as it came, but
    for one about records that are cut or damaged.

    Args:
      paths: gives the paths of the files that are read inside.

    Raises:
      UserError: there was an error, and files cannot be read or decoded, or records are damaged.
    """
    try:
        yield
    except (tf.errors.OpError, UnicodeDecodeError) as error:
        # The latter is what becomes of a message with a name that is not UTF-8.
        if isinstance(error, _NOT_OF_FILES):
            raise
        files = paths()
        reasons = check_files(files).reasons
        if not reasons:
            if isinstance(error, tf.errors.DataLossError):
                raise UserError(
                    f"A file of the data set is damaged: {told(error.message)}. Copy or "
                    "prepare the data set again; the same command goes on."
                ) from error
            raise
        number, *others = reasons
        also = ""
        if others:
            named = ", ".join(printable(files[i]) for i in others[:_NAMED])
            more = len(others) - _NAMED
            also = f" So it is with {named}{f' and {more} more' if more > 0 else ''}."
        raise UserError(
            f"{printable(files[number])} could be read when the run began and cannot be now: "
            f"{reasons[number].rstrip('.')}.{also} Put {'them' if others else 'it'} back; the same "
            "command goes on."
        ) from error


def naming_bad_images(*datasets: ImageDataset) -> AbstractContextManager[None]:
    """`naming_bad_files` for all files of data sets; those that are no files count as readable.

    Everything that takes batches of the data sets belongs inside.

    Args:
      *datasets: whose batches are taken.
    """

    def paths() -> list[str]:
        return list(dict.fromkeys(path for dataset in datasets for path in dataset.paths()))

    return naming_bad_files(paths)


def unreadable(dataset: ImageDataset) -> list[int]:
    """The rising numbers of the images that cannot be read or decoded, after a look at each."""
    if paths := dataset.paths():
        return list(check_files(paths).reasons)
    images = dataset.examples(transform=lambda example: (example["position"], example["image"]))
    return undecodable(images, dataset.num_examples)
