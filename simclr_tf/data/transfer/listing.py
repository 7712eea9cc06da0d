"""What a reader finds in the official files, and which of it is held out."""

import dataclasses
import os
import pathlib
from collections.abc import Sequence

import numpy as np

from simclr_tf.data.holdout import hashes, lowest_of_each_class
from simclr_tf.errors import UserError


@dataclasses.dataclass(frozen=True)
class Examples:
    """Images and labels of one part of a data set.

    Attributes:
      keys: (n,) str, names that tell the images apart, the same wherever the files lie.
      labels: (n,) int64 classes; or (n, classes) int64 for several labels to an image: 1 where
        the class is there, 0 where it is not, -1 where that does not count.
      images: (n,) str, paths of the files; or (n, height, width, 3) uint8.
      missing: keys that the official lists name and that are not there.
    """

    keys: np.ndarray
    labels: np.ndarray
    images: np.ndarray
    missing: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.keys)

    def take(self, chosen: np.ndarray) -> "Examples":
        """Those with these indices, or where a mask is True."""
        return Examples(self.keys[chosen], self.labels[chosen], self.images[chosen], self.missing)

    def join(self, other: "Examples") -> "Examples":
        """These, then the others."""
        return Examples(
            np.concatenate([self.keys, other.keys]),
            np.concatenate([self.labels, other.labels]),
            np.concatenate([self.images, other.images]),
            tuple(dict.fromkeys(self.missing + other.missing)),
        )


@dataclasses.dataclass(frozen=True)
class Listing:
    """A data set as its authors divided it.

    Attributes:
      class_names: in the order of the labels.
      parts: `train`, `test`, and `validation` where there is an official one.
    """

    class_names: tuple[str, ...]
    parts: dict[str, Examples]


def image_files(
    folder: pathlib.Path, keys: Sequence[str], labels: Sequence | np.ndarray, ending: str = ""
) -> Examples:
    """Examples whose images are the files folder/KEYending.

    Raises:
      UserError: there are none, or files are missing.
    """
    if not len(keys):
        raise UserError(f"There are no images in {folder}, or the official lists name none.")
    paths = [os.path.join(folder, key + ending) for key in keys]
    missing = [path for path in paths if not os.path.isfile(path)]
    if missing:
        raise UserError(
            f"{len(missing)} of the {len(paths)} images that the official lists name are missing "
            f"in {folder}, the first is {missing[0]}."
        )
    return Examples(np.array(keys), np.array(labels, np.int64), np.array(paths))


def hold_out(examples: Examples, count: int, seed: int) -> np.ndarray:
    """Choose exactly `count` examples, in each class its share of them.

    The shares are rounded by largest remainders.

    Args:
      examples: with one label each.
      count: how many to hold out, below their number.
      seed: of the choice among the examples of a class.

    Returns:
      (n,) bool, True where the example is held out.
    """
    classes, labels = np.unique(examples.labels, return_inverse=True)
    shares = count * np.bincount(labels, minlength=len(classes)) / len(examples)
    counts = np.floor(shares).astype(int)
    by_remainder = np.argsort(counts - shares, kind="stable")
    counts[by_remainder[: count - counts.sum()]] += 1
    return lowest_of_each_class(hashes(examples.keys, seed), labels, counts)
