"""Whether the architecture that flags ask for is that of a checkpoint."""

import dataclasses
from collections.abc import Collection

from simclr_tf.checkpoints.layout import encoder_variables
from simclr_tf.models import Architecture

ENCODER_FLAGS = ("resnet_depth", "width_multiplier", "sk_ratio", "se_ratio", "cifar_stem")
PROJECTION_FLAGS = ("proj_head_mode", "num_proj_layers", "proj_out_dim")


def contradictions(
    asked: Architecture, stored: Architecture, flags: Collection[str] = ENCODER_FLAGS
) -> list[str]:
    """What does not fit, in words; empty when everything does.

    Args:
      asked: what the flags describe.
      stored: that of the checkpoint. Where it has no projection head, or a flag means nothing
        to the one it has, nothing is compared.
      flags: names of ENCODER_FLAGS and PROJECTION_FLAGS that are compared.
    """
    compared = [name for name in ENCODER_FLAGS if name in flags]
    if stored.proj_head_mode != "none":
        compared += [name for name in PROJECTION_FLAGS if name in flags]
    if "nonlinear" not in (asked.proj_head_mode, stored.proj_head_mode):
        compared = [name for name in compared if name != "num_proj_layers"]
    return [
        f"--cifar_stem={str(asked.cifar_stem).lower()}, but the checkpoint has {_stem(stored)}"
        if name == "cifar_stem"
        else f"--{name}={getattr(asked, name)}, but the checkpoint has {getattr(stored, name)}"
        for name in compared
        if _differ(name, asked, stored)
    ]


def _stem(architecture: Architecture) -> str:
    return "the CIFAR stem" if architecture.cifar_stem else "the ImageNet stem"


def _differ(name: str, asked: Architecture, stored: Architecture) -> bool:
    if name not in ("sk_ratio", "se_ratio"):
        return getattr(asked, name) != getattr(stored, name)
    # A ratio that was inferred is known only as far as the widths of layers tell.
    as_asked = dataclasses.replace(stored, **{name: getattr(asked, name)})
    return list(encoder_variables(as_asked)) != list(encoder_variables(stored))
