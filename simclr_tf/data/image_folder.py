"""The data set `image_folder`: the image files below a directory.

The depth of the images says which layout it is:
  image.jpg               no labels; the only split is `train`
  CLASS/image.jpg         `train`, and a held-out share of every class as `validation` or `test`
  SPLIT/CLASS/image.jpg   the splits are the upper folders
In the first two, `all` is every image.
"""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import PurePath

import numpy as np
import tensorflow as tf
from absl import logging

from simclr_tf.data.decode import undecodable_files
from simclr_tf.data.holdout import held_out
from simclr_tf.data.sources import ImageDataset, indexed
from simclr_tf.errors import UserError, did_you_mean

IMAGE_EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif")
_LAYOUTS = "image, CLASS/image, or SPLIT/CLASS/image"
_HELD_OUT_SPLITS = ("validation", "test")
_COMMON_SPLITS = {"train", "val", "valid", "validation", "test"}


@dataclasses.dataclass(frozen=True)
class _Split:
    """The files of a split, relative to the data directory, and their labels."""

    files: np.ndarray  # (n,) str
    labels: np.ndarray | None  # (n,) int64
    class_names: tuple[str, ...] | None


def load(
    split: str,
    *,
    data_dir: str | None,
    holdout_fraction: float = 0.1,
    split_seed: int = 0,
    upright: bool = True,
    cache: bool = False,
    max_bad_images: int = 100,
    known_bad: Sequence[str] | None = None,
) -> ImageDataset:
    """Load one split of the image folder `data_dir`.

    Every file is decoded once to find those that cannot be; they are reported by
    path and left out.

    Args:
      split: `train`, or what the layout offers (see above).
      data_dir: the folder.
      holdout_fraction: share of every class that is held out, in (0, 1), where the
        folder has no splits of its own.
      split_seed: seed of the choice of what is held out.
      cache: hold the encoded images in memory.
      max_bad_images: how many files may be left out.
      known_bad: `skipped_files` of an earlier load; given it, no file is checked.

    Raises:
      UserError: when the folder cannot be read, has no images or another layout,
        lacks the split, or holds too many files that cannot be decoded.
    """
    if not data_dir:
        raise UserError("Data set image_folder needs --data_dir=FOLDER, the folder of the images.")
    if not 0 < holdout_fraction < 1:
        raise UserError(f"--holdout_fraction must lie between 0 and 1, not {holdout_fraction}.")
    found = _splits(data_dir, holdout_fraction, split_seed)
    if split not in found:
        raise UserError(
            f"Image folder {data_dir} has no split {split!r}; it has {', '.join(found)}."
            + did_you_mean(split, list(found))
        )
    files, labels = found[split].files, found[split].labels
    if known_bad is None:
        known_bad = _bad_files(data_dir, files, max_bad_images)
    good = ~np.isin(files, list(known_bad))
    if not good.any():
        raise UserError(f"Split {split!r} of image folder {data_dir} has no readable images.")
    paths = tf.constant([os.path.join(data_dir, file) for file in files[good]])
    class_names = found[split].class_names
    return ImageDataset(
        name="image_folder",
        split=split,
        num_examples=int(good.sum()),
        num_classes=None if class_names is None else len(class_names),
        class_names=class_names,
        source=indexed(
            paths, None if labels is None else labels[good], are_paths=True, cache=cache
        ),
        skipped_files=tuple(known_bad),
        file_names=tuple(files[good].tolist()),
    )


def _splits(data_dir: str, holdout_fraction: float, seed: int) -> dict[str, _Split]:
    """The splits of a folder by name, without looking into the files."""
    files, folders = _scan(data_dir)
    if not files:
        raise UserError(
            f"Found no images below {data_dir}; looked for {' '.join(IMAGE_EXTENSIONS)}."
        )
    parts = [PurePath(file).parts for file in files]
    depths = {len(p): file for p, file in zip(parts, files)}
    if len(depths) > 1 or max(depths) > 3:
        raise UserError(
            f"Images below {data_dir} must all lie as {_LAYOUTS}; "
            f"found {' and '.join(depths[d] for d in sorted(depths))}."
        )
    (depth,) = depths
    files = np.array(files)
    if depth == 1:
        return dict.fromkeys(("train", "all"), _Split(files, None, None))
    filled = {os.path.dirname(file) for file in files}
    for folder in folders:
        if len(PurePath(folder).parts) == depth - 1 and folder not in filled:
            raise UserError(
                f"Class folder {os.path.join(data_dir, folder)} has no images; "
                "add some or remove the folder."
            )
    classes = np.array([p[-2] for p in parts])
    if depth == 2:
        return _held_out_splits(data_dir, files, classes, holdout_fraction, seed)
    return _given_splits(data_dir, files, classes, np.array([p[0] for p in parts]))


def _scan(data_dir: str) -> tuple[list[str], list[str]]:
    """Sorted image files and folders, relative, links followed, hidden names left out."""

    def fail(error: OSError) -> None:
        raise UserError(f"Cannot read {error.filename}: {error.strerror}.") from error

    files, folders, others = [], [], 0
    for path, subfolders, names in os.walk(data_dir, followlinks=True, onerror=fail):
        here = os.path.relpath(path, data_dir)
        names = [name for name in names if not name.startswith(".")]
        images = [name for name in names if name.lower().endswith(IMAGE_EXTENSIONS)]
        others += len(names) - len(images)
        files += [os.path.normpath(os.path.join(here, name)) for name in images]
        folders.append(here)
        deeper = [name for name in subfolders if not name.startswith(".")]
        too_deep = len(PurePath(here).parts) > 3  # also the end of links that form a circle
        subfolders[:] = [] if too_deep else deeper
    if others:
        logging.info("%d files below %s are no images and are ignored.", others, data_dir)
    return sorted(files), sorted(folders)


def _held_out_splits(
    data_dir: str, files: np.ndarray, classes: np.ndarray, fraction: float, seed: int
) -> dict[str, _Split]:
    """Splits of the layout CLASS/image."""
    names, labels = np.unique(classes, return_inverse=True)
    if _COMMON_SPLITS.issuperset(names.tolist()):
        raise UserError(
            f"The folders of {data_dir} are named like splits ({', '.join(names)}) and hold images "
            f"directly; put these into class folders, or give --data_dir={data_dir}/{names[0]} "
            "to use its images without labels."
        )
    out = held_out(files.tolist(), labels, fraction, seed)
    names = tuple(names.tolist())
    held = _Split(files[out], labels[out], names)
    return {
        "train": _Split(files[~out], labels[~out], names),
        **{split: held for split in _HELD_OUT_SPLITS},
        "all": _Split(files, labels, names),
    }


def _given_splits(
    data_dir: str, files: np.ndarray, classes: np.ndarray, splits: np.ndarray
) -> dict[str, _Split]:
    """Splits of the layout SPLIT/CLASS/image; the classes are those of `train` if it is there."""
    is_train = splits == "train"
    names = np.unique(classes[is_train] if is_train.any() else classes)
    unknown = np.flatnonzero(~np.isin(classes, names))
    if len(unknown):
        raise UserError(
            f"Class folder {os.path.join(data_dir, os.path.dirname(files[unknown[0]]))} "
            f"has no counterpart in {os.path.join(data_dir, 'train')}."
        )
    labels = np.searchsorted(names, classes)
    return {
        str(split): _Split(files[splits == split], labels[splits == split], tuple(names.tolist()))
        for split in np.unique(splits)
    }


def _bad_files(data_dir: str, files: np.ndarray, limit: int) -> tuple[str, ...]:
    """The files that cannot be decoded, after a warning for each."""
    reasons = undecodable_files([os.path.join(data_dir, file) for file in files])
    for index, reason in reasons.items():
        logging.warning(
            "Cannot decode %s and leave it out: %s", os.path.join(data_dir, files[index]), reason
        )
    bad = tuple(str(files[index]) for index in reasons)
    if len(bad) > limit:
        raise UserError(
            f"{len(bad)} of {len(files)} image files below {data_dir} cannot be decoded, more than "
            f"--max_bad_images={limit}: {', '.join(bad[: limit + 10])}"
            + (", ..." if len(bad) > limit + 10 else ".")
        )
    return bad
