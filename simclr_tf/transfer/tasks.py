"""What a network is transferred to: a data set with three splits and a metric."""

import dataclasses

import numpy as np
import tensorflow as tf

from simclr_tf.data import datasets, subsets
from simclr_tf.data.classes import with_classes_of
from simclr_tf.data.decode import decode_image
from simclr_tf.data.holdout import held_out
from simclr_tf.data.sources import ImageDataset
from simclr_tf.data.transfer import opening
from simclr_tf.data.transfer.preprocessing import resize_then_center_crop
from simclr_tf.data.transfer.registry import REGISTRY, TOP_1
from simclr_tf.errors import UserError

_HELD_OUT = 0.1  # of the training images of a data set that is not in the registry


@dataclasses.dataclass(frozen=True)
class Task:
    """A data set of the registry, or any other with the splits `train` and `test`.

    Attributes:
      name: one of `registry.REGISTRY`, or a name for `datasets.load`.
      data_dir: see `opening.load` and `datasets.load`.
      seed: of what is held out for validation.
      check: whether the numbers of images have to be the official ones.
      left_out: file names of images that are done without, because they cannot be decoded.
      holdout_fraction, split_seed, upright, labels: see `datasets.load`; those of the network's
        own run where it was trained on this data set. They play no part in the names of files:
        the weights do.
    """

    name: str
    data_dir: str | None = None
    seed: int = 0
    check: bool = True
    left_out: tuple[str, ...] = ()
    holdout_fraction: float = dataclasses.field(default=0.1, repr=False)
    split_seed: int = dataclasses.field(default=0, repr=False)
    upright: bool = dataclasses.field(default=True, repr=False)
    labels: str = dataclasses.field(default="folders", repr=False)

    @property
    def metric(self) -> str:
        """How predictions are scored: one of the metrics of the registry."""
        return REGISTRY[self.name].metric if self.name in REGISTRY else TOP_1

    def open(self, split: str) -> ImageDataset:
        """Open `train`, `validation`, `test` or `train+validation`.

        Raises:
          UserError: the data cannot be read, have no labels, or have so few training images that
            none can be held out for validation.
        """
        if self.name in REGISTRY:
            found = opening.load(
                self.name, split, data_dir=self.data_dir, seed=self.seed, check=self.check
            )
            bad = np.isin(found.file_names or (), self.left_out)
            return subsets.restrict(found, np.flatnonzero(~bad)) if bad.any() else found
        train = self._open_labelled("train")
        if split == "test":
            test = self._open_labelled("test")
            return with_classes_of(test, train.class_names, train.num_classes, "its split train")
        if split == "train+validation":
            return train
        labels = subsets.labels_of(train)
        keys = [str(i) for i in range(len(labels))]
        held = held_out(keys, labels, _HELD_OUT, self.seed)
        if not held.any():
            raise UserError(
                f"The data set {self.name} has one training image of each class, so that none can "
                "be held out for validation. Give two or more of some class."
            )
        chosen = np.flatnonzero(held == (split == "validation"))
        return dataclasses.replace(subsets.restrict(train, chosen), split=split)

    def sizes(self) -> dict[str, int]:
        """Numbers of images; those of the registry are the expected ones, and nothing is read."""
        if self.name in REGISTRY:
            entry = REGISTRY[self.name]
            return {"train": entry.train, "validation": entry.validation, "test": entry.test}
        return {s: self.open(s).num_examples for s in ("train", "validation", "test")}

    def num_classes(self) -> int:
        """Number of classes; that of the registry is the expected one, and nothing is read."""
        if self.name in REGISTRY:
            return REGISTRY[self.name].num_classes
        return self.open("test").num_classes

    def _open_labelled(self, split: str) -> ImageDataset:
        dataset = datasets.load(
            self.name,
            split,
            data_dir=self.data_dir,
            holdout_fraction=self.holdout_fraction,
            split_seed=self.split_seed,
            upright=self.upright,
            labels=self.labels,
            known_bad=self.left_out,
        )
        if dataset.num_classes is None:
            raise UserError(f"Transfer needs labels, and the data set {self.name} has none.")
        return dataset


def shown_batches(
    dataset: ImageDataset, *, shorter_side: int, image_size: int, batch_size: int
) -> tf.data.Dataset:
    """Every image once and in order, resized and cropped at the centre.

    Returns:
      A dataset of (images (n, image_size, image_size, 3) float32 in [0, 1], labels int64 (n,) or
      (n, classes)), with n = batch_size but in the last batch.
    """

    def prepare(example: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        image = decode_image(example["image"], dataset.upright)
        return resize_then_center_crop(image, shorter_side, image_size), example["label"]

    return dataset.examples(transform=prepare).batch(batch_size).prefetch(tf.data.AUTOTUNE)
