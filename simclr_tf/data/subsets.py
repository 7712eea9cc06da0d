"""Fewer labels: a seeded choice of images, as many of each class, and data sets of those alone."""

import dataclasses
import hashlib
import os
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from simclr_tf.data.holdout import hashes, lowest_of_each_class
from simclr_tf.data.sources import (
    ChangedSource,
    Example,
    ImageDataset,
    IndexedSource,
    Source,
    indexed,
)
from simclr_tf.errors import UserError

UNLABELLED = -1


def choose(
    labels: np.ndarray,
    num_classes: int,
    *,
    fraction: float = 1.0,
    per_class: int = 0,
    seed: int = 0,
    class_names: Sequence[str] | None = None,
) -> np.ndarray:
    """Choose images so that the classes are as even as can be (SimCLR appendix B.5).

    With a fraction, round(fraction * n) images are chosen in all, but one of each class at
    least. All classes get the same number, give or take one; a class that has fewer gives
    all it has. With the same seed, a smaller choice is part of every larger one.

    Args:
      labels: (n,) integers in [0, num_classes); images whose label is -1 have none, and are not
        chosen.
      num_classes: number of classes.
      fraction: share of the images, in (0, 1].
      per_class: images of each class; overrides `fraction` when not 0.
      seed: seed of the choice; it depends on nothing else, NumPy's version included.
      class_names: for messages.

    Returns:
      (m,) int64, rising indices of the chosen images.

    Raises:
      UserError: there are not so many images, or the fraction is not one.
    """
    known = np.flatnonzero(labels >= 0)
    sizes = np.bincount(labels[known], minlength=num_classes)
    smallest = int(np.argmin(sizes))
    name = class_names[smallest] if class_names else smallest
    if per_class < 0 or not 0 < fraction <= 1:
        raise UserError(
            "--label_fraction lies above 0 and is at most 1, --labels_per_class is not negative. "
            f"Received: {fraction:g} and {per_class}."
        )
    if sizes[smallest] < max(per_class, 1):
        raise UserError(
            f"There are not {max(per_class, 1)} labelled images of every class: class {name} has "
            f"{sizes[smallest]}."
        )
    if per_class:
        counts = np.full(num_classes, per_class)
    else:
        counts = _even_counts(sizes, max(round(fraction * len(known)), num_classes), seed)
    ranks = hashes(known.tolist(), seed)
    return known[lowest_of_each_class(ranks, labels[known], counts)].astype(np.int64)


def _even_counts(sizes: np.ndarray, total: int, seed: int) -> np.ndarray:
    """How many of each class, `total` in all: levels that rise together, as water in vessels."""
    level = int(np.searchsorted(_filled(sizes), total, side="right")) - 1
    counts = np.minimum(sizes, level)
    deeper = np.flatnonzero(sizes > level)
    order = np.argsort(hashes([f"class {c}" for c in deeper], seed))
    counts[deeper[order[: total - counts.sum()]]] += 1
    return counts


def _filled(sizes: np.ndarray) -> np.ndarray:
    """Entry k: images in all when every class gives up to k."""
    still_rising = [np.count_nonzero(sizes > k) for k in range(sizes.max())]
    return np.concatenate([[0], np.cumsum(still_rising)])


def fingerprint(dataset: ImageDataset) -> str:
    """Tells splits apart by the number of images, their classes, and of files by names and labels.

    Nothing is read: of images that are no files, labels and names play no part.
    """
    parts = [str(dataset.num_examples), repr(dataset.class_names)]
    value = hashlib.blake2b("/".join(parts).encode("utf-8", "surrogateescape"), digest_size=8)
    for name in dataset.file_names or ():
        value.update(os.fsencode(name) + b"\0")
    source = dataset.source
    if dataset.file_names and isinstance(source, IndexedSource) and source.labels is not None:
        value.update(labels_of(dataset).tobytes())
    return value.hexdigest()


def labels_of(dataset: ImageDataset) -> np.ndarray:
    """The label (n,) int64 of every image in the data set's own order; reads sequential sources."""
    if isinstance(dataset.source, IndexedSource):
        return np.asarray(dataset.source.labels, np.int64)
    labels = dataset.examples(transform=lambda example: example["label"])
    return np.concatenate([batch.numpy() for batch in labels.batch(4096)])


def labels_by_number(dataset: ImageDataset) -> np.ndarray:
    """The label (n,) int64 of every image, by the number that batches carry."""
    if isinstance(dataset.source, IndexedSource):
        return labels_of(dataset)
    found = dataset.examples(transform=lambda example: (example["number"], example["label"]))
    numbers, labels = zip(*(map(np.asarray, pair) for pair in found.batch(4096)), strict=True)
    by_number = np.full(dataset.num_examples, UNLABELLED, np.int64)
    by_number[np.concatenate(numbers)] = np.concatenate(labels)
    return by_number


def restrict(dataset: ImageDataset, indices: np.ndarray) -> ImageDataset:
    """The data set of the images with these indices alone, in the order of the indices.

    Of a source that is read sequentially, the chosen encoded images are held in memory.
    """
    source = dataset.source
    if isinstance(source, IndexedSource):
        numbers = tf.constant(indices, tf.int64)
        labels = None if source.labels is None else np.asarray(source.labels)[indices]
        chosen = IndexedSource(lambda i: source.read(numbers[i]), len(indices), labels)
    else:
        chosen = indexed(*_read(dataset, indices))
    names = dataset.file_names
    return dataclasses.replace(
        dataset,
        num_examples=len(indices),
        source=chosen,
        file_names=names and tuple(names[i] for i in indices),
        labelled=_mask(dataset, indices),
    )


def hide_other_labels(dataset: ImageDataset, indices: np.ndarray) -> ImageDataset:
    """The whole data set, in which only the images with these indices keep their label.

    All others get `UNLABELLED`. In a source that is read sequentially an image is known by
    its bytes, so that copies of a chosen image keep their label too.
    """
    source = dataset.source
    if isinstance(source, IndexedSource):
        labels = np.full(dataset.num_examples, UNLABELLED, np.int64)
        labels[indices] = np.asarray(source.labels)[indices]
        hidden = dataclasses.replace(source, labels=labels)
    else:
        images, _ = _read(dataset, indices)
        hidden = _partly_labelled(source, tf.sort(_fingerprint(images)))
    return dataclasses.replace(dataset, source=hidden, labelled=_mask(dataset, indices))


def without_labels(dataset: ImageDataset) -> ImageDataset:
    """The images of a data set, without their labels."""
    source = dataset.source
    if isinstance(source, IndexedSource):
        source = dataclasses.replace(source, labels=None)
    else:
        source = ChangedSource(source, _without_label)
    return dataclasses.replace(dataset, source=source, num_classes=None, class_names=None)


def _mask(dataset: ImageDataset, indices: np.ndarray) -> np.ndarray:
    return np.isin(np.arange(dataset.num_examples), indices)


def _read(dataset: ImageDataset, indices: np.ndarray) -> tuple[tf.Tensor, np.ndarray]:
    """The encoded images (m,) and labels (m,) with these rising indices."""
    wanted = tf.constant(_mask(dataset, indices))
    chosen = dataset.examples().filter(lambda example: wanted[example["position"]])
    found = chosen.batch(len(indices)).get_single_element()
    return found["image"], found["label"].numpy()


def _fingerprint(images: tf.Tensor) -> tf.Tensor:
    return tf.strings.to_hash_bucket_fast(images, tf.int64.max)


def _without_label(example: Example) -> Example:
    return {key: value for key, value in example.items() if key != "label"}


def _partly_labelled(source: Source, labelled: tf.Tensor) -> ChangedSource:
    """A source of which only the images with these fingerprints (m,), sorted, have labels."""

    def change(example: Example) -> Example:
        key = _fingerprint(example["image"])
        place = tf.searchsorted(labelled, key[None])[0]
        known = labelled[tf.minimum(place, len(labelled) - 1)] == key
        label = tf.where(known, example["label"], tf.constant(UNLABELLED, tf.int64))
        return example | {"label": label}

    return ChangedSource(source, change)
