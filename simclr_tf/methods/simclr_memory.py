"""SimCLR with a memory: a queue of earlier projections has further negatives."""

import dataclasses

import tensorflow as tf

from simclr_tf.data.recipe import simclr_recipe
from simclr_tf.devices import replicas
from simclr_tf.flag import flag
from simclr_tf.losses import chance_level, contrastive_metrics, nt_xent
from simclr_tf.methods.base import Method
from simclr_tf.methods.twin import follow, queue_of, twin
from simclr_tf.models import simclr_projector


@dataclasses.dataclass(frozen=True)
class Flags:
    """SimCLR with a memory: its projection head, its memory and its contrastive loss."""

    proj_out_dim: int = flag(
        128, "Width of the projection head's output.", at_least=1, at_most=2**20
    )
    num_proj_layers: int = flag(3, "Number of layers of the projection head.", at_least=1)
    temperature: float = flag(0.1, "Temperature of the contrastive loss.", above=0)
    queue_size: int = flag(65_536, "Projections in the memory.", at_least=1, at_most=2**24)
    target_decay: float = flag(
        0.999,
        "Decay of the moving average of the network, which fills the memory.",
        at_least=0,
        at_most=1,
    )


class SimCLRMemory(Method):
    """SimCLR with the memory that SimCLRv2 was trained with (arXiv 2006.10029, section 2.1).

    The paper says that a moving average of the weights, with a decay of 0.999, makes a memory of
    64K negatives as in MoCo, and no more; no code of it was released. Here that means: the loss
    is NT-Xent, with the memory's rows as further negatives of every row. Positives and the
    negatives of the batch are the network's own projections, with gradient. After the update the
    projections that the moving average made of both views join the memory, those of the first
    view first. Their batch statistics are taken as the network's own are.
    """

    Flags = Flags
    metrics_of = {
        "contrast_loss": "the contrastive loss",
        "contrast_acc": "share of images whose nearest second view in the batch is their own",
        "contrast_entropy": "entropy of the similarities in the batch, in nats",
    }

    @classmethod
    def recipe(cls, flags, view):
        return simclr_recipe(view)

    @classmethod
    def projector(cls, flags):
        return simclr_projector("nonlinear", flags.num_proj_layers, flags.proj_out_dim)

    def __init__(self, network, flags=None, plan=None, **kwargs):
        super().__init__(network, flags, plan, **kwargs)
        self.twin = twin(network)
        self.queue = queue_of(self.flags.queue_size, self.flags.proj_out_dim, plan, 2)

    @property
    def untrained(self):
        return (self.twin,)

    def embed(self, views):
        features, projections = self.project(views)
        _, remembered = self.project(views, self.twin)
        return {
            "features": features,
            "projections": projections,
            "remembered": tf.stop_gradient(tf.math.l2_normalize(remembered, axis=-1)),
        }

    def objective(self, embeddings):
        hidden = tf.concat(tf.unstack(embeddings["projections"], axis=1), axis=0)
        loss, logits, labels = nt_xent(hidden, self.flags.temperature, memory=self.queue.rows)
        values = (loss, *contrastive_metrics(logits, labels))
        return loss, dict(zip(self.metrics_of, values, strict=True))

    def after_update(self, embeddings):
        follow(self.twin, self.network, self.flags.target_decay)
        for rows in tf.unstack(embeddings["remembered"], axis=1):
            self.queue.push(replicas.gather(rows))

    def chance_levels(self, batch_size):
        return {"contrast_loss": chance_level(batch_size, self.flags.queue_size)}
