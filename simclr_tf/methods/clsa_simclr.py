"""Strong views that learn from weak ones, on SimCLR: our own, after CLSA."""

import dataclasses

import tensorflow as tf

from simclr_tf.data.recipe import simclr_recipe
from simclr_tf.devices import replicas
from simclr_tf.methods import simclr
from simclr_tf.methods.strong_views import StrongViewFlags, divergence, weak_and_strong


@dataclasses.dataclass(frozen=True)
class Flags(simclr.LossFlags, StrongViewFlags):
    """CLSA on SimCLR: its projection head, its views and its losses."""


class CLSASimCLR(simclr.SimCLR):
    """SimCLR, whose strong views learn from weak ones as in CLSA. No paper has it.

    The first weak view makes a pair with each other weak view, which NT-Xent contrasts. A strong
    view learns from both of a pair, half from each: how similar it is to the other one's
    projections in the batch. The losses of all pairs, and of all pairs with a strong view, are
    added up. Strong views have passes of their own, so that weak ones keep their batch statistics.
    """

    Flags = Flags
    metrics_of = {
        **simclr.SimCLR.metrics_of,
        "contrast_loss": "the contrastive losses of pairs of weak views, added up",
        "divergence_loss": "the losses of strong views beside such pairs, added up",
    }

    @classmethod
    def recipe(cls, flags, view):
        first, other = simclr_recipe(view)
        return weak_and_strong(flags, first, other)

    def embed(self, views):
        number = 1 + self.flags.num_weak
        features, projections = self.project(views[:number])
        _, strong = self.project(views[number:])
        return {"features": features[:, :2], "projections": projections, "strong": strong}

    def objective(self, embeddings):
        flags = self.flags
        first, *others = tf.unstack(embeddings["projections"], axis=1)
        found = [self.contrast(first, other) for other in others]
        strong, compared = tf.unstack(embeddings["strong"], axis=1), []
        bank, *banks = (_bank(rows) for rows in (first, *others))
        for other, of_other in zip(others, banks, strict=True):
            ways = ((first, of_other), (other, bank))
            compared += [divergence(flags, w, s, rows) / 2 for s in strong for w, rows in ways]
        losses, *measures = zip(*found, strict=True)
        values = {
            "contrast_loss": tf.add_n(losses),
            "divergence_loss": tf.add_n(compared),
            "contrast_acc": tf.reduce_mean(measures[0]),
            "contrast_entropy": tf.reduce_mean(measures[1]),
        }
        total = values["contrast_loss"] + flags.divergence_weight * values["divergence_loss"]
        return total, values

    def chance_levels(self, batch_size):
        levels = super().chance_levels(batch_size)
        return {name: self.flags.num_weak * level for name, level in levels.items()}


def _bank(rows):
    """The projections of a view of the whole batch."""
    return replicas.gather(tf.math.l2_normalize(rows, axis=1))
