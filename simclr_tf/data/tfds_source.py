"""Data sets of TensorFlow Datasets, read as encoded images from their TFRecord files.

Such files can only be read in sequence. So an epoch has its own order of the files,
16 of them are read in turns, and a buffer of encoded images is shuffled; a resumed
run reads and drops the part of the epoch that it had seen.
"""

import dataclasses
import hashlib
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from simclr_tf.data.broken import naming_bad_files
from simclr_tf.data.sources import Example, ImageDataset, Positions, Records
from simclr_tf.data.subsets import without_labels
from simclr_tf.errors import UserError, did_you_mean, printable
from simclr_tf.paths import as_path

_FILES_IN_TURNS = 16
_RECORDS_PER_TURN = 16
_LONGEST_REASON = 300
_LABELS_LOOKED_AT = 1000


@dataclasses.dataclass(frozen=True)
class ShardedSource:
    """Images in files that are read in sequence.

    Attributes:
      read_shard: maps the number of a file (scalar int64) to a dataset of its records.
      starts: (files,) int64, how many records are in the files before each.
      num_examples: number of records in all files.
      parse: maps a record to {"image": string, "label": int64 if there is one}.
    """

    read_shard: Callable[[tf.Tensor], tf.data.Dataset]
    starts: np.ndarray
    num_examples: int
    parse: Callable[[tf.Tensor], dict[str, tf.Tensor]]

    @property
    def num_shards(self) -> int:
        """Number of files."""
        return len(self.starts)

    def has_labels(self) -> bool:
        """Whether any of the first labels is one, and not -1, which stands for none."""
        records = tf.data.Dataset.range(self.num_shards).flat_map(self.read_shard)
        labels = records.take(_LABELS_LOOKED_AT).map(lambda record: self.parse(record)["label"])
        return any(label >= 0 for label in labels.as_numpy_iterator())

    def keep(self, kept: np.ndarray) -> "ShardedSource":
        """The same files without some records, which are read and dropped.

        Args:
          kept: (n,) bool, by the order of the files.
        """
        starts, kept_records = tf.constant(self.starts), tf.constant(kept)

        def read_shard(i: tf.Tensor) -> tf.data.Dataset:
            numbered = self.read_shard(i).enumerate(starts[i])
            return numbered.filter(lambda n, _: kept_records[n]).map(lambda _, record: record)

        ends = np.concatenate([[0], np.cumsum(kept)])
        return dataclasses.replace(
            self, read_shard=read_shard, starts=ends[self.starts], num_examples=int(ends[-1])
        )

    def records(self, positions: Positions, seed: int | None, shuffle_buffer: int) -> Records:
        """See `Source.records`; all hosts read all records and parse their own."""
        if seed is None:
            records = self._interleave(tf.data.Dataset.range(self.num_shards))
            records = records.skip(positions.start)
        else:
            epoch, seen = divmod(positions.start, self.num_examples)
            epochs = tf.data.Dataset.range(epoch, tf.int64.max)
            records = epochs.flat_map(lambda e: self._shuffled(e, seed, shuffle_buffer))
            records = records.skip(seen)
        numbered = records.enumerate(positions.start)
        wanted = numbered.filter(lambda position, _: positions.contain(position))

        def example_of(position: tf.Tensor, record: tuple[tf.Tensor, tf.Tensor]) -> Example:
            number, content = record
            return {"position": position, "number": number} | self.parse(content)

        return wanted, example_of

    def _shuffled(self, epoch: tf.Tensor, seed: int, shuffle_buffer: int) -> tf.data.Dataset:
        """The records of one epoch; called where tf.data traces it."""
        tf.random.set_seed(1)  # of this traced function alone: the caller's plays no part in it
        epoch_seed = tf.stack([tf.constant(seed, tf.int64), epoch])
        last = tf.constant(self.num_shards - 1, tf.int64)
        shards = tf.data.Dataset.range(self.num_shards).map(
            lambda i: tf.random.experimental.index_shuffle(i, seed=epoch_seed, max_index=last)
        )
        buffer_seed = tf.random.stateless_uniform((), epoch_seed, None, None, tf.int64)
        return self._interleave(shards).shuffle(
            shuffle_buffer, seed=buffer_seed, reshuffle_each_iteration=False
        )

    def _interleave(self, shards: tf.data.Dataset) -> tf.data.Dataset:
        """Records of some shards in turns, each with its number in the order of the files."""
        starts = tf.constant(self.starts, tf.int64)
        return shards.interleave(
            lambda i: self.read_shard(i).enumerate(starts[i]),
            cycle_length=min(_FILES_IN_TURNS, self.num_shards),
            block_length=_RECORDS_PER_TURN,
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )


def load(
    name: str,
    split: str,
    *,
    data_dir: str | None,
    cache: bool = False,
    other_names: Sequence[str] = (),
    several_labels: bool = False,
) -> ImageDataset:
    """Load a split of a data set of TensorFlow Datasets, preparing it first if need be.

    Args:
      name: as for `tfds.builder`; or a directory with a prepared data set, such as
        `packing.pack` makes, relative to `data_dir` where that is given.
      split: a split, or a slice of one such as `train[:10%]`.
      data_dir: where TensorFlow Datasets keeps its files; None is its default.
      cache: hold the encoded images in memory.
      other_names: data sets known elsewhere, to suggest when `name` is unknown.
      several_labels: an image has several labels, as in VOC: the label is (classes,) int64 in
        {-1, 0, 1}, where -1 stands for a class of which all objects are difficult.

    Raises:
      UserError: for an unknown data set or split, one without images, or one that
        can neither be found nor prepared.
    """
    builder = _prepared_builder(name, data_dir, other_names)
    info = builder.info
    try:
        split_info = info.splits[split]
    except (KeyError, ValueError, NotImplementedError) as error:  # the last of slices of `all`
        known = sorted(info.splits)
        raise UserError(
            f"Data set {name} has no split {split!r}; it has {', '.join(known)}."
            + did_you_mean(split, known)
        ) from error
    files = [file for file in split_info.file_instructions if file.take]
    if not files:
        raise UserError(f"Split {split!r} of data set {name} has no examples.")
    _require_there(name, [str(file.filename) for file in files])
    parse, label = (_parser_of_several if several_labels else _parser)(name, info.features)
    with naming_bad_files(list):
        source = ShardedSource(
            read_shard=_shards_in_memory(files) if cache else _shards_on_disk(files),
            starts=np.cumsum([0] + [file.take for file in files[:-1]]),
            num_examples=split_info.num_examples,
            parse=parse,
        )
        labelled = label is not None and (several_labels or source.has_labels())
    dataset = ImageDataset(
        name=name,
        split=split,
        num_examples=split_info.num_examples,
        num_classes=None if label is None else label.num_classes,
        class_names=None if label is None else tuple(label.names),
        source=source,
        content=_content(info),
    )
    if labelled or label is None:
        return dataset
    logging.warning(
        "The first labels of split %r of data set %s are -1, which means that there are none: its "
        "images count as images without labels.",
        split,
        name,
    )
    return without_labels(dataset)


def _require_there(name: str, files: Sequence[str]) -> None:
    """Refuse a data set that was not copied as a whole, before anything is read of it."""
    folders = {os.path.dirname(file) for file in files}
    there = {
        os.path.join(folder, f) for folder in folders for f in tf.io.gfile.listdir(folder or ".")
    }
    if missing := [file for file in files if file not in there]:
        raise UserError(
            f"{len(missing)} of the {len(files)} files of data set {name} are missing, the first "
            f"is {missing[0]}. Copy or prepare the data set again."
        )


def _content(info: Any) -> str:
    """Tells data sets apart that were prepared in another way, by the sizes of their splits."""
    sizes = [(s.name, list(s.shard_lengths), int(s.num_bytes)) for s in info.splits.values()]
    return hashlib.blake2b(repr(sorted(sizes)).encode(), digest_size=8).hexdigest()


def _prepared_builder(name: str, data_dir: str | None, other_names: Sequence[str]) -> Any:
    """The builder of a data set whose TFRecord files are there."""
    import tensorflow_datasets as tfds  # slow

    if (directory := _directory(name, data_dir)) is not None:
        try:
            builder = tfds.builder_from_directory(directory)
        except Exception as error:  # whatever somebody may have written there
            raise UserError(
                f"{printable(directory)} holds no data set that TensorFlow Datasets opens "
                f"({_reason(error)}). Pack or prepare it again."
            ) from error
        return _of_tfrecords(builder, name)
    try:
        builder = tfds.builder(name, data_dir=data_dir)
    except (ValueError, AssertionError) as error:  # name; configuration; version
        known = [*other_names, *tfds.list_builders()]
        raise UserError(
            f"Unknown data set {name!r}; give a name of TensorFlow Datasets, a directory that "
            f"simclr_tf.data.pack made, or one of: {', '.join(other_names)}."
            + did_you_mean(name, known)
        ) from error
    try:
        builder.download_and_prepare()  # does nothing when the files are there
    except Exception as error:  # it downloads and runs a data set's own code: anything may fail
        builder = tfds.builder(name, data_dir=data_dir)
        if not builder.is_prepared():  # by another process, which was faster
            raise UserError(
                f"Data set {name} is not in {builder.data_path} and preparing it failed "
                f"({_reason(error)}). "
                "Give --data_dir=DIR with prepared files of TensorFlow Datasets, or "
                "--dataset=image_folder --data_dir=FOLDER with your own images."
            ) from error
    return _of_tfrecords(builder, name)


def _directory(name: str, data_dir: str | None) -> str | None:
    """The directory of a prepared data set that a name stands for; None where it is only a name."""
    is_address = "://" in name
    above = "" if is_address else data_dir or ""
    place = as_path(os.path.join(above, os.path.expanduser(name)))
    try:
        return os.fspath(place) if (place / "dataset_info.json").is_file() else None
    except OSError as error:
        if is_address or data_dir:
            given = f"--dataset={place}" if is_address else place
            raise UserError(f"{given} cannot be read: {error.strerror}.") from None
        return None


def _reason(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:_LONGEST_REASON]


def _of_tfrecords(builder: Any, name: str) -> Any:
    """The builder, if its files are TFRecord files."""
    import tensorflow_datasets as tfds

    if builder.info.file_format != tfds.core.FileFormat.TFRECORD:
        raise UserError(
            f"Data set {name} in {builder.data_path} is stored as "
            f"{builder.info.file_format.value}; prepare it as tfrecord."
        )
    return builder


def _parser(name: str, features: Any) -> tuple[Callable, Any]:
    """(function from record to encoded image and label, the label's feature or None)."""
    import tensorflow_datasets as tfds

    found = dict(features.items())
    if not isinstance(found.get("image"), tfds.features.Image):
        raise UserError(f"Data set {name} has no feature `image`; it has {', '.join(found)}.")
    label = found.get("label")
    if label is not None and not isinstance(label, tfds.features.ClassLabel):
        logging.warning(
            "The label of data set %s is no ClassLabel but %s, so that nobody knows how many "
            "classes there are: its images count as images without labels. Prepare it with a "
            "ClassLabel to use them.",
            name,
            label,
        )
        label = None
    wanted = {"image": found["image"]} | ({} if label is None else {"label": label})
    wanted = tfds.features.FeaturesDict(wanted)
    encoded = {"image": tfds.decode.SkipDecoding()}

    def parse(record: tf.Tensor) -> dict[str, tf.Tensor]:
        example = wanted.deserialize_example(record, decoders=encoded)
        return {key: tf.cast(v, tf.int64) if key == "label" else v for key, v in example.items()}

    return parse, label


def _parser_of_several(name: str, features: Any) -> tuple[Callable, Any]:
    """(function from record to encoded image and labels, the feature of one label)."""
    import tensorflow_datasets as tfds

    wanted = tfds.features.FeaturesDict(
        {key: features[key] for key in ("image", "labels", "labels_no_difficult")}
    )
    label = features["labels"].feature

    def parse(record: tf.Tensor) -> dict[str, tf.Tensor]:
        example = wanted.deserialize_example(record, decoders={"image": tfds.decode.SkipDecoding()})

        def shown(key: str) -> tf.Tensor:
            labels = tf.one_hot(example[key], label.num_classes, dtype=tf.int64)
            return tf.reduce_sum(labels, axis=0)  # each of them is there once

        return {
            "image": example["image"],
            "label": 2 * shown("labels_no_difficult") - shown("labels"),
        }

    return parse, label


def _shards_on_disk(files: Sequence[Any]) -> Callable[[tf.Tensor], tf.data.Dataset]:
    """`read_shard` for the file instructions of a split."""
    names = tf.constant([str(file.filename) for file in files])
    skip = tf.constant([file.skip for file in files], tf.int64)
    take = tf.constant([file.take for file in files], tf.int64)
    return lambda i: tf.data.TFRecordDataset(names[i]).skip(skip[i]).take(take[i])


def _shards_in_memory(files: Sequence[Any]) -> Callable[[tf.Tensor], tf.data.Dataset]:
    """The same records in the same order, read now and held in memory."""
    ends = tf.constant(np.cumsum([0] + [file.take for file in files]), tf.int64)
    records = tf.data.Dataset.range(len(files)).flat_map(_shards_on_disk(files))
    records = records.batch(int(ends[-1])).get_single_element()
    return lambda i: tf.data.Dataset.range(ends[i], ends[i + 1]).map(lambda j: records[j])
