"""SimSiam: each view predicts the other, whose own gradient is stopped."""

import dataclasses

from simclr_tf import losses
from simclr_tf.data.recipe import torchvision_view
from simclr_tf.devices import replicas
from simclr_tf.flag import flag
from simclr_tf.methods.base import Method
from simclr_tf.methods.measures import spread
from simclr_tf.methods.predictor import predictions, predictor
from simclr_tf.models import Dense
from simclr_tf.optimizers import constant_rate_factor, peak_rate


@dataclasses.dataclass(frozen=True)
class Flags:
    """SimSiam: its projection head and its predictor."""

    proj_out_dim: int = flag(
        2048, "Width of the projection head and of the predictor's output.", at_least=1
    )
    num_proj_layers: int = flag(3, "Number of layers of the projection head.", at_least=1)
    predictor_dim: int = flag(512, "Width inside the predictor.", at_least=1, at_most=2**20)
    fix_pred_lr: bool = flag(
        True, "Keep the learning rate of the predictor at its highest value all the time."
    )


class SimSiam(Method):
    """Simple siamese networks (arXiv 2011.10566, Algorithm 1).

    The last layer of the official projection head has a bias besides, which stays at its random
    start; the batch norm behind it takes it away again, so it is left out here.
    """

    Flags = Flags
    DEFAULTS = {
        "optimizer": "sgd",
        "learning_rate": 0.05,
        "weight_decay": 1e-4,
        "warmup_epochs": 0.0,
        "schedule_by": "epoch",
    }
    metrics_of = {
        "simsiam_loss": "minus the cosine of predictions and projections, the mean of both ways",
        "spread": "how far the projections of a batch differ",
    }
    together = False

    @classmethod
    def recipe(cls, flags, view):
        return (torchvision_view(view.image_size),) * 2

    @classmethod
    def projector(cls, flags):
        last = Dense(flags.proj_out_dim, center=False, scale=False, relu=False, start="uniform")
        return (Dense(start="uniform"),) * (flags.num_proj_layers - 1) + (last,)

    def __init__(self, network, flags=None, plan=None, **kwargs):
        super().__init__(network, flags, plan, **kwargs)
        structure = (
            Dense(self.flags.predictor_dim, start="uniform"),
            Dense(self.flags.proj_out_dim, bias=True, norm=False, relu=False, start="uniform"),
        )
        self.predictor = predictor(network, structure)
        self._of_predictor = {id(variable) for variable in self.predictor.variables}

    def embed(self, views):
        features, projections = self.project(views)
        return {
            "features": features,
            "projections": projections,
            "predictions": predictions(self.predictor, projections),
        }

    def objective(self, embeddings):
        predicted, projections = embeddings["predictions"], embeddings["projections"]
        loss = losses.simsiam(predicted[:, 0], projections[:, 1]) / 2
        loss += losses.simsiam(predicted[:, 1], projections[:, 0]) / 2
        spread_of_batch = spread(replicas.gather(projections[:, 0]))
        return loss, {"simsiam_loss": loss, "spread": spread_of_batch}

    def rate_factor(self, variable):
        fixed = self.flags.fix_pred_lr and self.plan is not None
        if not fixed or id(variable) not in self._of_predictor:
            return None
        peak = peak_rate(self.optimizer, self.plan.train_steps)
        return None if peak is None else constant_rate_factor(peak, self.optimizer.learning_rate)
