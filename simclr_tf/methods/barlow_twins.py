"""Barlow Twins: the correlation of two views' embeddings is the identity."""

import dataclasses

from simclr_tf import losses
from simclr_tf.devices import replicas
from simclr_tf.flag import flag
from simclr_tf.methods.expander import ExpanderMethod, expander
from simclr_tf.methods.measures import spread


@dataclasses.dataclass(frozen=True)
class Flags:
    """Barlow Twins: its projection head, its loss, and the learning rate of biases."""

    projector: str = flag(
        "8192-8192-8192", "Widths of the layers of the projection head, first to last."
    )
    off_diagonal_weight: float = flag(
        0.0051, "Weight of the correlations of different dimensions.", at_least=0
    )
    bias_rate: float = flag(
        0.0015,
        "Learning rate of biases and batch norm, as a share of the others': the official 0.0048 "
        "of 0.2, and a sixteenth of that, since the official gradient on 16 GPUs is a sixteenth "
        "of the loss's, which LARS hides for kernels alone.",
        at_least=0,
        at_most=1,
    )


class BarlowTwins(ExpanderMethod):
    """Redundancy reduction (arXiv 2103.03230, Algorithm 1).

    On R GPUs the official code adds up the correlations of all, and then takes the mean of
    gradients that each know of their own share alone: they are 1/R of the gradient of the loss.
    Here gradients are those of the loss, on any number of replicas; `bias_rate` makes up for it.
    The linear probe, which is no part of the official training, has the common rate.
    """

    Flags = Flags
    metrics_of = {
        "barlow_loss": "squared distance of the correlations from the identity",
        "spread": "how far the embeddings of a batch differ",
    }

    @classmethod
    def projector(cls, flags):
        return expander(flags.projector, bias=False)

    def __init__(self, network, flags=None, plan=None, **kwargs):
        super().__init__(network, flags, plan, **kwargs)
        probe = network.supervised_head.variables if self.has_probe else ()
        self._of_probe = {id(variable) for variable in probe}

    def objective(self, embeddings):
        a, b = embeddings["projections"][:, 0], embeddings["projections"][:, 1]
        loss = losses.barlow_twins(a, b, self.flags.off_diagonal_weight)
        return loss, {"barlow_loss": loss, "spread": spread(replicas.gather(a))}

    def rate_factor(self, variable):
        apart = variable.shape.rank < 2 and id(variable) not in self._of_probe
        return self.flags.bias_rate if apart else None
