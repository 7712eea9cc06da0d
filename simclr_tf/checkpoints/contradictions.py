"""Whether the architecture that flags ask for is that of a checkpoint."""

import dataclasses
from collections.abc import Collection
from typing import Any

from simclr_tf.checkpoints.layout import encoder_variables
from simclr_tf.models import Architecture, Dense
from simclr_tf.models.colors import planes_in_words
from simclr_tf.models.heads import in_words, simclr_flags, without_starts

OF_PLANES = ("color_space", "planes", "view_width")
ENCODER_FLAGS = (
    *("resnet_depth", "width_multiplier", "sk_ratio", "se_ratio", "cifar_stem", "encoder"),
    *OF_PLANES,
)
PROJECTION_FLAGS = ("proj_head_mode", "num_proj_layers", "proj_out_dim")
_SEEN = {"resnet": "RGB images", "lab": "colour planes", "keras": "Keras"}


def contradictions(
    asked: Architecture, stored: Architecture, flags: Collection[str] = ENCODER_FLAGS
) -> list[str]:
    """What does not fit, in words; empty when everything does.

    Args:
      asked: what the flags describe.
      stored: that of the checkpoint. Where it has no projection head, or a flag means nothing
        to the one it has, nothing is compared.
      flags: names of ENCODER_FLAGS and PROJECTION_FLAGS that are compared. A projection head
        that is not SimCLR's is compared as a whole if there is one of PROJECTION_FLAGS.
    """
    if "keras" in (asked.encoder, stored.encoder):
        encoder = _of_own_encoder(asked, stored, flags)
    else:
        encoder = [
            _difference(name, asked, stored)
            for name in ENCODER_FLAGS
            if name in flags and _differ(name, asked, stored)
        ]
    compared = [name for name in PROJECTION_FLAGS if name in flags]
    if not (compared and stored.projector):
        return encoder
    return encoder + _of_projectors(asked, stored, compared)


def _of_own_encoder(asked: Architecture, stored: Architecture, flags: Collection[str]) -> list[str]:
    """What flags say of an encoder of Keras, to which none of them means anything.

    Whether two such encoders are of one kind, their weights tell when they are loaded.
    """
    if asked.encoder == stored.encoder:
        return []
    if "encoder" in flags:
        here, there = _SEEN[asked.encoder], _SEEN[stored.encoder]
        return [f"an encoder of {here}, but the checkpoint has one of {there}"]
    return [
        f"--{name}={_value(name, asked)}, but the checkpoint has an encoder of {_SEEN['keras']}"
        for name in ENCODER_FLAGS
        if name in flags
    ]


def _difference(name: str, asked: Architecture, stored: Architecture) -> str:
    here, there = _value(name, asked), _value(name, stored)
    if name == "cifar_stem":
        return f"--cifar_stem={str(here).lower()}, but the checkpoint has {_stem(stored)}"
    if name == "encoder":
        return f"an encoder of {_SEEN[here]}, but the checkpoint has one of {_SEEN[there]}"
    return f"--{name}={here}, but the checkpoint has {there}"


def _value(name: str, architecture: Architecture) -> Any:
    """What a flag says of an architecture."""
    if name == "planes":
        return planes_in_words(architecture.plane_groups)
    return getattr(architecture, name)


def _of_projectors(
    asked: Architecture, stored: Architecture, compared: Collection[str]
) -> list[str]:
    given, found = simclr_flags(asked.projector), simclr_flags(stored.projector)
    if given is None or found is None:
        if _with_widths(asked) == _with_widths(stored):
            return []
        return [
            f"a projection head of {in_words(asked.projector)}, but the checkpoint has one of "
            f"{in_words(stored.projector)}"
        ]
    differing = [n for n in compared if n in given and given[n] != found[n]]
    # With a linear head --num_proj_layers means nothing, and another kind says enough.
    if "proj_head_mode" in differing or found["proj_head_mode"] == "linear":
        differing = [name for name in differing if name != "num_proj_layers"]
    return [f"--{n}={given[n]}, but the checkpoint has {found[n]}" for n in differing]


def _with_widths(architecture: Architecture) -> list[Dense]:
    """The layers of the projection head, whose widths a file may name where flags do not."""
    return [
        dataclasses.replace(layer, units=layer.units or architecture.feature_dim)
        for layer in without_starts(architecture.projector)
    ]


def _stem(architecture: Architecture) -> str:
    return "the CIFAR stem" if architecture.cifar_stem else "the ImageNet stem"


def _differ(name: str, asked: Architecture, stored: Architecture) -> bool:
    if name in OF_PLANES and "resnet" in (asked.encoder, stored.encoder):
        return False
    if name not in ("sk_ratio", "se_ratio"):
        return _value(name, asked) != _value(name, stored)
    # A ratio that was inferred is known only as far as the widths of layers tell.
    as_asked = dataclasses.replace(stored, **{name: getattr(asked, name)})
    return list(encoder_variables(as_asked)) != list(encoder_variables(stored))
