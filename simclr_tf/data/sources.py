"""Streams of encoded images that are a pure function of (seed, position).

The training stream is endless: with n images, position p is the image number p % n
of epoch p // n, and every epoch has an order of its own. A run that was killed
goes on exactly by starting at position = step * batch size, and several hosts see
together what one host would see. Nothing here decodes an image or knows where
images come from.
"""

import dataclasses
import os
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Positions:
    """The positions of a stream that one host reads.

    From `start` on, in every `period` positions: skip `offset` and take the next
    `length`. With a period of the global batch size these are the host's
    share of every batch; the default is every position.
    """

    start: int = 0
    period: int = 1
    offset: int = 0
    length: int = 1

    def count(self, stop: int) -> int:
        """How many of the positions are below `stop`."""
        periods, rest = divmod(stop - self.start, self.period)
        return periods * self.length + min(max(rest - self.offset, 0), self.length)

    def at(self, i: tf.Tensor) -> tf.Tensor:
        """Position number i, from 0, in rising order; both scalar int64."""
        return self.start + i // self.length * self.period + self.offset + i % self.length

    def contain(self, position: tf.Tensor) -> tf.Tensor:
        """Whether a position (int64, not below `start`) is one of them; bool."""
        place = (position - self.start) % self.period - self.offset
        return (place >= 0) & (place < self.length)


Example = dict[str, tf.Tensor]
Transform = Callable[[Example], Any]
Records = tuple[tf.data.Dataset, Callable[..., Example]]


class Source(Protocol):
    """Where the encoded images of a data set come from."""

    def records(self, positions: Positions, seed: int | None, shuffle_buffer: int) -> Records:
        """A dataset of records, in order, and the function that makes an example of a record.

        For the arguments see `ImageDataset.examples`.
        """


@dataclasses.dataclass(frozen=True)
class ImageDataset:
    """One split of a data set of images.

    Without labels `num_classes` and `class_names` are None; `class_names` may be
    None with labels too. `skipped_files` are the files, relative to the data
    directory, that were left out because they cannot be decoded. `labelled`: which
    images of the whole split, (n,) bool, were chosen to be labelled; None for all.
    `file_names`: of every image, relative to `folder`, where images are files. `upright`:
    whether JPEGs are shown as their EXIF orientation says. `content` tells data sets apart whose
    images are no files and that were prepared in another way; "" where that is not known.
    """

    name: str
    split: str
    num_examples: int
    num_classes: int | None
    class_names: tuple[str, ...] | None
    source: Source
    skipped_files: tuple[str, ...] = ()
    file_names: tuple[str, ...] | None = None
    folder: str | None = None
    upright: bool = False
    content: str = ""
    labelled: np.ndarray | None = dataclasses.field(default=None, compare=False)

    def paths(self) -> list[str]:
        """The paths of the files of all images; empty where images are no files."""
        if self.folder is None or self.file_names is None:
            return []
        return [os.path.join(self.folder, name) for name in self.file_names]

    def examples(
        self,
        positions: Positions = Positions(),
        *,
        seed: int | None = None,
        shuffle_buffer: int = 10_000,
        transform: Transform = lambda example: example,
        calls_at_once: int = tf.data.AUTOTUNE,
    ) -> tf.data.Dataset:
        """The encoded images at these positions of the stream.

        Args:
          positions: which part of the stream.
          seed: seed of the order. None gives every image once, in a fixed order.
          shuffle_buffer: how many encoded images a source that is read
            sequentially holds in memory to shuffle them; a source with random
            access shuffles the whole epoch and needs none.
          transform: what becomes of each example. It runs where the example is read: another
            `map` behind it would cost as much again as reading a small image.
          calls_at_once: how many examples are read and transformed at the same time.

        Returns:
          A dataset of what `transform` makes of {"position": int64, "number": int64, "image":
          string} and, with labels, "label": int64 in [0, num_classes); all scalars, the image as
          encoded bytes. The number tells the images of the split from each other, in
          [0, num_examples), the same in every epoch, on every host, and in every run with the
          same images. Endless when a seed is given.
        """
        records, example_of = self.source.records(positions, seed, shuffle_buffer)
        return records.map(
            # Nothing branches on tensors in Python, and looking for it takes seconds.
            tf.autograph.experimental.do_not_convert(
                lambda *record: transform(example_of(*record))
            ),
            num_parallel_calls=calls_at_once,
            deterministic=True,
        )


@dataclasses.dataclass(frozen=True)
class IndexedSource:
    """Images with random access: `read` gives the encoded bytes of image number i.

    Attributes:
      read: maps a scalar int64 tensor to a scalar string tensor.
      num_examples: number of images.
      labels: (num_examples,) int64, or None.
    """

    read: Callable[[tf.Tensor], tf.Tensor]
    num_examples: int
    labels: np.ndarray | None

    def records(self, positions: Positions, seed: int | None, shuffle_buffer: int) -> Records:
        """See `Source.records`; every epoch is a new permutation of all images."""
        del shuffle_buffer
        n = self.num_examples
        labels = None if self.labels is None else tf.constant(self.labels, tf.int64)

        def example_of(i: tf.Tensor) -> Example:
            position = positions.at(i)
            index = position % n
            if seed is not None:
                epoch_seed = tf.stack([tf.constant(seed, tf.int64), position // n])
                index = tf.random.experimental.index_shuffle(
                    index, seed=epoch_seed, max_index=tf.constant(n - 1, tf.int64)
                )
            found = {"position": position, "number": index, "image": self.read(index)}
            return found if labels is None else found | {"label": labels[index]}

        count = positions.count(n) if seed is None else tf.int64.max
        return tf.data.Dataset.range(count), example_of


@dataclasses.dataclass(frozen=True)
class ChangedSource:
    """A source whose examples another source has, and `change` changes.

    Attributes:
      source: of the examples.
      change: maps an example to what this source gives instead of it.
    """

    source: Source
    change: Callable[[Example], Example]

    def records(self, positions: Positions, seed: int | None, shuffle_buffer: int) -> Records:
        """See `Source.records`."""
        records, example_of = self.source.records(positions, seed, shuffle_buffer)
        return records, lambda *record: self.change(example_of(*record))


def indexed(
    images: tf.Tensor, labels: np.ndarray | None, *, are_paths: bool = False, cache: bool = False
) -> IndexedSource:
    """An `IndexedSource` over encoded images, or over the paths of image files.

    Args:
      images: (n,) string, encoded images or, with `are_paths`, paths.
      labels: (n,) integers, or None.
      are_paths: whether to read the images from files.
      cache: read all files now and hold their contents in memory.
    """
    if are_paths and cache:
        contents = tf.data.Dataset.from_tensor_slices(images).map(
            tf.io.read_file, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
        )
        images = contents.batch(len(images)).get_single_element()
        are_paths = False

    def read(index: tf.Tensor) -> tf.Tensor:
        return tf.io.read_file(images[index]) if are_paths else images[index]

    return IndexedSource(read, len(images), labels)
