"""Files with PyTorch state dicts: .safetensors, and .pt or .pth where PyTorch is installed."""

import pathlib
import re
from collections.abc import Mapping

import numpy as np

from simclr_tf.checkpoints.description import Description, read_description
from simclr_tf.checkpoints.infer import infer_architecture
from simclr_tf.checkpoints.own_formats import chosen
from simclr_tf.checkpoints.stored_network import StoredNetwork
from simclr_tf.checkpoints.torch_names import COUNTER, from_torch, without_constants
from simclr_tf.errors import UserError
from simclr_tf.paths import as_path, is_local

STATE_DICT = "PyTorch state dict"
SAFETENSORS = ".safetensors"


def read(path: str, schema: re.Pattern) -> StoredNetwork:
    """Read a state dict with the names of `torch_names`.

    The architecture is that of the JSON file beside it, or else inferred.

    Args:
      path: .safetensors, .pt or .pth.
      schema: which variables are read, by their TF1 names.

    Raises:
      UserError: there is no such file, it is damaged or holds something else, or what is
        needed to read it is not installed.
    """
    if not as_path(path).is_file():
        raise UserError(f"There is no file {path}.")
    state = _read_safetensors(path) if path.endswith(SAFETENSORS) else _read_torch(path)
    arrays, unknown = from_torch(state)
    description = read_description(path)
    if description is None:
        if not any(name.startswith("encoder/") for name in arrays):
            raise UserError(
                f"{path} holds no ResNet with torchvision's names (conv1.weight and so on). "
                f"Tensors there: {', '.join(sorted(state)[:3]) or 'none at all'}."
            )
        shapes = {name: array.shape for name, array in arrays.items()}
        description = Description(infer_architecture(shapes, "path"))
    arrays = without_constants(arrays, description.architecture) | {
        name: state[name] for name in unknown
    }
    counters = sorted(name for name in state if name.endswith(f".{COUNTER}"))
    return chosen(STATE_DICT, description, arrays, schema, ignored=counters)


def require_library(path: str) -> None:
    """Find out whether a file with this ending can be read and written.

    Raises:
      UserError: what is needed for it is not installed.
    """
    _numpy_of_safetensors(path) if path.endswith(SAFETENSORS) else _torch(path)


def write(path: str, state: Mapping[str, np.ndarray]) -> None:
    """Write a state dict to a local path, whose ending says in which format.

    Raises:
      UserError: what is needed to write it is not installed.
      OSError: it cannot be written.
    """
    if path.endswith(SAFETENSORS):
        pathlib.Path(path).write_bytes(_numpy_of_safetensors(path).save(dict(state)))
        return
    torch = _torch(path)
    with open(path, "wb") as file:
        torch.save({name: torch.from_numpy(array.copy()) for name, array in state.items()}, file)


def _read_safetensors(path: str) -> dict[str, np.ndarray]:
    library = _numpy_of_safetensors(path)
    try:
        if is_local(as_path(path)):
            return library.load_file(path)  # maps the file into memory
        return library.load(as_path(path).read_bytes())
    except Exception as error:  # of the library's own, of NumPy or of the system
        raise _unreadable(path, error) from None


def _read_torch(path: str) -> dict[str, np.ndarray]:
    torch = _torch(path)
    try:
        with as_path(path).open("rb") as file:
            state = torch.load(file, map_location="cpu", weights_only=True)
        return {name: tensor.numpy() for name, tensor in state.items()}
    except Exception as error:  # pickle, zip and PyTorch have many kinds
        raise _unreadable(path, error) from None


def _unreadable(path: str, error: Exception) -> UserError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return UserError(f"{path} cannot be read, it is truncated or no plain state dict: {reason}")


def _numpy_of_safetensors(path: str):
    """The part of safetensors that works with NumPy."""
    try:
        from safetensors import numpy
    except ImportError:
        raise UserError(f"{path} needs safetensors: pip install safetensors.") from None
    return numpy


def _torch(path: str):
    try:
        import torch
    except ImportError:
        raise UserError(
            f"{path} needs PyTorch: pip install torch. Or give a file that ends in .safetensors, "
            "which PyTorch reads too and which needs only pip install safetensors."
        ) from None
    return torch
