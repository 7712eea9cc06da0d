"""A method that only tests know: a twin, a queue, and views of two sizes."""

import dataclasses

import tensorflow as tf

from simclr_tf.data.recipe import View
from simclr_tf.devices import replicas
from simclr_tf.flag import flag
from simclr_tf.methods.base import Method
from simclr_tf.methods.measures import spread
from simclr_tf.methods.twin import Queue, follow, twin
from simclr_tf.models.heads import Dense


@dataclasses.dataclass(frozen=True)
class Flags:
    """Example: keys of a twin, and a queue of earlier ones."""

    temperature: float = flag(0.2, "Temperature of the contrastive loss.", above=0)
    queue_size: int = flag(32, "Keys in the queue.", at_least=1)
    target_decay: float = flag(0.9, "Decay of the twin.", at_least=0, at_most=1)
    small_crop_size: int = flag(8, "Height and width of the small view.", at_least=4)


class Example(Method):
    """The first view gives the key; each other view has to find it among the queue's."""

    Flags = Flags
    DEFAULTS = {"optimizer": "momentum", "learning_rate": 0.03, "weight_decay": 1e-4}
    metrics_of = {
        "contrast_loss": "the contrastive loss",
        "contrast_acc": "share of queries whose most similar key is their own",
        "spread": "how far the keys differ",
    }

    @classmethod
    def recipe(cls, flags, view):
        large = View(view.image_size, jitter_probability=0, grayscale_probability=0)
        small = dataclasses.replace(
            large, size=flags.small_crop_size, area=(0.05, 0.3), covered=0.0
        )
        return large, large, small

    @classmethod
    def projector(cls, flags):
        return Dense(bias=True, norm=False), Dense(16, bias=True, norm=False, relu=False)

    def __init__(self, network, flags=None, plan=None, **kwargs):
        super().__init__(network, flags, plan, **kwargs)
        self.twin = twin(network)
        self.queue = Queue(self.flags.queue_size, network.architecture.projector[-1].units)

    @property
    def untrained(self):
        return (self.twin,)

    def embed(self, views):
        features, queries = self.project(views[1:])
        _, keys = self.project(views[:1], self.twin)
        keys = tf.stop_gradient(tf.math.l2_normalize(keys[:, 0], axis=-1))
        return {
            "features": features,
            "queries": tf.math.l2_normalize(queries, axis=-1),
            "keys": keys,
        }

    def objective(self, embeddings):
        queries, keys = embeddings["queries"], embeddings["keys"]
        own = tf.einsum("nvd,nd->nv", queries, keys)
        others = tf.einsum("nvd,kd->nvk", queries, self.queue.rows)
        logits = tf.concat([own[..., tf.newaxis], others], axis=-1) / self.flags.temperature
        loss = -tf.reduce_mean(tf.nn.log_softmax(logits)[..., 0])
        found = tf.reduce_mean(tf.cast(tf.argmax(logits, axis=-1) == 0, tf.float32))
        values = (loss, found, spread(replicas.gather(keys)))
        return loss, dict(zip(self.metrics_of, values, strict=True))

    def after_update(self, embeddings):
        follow(self.twin, self.network, self.flags.target_decay)
        self.queue.push(replicas.gather(embeddings["keys"]))
