"""SimCLR: two views of each image attract, all other images of the batch repel."""

import dataclasses

import tensorflow as tf

from simclr_tf.data.recipe import simclr_recipe
from simclr_tf.errors import UserError
from simclr_tf.flag import flag
from simclr_tf.losses import chance_level, nt_xent_with_metrics
from simclr_tf.methods.base import Method
from simclr_tf.models import simclr_projector
from simclr_tf.models.heads import MODES


@dataclasses.dataclass(frozen=True)
class Flags:
    """SimCLR: its projection head and its contrastive loss."""

    proj_head_mode: str = flag("nonlinear", "Kind of projection head.", choices=MODES)
    proj_out_dim: int = flag(
        128, "Width of the projection head's output.", at_least=1, at_most=2**20
    )
    num_proj_layers: int = flag(
        3, "Number of layers of a nonlinear projection head.", at_least=1, at_most=100
    )
    temperature: float = flag(0.1, "Temperature of the contrastive loss.", above=0)
    hidden_norm: bool = flag(True, "l2-normalise the projections before the contrastive loss.")
    loss_implementation: str = flag(
        "auto",
        "How the contrastive loss is computed: dense holds all similarities of the batch, tiled a "
        "part of them at a time (same values, memory linear in the batch); auto is tiled where a "
        "device has many: from a batch of 1024 on one device, 2048 on 4, 8192 on 64.",
        choices=("auto", "dense", "tiled"),
        identity=False,
    )


class SimCLR(Method):
    """Contrastive pretraining (arXiv 2002.05709, Algorithm 1)."""

    Flags = Flags
    metrics_of = {
        "contrast_loss": "the contrastive loss",
        "contrast_acc": "share of views whose nearest other view is of the same image",
        "contrast_entropy": "entropy of the similarities, in nats",
    }

    @classmethod
    def recipe(cls, flags, view):
        return simclr_recipe(view)

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

    def embed(self, views):
        features, projections = self.project(views)
        return {"features": features, "projections": projections}

    def objective(self, embeddings):
        hidden = tf.concat(tf.unstack(embeddings["projections"], axis=1), axis=0)
        flags = self.flags
        values = nt_xent_with_metrics(
            hidden, flags.temperature, flags.hidden_norm, flags.loss_implementation
        )
        return values[0], dict(zip(self.metrics_of, values, strict=True))

    def chance_levels(self, batch_size):
        return {"contrast_loss": chance_level(batch_size)}
