"""Opening one split of a transfer data set, by the protocol of the paper.

With a directory that holds official files, these are read; otherwise TensorFlow Datasets is asked.
"""

import dataclasses
import importlib
import os
import pathlib
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from absl import logging

from simclr_tf.data import tfds_source
from simclr_tf.data.decode import decode_image
from simclr_tf.data.sources import ImageDataset, IndexedSource, indexed
from simclr_tf.data.subsets import labels_by_number
from simclr_tf.data.transfer.listing import Examples, Listing, hold_out
from simclr_tf.data.transfer.official_files import OfficialFiles
from simclr_tf.data.transfer.official_text import reason
from simclr_tf.data.transfer.registry import MEAN_AVERAGE_PRECISION, REGISTRY, TransferSet
from simclr_tf.errors import UserError, did_you_mean

PREFIX = "transfer/"
_BUILDERS = "simclr_tf.data.transfer.builders"
_TFDS_DIFFERENCE = 1  # it counts a file that is no image to Caltech-101's images for training
SPLITS = ("train", "validation", "test", "train+validation")


def load(
    name: str,
    split: str,
    *,
    data_dir: str | None,
    seed: int = 0,
    cache: bool = False,
    check: bool = True,
) -> ImageDataset:
    """Open one split.

    Args:
      name: one of `REGISTRY`.
      split: one of `SPLITS`.
      data_dir: directory of the official archives or of what is in them; also when they lie in
        its folder `name`. None, or a directory with prepared files of TensorFlow Datasets,
        reads those, which it prepares first if need be.
      seed: of what is held out for validation, where the authors did not choose it.
      cache: hold the encoded images in memory.
      check: compare numbers of images and classes, and checksums of archives, with what is
        expected.

    Returns:
      The data set. Labels are as in `Examples`; `skipped_files` are missing images. Images are
      not checked: those that cannot be decoded are there too.

    Raises:
      UserError: for an unknown name or split, and when the files are missing, damaged, or others
        than expected.
    """
    if name not in REGISTRY:
        raise UserError(
            f"Unknown transfer data set {name!r}; it is one of {', '.join(REGISTRY)}."
            + did_you_mean(name, list(REGISTRY))
        )
    if split not in SPLITS:
        raise UserError(
            f"Data set {PREFIX}{name} has no split {split!r}; it has {', '.join(SPLITS)}."
            + did_you_mean(split, list(SPLITS))
        )
    entry = REGISTRY[name]
    if data_dir is None or _is_prepared(data_dir, entry.tfds):
        return _load_prepared(name, split, data_dir, seed, cache, check)
    if not pathlib.Path(data_dir).is_dir():
        raise UserError(f"--data_dir={data_dir} of data set {PREFIX}{name} is no directory.")
    below = pathlib.Path(data_dir) / name
    place = below if below.is_dir() else pathlib.Path(data_dir)
    listing = _read(name, entry, OfficialFiles(place, PREFIX + name, entry.downloads, check))
    if check:
        _check_sizes(name, entry, listing)
    examples = _split(entry, listing, split, seed)
    return ImageDataset(
        name=PREFIX + name,
        split=split,
        num_examples=len(examples),
        num_classes=len(listing.class_names),
        class_names=listing.class_names,
        source=_source(examples, cache, entry.banner),
        skipped_files=examples.missing,
        file_names=_file_names(examples, data_dir),
        folder=None if examples.images.ndim > 1 else data_dir,
    )


def _is_prepared(data_dir: str, tfds_name: str) -> bool:
    return any(pathlib.Path(data_dir).glob(f"{tfds_name}/*/dataset_info.json"))


def _load_prepared(
    name: str, split: str, data_dir: str | None, seed: int, cache: bool, check: bool
) -> ImageDataset:
    """The split of what TensorFlow Datasets has prepared, or prepares now."""
    importlib.import_module(_BUILDERS)  # slow, and it registers two of the names
    entry = REGISTRY[name]
    is_official = entry.official_validation or split == "test"
    parts, tfds_split = (split, split) if is_official else ("train+validation", "train")
    if split == "test":
        tfds_split = entry.tfds_test
    try:
        found = tfds_source.load(
            entry.tfds,
            tfds_split,
            data_dir=data_dir,
            cache=cache,
            several_labels=entry.metric == MEAN_AVERAGE_PRECISION,
        )
    except UserError as error:
        raise UserError(
            f"{error} Or give --data_dir, a directory with "
            f"{', '.join(f'{d.file} ({d.url})' for d in entry.downloads)}."
        ) from error
    expected = sum(getattr(entry, part) for part in parts.split("+"))
    missing = expected - found.num_examples
    if entry.lacks_images and missing > 0:
        logging.warning(
            "%d of the %d images for %s of %s are missing.", missing, expected, parts, name
        )
        missing = 0
    if check and (abs(missing) > _TFDS_DIFFERENCE or found.num_classes != entry.num_classes):
        _refuse_sizes(name, {parts: expected}, {parts: found.num_examples}, found.num_classes)
    source = found.source
    if parts != split:
        labels = labels_by_number(found)
        numbers = np.arange(len(labels))
        held = _held_out(entry, Examples(numbers.astype(str), labels, numbers), seed)
        source = source.keep(held if split == "validation" else ~held)
    return dataclasses.replace(found, split=split, num_examples=source.num_examples, source=source)


def _read(name: str, entry: TransferSet, files: OfficialFiles) -> Listing:
    """The listing, whatever the files hold.

    Raises:
      UserError: instead of any other error, as a stranger's bytes may raise any.
    """
    try:
        listing = entry.read(files)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"The files of data set {PREFIX}{name} in {files.data_dir} are damaged or not the "
            f"official ones: {reason(error)}. Get them again."
        ) from error
    for part, examples in listing.parts.items():
        several = examples.labels.ndim > 1
        low, high = (-1, 1) if several else (0, len(listing.class_names) - 1)
        if examples.labels.min() < low or examples.labels.max() > high:
            raise UserError(
                f"The labels for {part} of data set {PREFIX}{name} in {files.data_dir} should lie "
                f"between {low} and {high}, and lie between {examples.labels.min()} and "
                f"{examples.labels.max()}. Get the official files again."
            )
    return listing


def _check_sizes(name: str, entry: TransferSet, listing: Listing) -> None:
    expected = {"train": entry.train, "validation": entry.validation, "test": entry.test}
    if not entry.official_validation:
        expected["train"] += expected.pop("validation")
    found = {part: len(e) + len(e.missing) for part, e in listing.parts.items()}
    if found != expected or len(listing.class_names) != entry.num_classes:
        _refuse_sizes(name, expected, found, len(listing.class_names))


def _refuse_sizes(name: str, expected: dict[str, int], found: dict[str, int], classes: int) -> None:
    raise UserError(
        f"Data set {PREFIX}{name} should have {_sizes(expected, REGISTRY[name].num_classes)}, and "
        f"has {_sizes(found, classes)}. Get the official files, all of them; transfer takes others "
        "with --allow_other_sizes."
    )


def _sizes(parts: dict[str, int], num_classes: int) -> str:
    images = ", ".join(f"{count} images for {part}" for part, count in sorted(parts.items()))
    return f"{num_classes} classes and {images}"


def _split(entry: TransferSet, listing: Listing, split: str, seed: int) -> Examples:
    """The examples of a split; `train` of the listing is for both where nothing was chosen."""
    parts = listing.parts
    if split == "test":
        return parts["test"]
    if entry.official_validation:
        if split == "train+validation":
            return parts["train"].join(parts["validation"])
        return parts[split]
    if split == "train+validation":
        return parts["train"]
    held = _held_out(entry, parts["train"], seed)
    return parts["train"].take(held if split == "validation" else ~held)


def _held_out(entry: TransferSet, examples: Examples, seed: int) -> np.ndarray:
    """Which examples for training are for validation, (n,) bool: the share that is expected."""
    share = entry.validation / (entry.train + entry.validation)
    return hold_out(examples, round(share * len(examples)), seed)


def _file_names(examples: Examples, data_dir: str) -> tuple[str, ...] | None:
    if examples.images.ndim > 1:
        return None
    return tuple(os.path.relpath(path, data_dir) for path in examples.images)


def _source(examples: Examples, cache: bool, banner: int) -> IndexedSource:
    if examples.images.ndim > 1:
        pixels = tf.constant(examples.images)
        return IndexedSource(lambda i: tf.io.encode_png(pixels[i]), len(examples), examples.labels)
    paths = tf.constant([os.fsencode(path) for path in examples.images])
    source = indexed(paths, examples.labels, are_paths=True, cache=cache)
    if not banner:
        return source
    return IndexedSource(_without_banner(source.read, banner), len(examples), examples.labels)


def _without_banner(
    read: Callable[[tf.Tensor], tf.Tensor], height: int
) -> Callable[[tf.Tensor], tf.Tensor]:
    """Images without their last rows, encoded again without loss."""
    return lambda i: tf.io.encode_png(decode_image(read(i))[:-height], compression=1)
