"""What the variables are called in PyTorch: names and shapes, without PyTorch.

Names are torchvision's where torchvision has the layer, and otherwise those of timm's
ResNets (deep stems, pooled shortcuts, squeeze and excitation) or of the same style
(selective kernels, projection head). Of several ResNets each has these names under `streams.I.`,
with its projection head. docs/checkpoints.md lists them for users.
"""

import re
from collections.abc import Collection, Iterator, Mapping

import numpy as np

from simclr_tf.checkpoints.layout import network_variables
from simclr_tf.errors import UserError
from simclr_tf.models import Architecture

STEM = {"convolutions/0": "conv1", "norms/0": "bn1"}
DEEP_STEM = {
    "convolutions/0": "conv1.0",
    "norms/0": "conv1.1",
    "convolutions/1": "conv1.3",
    "norms/1": "conv1.4",
    "convolutions/2": "conv1.6",
    "norms/2": "bn1",
}
SHORTCUT = {"shortcut/convolution": "downsample.0", "shortcut/norm": "downsample.1"}
POOLED_SHORTCUT = {"shortcut/convolution": "downsample.1", "shortcut/norm": "downsample.2"}
BLOCK = {
    **{f"convolution{i}": f"conv{i}" for i in (1, 2, 3)},
    **{f"norm{i}": f"bn{i}" for i in (1, 2, 3)},
    "selective/convolution": "conv2.conv",
    "selective/norm": "conv2.bn",
    "selective/squeeze": "conv2.attn.fc_reduce",
    "selective/squeeze_norm": "conv2.attn.bn",
    "selective/excite": "conv2.attn.fc_select",
    "attention/squeeze": "se.fc1",
    "attention/excite": "se.fc2",
}
PROJECTION_LAYER = {"dense": "linear", "norm": "bn"}
LAYER = {"kernel": "weight", "bias": "bias"}
NORM = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
STREAMS = "streams"
# What BatchNorm2d has besides, and training in PyTorch counts up.
COUNTER = "num_batches_tracked"


def torch_name(path: str, architecture: Architecture) -> str:
    """What a variable is called: encoder/groups/0/1/norm1/gamma -> layer1.1.bn1.weight."""
    deep = architecture.sk_ratio > 0
    stem = DEEP_STEM if deep and not architecture.cifar_stem else STEM
    block = BLOCK | (POOLED_SHORTCUT if deep else SHORTCUT)
    *owner, last = path.split("/")
    leaf = (LAYER | NORM)[last]
    match owner:
        case ["encoder" | "projection_head" as part, "streams" | "heads", number, *rest]:
            own = torch_name("/".join([part, *rest, last]), architecture)
            return f"{STREAMS}.{number}.{own}"
        case ["encoder", "stem", *rest]:
            return f"{stem['/'.join(rest)]}.{leaf}"
        case ["encoder", "groups", group, number, *rest]:
            return f"layer{int(group) + 1}.{number}.{block['/'.join(rest)]}.{leaf}"
        case ["projection_head", "layers", number, layer]:
            return f"projection_head.{number}.{PROJECTION_LAYER[layer]}.{leaf}"
    return f"fc.{leaf}"


def to_torch(arrays: Mapping[str, np.ndarray], architecture: Architecture) -> dict[str, np.ndarray]:
    """A state dict as NumPy arrays.

    Kernels become (outputs, inputs, height, width) and (outputs, inputs). A batch norm that has
    a scale or an offset here has both there: a scale of one, an offset of zero.

    Args:
      arrays: values of all variables by path.
      architecture: that of the arrays.
    """
    state = {}
    for variable in network_variables(architecture):
        name = torch_name(variable.path, architecture)
        array = arrays[variable.path]
        state[name] = np.ascontiguousarray(outputs_first(array))
        if name.endswith(".running_var"):
            norm = name.removesuffix(".running_var")
            state[f"{norm}.{COUNTER}"] = np.zeros((), np.int64)
            if f"{norm}.weight" in state or f"{norm}.bias" in state:
                state.setdefault(f"{norm}.weight", np.ones_like(array))
                state.setdefault(f"{norm}.bias", np.zeros_like(array))
    return state


def from_torch(state: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], list[str]]:
    """Arrays by path from a state dict that has the names of `to_torch`.

    Returns:
      (arrays by path; names that were not understood, as they are).
    """
    of_stream: dict[str, dict[str, np.ndarray]] = {}
    for name, array in state.items():
        stream = re.match(rf"{STREAMS}\.\d+\.|", name)[0]
        of_stream.setdefault(stream, {})[name.removeprefix(stream)] = array
    arrays, unknown = {}, []
    for stream, own in of_stream.items():
        found, others = _from_torch(own)
        unknown += [stream + name for name in others]
        for path, array in found.items():
            arrays[_in_stream(path, stream)] = array
    return arrays, unknown


def _in_stream(path: str, stream: str) -> str:
    """Where a variable of `streams.I.` is in our networks; of no stream, as it is."""
    if not stream:
        return path
    part, rest = path.split("/", 1)
    number = stream.split(".")[1]
    return f"{part}/{'streams' if part == 'encoder' else 'heads'}/{number}/{rest}"


def _from_torch(state: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], list[str]]:
    """`from_torch` of a single ResNet with its heads."""
    stem = DEEP_STEM if "conv1.0.weight" in state else STEM
    pooled = any(".downsample.2." in name for name in state)
    block = BLOCK | (POOLED_SHORTCUT if pooled else SHORTCUT)
    owners = {module: path for path, module in _modules(state, stem, block)}
    arrays, unknown = {}, []
    for name, array in state.items():
        module, _, last = name.rpartition(".")
        leaves = NORM if f"{module}.running_mean" in state else LAYER
        leaf = {there: here for here, there in leaves.items()}.get(last)
        if module in owners and leaf and _can_be(leaf, array):
            arrays[f"{owners[module]}/{leaf}"] = _outputs_last(array).astype(np.float32, copy=False)
        elif last != COUNTER:
            unknown.append(name)
    return arrays, unknown


def _can_be(leaf: str, array: np.ndarray) -> bool:
    """Whether an array has the type and the rank of such a variable."""
    ranks = (2, 4) if leaf == "kernel" else (1,)
    is_floating = np.issubdtype(array.dtype, np.floating) or array.dtype.name == "bfloat16"
    return array.ndim in ranks and is_floating


def without_constants(
    arrays: Mapping[str, np.ndarray], architecture: Architecture
) -> dict[str, np.ndarray]:
    """Arrays of `from_torch` without the scales and offsets that the projection head lacks.

    Such is the zero offset of the last layer of SimCLR's.

    Raises:
      UserError: such a scale is not one, or such an offset not zero.
    """
    places = {v.path for v in network_variables(architecture)}
    arrays = dict(arrays)
    for norm in [p.removesuffix("/moving_mean") for p in places if p.endswith("/moving_mean")]:
        for leaf, kind, constant in (("gamma", "scale", 1), ("beta", "offset", 0)):
            path = f"{norm}/{leaf}"
            if path in arrays and path not in places and np.any(arrays.pop(path) != constant):
                raise UserError(
                    f"This projection head has no {kind} there, but "
                    f"{torch_name(path, architecture)} is not {'one' if constant else 'zero'}."
                )
    return arrays


def _modules(
    names: Collection[str], stem: Mapping[str, str], block: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """(layer of ours, module) for all blocks and layers that the names mention."""
    yield "supervised_head", "fc"
    for path, module in stem.items():
        yield f"encoder/stem/{path}", module
    for scope in {tuple(name.split(".")[:2]) for name in names}:
        match scope:
            case ("layer1" | "layer2" | "layer3" | "layer4" as group, number):
                for path, module in block.items():
                    owner = f"encoder/groups/{int(group[-1]) - 1}/{number}/{path}"
                    yield owner, f"{group}.{number}.{module}"
            case ("projection_head", number):
                for path, module in PROJECTION_LAYER.items():
                    owner = f"projection_head/layers/{number}/{path}"
                    yield owner, f"projection_head.{number}.{module}"


def outputs_first(array: np.ndarray) -> np.ndarray:
    """A kernel with its axes in PyTorch's order."""
    return array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T


def _outputs_last(array: np.ndarray) -> np.ndarray:
    """The inverse of `outputs_first`."""
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
