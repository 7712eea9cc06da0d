"""What a network is made of, as data that JSON can hold."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any

from simclr_tf.errors import UserError
from simclr_tf.json_files import DamagedFileError, check_entries
from simclr_tf.models.colors import check_planes
from simclr_tf.models.heads import Dense, simclr_projector
from simclr_tf.models.images import check_input
from simclr_tf.models.resnet import DEPTHS

# What described the projection head before it was a list of layers, and its defaults.
_SIMCLR_HEAD = {"proj_head_mode": "nonlinear", "num_proj_layers": 3, "proj_out_dim": 128}
# Fields that are lists, which have checks of their own; fields of one kind of encoder alone.
_LISTS = ("projector", "input_mean", "input_deviation", "plane_groups")
_OF_PLANES = ("color_space", "plane_groups", "view_width")
_OF_KERAS = ("keras_model", "keras_features")
_OF_RESNETS = ("resnet_depth", "width_multiplier", "sk_ratio", "se_ratio", "cifar_stem")
_OF_RESNETS += ("input_mean", "input_deviation", "pool_padding")
# What an encoder is, and the fields that mean nothing to it.
ENCODERS = {
    "resnet": (*_OF_PLANES, *_OF_KERAS),
    "lab": _OF_KERAS,
    "keras": (*_OF_RESNETS, *_OF_PLANES),
}


@dataclasses.dataclass(frozen=True)
class Architecture:
    """What has to be known to build a Network; stored as JSON beside its weights.

    `projector` has the layers of the projection head, and `kept_proj_layers` is None where the
    network has all of them; a fine-tuned network has the first ones only. `ft_proj_selector` is
    the entry of [h, after layer 1, ..., z] that feeds the supervised head; `num_classes` is None
    without one.

    `encoder` is "resnet", a ResNet of RGB images, or "lab": for each of `plane_groups` a ResNet,
    which sees these planes of the `color_space` (0 to 2, such as L, a and b) and whose blocks are
    `view_width` times as wide; their features are joined, and each has a projection head. "keras"
    is an encoder of the user's own, a Keras model from images to vectors: `keras_model` is its
    configuration as JSON text, and `keras_features` the width of its vectors.

    `input_mean` and `input_deviation` are what the encoder subtracts from images in [0, 1] and
    divides by, for red, green and blue; None where it takes them as they are. `pool_padding` is
    that of the max pooling: "same", TensorFlow's, which of an even size pads after the image alone,
    or "symmetric", torchvision's, on each side.
    """

    resnet_depth: int = 50
    width_multiplier: int = 1
    sk_ratio: float = 0.0
    se_ratio: float = 0.0
    cifar_stem: bool = False
    projector: tuple[Dense, ...] = simclr_projector()
    kept_proj_layers: int | None = None
    ft_proj_selector: int = 0
    num_classes: int | None = None
    batch_norm_decay: float = 0.9
    global_bn: bool = True
    input_mean: tuple[float, float, float] | None = None
    input_deviation: tuple[float, float, float] | None = None
    pool_padding: str = "same"
    encoder: str = "resnet"
    color_space: str = "lab"
    plane_groups: tuple[tuple[int, ...], ...] = ((0,), (1, 2))
    view_width: float = 1.0
    keras_model: str | None = None
    keras_features: int | None = None

    @property
    def channels(self) -> tuple[int, ...]:
        """Of the images that each ResNet, or an encoder of Keras, sees."""
        return tuple(map(len, self.plane_groups)) if self.encoder == "lab" else (3,)

    @property
    def block_filters(self) -> int:
        """Channels of the blocks of the first group, before a bottleneck's last convolution."""
        width = 1.0 if self.encoder == "resnet" else self.view_width
        return int(64 * self.width_multiplier * width)

    @property
    def input(self) -> tuple[Any, ...]:
        """What the encoder makes of images before they reach the first block."""
        return self.input_mean, self.input_deviation, self.pool_padding

    @property
    def feature_dim(self) -> int:
        """The width of h."""
        if self.encoder == "keras":
            return self.keras_features
        expansion = 4 if DEPTHS[self.resnet_depth][0] else 1
        return self.block_filters * 8 * expansion * len(self.channels)

    @property
    def kept_projector(self) -> tuple[Dense, ...]:
        """The layers of the projection head that the network has."""
        return self.projector[: self.kept_proj_layers]

    def with_keras_encoder(self, keras_model: str, keras_features: int) -> "Architecture":
        """The same heads on an encoder of Keras; what means nothing to it has its default.

        Args:
          keras_model, keras_features: the fields of these names.
        """
        fields = dataclasses.fields(self)
        defaults = {f.name: f.default for f in fields if f.name in ENCODERS["keras"]}
        own = {"encoder": "keras", "keras_model": keras_model, "keras_features": keras_features}
        return dataclasses.replace(self, **defaults | own)

    def to_json(self) -> dict[str, Any]:
        """JSON values by the names of the fields; `from_json` takes them back."""
        values = dataclasses.asdict(self)
        values |= {
            "projector": [dataclasses.asdict(layer) for layer in self.projector],
            "input_mean": self.input_mean and list(self.input_mean),
            "input_deviation": self.input_deviation and list(self.input_deviation),
        }
        meaningless = ENCODERS[self.encoder]
        if self.encoder == "resnet":
            meaningless += ("encoder",)  # as model.json was before there were others
        return {name: value for name, value in values.items() if name not in meaningless}

    @classmethod
    def from_json(cls, values: Mapping[str, Any], source: str) -> "Architecture":
        """The architecture with these JSON values; what is missing has its default.

        Where there is no `projector`, it is SimCLR's, which `proj_head_mode`, `num_proj_layers`
        and `proj_out_dim` described until there were others.

        Args:
          values: by the names of the fields.
          source: the file, for messages.

        Raises:
          UserError: a name is unknown, or a value has another type or is not allowed.
        """
        values = dict(values)
        if "projector" in values:
            values["projector"] = _projector(values["projector"], source)
        else:
            head = {name: values.pop(name, default) for name, default in _SIMCLR_HEAD.items()}
            check_entries(head, {name: type(value) for name, value in _SIMCLR_HEAD.items()}, source)
            values["projector"] = simclr_projector(*head.values())
        _check(cls, values, source)
        _check_keras(values, source)
        architecture = cls(**values | _input(values, source) | _planes(values, source))
        _check_values(architecture, source)
        return architecture


def _check_values(architecture: "Architecture", source: str) -> None:
    """Refuse values that no network has."""
    layers = 1 + len(architecture.kept_projector)  # h, and the outputs of the projection head
    problems = {
        "resnet_depth": architecture.resnet_depth in DEPTHS,
        "ft_proj_selector": -layers <= architecture.ft_proj_selector < layers,
        "num_classes": architecture.num_classes is None or architecture.num_classes >= 1,
    }
    for name, is_possible in problems.items():
        if not is_possible:
            raise DamagedFileError(
                f"{source} is damaged or of another version: {name!r} is "
                f"{getattr(architecture, name)}, which no network has."
            )


def _projector(layers: Any, source: str) -> tuple[Dense, ...]:
    if not (isinstance(layers, list | tuple) and all(isinstance(v, Mapping) for v in layers)):
        raise DamagedFileError(
            f"{source} is damaged or of another version: 'projector' is no list of layers."
        )
    for values in layers:
        _check(Dense, values, source)
    try:
        return tuple(Dense(**values) for values in layers)
    except UserError as error:
        raise DamagedFileError(f"{source} is damaged or of another version: {error}") from None


def _input(values: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The fields that say what the encoder makes of images first."""
    mean, deviation = values.get("input_mean"), values.get("input_deviation")
    try:
        check_input(mean, deviation, values.get("pool_padding", "same"))
    except UserError as error:
        raise DamagedFileError(f"{source} is damaged or of another version: {error}") from None
    if mean is None:
        return {}
    return {"input_mean": tuple(mean), "input_deviation": tuple(deviation)}


def _planes(values: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The groups of planes, as tuples; refuses an encoder that is none, or sees none."""
    encoder = values.get("encoder", Architecture.encoder)
    groups = values.get("plane_groups", Architecture.plane_groups)
    try:
        if encoder not in ENCODERS:
            raise UserError(f"An encoder is one of {', '.join(ENCODERS)}. Received: {encoder}.")
        check_planes(values.get("color_space", Architecture.color_space), groups)
    except UserError as error:
        raise DamagedFileError(f"{source} is damaged or of another version: {error}") from None
    return {"plane_groups": tuple(map(tuple, groups))}


def _check_keras(values: Mapping[str, Any], source: str) -> None:
    """Refuse an encoder of Keras whose description is not there."""
    if values.get("encoder") == "keras" and not all(values.get(name) for name in _OF_KERAS):
        raise DamagedFileError(
            f"{source} is damaged or of another version: it lacks {' or '.join(_OF_KERAS)}."
        )


def _check(kind: type, values: Mapping[str, Any], source: str) -> None:
    """Refuse values that are no fields of a dataclass, or of another type."""
    fields = {field.name: field.type for field in dataclasses.fields(kind)}
    if unknown := sorted(values.keys() - fields.keys()):
        raise UserError(
            f"{source} describes a network that this version does not know: it has "
            f"{', '.join(unknown)}. Use the version that wrote it, or a newer one."
        )
    kinds = {
        name: typing.get_args(field) if isinstance(field, types.UnionType) else field
        for name, field in fields.items()
        if name in values and name not in _LISTS
    }
    check_entries(values, kinds, source)
