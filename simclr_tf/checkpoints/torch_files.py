"""Files with PyTorch state dicts: .safetensors, and others where PyTorch is installed."""

import dataclasses
import os
import re
import warnings
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from simclr_tf.checkpoints.description import Description, description_path, read_description
from simclr_tf.checkpoints.infer import infer_architecture
from simclr_tf.checkpoints.own_formats import chosen
from simclr_tf.checkpoints.stored_network import StoredNetwork
from simclr_tf.checkpoints.torch_layouts import Layout, layout_of, translate, without_wrapper
from simclr_tf.checkpoints.torch_names import COUNTER, from_torch, without_constants
from simclr_tf.errors import UserError, first_line, printable
from simclr_tf.models import Architecture
from simclr_tf.paths import as_path, is_local

STATE_DICT = "PyTorch state dict"
SAFETENSORS = ".safetensors"
# Where training code puts the state dict beside its optimizer and more.
NESTED = ("state_dict", "model")
_SHOWN = 3


def read(path: str, schema: re.Pattern, layout: str | None = None) -> StoredNetwork:
    """Read a state dict with the names of `torch_names`, or of one of `torch_layouts`.

    The architecture of the first is that of the JSON file beside it, or else inferred.

    Args:
      path: .safetensors, .pt, .pth or .pth.tar.
      schema: which variables are read, by their TF1 names.
      layout: what the names do not tell, one of `torch_layouts.ASKED`.

    Raises:
      UserError: there is no such file, it is damaged or holds something else, what is
        needed to read it is not installed, or the file says another layout.
    """
    if not as_path(path).is_file():
        raise UserError(f"There is no file {path}.")
    if path.endswith(SAFETENSORS):
        state, beside = _read_safetensors(path), []
    else:
        state, beside = _read_torch(path)
    state = without_wrapper(state)
    if layout is not None and description_path(path).is_file():
        raise UserError(
            f"{description_path(path)} says what {path} holds. Leave out --layout={layout}, or "
            "move that file away."
        )
    if found := layout_of(state, layout, path):
        stored = _of_others(path, state, found, schema)
    else:
        stored = _of_ours(path, state, schema)
    return dataclasses.replace(stored, ignored=(*stored.ignored, *beside))


def _of_ours(path: str, state: dict[str, np.ndarray], schema: re.Pattern) -> StoredNetwork:
    """A network by the names of `torch_names`; without a JSON file its input is assumed."""
    arrays, unknown = _named(path, state)
    description = read_description(path)
    note = None
    if description is None:
        description = Description(_inferred(path, arrays))
        note = (
            f"{path} does not say what its images were: that nothing was subtracted from [0, 1] "
            "is assumed. If PyTorch trained it on images less the mean of ImageNet, write it once "
            f"with that: python -m simclr_tf.checkpoints {path} --layout=torchvision --to "
            "simclr_tf DIRECTORY"
        )
    arrays = without_constants(arrays, description.architecture) | unknown
    counters = sorted(name for name in state if name.endswith(f".{COUNTER}"))
    stored = chosen(STATE_DICT, description, arrays, schema, ignored=counters)
    return dataclasses.replace(stored, note=note)


def _of_others(
    path: str, state: dict[str, np.ndarray], layout: Layout, schema: re.Pattern
) -> StoredNetwork:
    """A network that the official code of a method trained."""
    own, projector, ignored, unknown = translate(state, layout)
    arrays, without_place = _named(path, own)
    encoder = {name: a for name, a in arrays.items() if not name.startswith("projection_head/")}
    architecture = layout.complete(_inferred(path, encoder), projector)
    arrays |= without_place | {name: state[name] for name in unknown}
    kind = f"PyTorch weights in the layout of {layout.methods}"
    return chosen(kind, Description(architecture), arrays, schema, ignored)


def _named(
    path: str, state: Mapping[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """(arrays by path, others by their names) of a state dict that has an encoder.

    Raises:
      UserError: it has none.
    """
    arrays, unknown = from_torch(state)
    if not any(name.startswith("encoder/") for name in arrays):
        raise UserError(
            f"{path} holds no ResNet with torchvision's names (conv1.weight and so on). "
            f"Tensors there: {_some(state)}."
        )
    return arrays, {name: state[name] for name in unknown}


def _inferred(path: str, arrays: Mapping[str, np.ndarray]) -> Architecture:
    try:
        return infer_architecture({name: array.shape for name, array in arrays.items()}, "path")
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


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
        _write_safetensors(path, state)
        return
    torch = _torch(path)
    with open(path, "wb") as file:
        torch.save({name: torch.from_numpy(array.copy()) for name, array in state.items()}, file)


def _write_safetensors(path: str, state: Mapping[str, np.ndarray]) -> None:
    """Write tensor by tensor: no second copy of all is made in memory."""
    library = _numpy_of_safetensors(path)
    try:
        open(path, "wb").close()
        mode = os.stat(path).st_mode  # of a new file; the library makes one for its writer alone
        library.save_file(dict(state), path)
        os.chmod(path, mode)
    except Exception as error:  # of the library's own, with the system's number in its words
        number = re.search(r"\(os error (\d+)\)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1]))) from None


def _read_safetensors(path: str) -> dict[str, np.ndarray]:
    library = _numpy_of_safetensors(path)
    try:
        if is_local(as_path(path)):
            return library.load_file(path)  # maps the file into memory
        return library.load(as_path(path).read_bytes())
    except Exception as error:  # of the library's own, of NumPy or of the system
        raise _unreadable(path, error) from None


def _numpy(tensor: Any) -> np.ndarray:
    tensor = tensor.detach()
    try:
        return tensor.numpy()
    except TypeError:  # of bfloat16, which NumPy does not have
        return tensor.float().numpy()


def _read_torch(path: str) -> tuple[dict[str, np.ndarray], list[str]]:
    """The state dict of a file, and what lies beside it where it is nested."""
    torch = _torch(path)
    try:
        with as_path(path).open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = torch.load(file, map_location="cpu", weights_only=True)
    except (RuntimeError, OSError, EOFError) as error:
        raise _unreadable(path, error) from None
    except Exception as error:  # a pickle that is none, or not allowed, has many kinds
        raise _no_tensors(path, error) from None
    state, beside = _state_dict(path, content)
    try:
        arrays = {name: _numpy(tensor) for name, tensor in state.items()}
    except (TypeError, ValueError, RuntimeError) as error:  # of a type that NumPy does not have
        raise _unreadable(path, error) from None
    for name, array in arrays.items():
        if _repeats(array):
            raise UserError(
                f"{path} is refused: it stores fewer numbers than {printable(name)} has, "
                f"{array.shape}."
            )
    return arrays, beside


def _state_dict(path: str, content: Any) -> tuple[Mapping[str, Any], list[str]]:
    """The tensors by name in what a file holds, and the names of the rest.

    Raises:
      UserError: there are none, neither outermost nor in NESTED.
    """
    outer = content if isinstance(content, Mapping) else {}
    nested = next((name for name in NESTED if isinstance(outer.get(name), Mapping)), None)
    state = outer if nested is None else outer[nested]
    if not state or not all(isinstance(n, str) and hasattr(t, "numpy") for n, t in state.items()):
        raise UserError(
            f"{path} holds no state dict: neither tensors by their names nor a dictionary with "
            f"them under {' or '.join(NESTED)}. It holds "
            f"{_some(state) if state else type(content).__name__}."
        )
    return state, [] if nested is None else sorted(str(name) for name in outer if name != nested)


def _repeats(array: np.ndarray) -> bool:
    """Whether an array has more values than there are in memory, so that a copy is larger."""
    if not array.size:
        return False
    steps = zip(array.shape, array.strides, strict=True)
    return array.nbytes > sum((n - 1) * abs(step) for n, step in steps) + array.itemsize


def _some(names: Collection) -> str:
    return ", ".join(printable(str(name)) for name in list(names)[:_SHOWN]) or "none at all"


def _no_tensors(path: str, error: Exception) -> UserError:
    """Of a pickle that holds more than PyTorch reads without running code, or that is none."""
    found = re.search(r"GLOBAL ([\w.]+)", str(error))
    what = f", such as {found[1]}" if found else ""
    return UserError(
        f"{path} is refused: it is no file of PyTorch, or holds more than tensors{what}, and "
        "reading that could run code. Give a file that torch.save(model.state_dict(), FILE) wrote."
    )


def _unreadable(path: str, error: Exception) -> UserError:
    reason = printable(first_line(error))
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
