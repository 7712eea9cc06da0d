"""Readers of CIFAR-10 and CIFAR-100: the Python archives, or class folders of images."""

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from simclr_tf.data.transfer import isolated
from simclr_tf.data.transfer.listing import Examples, Listing, image_files
from simclr_tf.data.transfer.official_files import OfficialFiles
from simclr_tf.data.transfer.official_text import official
from simclr_tf.errors import UserError

_SIZE = 32
_LARGEST = 1 << 28  # bytes of a file; the largest official one has 155 million
_REFUSAL = "is not an official file of CIFAR"
_IMAGE_ENDINGS = {".jpg", ".jpeg", ".png"}


def cifar10(files: OfficialFiles) -> Listing:
    """CIFAR-10: cifar-10-batches-py, or folders train/CLASS and test/CLASS of images."""
    if files.is_unpacked("train/airplane"):
        return _folders(files)
    folder = files.find("cifar-10-batches-py")
    batches = {"train": [f"data_batch_{i}" for i in range(1, 6)], "test": ["test_batch"]}
    return _batches(folder, batches, "labels", ("batches.meta", "label_names"))


def cifar100(files: OfficialFiles) -> Listing:
    """CIFAR-100: cifar-100-python, with the 100 fine labels."""
    folder = files.find("cifar-100-python")
    batches = {"train": ["train"], "test": ["test"]}
    return _batches(folder, batches, "fine_labels", ("meta", "fine_label_names"))


def _batches(folder: pathlib.Path, batches, label_field: str, meta: tuple[str, str]) -> Listing:
    """Batches hold `data` (n, 3072), the channels one after the other, and lists of labels."""
    paths = [folder / file for file in (meta[0], *batches["train"], *batches["test"])]
    read = dict(zip(paths, _load_pickles(paths), strict=True))
    with official(paths[0]):
        names = tuple(name.decode() for name in read[paths[0]][meta[1].encode()])
    parts = {}
    for split, files in batches.items():
        found = []
        for path in (folder / file for file in files):
            with official(path):
                found.append(_checked(read[path], label_field.encode(), len(names)))
        pixels, labels = (np.concatenate(column) for column in zip(*found, strict=True))
        images = pixels.reshape(-1, 3, _SIZE, _SIZE).transpose(0, 2, 3, 1)
        keys = np.array([f"{split}/{i:05d}" for i in range(len(labels))])
        parts[split] = Examples(keys, labels, np.ascontiguousarray(images))
    return Listing(names, parts)


def _checked(batch: dict[bytes, Any], label_field: bytes, num_classes: int) -> tuple:
    """Pixels (n, 3072) uint8 and labels (n,) int64 of one batch."""
    pixels, labels = batch[b"data"], np.array(batch[label_field])
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise ValueError("its labels are no list of numbers")
    if not 0 <= labels.min() <= labels.max() < num_classes:
        raise ValueError(f"its labels do not lie between 0 and {num_classes - 1}")
    if getattr(pixels, "dtype", None) != np.uint8 or pixels.shape != (len(labels), 3 * _SIZE**2):
        raise ValueError("its images are not 32 pixels high and wide, one for each label")
    return pixels, labels.astype(np.int64)


def _folders(files: OfficialFiles) -> Listing:
    train, test = files.find("train"), files.find("test")
    names = sorted(path.name for path in train.iterdir() if path.is_dir())
    parts = {}
    for split, folder in (("train", train), ("test", test)):
        found = sorted(p for p in folder.glob("*/*") if p.suffix.lower() in _IMAGE_ENDINGS)
        for path in found:
            if path.parent.name not in names:
                raise UserError(f"Class folder {path.parent} has no counterpart in {train}.")
        keys = [path.relative_to(folder).as_posix() for path in found]
        parts[split] = image_files(folder, keys, [names.index(p.parent.name) for p in found])
    return Listing(tuple(names), parts)


def _load_pickles(paths: Sequence[pathlib.Path]) -> list[dict[bytes, Any]]:
    """The dictionaries in pickled files; nothing that they name is called, see `isolated`."""
    found = isolated.read("pickle", paths, largest=_LARGEST, refusal=_REFUSAL)
    for path, value in zip(paths, found, strict=True):
        if not isinstance(value, dict):
            raise UserError(
                f"{path} {_REFUSAL}: it holds no dictionary. Get the official file again."
            )
    return found
