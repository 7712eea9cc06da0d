"""torchvision's ResNet-50 in inference, on a state dict, with every padding written out.

An independent account of what released weights compute: names, shapes and order are torchvision's,
written from its definition, without anything of the package.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import tensorflow as tf

BLOCKS = (3, 4, 6, 3)
EPSILON = 1e-5


def shapes() -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of the state dict, without the classifier."""
    yield "conv1.weight", (64, 3, 7, 7)
    yield from _norm("bn1", 64)
    inputs = 64
    for group, count in enumerate(BLOCKS):
        width = 64 * 2**group
        for block in range(count):
            name = f"layer{group + 1}.{block}"
            yield f"{name}.conv1.weight", (width, inputs, 1, 1)
            yield from _norm(f"{name}.bn1", width)
            yield f"{name}.conv2.weight", (width, width, 3, 3)
            yield from _norm(f"{name}.bn2", width)
            yield f"{name}.conv3.weight", (4 * width, width, 1, 1)
            yield from _norm(f"{name}.bn3", 4 * width)
            if block == 0:
                yield f"{name}.downsample.0.weight", (4 * width, inputs, 1, 1)
                yield from _norm(f"{name}.downsample.1", 4 * width)
            inputs = 4 * width


def _norm(name: str, width: int, affine: bool = True) -> Iterator[tuple[str, tuple[int, ...]]]:
    leaves = ("weight", "bias") if affine else ()
    for leaf in (*leaves, "running_mean", "running_var"):
        yield f"{name}.{leaf}", (width,)
    yield f"{name}.num_batches_tracked", ()


def values(names: Iterator[tuple[str, tuple[int, ...]]], seed: int = 0) -> dict[str, np.ndarray]:
    """Random values that keep the size of what goes through."""
    rng = np.random.default_rng(seed)
    state = {}
    for name, shape in names:
        array = rng.standard_normal(shape)
        if name.endswith("num_batches_tracked"):
            state[name] = np.asarray(5, np.int64)
            continue
        if len(shape) > 1:
            array *= np.sqrt(1.5 / np.prod(shape[1:]))
        elif name.endswith(("running_var", "weight")):
            array = 1 + 0.2 * np.tanh(array)
        else:
            array *= 0.2
        state[name] = array.astype(np.float32)
    return state


def head_shapes(modules: list[tuple[str, str, int]], inputs: int = 2048) -> Iterator:
    """Names and shapes of a head: modules are (kind, name, outputs), see `head`."""
    for kind, name, outputs in modules:
        if kind in ("linear", "linear without bias"):
            yield f"{name}.weight", (outputs, inputs)
            if kind == "linear":
                yield f"{name}.bias", (outputs,)
            inputs = outputs
        elif kind != "relu":
            yield from _norm(name, outputs, affine=kind == "norm")


def head(
    state: Mapping[str, np.ndarray], modules: list[tuple[str, str, int]], h: tf.Tensor
) -> tf.Tensor:
    """A sequence of modules: "linear", "linear without bias", "norm", "norm alone" and "relu"."""
    for kind, name, _ in modules:
        if kind == "relu":
            h = tf.nn.relu(h)
        elif kind.startswith("linear"):
            h = tf.matmul(h, state[f"{name}.weight"], transpose_b=True)
            h += state.get(f"{name}.bias", 0)
        else:
            h = _normalized(h, state, name)
    return h


def features(
    state: Mapping[str, np.ndarray],
    images: np.ndarray,
    mean: tuple[float, ...],
    deviation: tuple[float, ...],
) -> tf.Tensor:
    """h, (batch, 2048), of images (batch, height, width, 3) in [0, 1]."""
    x = (images - np.float32(mean)) / np.float32(deviation)
    x = tf.nn.relu(_normalized(_convolved(x, state["conv1.weight"], 2, 3), state, "bn1"))
    x = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]], constant_values=-np.inf)
    x = tf.nn.max_pool2d(x, 3, 2, "VALID")
    for group, count in enumerate(BLOCKS):
        for block in range(count):
            x = _block(x, state, f"layer{group + 1}.{block}", 2 if group and not block else 1)
    return tf.reduce_mean(x, axis=[1, 2])


def _block(x: tf.Tensor, state: Mapping[str, np.ndarray], name: str, stride: int) -> tf.Tensor:
    shortcut = x
    if f"{name}.downsample.0.weight" in state:
        shortcut = _convolved(x, state[f"{name}.downsample.0.weight"], stride, 0)
        shortcut = _normalized(shortcut, state, f"{name}.downsample.1")
    x = tf.nn.relu(
        _normalized(_convolved(x, state[f"{name}.conv1.weight"], 1, 0), state, f"{name}.bn1")
    )
    x = _convolved(x, state[f"{name}.conv2.weight"], stride, 1)
    x = tf.nn.relu(_normalized(x, state, f"{name}.bn2"))
    x = _normalized(_convolved(x, state[f"{name}.conv3.weight"], 1, 0), state, f"{name}.bn3")
    return tf.nn.relu(x + shortcut)


def _convolved(x: tf.Tensor, kernel: np.ndarray, stride: int, padding: int) -> tf.Tensor:
    sides = [[0, 0], [padding, padding], [padding, padding], [0, 0]]
    return tf.nn.conv2d(x, kernel.transpose(2, 3, 1, 0), stride, sides)


def _normalized(x: tf.Tensor, state: Mapping[str, np.ndarray], name: str) -> tf.Tensor:
    x = (x - state[f"{name}.running_mean"]) / np.sqrt(state[f"{name}.running_var"] + EPSILON)
    return x * state.get(f"{name}.weight", 1) + state.get(f"{name}.bias", 0)
