"""SimCLR: two views of each image attract, all other images of the batch repel."""

import tensorflow as tf

from simclr_tf.losses import contrastive_metrics, nt_xent, supervised_loss
from simclr_tf.methods.base import Method, accuracy


class SimCLR(Method):
    """Contrastive pretraining (arXiv 2002.05709, Algorithm 1).

    When the network has a supervised head and the images have labels, the head is
    trained beside as a linear probe: it sees both views, and no gradient of it reaches
    the encoder.

    Args:
      temperature: of the contrastive loss.
      hidden_norm: l2-normalise the projections.
    """

    def __init__(self, network, temperature: float = 0.1, hidden_norm: bool = True, **kwargs):
        self.metric_names = ("contrast_loss", "contrast_acc", "contrast_entropy")
        if network.supervised_head is not None:
            self.metric_names += ("supervised_loss", "supervised_acc")
        super().__init__(network, **kwargs)
        self.temperature = temperature
        self.hidden_norm = hidden_norm

    def objective(self, views, labels):
        outputs = self.network(tf.concat(views, axis=0), training=True, probe_only=True)
        loss, logits, targets = nt_xent(
            outputs["projections"][-1], self.temperature, self.hidden_norm
        )
        found, entropy = contrastive_metrics(logits, targets)
        values = {"contrast_loss": loss, "contrast_acc": found, "contrast_entropy": entropy}
        if self.network.supervised_head is not None:
            labels = tf.concat([labels] * len(views), axis=0)
            probe_loss = supervised_loss(outputs["logits"], labels)
            values |= {
                "supervised_loss": probe_loss,
                "supervised_acc": accuracy(outputs["logits"], labels),
            }
            loss += probe_loss
        return loss, values
