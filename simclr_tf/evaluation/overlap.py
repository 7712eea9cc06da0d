"""Which images a run was trained on, so that nothing is tested on them."""

import os
from collections.abc import Collection, Mapping
from typing import Any

from simclr_tf.checkpoints.description import TrainingData
from simclr_tf.checkpoints.run_directory import RunDirectory
from simclr_tf.data.folder_splits import NONE
from simclr_tf.data.sources import ImageDataset
from simclr_tf.errors import UserError, printable
from simclr_tf.paths import as_path


def contradiction(
    flags: Mapping[str, Any], given: Collection[str], data: TrainingData
) -> str | None:
    """What is wrong with flags that would divide or read a run's data otherwise than the run.

    Args:
      flags: `dataset`, `data_dir`, `holdout_fraction`, `split_seed` and, where it is given,
        `labels` among them.
      given: names of those that were given.
      data: how the run opened its data.

    Returns:
      An error message, or None: the flags agree with the run, or the data are others.
    """
    if not of_same_data(flags, data):
        return None
    differences = [
        f"--{name}={flags[name]}, but its run has {getattr(data, name)}"
        for name in ("holdout_fraction", "split_seed")
        if name in given and flags[name] != getattr(data, name)
    ]
    labels = flags["labels"] if "labels" in given else data.labels
    if NONE not in (labels, data.labels) and _place(labels) != _place(data.labels):
        differences.append(f"--labels={printable(labels)}, but its run has {data.labels}")
    if not differences:
        return None
    return (
        f"Flags divide the data of the trained network in another way: {'; '.join(differences)}. "
        "It would be evaluated on images that it was trained on. Leave them out."
    )


def require_unseen(
    source: str | os.PathLike | None,
    dataset: ImageDataset,
    flags: Mapping[str, Any],
    tested: bool = True,
) -> None:
    """Refuse to test a network on images that its run was trained on.

    Which images of a folder are held out depends on all of its files, so a folder that has changed
    since is divided otherwise. A run without labels (--labels=none) holds out none; all others are
    divided again for their labels.

    Args:
      source: the run directory of the network, or one of its checkpoints; where it is neither,
        nothing is known of the images of its run.
      dataset: the split.
      flags: `dataset` and `data_dir` by which it was opened.
      tested: whether an accuracy is measured on it. Else only the split of a folder that has
        changed is refused, which is not what it was.

    Raises:
      UserError: the run was trained on some of the images.
    """
    if not source or dataset.split not in ("validation", "test"):
        return
    path = as_path(source)
    runs = [run for run in map(RunDirectory, (path, path.parent)) if run.holds_run()]
    if not runs:
        return
    stored = runs[0].config()
    data = TrainingData.of_run(stored)
    split = stored.get("train_split")
    learned = tested and stored.get("train_mode") == "finetune"  # their labels, not images alone
    if data.labels == NONE or not (split == "train" or learned) or not of_same_data(flags, data):
        return
    if split == dataset.split:  # asked for
        return
    seen = set(runs[0].image_names())
    if both := [name for name in dataset.file_names or () if name in seen]:
        raise UserError(
            f"The run in {runs[0].path} was trained on {len(both)} of the {dataset.num_examples} "
            f"images of split {dataset.split}, such as {printable(both[0])}: "
            + (
                "the folder has changed since, so that others are held out. Bring its files back, "
                if split == "train"
                else f"they are a part of its --train_split={split}. Give another split, "
            )
            + "or test on images in a folder of their own."
        )


def require_apart(split: str, names: Collection[str] | None, queries: ImageDataset) -> None:
    """Refuse to test on some of the images that something was trained on.

    The same split under the same name is what somebody asked for. Where images are no files, the
    names of the splits tell; two different slices of one split are taken to be apart.

    Args:
      split: what was trained on.
      names: of its files; empty or None where images are no files.
      queries: the images to test on, of the same data.

    Raises:
      UserError: the split has some of them, such as `validation` of `all`.
    """
    if queries.split == split:
        return
    if names and queries.file_names:
        shared = not set(names).isdisjoint(queries.file_names)
    else:
        shared = any(
            _may_share(one, other) for one in split.split("+") for other in queries.split.split("+")
        )
    if shared:
        raise UserError(
            f"Split {queries.split!r} of {queries.name} has images of {split!r}, which is trained "
            "on: its accuracy would be that of training images. Give another --eval_split or "
            "--train_split, or the same one for both to measure on training images."
        )


def _may_share(one: str, other: str) -> bool:
    """Whether two splits or slices of TensorFlow Datasets share images, as their names tell."""
    whole, whole_other = one.partition("[")[0], other.partition("[")[0]
    if "all" in (whole, whole_other):
        return True
    return whole == whole_other and (one == other or whole in (one, other))


def of_same_data(flags: Mapping[str, Any], data: TrainingData) -> bool:
    """Whether `dataset` and `data_dir` of some flags are those of a run."""
    return flags["dataset"] == data.dataset and _place(flags["data_dir"]) == _place(data.data_dir)


def _place(path: str | None) -> str | None:
    return path and os.path.realpath(os.path.expanduser(path))
