"""What a network is made of, as data that JSON can hold."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any

from simclr_tf.errors import UserError
from simclr_tf.json_files import DamagedFileError, check_entries
from simclr_tf.models.heads import Dense, simclr_projector

# What described the projection head before it was a list of layers, and its defaults.
_SIMCLR_HEAD = {"proj_head_mode": "nonlinear", "num_proj_layers": 3, "proj_out_dim": 128}


@dataclasses.dataclass(frozen=True)
class Architecture:
    """What has to be known to build a Network; stored as JSON beside its weights.

    `projector` has the layers of the projection head, and `kept_proj_layers` is None where the
    network has all of them; a fine-tuned network has the first ones only. `ft_proj_selector` is
    the entry of [h, after layer 1, ..., z] that feeds the supervised head; `num_classes` is None
    without one.
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

    @property
    def kept_projector(self) -> tuple[Dense, ...]:
        """The layers of the projection head that the network has."""
        return self.projector[: self.kept_proj_layers]

    def to_json(self) -> dict[str, Any]:
        """JSON values by the names of the fields; `from_json` takes them back."""
        return dataclasses.asdict(self) | {
            "projector": [dataclasses.asdict(layer) for layer in self.projector]
        }

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
        return cls(**values)


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
        if name in values and name != "projector"
    }
    check_entries(values, kinds, source)
