"""Opening a data set by its name.

To add a data set that TensorFlow Datasets lacks, write a module with a `load` like
that of `image_folder` and name it in `DATASETS`.
"""

from collections.abc import Sequence

from simclr_tf.data import digits, image_folder, subsets, tfds_source
from simclr_tf.data.folder_splits import FOLDERS
from simclr_tf.data.sources import ImageDataset
from simclr_tf.data.transfer import opening as transfer
from simclr_tf.data.transfer.registry import MEAN_AVERAGE_PRECISION, REGISTRY
from simclr_tf.errors import UserError, printable

DATASETS = {"digits": digits.load, "image_folder": image_folder.load}


def load(
    name: str,
    split: str,
    *,
    data_dir: str | None = None,
    holdout_fraction: float = 0.1,
    split_seed: int = 0,
    labels: str = FOLDERS,
    upright: bool = True,
    cache: bool = False,
    max_bad_images: int = 100,
    known_bad: Sequence[str] | None = None,
) -> ImageDataset:
    """Open one split of a data set.

    Args:
      name: one of `DATASETS`; `transfer/NAME` for one of `transfer.registry`, without labels
        if its images have several each; else a name of TensorFlow Datasets.
      split: name of the split.
      data_dir: directory of the data, where the data set needs one.
      holdout_fraction: share of every class that is held out for evaluation, where
        the data have no splits of their own.
      split_seed: seed of the choice of what is held out.
      labels: where those of an image folder come from: `folders`, which classes are named
        after, `none`, or a CSV file, see `class_file`.
      upright: whether JPEGs of image folders are shown as their EXIF orientation says.
      cache: hold the encoded images in memory.
      max_bad_images: how many files that cannot be decoded are left out.
      known_bad: `skipped_files` of an earlier load of the same split; given it, the
        files are not checked again.

    Raises:
      UserError: for an unknown data set or split, when the data cannot be read, and for labels
        of a data set that is no image folder.
    """
    if labels != FOLDERS and name != "image_folder":
        raise UserError(
            f"--labels={printable(labels)} is for image folders, and --dataset={name} has labels "
            "of its own. Leave it out."
        )
    if name.startswith(transfer.PREFIX):
        name = name.removeprefix(transfer.PREFIX)
        found = transfer.load(name, split, data_dir=data_dir, seed=split_seed, cache=cache)
        several = REGISTRY[name].metric == MEAN_AVERAGE_PRECISION
        return subsets.without_labels(found) if several else found
    if name not in DATASETS:
        return tfds_source.load(
            name, split, data_dir=data_dir, cache=cache, other_names=tuple(DATASETS)
        )
    return DATASETS[name](
        split,
        data_dir=data_dir,
        holdout_fraction=holdout_fraction,
        split_seed=split_seed,
        labels=labels,
        upright=upright,
        cache=cache,
        max_bad_images=max_bad_images,
        known_bad=known_bad,
    )
