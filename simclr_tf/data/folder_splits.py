"""Which images of a folder are in which split, and their classes, by names alone.

With the labels `folders` the depth of the images says which layout it is:
  image.jpg               no labels; the only split is `train`
  CLASS/image.jpg         `train`, and a held-out share of every class as `validation` or `test`
  SPLIT/CLASS/image.jpg   the splits are the upper folders
With `none`, or classes from a file, images lie at any depth. The upper folders are the splits if
one is called `train` and the others as splits are called; otherwise there are those of the first
two layouts. Where the folder has no splits of its own, `all` is every image. A single class is as
good as none: such images have no labels.
"""

import dataclasses
import os
from pathlib import PurePath

import numpy as np
from absl import logging

from simclr_tf.data.class_file import classes_of_files
from simclr_tf.data.folder_scan import DEEPEST, IMAGE_EXTENSIONS, Entries
from simclr_tf.data.holdout import held_out
from simclr_tf.errors import UserError, printable

FOLDERS = "folders"
NONE = "none"
_LAYOUTS = "image, CLASS/image, or SPLIT/CLASS/image"
_HELD_OUT_SPLITS = ("validation", "test")
_COMMON_SPLITS = {"train", "val", "valid", "validation", "test"}


@dataclasses.dataclass(frozen=True)
class Split:
    """The files of a split, relative to the data directory, and their labels."""

    files: np.ndarray  # (n,) str
    labels: np.ndarray | None  # (n,) int64
    class_names: tuple[str, ...] | None

    def take(self, chosen: np.ndarray) -> "Split":
        """Those of the files for which `chosen`, (n,) bool, is set."""
        labels = None if self.labels is None else self.labels[chosen]
        return dataclasses.replace(self, files=self.files[chosen], labels=labels)


def splits_of(
    data_dir: str, entries: Entries, labels: str, holdout_fraction: float, seed: int
) -> dict[str, Split]:
    """The splits of a folder by name, without looking into its images.

    Args:
      data_dir: the folder.
      entries: what is below it; at any depth unless the labels are FOLDERS.
      labels: FOLDERS, NONE, or the path of a CSV file, see `classes_of_files`.
      holdout_fraction: share of every class that is held out, in (0, 1).
      seed: of the choice of what is held out.

    Raises:
      UserError: there are no images, they have another layout, or the file does not fit them.
    """
    if not entries.files:
        raise UserError(
            f"Found no images below {printable(data_dir)}; looked for {' '.join(IMAGE_EXTENSIONS)}."
            + (f" {entries.about_unread()}" if entries.unread else "")
        )
    if labels == FOLDERS:
        return _splits_by_folders(data_dir, entries, holdout_fraction, seed)
    if labels == NONE:
        return _splits_without_labels(np.array(entries.files))
    return _splits_by_file(data_dir, entries, labels, holdout_fraction, seed)


def _splits_by_folders(
    data_dir: str, entries: Entries, holdout_fraction: float, seed: int
) -> dict[str, Split]:
    """Splits of the three layouts; the depth of the images says which it is."""
    parts = [PurePath(file).parts for file in entries.files]
    depths = {len(p): file for p, file in zip(parts, entries.files)}
    if len(depths) > 1 or max(depths) > DEEPEST:
        raise UserError(
            f"Images below {printable(data_dir)} must all lie as {_LAYOUTS}; "
            f"found {' and '.join(printable(depths[d]) for d in sorted(depths))}. Otherwise give "
            "--labels=none, or --labels=FILE.csv with the class of each."
        )
    (depth,) = depths
    files = np.array(entries.files)
    if depth == 1:
        return dict.fromkeys(("train", "all"), Split(files, None, None))
    filled = {os.path.dirname(file) for file in entries.files}
    for folder in entries.folders:
        if len(PurePath(folder).parts) == depth - 1 and folder not in filled:
            raise UserError(
                f"Class folder {printable(os.path.join(data_dir, folder))} has no images; "
                "add some or remove the folder."
            )
    classes = np.array([p[-2] for p in parts])
    if depth == 2:
        _refuse_names_of_splits(data_dir, classes)
        splits = _held_out_splits(files, classes, holdout_fraction, seed)
    else:
        splits = _given_splits(data_dir, files, classes, np.array([p[0] for p in parts]))
    return _without_single_class(splits, f"All images of {printable(data_dir)} lie in one folder")


def _refuse_names_of_splits(data_dir: str, classes: np.ndarray) -> None:
    """Refuse the layout CLASS/image where SPLIT/image was meant."""
    names = np.unique(classes).tolist()
    if _COMMON_SPLITS.issuperset(names):
        raise UserError(
            f"The folders of {printable(data_dir)} are named like splits ({', '.join(names)}) and "
            "hold images directly; put these into class folders, or give "
            f"--data_dir={printable(data_dir)}/{names[0]} to use its images without labels."
        )


def _splits_without_labels(files: np.ndarray) -> dict[str, Split]:
    """Splits of images at any depth, without labels."""
    whole = Split(files, None, None)
    splits = _upper_folders_that_are_splits(files)
    if splits is None:
        return dict.fromkeys(("train", "all"), whole)
    return {str(split): whole.take(splits == split) for split in np.unique(splits)}


def _splits_by_file(
    data_dir: str, entries: Entries, path: str, holdout_fraction: float, seed: int
) -> dict[str, Split]:
    """Splits of the images at any depth that a file gives classes to."""
    class_of = classes_of_files(path, data_dir, entries)
    files = np.array([file for file in entries.files if file in class_of])
    if not len(files):
        raise UserError(f"--labels={printable(path)} names no images that can be read.")
    if len(files) < len(entries.files):
        logging.warning(
            "%d of %d images below %s have no line in %s and are left out. --labels=none takes "
            "all, without labels.",
            len(entries.files) - len(files),
            len(entries.files),
            printable(data_dir),
            printable(path),
        )
    classes = np.array([class_of[file] for file in files.tolist()])
    upper = _upper_folders_that_are_splits(files)
    if upper is None:
        splits = _held_out_splits(files, classes, holdout_fraction, seed)
    else:
        splits = _given_splits(data_dir, files, classes, upper)
    return _without_single_class(splits, f"All images of {printable(path)} have one class")


def _upper_folders_that_are_splits(files: np.ndarray) -> np.ndarray | None:
    """The upper folder of each file, (n,) str, where they are named like splits; else None."""
    upper = np.array([PurePath(file).parts[0] for file in files.tolist()])
    names = set(upper.tolist())
    return upper if "train" in names and names <= _COMMON_SPLITS else None


def _held_out_splits(
    files: np.ndarray, classes: np.ndarray, fraction: float, seed: int
) -> dict[str, Split]:
    """The splits of a folder that has none."""
    names, labels = np.unique(classes, return_inverse=True)
    out = held_out(files.tolist(), labels, fraction, seed)
    whole = Split(files, labels, tuple(names.tolist()))
    return {
        "train": whole.take(~out),
        **dict.fromkeys(_HELD_OUT_SPLITS, whole.take(out)),
        "all": whole,
    }


def _given_splits(
    data_dir: str, files: np.ndarray, classes: np.ndarray, splits: np.ndarray
) -> dict[str, Split]:
    """The splits of a folder that has some; the classes are those of `train` if it is there."""
    is_train = splits == "train"
    names = np.unique(classes[is_train] if is_train.any() else classes)
    unknown = np.flatnonzero(~np.isin(classes, names))
    if len(unknown):
        file = os.path.join(data_dir, files[unknown[0]])
        raise UserError(
            f"Split train has no image of class {printable(str(classes[unknown[0]]))}, which "
            f"{printable(file)} is of."
        )
    whole = Split(files, np.searchsorted(names, classes), tuple(names.tolist()))
    return {str(split): whole.take(splits == split) for split in np.unique(splits)}


def _without_single_class(splits: dict[str, Split], of_one: str) -> dict[str, Split]:
    """The splits, without labels if there is a single class; that is said, beginning `of_one`."""
    names = next(iter(splits.values())).class_names
    if len(names) > 1:
        return splits
    logging.warning("%s, %s, so they count as images without labels.", of_one, printable(names[0]))
    return {
        name: dataclasses.replace(split, labels=None, class_names=None)
        for name, split in splits.items()
    }
