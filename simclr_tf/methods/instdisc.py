"""InstDisc: each image is told from all others by a bank of what the network made of them."""

import dataclasses

import tensorflow as tf

from simclr_tf.data.recipe import View, torchvision_view
from simclr_tf.devices import replicas
from simclr_tf.errors import UserError
from simclr_tf.flag import flag
from simclr_tf.losses import instance_softmax, nce
from simclr_tf.methods.bank import Bank
from simclr_tf.methods.base import Method
from simclr_tf.methods.measures import spread
from simclr_tf.models import Dense


@dataclasses.dataclass(frozen=True)
class Flags:
    """InstDisc: its bank, its negatives and its loss."""

    proj_out_dim: int = flag(128, "Width of the bank's rows.", at_least=1, at_most=2**20)
    negatives: int = flag(
        4096,
        "Rows of other images that each image is compared with, drawn anew in every step; 0 "
        "compares with all images.",
        at_least=0,
        at_most=2**24,
    )
    shared_negatives: bool = flag(
        False,
        "Draw the negatives once for all images of a replica, and not for each: faster, but no "
        "longer the loss of the paper.",
    )
    softmax: bool = flag(
        False, "Cross-entropy over the scores instead of noise-contrastive estimation."
    )
    temperature: float = flag(0.07, "Temperature of the similarities.", above=0)
    bank_momentum: float = flag(
        0.5, "Share of a row that remains where it is written.", at_least=0, at_most=1
    )
    flip: bool = flag(True, "Whether views are flipped from left to right.")


def instdisc_view(size: int, flip: bool = True) -> View:
    """The view of InstDisc, which MoCo took over.

    Args:
      size: height and width, in pixels.
      flip: whether half of the views are flipped.
    """
    return torchvision_view(
        size,
        flip_probability=0.5 if flip else 0.0,
        jitter_probability=1.0,
        jitter=(0.4, 0.4, 0.4, 0.4),
        blur_probability=0.0,
        order=("grayscale", "jitter", "blur", "solarize"),
    )


class InstDisc(Method):
    """Instance discrimination (arXiv 1805.01978, section 3).

    An image has one view in a step; what it has to find is its own row in the bank, of an epoch
    ago. The row is then averaged with what the network made of it before the update, as in the
    official code, in place of the paper's proximal term. The constant Z of noise-contrastive
    estimation is set by the first batch and stays.
    """

    Flags = Flags
    DEFAULTS = {
        "optimizer": "sgd",
        "learning_rate": 0.03,
        "weight_decay": 1e-4,
        "train_epochs": 200,
        "warmup_epochs": 0.0,
        "schedule": "steps",
        "schedule_milestones": "120,160",
        "global_bn": False,
    }
    metrics_of = {
        "bank_loss": "the loss of telling images apart",
        "bank_acc": "share of images whose own row is as similar as any that it is compared with",
        "spread": "how far the embeddings of a batch differ",
    }
    zero_residuals = False
    wants_numbers = True

    @classmethod
    def recipe(cls, flags, view):
        return (instdisc_view(view.image_size, flags.flip),)

    @classmethod
    def projector(cls, flags):
        return (Dense(flags.proj_out_dim, bias=True, norm=False, relu=False, start="uniform"),)

    def __init__(self, network, flags=None, plan=None, **kwargs):
        super().__init__(network, flags, plan, **kwargs)
        if plan is None:
            raise UserError("A bank has a row for each image: give the method a plan.")
        banks = 1 + max(bank for _, bank in self.comparisons)
        self.banks = [Bank(plan.num_examples, self.flags.proj_out_dim) for _ in range(banks)]
        self.partitions = []
        if self.flags.negatives and not self.flags.softmax:
            once = tf.VariableAggregation.ONLY_FIRST_REPLICA
            self.partitions = [
                tf.Variable(0.0, trainable=False, aggregation=once, name=f"partition{i}")
                for i in range(len(self.comparisons))
            ]

    @property
    def comparisons(self) -> tuple[tuple[int, int], ...]:
        """Which rows of an image are compared with which bank."""
        return ((0, 0),)

    def embed(self, views):
        features, projections = self.project(views)
        return {"features": features, "rows": self._rows(projections)}

    def _rows(self, projections):
        """A row of length 1 for each bank."""
        rows = tf.reshape(projections, [-1, len(self.banks), self.flags.proj_out_dim])
        return tf.math.l2_normalize(rows, axis=-1)

    def objective(self, embeddings):
        rows, numbers = tf.unstack(embeddings["rows"], axis=1), embeddings["numbers"]
        others = self._own_negatives(numbers.shape[0]) if self.flags.negatives else None
        losses, found = [], []
        for i, (row, bank) in enumerate(self.comparisons):
            loss, own_found = self._compared(i, rows[row], self.banks[bank], numbers, others)
            losses.append(loss)
            found.append(own_found)
        loss, accuracy = tf.add_n(losses), tf.reduce_mean(tf.cast(found, tf.float32))
        values = (loss, accuracy, spread(replicas.gather(rows[0])))
        return loss, dict(zip(self.metrics_of, values, strict=True))

    def _compared(self, i, rows, bank, numbers, others):
        """Comparison i: its loss, and which images are not nearer to another row than to theirs."""
        if others is None:
            scores, own = bank.all_scores(rows) / self.flags.temperature, numbers
        else:
            scores = bank.scores(rows, numbers, others) / self.flags.temperature
            own = tf.zeros_like(numbers)
        found = tf.gather(scores, own, batch_dims=1) >= tf.reduce_max(scores, axis=1)
        if not self.partitions:
            return instance_softmax(scores, own), found
        images = self.plan.num_examples
        partition = self._partition(self.partitions[i], images, scores)
        return nce(scores, images, self.flags.negatives, partition), found

    def _partition(self, variable, images, scores):
        """Z: the images times the mean of what the first batch has under the exponential."""
        mean = tf.reduce_mean(tf.exp(tf.stop_gradient(scores)))
        first = images * replicas.mean_over_replicas(mean)
        variable.assign(tf.where(variable > 0, variable, first))
        return variable.read_value()

    def _own_negatives(self, images):
        """This replica's share of `draw_negatives`: (images, m), or (m,)."""
        number, replica = replicas.num_replicas(), replicas.replica_id()
        if self.flags.shared_negatives:
            return self.draw_negatives(number)[replica]
        own = replica * images + tf.range(images)
        return tf.gather(self.draw_negatives(number * images), own)

    def draw_negatives(self, number: int) -> tf.Tensor:
        """Numbers of images, uniform and with replacement; the same in every replica.

        A step that XLA compiles draws others.

        Args:
          number: of images in the batch of all replicas, or of replicas.

        Returns:
          (number, m) int32.
        """
        shape = (number, self.flags.negatives)
        seed = self.seed_of_step(0)
        return tf.random.stateless_uniform(shape, seed, 0, self.plan.num_examples, tf.int32)

    @property
    def memory(self):
        return tf.concat([bank.rows for bank in self.banks], axis=1)

    def compared_with_memory(self, projections):
        return tf.concat(tf.unstack(self._rows(projections), axis=1), axis=1)

    def after_update(self, embeddings):
        numbers = replicas.gather(embeddings["numbers"])
        for i, bank in enumerate(self.banks):
            rows = replicas.gather(embeddings["rows"][:, i])
            bank.update(numbers, rows, self.flags.bank_momentum)
