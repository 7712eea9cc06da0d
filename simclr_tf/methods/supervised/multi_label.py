"""Supervised training on images that have several labels each."""

import tensorflow as tf

from simclr_tf.losses import mean_over_labelled
from simclr_tf.losses.multi_label import multi_label_loss
from simclr_tf.methods.supervised.classes import Supervised


class MultiLabel(Supervised):
    """One yes-or-no decision for each class: logistic loss on one view.

    Labels are (n, classes) in {-1, 0, 1}; -1 does not count.
    """

    def batch_loss(self, embeddings, labels):
        logits = embeddings["logits"]
        loss = multi_label_loss(logits, labels)
        right = tf.cast(tf.equal(logits > 0, labels == 1), tf.float32)
        return loss, {
            "supervised_loss": loss,
            "supervised_acc": mean_over_labelled(right, labels),
        }
