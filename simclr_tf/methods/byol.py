"""BYOL: each view predicts what a slow copy of the network makes of the other."""

import dataclasses
import math

import tensorflow as tf

from simclr_tf import losses
from simclr_tf.data.recipe import View, blurred_and_solarized
from simclr_tf.devices import replicas
from simclr_tf.flag import flag
from simclr_tf.methods.base import Method
from simclr_tf.methods.measures import spread
from simclr_tf.methods.predictor import predictions, predictor
from simclr_tf.methods.twin import follow, twin
from simclr_tf.models import Dense


@dataclasses.dataclass(frozen=True)
class Flags:
    """BYOL: its projection head, its predictor and its target."""

    proj_hidden_dim: int = flag(
        4096, "Width inside the projection head.", at_least=1, at_most=2**20
    )
    proj_out_dim: int = flag(
        256, "Width of the output of projection head and predictor.", at_least=1, at_most=2**20
    )
    predictor_dim: int = flag(4096, "Width inside the predictor.", at_least=1, at_most=2**20)
    target_decay: float = flag(
        0.996,
        "Decay of the target at the start; it rises to 1 along a cosine. The paper has 0.97 for "
        "40 epochs, 0.99 for 100 to 300, and 0.996 for 1000.",
        at_least=0,
        at_most=1,
    )


class BYOL(Method):
    """Bootstrap your own latent (arXiv 2006.07733, Algorithm 1).

    The target uses the statistics of its batches and follows the weights alone, after the update.
    It starts as a copy of the network, where the official code draws other random weights; its
    authors saw no difference.
    """

    Flags = Flags
    DEFAULTS = {
        "train_epochs": 1000,
        "optimizer": "lars",
        "lars_rate_outside": True,
        "learning_rate": 0.2,
        "weight_decay": 1.5e-6,
        "warmup_epochs": 10.0,
    }
    metrics_of = {
        "byol_loss": "squared distance of predictions and targets, the sum of both directions",
        "spread": "how far the projections of a batch differ",
    }
    together = False

    @classmethod
    def recipe(cls, flags, view):
        shown = View(
            view.image_size,
            covered=0.0,
            fit="clamp",
            clip_crop=True,
            brightness="add",
            jitter=(0.4, 0.4, 0.2, 0.1),
        )
        return blurred_and_solarized(shown)

    @classmethod
    def projector(cls, flags):
        return _layers(flags.proj_hidden_dim, flags.proj_out_dim)

    def __init__(self, network, flags=None, plan=None, **kwargs):
        super().__init__(network, flags, plan, **kwargs)
        self.twin = twin(network)
        structure = _layers(self.flags.predictor_dim, self.flags.proj_out_dim)
        self.predictor = predictor(network, structure)

    @property
    def untrained(self):
        return (self.twin,)

    def embed(self, views):
        features, projections = self.project(views)
        _, targets = self.project(views, self.twin)
        return {
            "features": features,
            "projections": projections,
            "predictions": predictions(self.predictor, projections),
            "targets": tf.stop_gradient(targets),
        }

    def objective(self, embeddings):
        predicted, targets = embeddings["predictions"], embeddings["targets"]
        loss = losses.byol(predicted[:, 0], targets[:, 1])
        loss += losses.byol(predicted[:, 1], targets[:, 0])
        spread_of_batch = spread(replicas.gather(embeddings["projections"][:, 0]))
        return loss, {"byol_loss": loss, "spread": spread_of_batch}

    def decay(self, step: tf.Tensor) -> tf.Tensor:
        """The decay of the target in step `step`, counted from 0: a float32 scalar.

        Without a plan it stays what it is at the start.
        """
        start = self.flags.target_decay
        progress = tf.cast(step, tf.float32) / self.plan.train_steps if self.plan else 0.0
        return 1 - (1 - start) * (tf.cos(math.pi * progress) + 1) / 2

    def after_update(self, embeddings):
        follow(self.twin, self.network, self.decay(self.step - 1))


def _layers(hidden, out):
    """Of the projection head, and of the predictor."""
    return (
        Dense(hidden, bias=True, start="truncated"),
        Dense(out, norm=False, relu=False, start="truncated"),
    )
