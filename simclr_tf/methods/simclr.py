"""SimCLR: two views of each image attract, all other images of the batch repel."""

import tensorflow as tf

from simclr_tf.losses import nt_xent_with_metrics, supervised_loss
from simclr_tf.methods.base import accuracy
from simclr_tf.methods.micro_batches import MicroBatches


class SimCLR(MicroBatches):
    """Contrastive pretraining (arXiv 2002.05709, Algorithm 1).

    When the network has a supervised head and the images have labels, the head is
    trained beside as a linear probe: it sees both views of labelled images, and no gradient
    of it reaches the encoder.

    Args:
      temperature: of the contrastive loss.
      hidden_norm: l2-normalise the projections.
      loss_implementation: "dense", "tiled" or "auto", see `nt_xent_with_metrics`.
    """

    def __init__(
        self,
        network,
        temperature: float = 0.1,
        hidden_norm: bool = True,
        loss_implementation: str = "auto",
        **kwargs,
    ):
        self.metric_names = ("contrast_loss", "contrast_acc", "contrast_entropy")
        self.embedding_names = ("projections",)
        if network.supervised_head is not None:
            self.metric_names += ("supervised_loss", "supervised_acc")
            self.embedding_names += ("logits",)
        super().__init__(network, **kwargs)
        self.temperature = temperature
        self.hidden_norm = hidden_norm
        self.loss_implementation = loss_implementation

    def embed(self, views):
        outputs = self.network(tf.concat(views, axis=0), training=True, probe_only=True)
        outputs["projections"] = tf.cast(outputs["projections"][-1], tf.float32)
        return {name: outputs[name] for name in self.embedding_names}

    def objective_of(self, embeddings, labels):
        loss, found, entropy = nt_xent_with_metrics(
            embeddings["projections"], self.temperature, self.hidden_norm, self.loss_implementation
        )
        values = {"contrast_loss": loss, "contrast_acc": found, "contrast_entropy": entropy}
        if self.network.supervised_head is not None:
            labels = tf.concat([labels] * self.number_of_views, axis=0)
            probe_loss = supervised_loss(embeddings["logits"], labels)
            values |= {
                "supervised_loss": probe_loss,
                "supervised_acc": accuracy(embeddings["logits"], labels),
            }
            loss += probe_loss
        return loss, values
