"""Distillation: a student learns what a teacher predicts for images, with or without labels."""

from collections.abc import Callable

import tensorflow as tf

from simclr_tf.losses import distillation_loss, supervised_loss
from simclr_tf.methods.base import Method
from simclr_tf.methods.measures import accuracy


class Distillation(Method):
    """alpha * distillation + (1 - alpha) * cross-entropy of what is labelled (SimCLRv2, section 2).

    The views are cropped and flipped; teacher and student see the same. The second term
    exists for alpha below 1 only; with alpha 1 labels are not looked at.

    Args:
      teacher: maps images (n, height, width, 3) float32 in [0, 1] to logits (n, classes), in
        inference mode. It is a plain function on purpose: the teacher's variables belong
        neither to this model nor to its checkpoints.
      temperature: of both predictions.
      alpha: weight of the distillation loss, in (0, 1].
    """

    has_probe = False

    def __init__(
        self,
        network,
        teacher: Callable[[tf.Tensor], tf.Tensor],
        temperature: float = 1.0,
        alpha: float = 1.0,
        **kwargs,
    ):
        self.alpha = alpha
        super().__init__(network, **kwargs)
        self.teacher = teacher
        self.temperature = temperature

    @property
    def metrics_of(self):
        of_labels = {"supervised_loss": "the loss of labelled images"}
        return {
            "distillation_loss": "the loss against the teacher's predictions",
            "teacher_agreement": "share of images for which both predict the same class",
        } | (of_labels if self.alpha < 1 else {})

    def embed(self, views):
        teacher_logits = tf.stop_gradient(self.teacher(views[0]))
        logits = self.network(views[0], training=True)["logits"]
        return {"logits": logits, "teacher_logits": teacher_logits}

    def batch_loss(self, embeddings, labels):
        logits, teacher_logits = embeddings["logits"], embeddings["teacher_logits"]
        loss = distillation_loss(logits, teacher_logits, self.temperature)
        agreement = accuracy(logits, tf.argmax(teacher_logits, axis=1))
        values = {"distillation_loss": loss, "teacher_agreement": agreement}
        if self.alpha < 1:
            values["supervised_loss"] = supervised_loss(logits, labels)
            loss = self.alpha * loss + (1 - self.alpha) * values["supervised_loss"]
        return loss, values
