"""Strong views that learn from weak ones, on BYOL: our own, after CLSA."""

import dataclasses

import tensorflow as tf

from simclr_tf import losses
from simclr_tf.devices import replicas
from simclr_tf.flag import flag
from simclr_tf.methods import byol
from simclr_tf.methods.measures import spread
from simclr_tf.methods.predictor import predictions
from simclr_tf.methods.strong_views import StrongViewFlags, divergence, weak_and_strong
from simclr_tf.methods.twin import queue_of


@dataclasses.dataclass(frozen=True)
class Flags(byol.Flags, StrongViewFlags):
    """CLSA on BYOL: its heads, its target, its queue, its views and its losses."""

    queue_size: int = flag(
        65_536,
        "Targets of earlier batches that weak and strong views are compared by.",
        at_least=1,
        at_most=2**24,
    )


class CLSABYOL(byol.BYOL):
    """BYOL, whose strong views learn from weak ones as in CLSA. No paper has it.

    The first weak view and each other weak view predict each other's target. A strong view's
    prediction has to be as similar to the targets of the batch's first views, and to those of
    earlier batches, as the prediction of each weak view but the first. All of these are added up.
    """

    Flags = Flags
    metrics_of = {
        "byol_loss": "squared distances of predictions and targets of weak views, added up",
        "divergence_loss": "the losses of pairs of a weak and a strong view, added up",
        "spread": "how far the projections of a batch differ",
    }

    @classmethod
    def recipe(cls, flags, view):
        first, other = super().recipe(flags, view)
        return weak_and_strong(flags, first, other)

    def __init__(self, network, flags=None, plan=None, **kwargs):
        super().__init__(network, flags, plan, **kwargs)
        self.queue = queue_of(self.flags.queue_size, self.flags.proj_out_dim, plan)

    def embed(self, views):
        number = 1 + self.flags.num_weak
        features, projections = self.project(views)
        _, targets = self.project(views[:number], self.twin)
        return {
            "features": features[:, :2],
            "projections": projections[:, :1],
            "predictions": predictions(self.predictor, projections),
            "targets": tf.stop_gradient(targets),
        }

    def objective(self, embeddings):
        flags, number = self.flags, embeddings["targets"].shape[1]
        predicted = tf.unstack(embeddings["predictions"], axis=1)
        targets = tf.unstack(embeddings["targets"], axis=1)
        weak, strong = predicted[1:number], predicted[number:]
        regression = [losses.byol(predicted[0], target) for target in targets[1:]]
        regression += [losses.byol(prediction, targets[0]) for prediction in weak]
        keys = tf.math.l2_normalize(targets[0], axis=-1)
        bank = tf.concat([replicas.gather(keys), self.queue.rows], axis=0)
        pairs = [divergence(flags, w, s, bank) for w in weak for s in strong]
        values = {
            "byol_loss": tf.add_n(regression),
            "divergence_loss": tf.add_n(pairs),
            "spread": spread(replicas.gather(embeddings["projections"][:, 0])),
        }
        return values["byol_loss"] + flags.divergence_weight * values["divergence_loss"], values

    def after_update(self, embeddings):
        super().after_update(embeddings)
        keys = tf.math.l2_normalize(embeddings["targets"][:, 0], axis=-1)
        self.queue.push(replicas.gather(keys))
