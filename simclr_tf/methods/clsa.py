"""CLSA: strong views learn from weak ones how similar an image is to all others, on MoCo v2."""

import dataclasses

import tensorflow as tf

from simclr_tf.devices import replicas
from simclr_tf.methods import moco
from simclr_tf.methods.measures import spread
from simclr_tf.methods.strong_views import StrongViewFlags, divergence, weak_and_strong
from simclr_tf.models.batch_norm import statistics


@dataclasses.dataclass(frozen=True)
class Flags(moco.MomentumFlags, StrongViewFlags):
    """CLSA: its queue, its momentum encoder, its views and its losses."""


class CLSA(moco.MoCo):
    """Contrastive learning with stronger augmentations (arXiv 2104.07713, on MoCo v2).

    The first view gives the key; weak and strong views are queries, each with a pass of its own.
    Unlike in MoCo, the keys of the whole batch are negatives too. The losses of all weak queries,
    and of all pairs of a weak and a strong one, are added up.
    """

    Flags = Flags
    keys_of_image = 1
    metrics_of = {
        "contrast_loss": "the contrastive losses of weak queries, added up",
        "divergence_loss": "the losses of pairs of a weak and a strong query, added up",
        "contrast_acc": "share of weak queries whose own key is the most similar",
        "spread": "how far the keys of a batch differ",
    }

    @classmethod
    def recipe(cls, flags, view):
        key = cls.large_view(flags, view)
        return weak_and_strong(flags, key, key)

    def embed(self, views):
        with statistics(groups=self._groups(replicas.num_replicas())):
            features, queries = self.project(views[1:])
            keys = self._keys(views[0], 0)
        return {
            "features": features[:, :1],
            "queries": tf.math.l2_normalize(queries, axis=-1),
            "keys": tf.stop_gradient(keys)[:, tf.newaxis],
        }

    def objective(self, embeddings):
        flags, keys = self.flags, embeddings["keys"][:, 0]
        queries = tf.unstack(embeddings["queries"], axis=1)
        number = flags.num_weak
        weak, strong = queries[:number], queries[number:]
        of_batch = replicas.gather(keys)
        bank = tf.stop_gradient(tf.concat([of_batch, self.queue.rows], axis=0))
        rows = tf.shape(keys)[0]
        own = replicas.replica_id() * rows + tf.range(rows)
        contrast, found = [], []
        for query in weak:
            logits = tf.matmul(query, bank, transpose_b=True) / flags.temperature
            contrast += [tf.nn.sparse_softmax_cross_entropy_with_logits(own, logits)]
            found += [tf.argmax(logits, axis=1, output_type=tf.int32) == own]
        contrast = tf.add_n([tf.reduce_mean(of_query) for of_query in contrast])
        pairs = [divergence(flags, w, s, bank) for w in weak for s in strong]
        values = {
            "contrast_loss": contrast,
            "divergence_loss": tf.add_n(pairs),
            "contrast_acc": tf.reduce_mean(tf.cast(found, tf.float32)),
            "spread": spread(of_batch),
        }
        return contrast + flags.divergence_weight * values["divergence_loss"], values
