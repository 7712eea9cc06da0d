"""Supervised training: from scratch, of the upper layers, or of the linear head alone."""

from simclr_tf.losses import supervised_loss
from simclr_tf.methods.base import Method
from simclr_tf.methods.measures import accuracy


class Supervised(Method):
    """Softmax cross-entropy on one view (SimCLR appendix B.5, B.6).

    What is trained is decided by the network: frozen layers stay as they are. Images without
    label, -1, do not count.
    """

    has_probe = False
    metrics_of = {
        "supervised_loss": "the loss of labelled images",
        "supervised_acc": "share of them whose class is found",
    }

    def embed(self, views):
        return {"logits": self.network(views[0], training=True)["logits"]}

    def batch_loss(self, embeddings, labels):
        logits = embeddings["logits"]
        loss = supervised_loss(logits, labels)
        return loss, {"supervised_loss": loss, "supervised_acc": accuracy(logits, labels)}
