"""The data set `image_folder`: the image files below a directory.

`simclr_tf.data.folder_splits` tells which of them are in which split, and what their classes are.
"""

import os
import re
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from absl import logging

from simclr_tf.data.broken import naming_bad_files
from simclr_tf.data.folder_scan import Entries, scan
from simclr_tf.data.folder_splits import FOLDERS, splits_of
from simclr_tf.data.remembered import check_files_once
from simclr_tf.data.sources import ImageDataset, indexed
from simclr_tf.errors import UserError, did_you_mean, printable

_ALMOST_BLACK_BELOW = 2**14  # of 2**16


def load(
    split: str,
    *,
    data_dir: str | None,
    holdout_fraction: float = 0.1,
    split_seed: int = 0,
    labels: str = FOLDERS,
    upright: bool = True,
    cache: bool = False,
    max_bad_images: int = 100,
    known_bad: Sequence[str] | None = None,
) -> ImageDataset:
    """Load one split of the image folder `data_dir`.

    Every file is decoded once to find those that cannot be; they are reported by
    path and left out, and so is what is named like an image and is no regular file.

    Args:
      split: `train`, or what the layout offers (see `folder_splits`).
      data_dir: the folder.
      holdout_fraction: share of every class that is held out, in (0, 1), where the
        folder has no splits of its own.
      split_seed: seed of the choice of what is held out.
      labels: `folders`, of which classes are named after, `none`, or a CSV file, see
        `class_file`.
      upright: whether JPEGs are shown as their EXIF orientation says.
      cache: hold the encoded images in memory.
      max_bad_images: how many files may be left out.
      known_bad: `skipped_files` of an earlier load; given it, no file is checked.

    Raises:
      UserError: when the folder cannot be read, has no images or another layout, the CSV
        file does not fit it, it lacks the split, or holds too many files that cannot be
        decoded.
    """
    if not data_dir:
        raise UserError("Data set image_folder needs --data_dir=FOLDER, the folder of the images.")
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", data_dir):
        raise UserError(
            f"--data_dir={printable(data_dir)} is an address, and an image folder is read from a "
            "directory of this machine: copy the images here or mount the bucket, and give that "
            "directory."
        )
    if not 0 < holdout_fraction < 1:
        raise UserError(f"--holdout_fraction must lie between 0 and 1, not {holdout_fraction}.")
    entries = scan(data_dir, any_depth=labels != FOLDERS)
    found = splits_of(data_dir, entries, labels, holdout_fraction, split_seed)
    if split not in found:
        raise UserError(
            f"Image folder {printable(data_dir)} has no split '{printable(split)}'; it has "
            f"{', '.join(map(printable, found))}." + did_you_mean(split, list(found))
        )
    files, targets = found[split].files, found[split].labels
    if not len(files):
        raise UserError(
            f"Split '{printable(split)}' of image folder {printable(data_dir)} is empty: nothing "
            "is held out of a class with a single image. Give some class two or more."
        )
    if known_bad is None:
        if entries.unread:
            logging.warning("Below %s, %s", printable(data_dir), entries.about_unread())
        known_bad = _check(data_dir, files, max_bad_images, upright)
    good = ~np.isin(files, list(known_bad))
    if not good.any():
        raise UserError(
            f"Split '{printable(split)}' of image folder {printable(data_dir)} has no readable "
            "images."
        )
    files, targets = files[good].tolist(), None if targets is None else targets[good]
    paths = [os.fsencode(_path_to_read(data_dir, file, entries)) for file in files]
    with naming_bad_files(lambda: [os.path.join(data_dir, file) for file in files]):
        source = indexed(tf.constant(paths), targets, are_paths=True, cache=cache)
    class_names = found[split].class_names
    return ImageDataset(
        name="image_folder",
        split=split,
        num_examples=len(files),
        num_classes=None if class_names is None else len(class_names),
        class_names=class_names,
        source=source,
        skipped_files=tuple(known_bad),
        file_names=tuple(files),
        folder=data_dir,
        upright=upright,
    )


def _path_to_read(data_dir: str, file: str, entries: Entries) -> str:
    """The path that is opened: of what is no regular file one that does not exist.

    So reading a FIFO or a device fails at once instead of never ending. Such a file is there only
    if the files were not checked.
    """
    path = os.path.join(data_dir, file)
    return os.path.join(path, "(no regular file)") if file in entries.irregular else path


def _check(data_dir: str, files: np.ndarray, limit: int, upright: bool) -> tuple[str, ...]:
    """The files that cannot be read or decoded, after a warning for each."""
    findings = check_files_once(data_dir, files.tolist())
    for index, reason in findings.reasons.items():
        path = printable(os.path.join(data_dir, str(files[index])))
        logging.warning("Cannot decode %s and leave it out: %s", path, reason)
    bad = tuple(str(files[index]) for index in findings.reasons)
    if len(bad) > limit:
        raise UserError(
            f"{len(bad)} of {len(files)} image files below {printable(data_dir)} cannot be "
            f"decoded, more than --max_bad_images={limit}: "
            f"{', '.join(map(printable, bad[: limit + 10]))}"
            + (", ..." if len(bad) > limit + 10 else ".")
        )
    if upright and findings.turned:
        logging.warning(
            "%d of %d images are turned upright, as their EXIF orientation says.",
            len(findings.turned),
            len(files),
        )
    if findings.largest_of_16_bits:
        _warn_of_16_bits(tuple(findings.largest_of_16_bits.values()), len(files))
    return bad


def _warn_of_16_bits(largest: tuple[int, ...], count: int) -> None:
    """Say what becomes of values of 16 bits.

    Args:
      largest: the largest value of each image of 16 bits.
      count: number of all images.
    """
    logging.warning(
        "%d of %d images are PNGs of 16 bits, with values up to %d of 65535: of 16 bits the upper "
        "8 remain.",
        len(largest),
        count,
        max(largest),
    )
    dark = [value for value in largest if value < _ALMOST_BLACK_BELOW]
    if dark:
        logging.warning(
            "%d of these are almost black: their values end at %d, as values of 10, 12 or 14 bits "
            "do, and so at %d of 255. Scale them to 16 or to 8 bits first.",
            len(dark),
            max(dark),
            max(dark) >> 8,
        )
