"""SimCLR: two views of each image attract, all other images of the batch repel."""

import dataclasses
import math

import tensorflow as tf

from simclr_tf.data.recipe import simclr_recipe
from simclr_tf.errors import UserError
from simclr_tf.flag import flag
from simclr_tf.losses import (
    chance_level,
    contrastive_metrics,
    margin_triplet,
    nt_logistic,
    nt_xent,
    nt_xent_with_metrics,
)
from simclr_tf.losses.nt_xent import IMPLEMENTATIONS
from simclr_tf.losses.triplets import MINING, NEGATIVES
from simclr_tf.methods.base import Method
from simclr_tf.methods.studied_views import StudiedViewFlags, require_transforms, studied_recipe
from simclr_tf.models import simclr_projector
from simclr_tf.models.heads import MODES


@dataclasses.dataclass(frozen=True)
class LossFlags:
    """The projection head of SimCLR, and its contrastive loss."""

    proj_head_mode: str = flag("nonlinear", "Kind of projection head.", choices=MODES)
    proj_out_dim: int = flag(
        128, "Width of the projection head's output.", at_least=1, at_most=2**20
    )
    num_proj_layers: int = flag(
        3, "Number of layers of a nonlinear projection head.", at_least=1, at_most=100
    )
    temperature: float = flag(0.1, "Temperature of the contrastive loss.", above=0)
    contrastive_loss: str = flag(
        "nt_xent",
        "The contrastive loss: SimCLR's, or one of those that its paper compares it with.",
        choices=("nt_xent", "nt_logistic", "margin"),
    )
    margin: float = flag(0.8, "Margin of --contrastive_loss=margin.", at_least=0, at_most=4)
    negative_mining: str = flag(
        "none",
        "Compare with all negatives, or with a semi-hard one: nt_logistic and margin.",
        choices=MINING,
    )
    negatives: str | None = flag(
        None,
        "Negatives of a view: other images in both views, or in its other_view alone. By default "
        "both with nt_xent, other_view with the others.",
        choices=NEGATIVES,
    )
    hidden_norm: bool = flag(True, "l2-normalise the projections before the contrastive loss.")
    loss_implementation: str = flag(
        "auto",
        "How the contrastive loss is computed: dense holds all similarities of the batch, tiled a "
        "part of them at a time (same values, memory linear in the batch); auto is tiled where a "
        "device has many: from a batch of 1024 on one device, 2048 on 4, 8192 on 64.",
        choices=IMPLEMENTATIONS,
        identity=False,
    )


@dataclasses.dataclass(frozen=True)
class Flags(StudiedViewFlags, LossFlags):
    """SimCLR: its projection head, its contrastive loss, and the views of its paper's studies."""


class SimCLR(Method):
    """Contrastive pretraining (arXiv 2002.05709, Algorithm 1)."""

    Flags = Flags
    metrics_of = {
        "contrast_loss": "the contrastive loss",
        "contrast_acc": "share of images whose nearest second view in the batch is their own",
        "contrast_entropy": "entropy of the similarities, in nats",
    }

    @classmethod
    def recipe(cls, flags, view):
        require_transforms(flags, view)
        return studied_recipe(flags, simclr_recipe(view)[0])

    @classmethod
    def check(cls, flags, plan):
        xent = flags.contrastive_loss == "nt_xent"
        if xent and flags.negative_mining != "none":
            raise UserError(
                f"--negative_mining={flags.negative_mining} is for --contrastive_loss=nt_logistic "
                "and margin. Leave it out, or give one of these."
            )
        if flags.contrastive_loss != "margin" and flags.margin != cls.Flags().margin:
            raise UserError(
                f"--margin={flags.margin:g} is for --contrastive_loss=margin. Leave it out."
            )
        if not xent and not flags.hidden_norm:
            raise UserError(
                f"--contrastive_loss={flags.contrastive_loss} is of cosines. Leave out "
                "--hidden_norm=false."
            )
        if flags.loss_implementation == "tiled" and (_negatives(flags), xent) != ("both", True):
            raise UserError(
                "--loss_implementation=tiled is of --contrastive_loss=nt_xent with the negatives "
                "of both views. Leave it out."
            )

    @classmethod
    def for_xla(cls, flags):
        if flags.loss_implementation == "tiled":
            raise UserError(
                "--loss_implementation=tiled cannot be compiled by XLA. Leave out --jit_compile, "
                "or give --loss_implementation=dense."
            )
        return dataclasses.replace(flags, loss_implementation="dense")

    @classmethod
    def projector(cls, flags):
        return simclr_projector(flags.proj_head_mode, flags.num_proj_layers, flags.proj_out_dim)

    def objective(self, embeddings):
        values = self.contrast(*tf.unstack(embeddings["projections"], axis=1))
        return values[0], dict(zip(self.metrics_of, values, strict=True))

    def contrast(self, first: tf.Tensor, second: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """The contrastive loss of two views (n, d), with its accuracy and entropy: scalars."""
        flags, hidden = self.flags, tf.concat([first, second], axis=0)
        mining, negatives = flags.negative_mining, _negatives(flags)
        if (flags.contrastive_loss, negatives) == ("nt_xent", "both"):
            return nt_xent_with_metrics(
                hidden, flags.temperature, flags.hidden_norm, flags.loss_implementation
            )
        loss, logits, labels = nt_xent(
            hidden, flags.temperature, flags.hidden_norm, negatives=negatives
        )
        if flags.contrastive_loss == "nt_logistic":
            loss = nt_logistic(hidden, flags.temperature, mining, negatives)
        elif flags.contrastive_loss == "margin":
            loss = margin_triplet(hidden, flags.margin, mining, negatives)
        return loss, *contrastive_metrics(logits, labels)

    def chance_levels(self, batch_size):
        flags = self.flags
        if flags.negative_mining != "none" or (flags.contrastive_loss, flags.margin) == (
            "margin",
            0,
        ):
            return {}  # the loss is as small where all projections are the same
        if flags.contrastive_loss == "margin":
            level = 2 * flags.margin
        elif flags.contrastive_loss == "nt_logistic":
            level = 2 / flags.temperature + 4 * math.log1p(math.exp(-1 / flags.temperature))
        elif _negatives(self.flags) == "other_view":
            level = 2 * math.log(batch_size)
        else:
            level = chance_level(batch_size)
        return {"contrast_loss": level}


def _negatives(flags):
    default = "both" if flags.contrastive_loss == "nt_xent" else "other_view"
    return flags.negatives or default
