"""Readers of data sets whose labels are MATLAB files."""

import pathlib
from typing import Any

import numpy as np

from simclr_tf.data.transfer.listing import Listing, image_files
from simclr_tf.data.transfer.official_files import OfficialFiles


def cars(files: OfficialFiles) -> Listing:
    """Stanford Cars: structs `annotations` with fields `fname` and `class`, counted from 1."""
    devkit = files.find("devkit/cars_train_annos.mat").parent
    annotations = {
        "train": devkit / "cars_train_annos.mat",
        "test": files.find(
            "cars_test_annos_withlabels.mat", "devkit/cars_test_annos_withlabels.mat"
        ),
    }
    names = _load(devkit / "cars_meta.mat")["class_names"]
    parts = {}
    for split, path in annotations.items():
        rows = np.atleast_1d(_load(path)["annotations"])
        labels = [int(row["class"]) - 1 for row in rows]
        folder = files.find(f"cars_{split}/{rows[0]['fname']}").parent
        parts[split] = image_files(folder, [str(row["fname"]) for row in rows], labels)
    return Listing(tuple(str(name) for name in names), parts)


def flowers(files: OfficialFiles) -> Listing:
    """Oxford 102 Flowers: `labels` of all images, and the numbers of those in each split.

    The images are jpg/image_NUMBER.jpg; numbers and classes are counted from 1. The classes have
    no official names.
    """
    labels = np.atleast_1d(_load(files.find("imagelabels.mat"))["labels"]).astype(int)
    splits = _load(files.find("setid.mat"))
    images = files.find("jpg")
    parts = {}
    for split, field in (("train", "trnid"), ("validation", "valid"), ("test", "tstid")):
        numbers = np.atleast_1d(splits[field]).astype(int)
        keys = [f"image_{number:05d}" for number in numbers]
        parts[split] = image_files(images, keys, labels[numbers - 1] - 1, ".jpg")
    return Listing(tuple(f"flower {c}" for c in range(1, labels.max() + 1)), parts)


def _load(path: pathlib.Path) -> dict[str, Any]:
    from scipy.io import loadmat  # few runs need it

    return loadmat(path, squeeze_me=True)
