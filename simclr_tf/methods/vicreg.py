"""VICReg: two views agree, every dimension varies, and no two vary together."""

import dataclasses

from simclr_tf import losses
from simclr_tf.devices import replicas
from simclr_tf.flag import flag
from simclr_tf.methods.expander import ExpanderMethod, expander
from simclr_tf.methods.measures import spread


@dataclasses.dataclass(frozen=True)
class Flags:
    """VICReg: its projection head, and the weights of its loss."""

    projector: str = flag(
        "8192-8192-8192", "Widths of the layers of the projection head, first to last."
    )
    invariance_weight: float = flag(25.0, "Weight of the distance of both views.", at_least=0)
    variance_weight: float = flag(25.0, "Weight of what a deviation lacks to 1.", at_least=0)
    covariance_weight: float = flag(1.0, "Weight of the squared covariances.", at_least=0)


class VICReg(ExpanderMethod):
    """Variance, invariance and covariance (arXiv 2105.04906), with the conventions of the code."""

    Flags = Flags
    metrics_of = {
        "vicreg_loss": "the weighted sum of the following three",
        "invariance": "mean squared difference of both views",
        "variance": "what the standard deviations lack to 1, a mean",
        "covariance": "squared covariances of different dimensions; 0 where all collapsed",
        "spread": "how far the embeddings of a batch differ",
    }

    @classmethod
    def projector(cls, flags):
        return expander(flags.projector, bias=True)

    def objective(self, embeddings):
        a, b = embeddings["projections"][:, 0], embeddings["projections"][:, 1]
        flags = self.flags
        loss, terms = losses.vicreg(
            a, b, flags.invariance_weight, flags.variance_weight, flags.covariance_weight
        )
        return loss, {"vicreg_loss": loss, **terms, "spread": spread(replicas.gather(a))}
