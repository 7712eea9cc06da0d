"""Readers of CIFAR-10 and CIFAR-100: the Python archives, or class folders of images."""

import io
import pathlib
import pickle
from typing import Any

import numpy as np

from simclr_tf.data.transfer.listing import Examples, Listing, image_files
from simclr_tf.data.transfer.official_files import OfficialFiles
from simclr_tf.errors import UserError

_SIZE = 32
# What the pickled arrays of the official files are made of; nothing else is ever called.
_ARRAY_PARTS = {
    ("numpy.core.multiarray", "_reconstruct"): np.zeros(0).__reduce__()[0],
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}
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
    names = load_pickle(folder / meta[0])[meta[1].encode()]
    parts = {}
    for split, files in batches.items():
        found = [load_pickle(folder / file) for file in files]
        pixels = np.concatenate([batch[b"data"] for batch in found])
        labels = np.concatenate([batch[label_field.encode()] for batch in found])
        images = pixels.reshape(-1, 3, _SIZE, _SIZE).transpose(0, 2, 3, 1)
        keys = np.array([f"{split}/{i:05d}" for i in range(len(labels))])
        parts[split] = Examples(keys, labels.astype(np.int64), np.ascontiguousarray(images))
    return Listing(tuple(name.decode() for name in names), parts)


def _folders(files: OfficialFiles) -> Listing:
    train, test = files.find("train"), files.find("test")
    names = sorted(path.name for path in train.iterdir() if path.is_dir())
    parts = {}
    for split, folder in (("train", train), ("test", test)):
        found = sorted(p for p in folder.glob("*/*") if p.suffix.lower() in _IMAGE_ENDINGS)
        keys = [path.relative_to(folder).as_posix() for path in found]
        parts[split] = image_files(folder, keys, [names.index(p.parent.name) for p in found])
    return Listing(tuple(names), parts)


class _ArrayUnpickler(pickle.Unpickler):
    """Reads plain Python values and NumPy arrays; refuses everything else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ARRAY_PARTS:
            raise pickle.UnpicklingError(f"it wants to call {module}.{name}")
        return _ARRAY_PARTS[module, name]


def load_pickle(path: pathlib.Path) -> dict[bytes, Any]:
    """Read a pickled dictionary of values and arrays, such as a batch of CIFAR.

    Raises:
      UserError: it is no such file, or holds anything else.
    """
    try:
        return _ArrayUnpickler(io.BytesIO(path.read_bytes()), encoding="bytes").load()
    except (pickle.UnpicklingError, EOFError, OSError, ValueError) as error:
        raise UserError(f"{path} is not an official file of CIFAR: {error}.") from error
