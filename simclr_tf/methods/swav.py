"""SwAV: each view predicts to which prototypes another view of the image belongs."""

import dataclasses
import logging
import math

import tensorflow as tf

from simclr_tf import losses
from simclr_tf.backend import keras
from simclr_tf.data.recipe import torchvision_view
from simclr_tf.devices import replicas
from simclr_tf.errors import UserError
from simclr_tf.flag import flag
from simclr_tf.methods.base import Method
from simclr_tf.methods.measures import spread
from simclr_tf.methods.small_crops import SmallCropFlags, small_views
from simclr_tf.methods.twin import Queue
from simclr_tf.models import Dense

ASSIGNED = 2  # views, the first ones: those of --image_size


@dataclasses.dataclass(frozen=True)
class Flags(SmallCropFlags):
    """SwAV: its head, its prototypes, its queue and its small views."""

    proj_hidden_dim: int = flag(
        2048, "Width inside the projection head.", at_least=1, at_most=2**20
    )
    proj_out_dim: int = flag(128, "Width of the embeddings.", at_least=1, at_most=2**20)
    prototypes: int = flag(
        3000,
        "Number of prototypes; 10 to 50 for each class that one would expect.",
        at_least=2,
        at_most=2**20,
    )
    temperature: float = flag(0.1, "Temperature of the predictions.", above=0)
    epsilon: float = flag(
        0.05, "How soft assignments are; 0.03 where the loss stays at its chance level.", above=0
    )
    sinkhorn_iterations: int = flag(
        3, "How often assignments are balanced.", at_least=1, at_most=1000
    )
    freeze_prototypes_steps: int = flag(
        313,
        "Steps that the prototypes stay frozen: give those of an epoch; 313 are one of ImageNet in "
        "batches of 4,096.",
        at_least=0,
    )
    queue_length: int = flag(
        0,
        "Images of earlier batches that are assigned with the batch, where it is smaller than the "
        "number of prototypes; rounded down to whole batches.",
        at_least=0,
        at_most=2**24,
    )
    queue_start_epoch: int = flag(
        15,
        "Epochs before embeddings count for the queue; it is used once it holds no earlier ones.",
        at_least=0,
    )


class SwAV(Method):
    """Swapping assignments between views (arXiv 2006.09882, section 3 and Algorithm 1).

    The prototypes have length 1: after every update here, before every step in the official
    code. Each view of --image_size has a queue of its own. The probe sees these views alone.
    """

    Flags = Flags
    DEFAULTS = {
        "optimizer": "larc",
        "weight_decay": 1e-6,
        "warmup_start": 0.0625,
        "final_rate": 0.001,
    }
    metrics_of = {
        "swav_loss": "cross-entropy of assignments and predictions, in nats",
        "spread": "how far the embeddings of a batch differ",
    }
    head_over_all = True
    zero_residuals = False

    @classmethod
    def recipe(cls, flags, view):
        area = (0.14, 1.0) if flags.small_crops else (0.08, 1.0)
        large = torchvision_view(view.image_size, area=area, jitter=(0.8, 0.8, 0.8, 0.2))
        return (large,) * ASSIGNED + small_views(flags, large)

    @classmethod
    def projector(cls, flags):
        hidden = Dense(flags.proj_hidden_dim, bias=True, start="uniform")
        last = Dense(flags.proj_out_dim, bias=True, norm=False, relu=False, start="uniform")
        return hidden, last

    @classmethod
    def check(cls, flags, plan):
        if plan is not None and 0 < flags.queue_length < plan.batch_size:
            raise UserError(
                f"--queue_length={flags.queue_length} does not hold a batch of {plan.batch_size} "
                "images. Give 0, or at least as many."
            )

    def __init__(self, network, flags=None, plan=None, **kwargs):
        super().__init__(network, flags, plan, **kwargs)
        flags = self.flags
        rows = keras.initializers.RandomNormal(stddev=1.0)((flags.prototypes, flags.proj_out_dim))
        self.prototypes = tf.Variable(_unit(rows), name="prototypes")
        if plan is not None:
            _warn_of_frozen_prototypes(flags.freeze_prototypes_steps, plan)
        self.queues = []
        if flags.queue_length:
            length = self._whole_batches(flags.queue_length)
            self.queues = [Queue(length, flags.proj_out_dim) for _ in range(ASSIGNED)]
            if (
                plan is not None
                and (begin := self._queue_begins(plan.batch_size)) >= plan.train_steps
            ):
                logging.warning(
                    "The queue would be used from step %d on, and the run has %d: it is not. Give "
                    "an earlier --queue_start_epoch, or --queue_length=0.",
                    *(begin, plan.train_steps),
                )

    def _whole_batches(self, length):
        """The length of a queue, which holds as many batches as fit."""
        if self.plan is None:
            return length
        batch = self.plan.batch_size
        if length % batch:
            logging.info("The queue holds %d images: whole batches.", length // batch * batch)
        return length // batch * batch

    def embed(self, views):
        features, projections = self.project(views)
        return {"features": features[:, :ASSIGNED], "projections": _unit(projections)}

    def objective(self, embeddings):
        flags, rows = self.flags, embeddings["projections"]
        scores = tf.einsum("nvd,kd->nvk", rows, self.prototypes)
        assignments = [self._assigned(scores[:, i], i) for i in range(ASSIGNED)]
        loss = losses.swapped_prediction(scores, tf.stack(assignments, axis=1), flags.temperature)
        return loss, {"swav_loss": loss, "spread": spread(replicas.gather(rows[:, 0]))}

    def _assigned(self, scores, i):
        """Assignments of view i of this replica's images, among those of the queue."""
        flags, number = self.flags, scores.shape[0]
        if self.queues:
            rows = self.queues[i].rows
            batch = number * replicas.num_replicas()
            if rows.shape[0] % batch:
                raise UserError(
                    f"A queue of {rows.shape[0]} images does not hold whole batches of {batch}. "
                    "Give a queue_length that is a multiple of the batch, or give the method a "
                    "plan, which rounds it down."
                )
            shares = tf.reshape(rows, [replicas.num_replicas(), -1, rows.shape[1]])
            older = tf.matmul(shares[replicas.replica_id()], self.prototypes, transpose_b=True)
            # Copies of the batch change nothing: they keep the shape until the queue is full.
            copies = tf.tile(scores, [older.shape[0] // number, 1])
            older = tf.where(self._queue_is_full(batch), older, copies)
            scores = tf.concat([older, scores], axis=0)
        return losses.sinkhorn(scores, flags.epsilon, flags.sinkhorn_iterations)[-number:]

    def _queue_is_full(self, batch):
        """Whether the queue has only seen embeddings of --queue_start_epoch and later."""
        return self.step >= self._queue_begins(batch)

    def _queue_begins(self, batch):
        """The first step whose batch is assigned with the queue."""
        start = self.plan.steps_of(self.flags.queue_start_epoch) if self.plan else 0
        return start + self.queues[0].rows.shape[0] // batch

    def rate_factor(self, variable):
        if variable is not self.prototypes:
            return None
        return tf.cast(self.step >= self.flags.freeze_prototypes_steps, tf.float32)

    def after_update(self, embeddings):
        self.prototypes.assign(_unit(self.prototypes))
        for i, queue in enumerate(self.queues):
            queue.push(replicas.gather(embeddings["projections"][:, i]))

    @property
    def settled(self):
        """Late: the loss leaves its chance level long after the prototypes have begun to move."""
        third = self.plan.train_steps // 3 if self.plan else 0
        return max(2 * self.flags.freeze_prototypes_steps, third)

    def chance_levels(self, batch_size):
        return {"swav_loss": math.log(self.flags.prototypes)}


def _warn_of_frozen_prototypes(frozen, plan):
    """Say where they are frozen for an epoch and a quarter of the run, or for half of it."""
    if frozen > min(max(plan.epoch_steps, plan.train_steps // 4), plan.train_steps // 2):
        logging.warning(
            "The prototypes are frozen for --freeze_prototypes_steps=%d of %d steps. SwAV freezes "
            "them for an epoch of a long training: give %d.",
            *(frozen, plan.train_steps, min(plan.epoch_steps, plan.train_steps // 4)),
        )


def _unit(rows):
    return tf.math.l2_normalize(rows, axis=-1)
