"""What a file or directory with a network holds, whatever its format."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from simclr_tf.checkpoints.description import TrainingData
from simclr_tf.checkpoints.layout import Variable, network_variables
from simclr_tf.checkpoints.rescale import V1_FROM, typical_convolution_norm
from simclr_tf.models import Architecture
from simclr_tf.models.colors import planes_in_words
from simclr_tf.models.heads import in_words, simclr_flags
from simclr_tf.models.own_encoder import name_of

CIFAR_SIZE = 32  # pixels; images of this size and below get the CIFAR stem
IMAGENET_SIZE = 224


@dataclasses.dataclass(frozen=True)
class StoredNetwork:
    """A network that was read.

    Attributes:
      kind: which format it has, in words.
      architecture: written beside the weights, or inferred from names and shapes.
      arrays: values by the paths of our networks (`restore.variable_paths`).
      ignored: names of slots, counters and moving-average copies.
      unused: names of other variables, which have no place in that architecture.
      excluded: paths that the variable schema leaves out.
      step: training steps done, or None if the file does not say.
      image_size: pixels of the images that it was trained on, or None likewise.
      class_names: of the supervised head, by its outputs, or None likewise.
      data: how its run opened the training data, or None likewise.
      method: which --method of pretraining it comes from, or None likewise.
      note: a line for the user about what was assumed, or None.
    """

    kind: str
    architecture: Architecture
    arrays: Mapping[str, np.ndarray]
    ignored: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    step: int | None = None
    image_size: int | None = None
    class_names: tuple[str, ...] | None = None
    data: TrainingData | None = None
    method: str | None = None
    note: str | None = None

    @property
    def shown_size(self) -> int:
        """Pixels of the images to show it: what it was trained on, or else a guess by its stem."""
        return self.image_size or (CIFAR_SIZE if self.architecture.cifar_stem else IMAGENET_SIZE)

    @property
    def upright(self) -> bool:
        """Whether its images are shown as their EXIF orientation says; so it is by default."""
        return self.data is None or self.data.upright

    def about(self) -> dict[str, Any]:
        """What a model card says of it besides the architecture, as JSON values."""
        return {
            "step": self.step,
            "class_names": self.class_names and list(self.class_names),
            "data": self.data and dataclasses.asdict(self.data),
            "method": self.method,
        }

    def missing(self) -> list[Variable]:
        """The variables of the architecture that have no array and were not excluded."""
        known = {*self.arrays, *self.excluded}
        return [v for v in network_variables(self.architecture) if v.path not in known]

    def looks_like_v1(self) -> bool:
        """Whether convolutions are as large as SimCLRv1's, which are 16.8 times SimCLRv2's."""
        own = self.architecture.encoder == "keras"
        return not own and typical_convolution_norm(self.arrays) > V1_FROM

    def found(self, path: str) -> str:
        """Lines for the user: what was found at `path`."""
        lines = [f"found: {self.kind} {path}, {describe(self.architecture)}"]
        if self.step is not None:
            lines[0] += f", step {self.step}"
        if self.looks_like_v1():
            lines.append(
                f"Convolution weights are {typical_convolution_norm(self.arrays):.1f} times as "
                "large as at initialisation, like SimCLRv1's: momentum SGD needs another learning "
                "rate than for SimCLRv2's, or --rescale_v1_weights."
            )
        return "\n".join(lines)


def describe(architecture: Architecture) -> str:
    """An architecture in words: "ResNet-50 1x, sk_ratio 0.0625, ImageNet stem, ..."."""
    return ", ".join(description(architecture).values())


def input_in_words(architecture: Architecture) -> str:
    """What the encoder makes of images before they reach the first block."""
    images = "images as they are"
    if architecture.input_mean is not None:
        mean, deviation = architecture.input_mean, architecture.input_deviation
        images = f"images less {tuple(mean)} over {tuple(deviation)}"
    padded = {"same": "padded as TensorFlow does", "symmetric": "padded on each side"}
    return f"{images}, max pooling {padded[architecture.pool_padding]}"


def description(architecture: Architecture) -> dict[str, str]:
    """The parts of an architecture in words."""
    a = architecture
    encoder = f"ResNet-{a.resnet_depth} {a.width_multiplier}x"
    if a.encoder == "keras":
        encoder = f"{name_of(a.keras_model)} of Keras, h of {a.feature_dim}"
    if a.encoder == "lab":
        planes = planes_in_words(a.plane_groups)
        encoder = (
            f"{len(a.plane_groups)} encoders of planes {planes} of {a.color_space}, each {encoder} "
            f"with blocks {a.view_width:g}x"
        )
    if a.sk_ratio > 0:
        encoder += f", sk_ratio {a.sk_ratio:.4g}"
    if a.se_ratio > 0:
        encoder += f", se_ratio {a.se_ratio:.4g}"
    if a.encoder != "keras":
        encoder += ", CIFAR stem" if a.cifar_stem else ", ImageNet stem"
    layers = len(a.projector)
    if not a.kept_projector:
        projection = "no projection head"
    elif a.kept_proj_layers is not None:
        projection = f"the first {a.kept_proj_layers} of {layers} projection layers"
    elif simclr_flags(a.projector):
        projection = f"projection head of {layers} layers to {a.projector[-1].units}"
    else:
        projection = f"projection head of {layers} layers ({in_words(a.projector)})"
    supervised = "no supervised head"
    if a.num_classes is not None:
        supervised = f"supervised head of {a.num_classes} classes"
        if a.ft_proj_selector:
            supervised += f" on projection layer {a.ft_proj_selector}"
    words = {"encoder": encoder}
    if a.input != Architecture().input:
        words["input"] = input_in_words(a)
    return words | {"projection head": projection, "supervised head": supervised}
