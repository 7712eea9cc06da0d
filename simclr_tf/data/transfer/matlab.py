"""Readers of data sets whose labels are MATLAB files."""

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from simclr_tf.data.transfer import isolated
from simclr_tf.data.transfer.listing import Listing, image_files
from simclr_tf.data.transfer.official_files import OfficialFiles
from simclr_tf.data.transfer.official_text import official

_LARGEST = 1 << 26  # bytes of a file
_FLOWERS = 102


def cars(files: OfficialFiles) -> Listing:
    """Stanford Cars: structs `annotations` with fields `fname` and `class`, counted from 1."""
    devkit = files.find("devkit/cars_train_annos.mat").parent
    annotations = {
        "train": devkit / "cars_train_annos.mat",
        "test": files.find(
            "cars_test_annos_withlabels.mat", "devkit/cars_test_annos_withlabels.mat"
        ),
    }
    meta = devkit / "cars_meta.mat"
    found = _load_all([meta, *annotations.values()])
    with official(meta):
        names = np.atleast_1d(found[0]["class_names"]).tolist()
        _check(all(isinstance(name, str) for name in names), "class_names are no names")
    parts = {}
    for (split, path), variables in zip(annotations.items(), found[1:], strict=True):
        with official(path):
            rows = variables["annotations"]
            keys = [row["fname"] for row in rows]
            _check(keys and all(_is_name(key) for key in keys), "fname are no names of files")
            labels = _integers([row["class"] for row in rows], "class", len(names)) - 1
        folder = files.find(f"cars_{split}/{keys[0]}").parent
        parts[split] = image_files(folder, keys, labels)
    return Listing(tuple(names), parts)


def flowers(files: OfficialFiles) -> Listing:
    """Oxford 102 Flowers: `labels` of all images, and the numbers of those in each split.

    The images are jpg/image_NUMBER.jpg; numbers and classes are counted from 1. The classes have
    no official names.
    """
    of_labels, of_splits = files.find("imagelabels.mat"), files.find("setid.mat")
    variables, splits = _load_all([of_labels, of_splits])
    with official(of_labels):
        labels = _integers(variables["labels"], "labels", _FLOWERS)
    with official(of_splits):
        numbers = {
            split: _integers(splits[field], field, len(labels))
            for split, field in (("train", "trnid"), ("validation", "valid"), ("test", "tstid"))
        }
    images = files.find("jpg")
    parts = {}
    for split, chosen in numbers.items():
        keys = [f"image_{number:05d}" for number in chosen]
        parts[split] = image_files(images, keys, labels[chosen - 1] - 1, ".jpg")
    return Listing(tuple(f"flower {c}" for c in range(1, labels.max() + 1)), parts)


def _load_all(paths: Sequence[pathlib.Path]) -> list[dict[str, Any]]:
    """The variables of MATLAB files, see `isolated.read`."""
    return isolated.read(
        "matlab", paths, largest=_LARGEST, refusal="is no MATLAB file that can be read"
    )


def _integers(values: Any, name: str, most: int) -> np.ndarray:
    """Numbers from 1 to `most`, (n,) int64."""
    found = np.atleast_1d(values)
    _check(found.ndim == 1 and found.dtype.kind in "iuf" and len(found), f"{name} are no numbers")
    _check(
        (found == np.floor(found)).all() and found.min() >= 1 and found.max() <= most,
        f"{name} should lie between 1 and {most}",
    )
    return found.astype(np.int64)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and value not in ("", ".", "..") and "/" not in value


def _check(holds: Any, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)
