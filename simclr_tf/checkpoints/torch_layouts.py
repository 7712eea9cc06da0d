"""Weights that others trained: how the official PyTorch code of each method lays out its files.

All of it builds torchvision's ResNet, subtracts a mean of images, divides by a deviation, and pads
the max pooling on each side. What differs is data: see `LAYOUTS`.
"""

import dataclasses
from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np

from simclr_tf.checkpoints.torch_names import COUNTER
from simclr_tf.errors import UserError
from simclr_tf.models import Architecture, Dense

# What wraps a network that was trained on several devices puts this before every name.
WRAPPER = "module."
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where a method's code keeps what.

    Attributes:
      methods: which methods, in words.
      sign: a name that tells such files from others.
      encoder: what the names of the encoder begin with, before torchvision's.
      head: what the names of the projection head begin with; None where there is none.
      ignored: what the names of parts begin with that are not read.
      deviation: what images were divided by, after IMAGENET_MEAN was subtracted.
    """

    methods: str
    sign: str
    encoder: str
    head: str | None
    ignored: tuple[str, ...] = ()
    deviation: tuple[float, float, float] = IMAGENET_DEVIATION

    def complete(self, architecture: Architecture, projector: tuple[Dense, ...]) -> Architecture:
        """The architecture with this projection head, and what the code makes of images."""
        return dataclasses.replace(
            architecture,
            projector=projector,
            input_mean=IMAGENET_MEAN,
            input_deviation=self.deviation,
            pool_padding="symmetric",
        )


# The query's encoder is MoCo's, the key's follows it. SwAV's deviation of red is its code's own.
LAYOUTS = (
    Layout(
        "MoCo and CLSA",
        "encoder_q.conv1.weight",
        "encoder_q.",
        "encoder_q.fc.",
        ("encoder_k.", "queue"),
    ),
    Layout("SimSiam", "encoder.conv1.weight", "encoder.", "encoder.fc.", ("predictor.",)),
    Layout("Barlow Twins and VICReg", "backbone.conv1.weight", "backbone.", "projector.", ("bn.",)),
    Layout(
        "SwAV",
        "projection_head.0.weight",
        "",
        "projection_head.",
        ("prototypes.",),
        (0.228, 0.224, 0.225),
    ),
)
# What the names do not tell, and --layout says: torchvision's names, and nothing else.
ASKED = {"torchvision": Layout("torchvision", "conv1.weight", "", None)}


class Translated(NamedTuple):
    """Weights of others with our names for PyTorch.

    Attributes:
      state: the encoder and the projection head, by the names of `torch_names`.
      projector: the layers of the projection head; none where it is unknown or not there.
      ignored: names of other parts, as they were.
      unknown: names that were not understood, as they were.
    """

    state: dict[str, np.ndarray]
    projector: tuple[Dense, ...]
    ignored: list[str]
    unknown: list[str]


def without_wrapper(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A state dict without the prefix WRAPPER, if all of its names have it."""
    if not all(name.startswith(WRAPPER) for name in state):
        return dict(state)
    return {name.removeprefix(WRAPPER): array for name, array in state.items()}


def layout_of(names: Collection[str], asked: str | None, path: str) -> Layout | None:
    """The layout that names tell, or else the one that is asked for; None without either.

    Args:
      names: of a state dict, without the wrapper.
      asked: one of ASKED, or None.
      path: of the file, for messages.

    Raises:
      UserError: one is asked for, but does not exist, or the names tell another.
    """
    found = next((layout for layout in LAYOUTS if layout.sign in names), None)
    if asked is None:
        return found
    if asked not in ASKED:
        raise UserError(f"A layout is one of {', '.join(ASKED)}. Received: {asked}.")
    if found:
        raise UserError(
            f"{path} has the layout of {found.methods}, which says everything. Leave out "
            f"--layout={asked}."
        )
    return ASKED[asked]


def translate(state: Mapping[str, np.ndarray], layout: Layout) -> Translated:
    """Give the weights of others the names that `torch_names` knows.

    Args:
      state: by names without the wrapper.
      layout: theirs.
    """
    translated, head, ignored, unknown = {}, {}, [], []
    for name, array in state.items():
        if name.startswith(layout.ignored) or name.endswith(f".{COUNTER}"):
            ignored.append(name)
        elif layout.head and name.startswith(layout.head):
            head[name] = array
        elif name.startswith(layout.encoder):
            translated[name.removeprefix(layout.encoder)] = array
        else:
            unknown.append(name)
    projector, layers = _projection_head(head, layout.head or "")
    translated |= layers
    unknown += [] if projector else head
    return Translated(translated, projector, sorted(ignored), unknown)


def _projection_head(
    state: Mapping[str, np.ndarray], prefix: str
) -> tuple[tuple[Dense, ...], dict[str, np.ndarray]]:
    """The layers of a head, and its arrays by the names of `torch_names`.

    A head is one dense layer, or a sequence of modules by their numbers: dense layers, batch norm
    behind some, and, as ReLU has no weights, a number without any before the next dense layer.
    Nothing is returned of any other.
    """
    modules = {}
    for name, array in state.items():
        number, _, leaf = name.removeprefix(prefix).rpartition(".")
        modules.setdefault(number or "0", {})[leaf] = array
    if not all(number.isdecimal() and len(number) < 3 for number in modules):
        return (), {}
    projector, layers, free = [], {}, 0
    for number, module in sorted(modules.items(), key=lambda item: int(item[0])):
        if "running_mean" in module:
            if not projector or projector[-1].norm or int(number) != free - 1:
                return (), {}
            projector[-1] = dataclasses.replace(
                projector[-1], norm=True, scale="weight" in module, center="bias" in module
            )
            kind, free = "bn", free + 1
        elif np.ndim(module.get("weight")) == 2 and int(number) == free:
            projector.append(Dense(len(module["weight"]), bias="bias" in module, norm=False))
            kind, free = "linear", free + 2
        else:
            return (), {}
        scope = f"projection_head.{len(projector) - 1}.{kind}"
        layers |= {f"{scope}.{leaf}": array for leaf, array in module.items()}
    if projector:
        projector[-1] = dataclasses.replace(projector[-1], relu=False)
    return tuple(projector), layers
