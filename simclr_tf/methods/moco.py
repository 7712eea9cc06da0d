"""MoCo v2: a query tells its own key, which a slow copy of the network makes, from a queue."""

import dataclasses
import logging

import tensorflow as tf

from simclr_tf.backend import keras
from simclr_tf.data.rand_augment import infomin_operations
from simclr_tf.data.recipe import View, ViewFlags, torchvision_view
from simclr_tf.devices import replicas
from simclr_tf.errors import UserError
from simclr_tf.flag import flag
from simclr_tf.losses import info_nce
from simclr_tf.methods import shuffle
from simclr_tf.methods.base import Method
from simclr_tf.methods.instdisc import instdisc_view
from simclr_tf.methods.measures import spread
from simclr_tf.methods.small_crops import SmallCropFlags, small_views
from simclr_tf.methods.twin import follow, queue_of, twin
from simclr_tf.models import Dense
from simclr_tf.models.batch_norm import BatchNormalization, statistics


@dataclasses.dataclass(frozen=True)
class MomentumFlags:
    """A queue, a momentum encoder and a loss."""

    proj_out_dim: int = flag(128, "Width of queries and keys.", at_least=1, at_most=2**20)
    queue_size: int = flag(65_536, "Keys in the queue.", at_least=1, at_most=2**24)
    target_decay: float = flag(
        0.999, "Decay of the momentum encoder, in each step.", at_least=0, at_most=1
    )
    temperature: float = flag(0.2, "Temperature of the contrastive loss.", above=0)
    mlp: bool = flag(True, "Whether the projection head has a hidden layer.")
    aug_plus: bool = flag(True, "Whether views are those of MoCo v2, or of v1.")
    bn_groups: int = flag(
        8,
        "Where batch norm is not global: groups of the batch with statistics of their own. "
        "Replicas divide them up: each has bn_groups // replicas, and one at least; on one device "
        "image i is in group i mod bn_groups.",
        at_least=1,
        at_most=2**16,
    )


@dataclasses.dataclass(frozen=True)
class Flags(MomentumFlags, SmallCropFlags):
    """MoCo v2: its queue, its momentum encoder, its loss, and its small views."""

    symmetric: bool = flag(
        False, "Let both views be query and key, and add both losses; the queue gets both keys."
    )
    infomin: bool = flag(False, "Let views be those of InfoMin Aug, with strong operations.")


class MoCo(Method):
    """Momentum contrast (arXiv 1911.05722, Algorithm 1; version 2 is arXiv 2003.04297).

    The momentum encoder runs in training mode, on images that are shuffled over replicas and
    parts of the batch; its own key is a query's only positive, and the queue has its negatives.
    Keys join the queue after the loss. Small views are queries besides, each with a pass of its
    own; the loss of a key is the mean over its queries (ours). The official code moves the
    momentum encoder before the next keys are made, here it moves after the update: the same, but
    for a checkpoint's copy.
    """

    Flags = Flags
    DEFAULTS = {
        "optimizer": "sgd",
        "learning_rate": 0.03,
        "weight_decay": 1e-4,
        "train_epochs": 200,
        "warmup_epochs": 0.0,
        "schedule_by": "epoch",
        "global_bn": False,
    }
    metrics_of = {
        "contrast_loss": "the contrastive loss",
        "contrast_acc": "share of queries whose own key is more similar than all of the queue",
        "spread": "how far the keys of a batch differ",
    }
    together = False
    sliceable = False
    zero_residuals = False

    @classmethod
    def recipe(cls, flags, view):
        large = infomin_view(view.image_size) if flags.infomin else cls.large_view(flags, view)
        return (large, large, *small_views(flags, large))

    @classmethod
    def large_view(cls, flags: MomentumFlags, view: ViewFlags) -> View:
        """A view of --image_size, as --aug_plus says."""
        shown = torchvision_view if flags.aug_plus else instdisc_view
        return shown(view.image_size)

    @classmethod
    def projector(cls, flags):
        hidden = (Dense(bias=True, norm=False, start="uniform"),) if flags.mlp else ()
        last = Dense(flags.proj_out_dim, bias=True, norm=False, relu=False, start="uniform")
        return (*hidden, last)

    def __init__(self, network, flags=None, plan=None, **kwargs):
        super().__init__(network, flags, plan, **kwargs)
        self.twin = twin(network)
        size, width = self.flags.queue_size, self.flags.proj_out_dim
        self.queue = queue_of(size, width, plan, self.keys_of_image)
        number = tf.distribute.get_strategy().num_replicas_in_sync
        layers = network.submodules
        if plan is not None and any(isinstance(layer, BatchNormalization) for layer in layers):
            self._require_groups(plan.batch_size // number, number)
        if number == 1 and any(
            isinstance(layer, keras.layers.BatchNormalization) for layer in layers
        ):
            logging.warning(
                "The encoder has batch norm of Keras, which --bn_groups do not reach: a query and "
                "its key share the statistics of a batch, and can find each other by them. Build "
                "it with layer normalization, or train on several devices."
            )

    def _require_groups(self, images, number):
        """Refuse groups that do not divide the images of a replica, or that have one each."""
        groups = self._groups(number) or 1
        given = f"--bn_groups={self.flags.bn_groups} are {groups} on each of {number} replica(s)"
        if images % groups:
            raise UserError(
                f"{given}, which does not divide its {images} images of a batch. Give another, or "
                "another --train_batch_size."
            )
        if images == groups and not self.network.projection_head.global_bn:
            raise UserError(
                f"{given}: as many as its {images} image(s) of a batch, so that batch norm would "
                "be of single images. Give fewer, a larger --train_batch_size, or --global_bn."
            )

    @property
    def untrained(self):
        return (self.twin,)

    def _groups(self, number):
        """Parts of a replica's share of the batch; None where batch norm is global."""
        if self.network.projection_head.global_bn:
            return None
        return max(1, self.flags.bn_groups // number)

    @property
    def keys_of_image(self) -> int:
        """How many views of an image give keys, and queries of full size."""
        return 2 if self.flags.symmetric else 1

    def embed(self, views):
        large = self.keys_of_image
        shown, hidden = (*views[:large], *views[2:]), views[1::-1][:large]
        with statistics(groups=self._groups(replicas.num_replicas())):
            features, queries = self.project(shown)
            keys = [self._keys(view, i) for i, view in enumerate(hidden)]
        return {
            "features": features[:, :large],
            "queries": tf.math.l2_normalize(queries, axis=-1),
            "keys": tf.stop_gradient(tf.stack(keys, axis=1)),
        }

    def _keys(self, view, i):
        order = self.order_of_keys(i, view.shape[0] * replicas.num_replicas())
        _, keys = self.project((shuffle.shuffled(view, order),), self.twin)
        return shuffle.restored(tf.math.l2_normalize(keys[:, 0], axis=-1), order)

    def order_of_keys(self, i: int, number: int) -> tf.Tensor:
        """The order in which the momentum encoder sees the batch, int32 (number,).

        Args:
          i: 0, or 1 for the second keys of the symmetric form.
          number: of images in the batch of all replicas.
        """
        return shuffle.random_order(number, self.seed_of_step(i))

    def objective(self, embeddings):
        queries, keys = (tf.unstack(embeddings[name], axis=1) for name in ("queries", "keys"))
        large, small = queries[: len(keys)], queries[len(keys) :]
        losses, found = [], []
        for query, key in zip(large, keys, strict=True):
            of_key = []
            for rows in (query, *small):
                loss, own_found = self.compared(rows, key)
                of_key.append(loss)
                found.append(own_found)
            losses.append(tf.reduce_mean(of_key))
        loss, accuracy = tf.add_n(losses), tf.reduce_mean(tf.cast(found, tf.float32))
        values = {"contrast_loss": loss, "contrast_acc": accuracy}
        return loss, values | {"spread": spread(replicas.gather(keys[0]))}

    def compared(self, queries: tf.Tensor, keys: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The loss of queries (n, d) with keys (n, d), and which of them find theirs, bool (n,)."""
        loss, logits = info_nce(queries, keys, self.queue.rows, self.flags.temperature)
        return loss, logits[:, 0] > tf.reduce_max(logits[:, 1:], axis=1)

    def after_update(self, embeddings):
        follow(self.twin, self.network, self.flags.target_decay)
        for keys in reversed(tf.unstack(embeddings["keys"], axis=1)):  # of the first view, first
            self.queue.push(replicas.gather(keys))


def infomin_view(size: int) -> View:
    """The view of InfoMin Aug (arXiv 2005.10243), as augmentation D of its authors' code has it.

    Args:
      size: height and width, in pixels.
    """
    return torchvision_view(
        size,
        jitter=(0.8, 0.8, 0.8, 0.2),
        blur_border="reflected",
        blur_radius=11,
        strong=infomin_operations(),
        order=("jitter", "blur", "solarize", "strong", "grayscale"),
    )
