"""What was recorded by running the original's code, and weights that need no file.

Arrays of `random_arrays` and `random_images` were given to the original's networks too,
whose outputs are in golden/original_attention.npz.
"""

import json
import lzma
import pathlib
import tarfile
import zlib

import numpy as np

from simclr_tf.models import simclr_projector

GOLDEN = pathlib.Path(__file__).parent / "golden"

# Selective kernels, squeeze and excitation, ResNet-D: what the recorded ResNet-18s lack.
ATTENTION_NETWORKS = {
    "r50_sk_se": {"resnet_depth": 50, "sk_ratio": 0.0625, "se_ratio": 0.25},
    "r18_sk": {"resnet_depth": 18, "sk_ratio": 0.0625, "projector": simclr_projector(num_layers=2)},
}


def unpack(name: str, directory: pathlib.Path) -> pathlib.Path:
    """Unpack a recorded checkpoint into a directory."""
    with tarfile.open(GOLDEN / f"{name}.tar.xz") as archive:
        archive.extractall(directory, filter="data")
    return directory


def names_of_the_original() -> dict[str, list[dict]]:
    """Names and shapes of the variables that the original's code makes, for some architectures.

    {"tf1" or "tf2": [{"architecture": {...}, "shapes": {name: shape}}, ...]}
    """
    return json.loads(lzma.decompress((GOLDEN / "original_names.json.xz").read_bytes()))


def random_arrays(variables) -> dict[str, np.ndarray]:
    """Values for variables (with `path` and `shape`) that depend on their paths alone."""
    arrays = {}
    for path, shape in ((v.path, v.shape) for v in variables):
        values = np.random.RandomState(zlib.crc32(path.encode())).standard_normal(shape)
        if path.endswith("kernel"):
            values *= np.sqrt(1.5 / np.prod(shape[:-1]))
        elif path.endswith(("gamma", "variance")):
            values = 1 + 0.2 * np.tanh(values)
        else:
            values *= 0.2
        arrays[path] = values.astype(np.float32)
    return arrays


def random_images() -> np.ndarray:
    """(16, 64, 64, 3) float32 in [0, 1]."""
    return np.random.RandomState(7).uniform(size=(16, 64, 64, 3)).astype(np.float32)
