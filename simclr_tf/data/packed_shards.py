"""The files of a packed data set: which images each holds, and writing them.

A shard holds records of TensorFlow Datasets, one of each image, with the features

    image      a JPEG or PNG, see `packed_image`
    label      the class, where the folder has classes
    file_name  the file, relative to the folder
    number     the place of the file among those of the split, by their names

It appears under its name when it is complete, and beside it a file that says what it was made of.
"""

import dataclasses
import errno
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from simclr_tf.data.checking import why_undecodable
from simclr_tf.data.file_states import FileStates
from simclr_tf.data.folder_splits import Split
from simclr_tf.data.packed_image import ANY_LENGTH, packed_image
from simclr_tf.errors import UserError, printable
from simclr_tf.json_files import DamagedFileError, read_object
from simclr_tf.outputs import write_complete
from simclr_tf.paths import LocalPath

_VERSION = 1  # of what records hold
_SHARD_BYTES = 2**27  # of the images in one file, about
_MOST_SMALL_SHARDS = 64  # of a split whose images are small
_IMAGES_OF_SMALL_SHARD = 256
_AT_ONCE = 16  # records
_FORBIDDEN = (errno.EACCES, errno.EPERM)  # to open a file; whatever else may pass
_STATE = {"digest": str, "records": int, "bytes": int, "unchanged": int, "left_out": dict}


@dataclasses.dataclass(frozen=True)
class Shard:
    """A file with the records of some images of a split.

    Attributes:
      file: where it is written.
      split: the name of the split.
      numbers: (n,) int64, the places of its images among the files of the split, in the order of
        the records.
      digest: differs where the records will be others.
    """

    file: LocalPath
    split: str
    numbers: np.ndarray
    digest: str

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def state_file(self) -> LocalPath:
        """Says that the file is complete, and what is in it."""
        return self.file.with_name(self.file.name + ".json")

    def state(self) -> dict[str, Any] | None:
        """What `state_file` says, if the file is complete and its images are still the same.

        Returns:
          "records" and "bytes" that the file has, how many images are "unchanged", which is stored
          as their files have them, and by the names of files that were "left_out", why; or None.
        """
        try:
            state = read_object(self.state_file, _STATE)
            complete = self.file.stat().st_size == state["bytes"]
        except (OSError, DamagedFileError):
            return None
        return state if complete and state["digest"] == self.digest else None


def shards_of(
    directory: LocalPath,
    stem: str,
    name: str,
    split: Split,
    states: FileStates,
    shorter_side: int | None,
) -> list[Shard]:
    """The shards of a split, whose images are in an order that depends on their names alone.

    Args:
      directory: where they are written.
      stem: what the names of the files begin with.
      name: of the split.
      split: its files.
      states: of the files.
      shorter_side: see `packed_image`.
    """
    keys = [hashlib.blake2b(os.fsencode(file), digest_size=8).digest() for file in split.files]
    order = sorted(range(len(keys)), key=keys.__getitem__)
    by_size = -(-int(np.maximum(states.stamps[:, 0], 0).sum()) // _SHARD_BYTES)
    small = min(_MOST_SMALL_SHARDS, len(keys) // _IMAGES_OF_SMALL_SHARD)
    count = max(1, small, min(by_size, len(keys)))
    shards = []
    for i, numbers in enumerate(np.array_split(np.array(order), count)):
        labels = None if split.labels is None else split.labels[numbers].tolist()
        files, stamps = split.files[numbers].tolist(), states.stamps[numbers].tolist()
        # What was left out, another TensorFlow may be able to read.
        content = [_VERSION, tf.__version__, shorter_side]
        content += [split.class_names, labels, files, stamps]
        digest = hashlib.sha256(json.dumps([*content, numbers.tolist()]).encode()).hexdigest()
        file = directory / f"{stem}-{name}.tfrecord-{i:05d}-of-{count:05d}"
        shards.append(Shard(file, name, numbers, digest))
    return shards


def features_of(split: Split) -> Any:
    """The features of a record, a `tfds.features.FeaturesDict`."""
    import tensorflow_datasets as tfds  # slow

    found = {
        "image": tfds.features.Image(shape=(None, None, 3)),
        "file_name": tfds.features.Text(),
        "number": tfds.features.Scalar(tf.int64),
    }
    if split.class_names is not None:
        found["label"] = tfds.features.ClassLabel(names=list(split.class_names))
    return tfds.features.FeaturesDict(found)


def write(
    shards: Sequence[Shard],
    folder: str,
    splits: dict[str, Split],
    states: dict[str, FileStates],
    shorter_side: int | None,
) -> Iterator[dict[str, Any]]:
    """Write shards, and yield the state of each when it is complete, see `Shard.state`.

    Files that cannot be read or decoded are left out, with a warning for each.

    Args:
      shards: which.
      folder: the image folder.
      splits, states: by their names, the splits of the folder and the states of their files.
      shorter_side: see `packed_image`.
    """
    wanted = [
        (i, number)
        for i, shard in enumerate(shards)
        for number in shard.numbers.tolist()
        if number not in states[shard.split].reasons
    ]
    paths = [
        os.fsencode(os.path.join(folder, splits[shards[i].split].files[number]))
        for i, number in wanted
    ]
    longest = tf.constant(ANY_LENGTH if shorter_side is None else shorter_side)
    places = tf.constant(np.array(wanted, np.int64).reshape(-1, 2))
    images = (
        tf.data.Dataset.from_tensor_slices((places, tf.constant(paths, tf.string)))
        .map(
            lambda place, path: (place, *packed_image(tf.io.read_file(path), longest)),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        .ignore_errors()
        .batch(_AT_ONCE)
        .prefetch(1)
    )
    stream = (
        (place[0], place[1], content, unchanged)
        for batch in images.as_numpy_iterator()
        for place, content, unchanged in zip(*batch[:3])
    )
    following = next(stream, None)
    for i, shard in enumerate(shards):
        split, features = splits[shard.split], features_of(splits[shard.split])
        shard.state_file.unlink(missing_ok=True)  # which tells of another file
        part = shard.file.with_name(shard.file.name + ".part")
        written, unchanged = set(), 0
        with tf.io.TFRecordWriter(str(part)) as writer:
            while following is not None and following[0] == i:
                _, number, content, is_unchanged = following
                example = {
                    "image": content,
                    "file_name": os.fsencode(split.files[number]),
                    "number": number,
                }
                if split.labels is not None:
                    example["label"] = int(split.labels[number])
                writer.write(features.serialize_example(features.encode_example(example)))
                written.add(int(number))
                unchanged += bool(is_unchanged)
                following = next(stream, None)
        os.replace(part, shard.file)
        left_out = {}
        for number in shard.numbers.tolist():
            if number not in written:
                path = os.path.join(folder, str(split.files[number]))
                reason = states[shard.split].reasons.get(number) or _why_not_written(path, longest)
                logging.warning("Cannot decode %s and leave it out: %s", printable(path), reason)
                left_out[str(split.files[number])] = reason
        state = {
            "digest": shard.digest,
            "records": len(written),
            "bytes": shard.file.stat().st_size,
            "unchanged": unchanged,
            "left_out": left_out,
        }
        write_complete(shard.state_file, json.dumps(state).encode())
        yield state


def _why_not_written(path: str, longest: tf.Tensor) -> str:
    """Why a file that could be looked at before packing has no record.

    Raises:
      UserError: it cannot be opened now, or can be packed now.
    """
    try:
        open(path, "rb").close()
    except OSError as error:
        if error.errno in _FORBIDDEN:
            return str(error.strerror)
        raise UserError(
            f"{printable(path)} was there when packing began and cannot be read now: "
            f"{error.strerror}. Put it back; the same command goes on."
        ) from None
    try:
        packed_image(tf.io.read_file(path), longest)
    except tf.errors.OpError:
        return why_undecodable(path) or "it can be decoded, and not be packed"
    raise UserError(
        f"{printable(path)} could not be read for a while, and can be now. Nothing is left out for "
        "that; the same command goes on."
    )
