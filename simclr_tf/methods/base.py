"""What every method shares: the training step, the weight decay term, and the metrics."""

import tensorflow as tf

from simclr_tf.backend import keras
from simclr_tf.devices import replicas
from simclr_tf.losses import mean_over_labelled
from simclr_tf.models import Network
from simclr_tf.models.batch_norm import batch_norm_variables
from simclr_tf.optimizers import l2_term


class Method(keras.Model):
    """A network and the objective that trains it, with `compile` and `fit` of Keras.

    A subclass says which views it wants (`augmentation`, `number_of_views`) and which
    metrics it reports (`metric_names`), and computes `objective`. It may define
    `after_update` for what follows an update, such as a momentum encoder.

    Args:
      network: the network to train.
      weight_decay: factor of the l2 term in the loss.
      optimizer_decays: whether the optimizer decays by itself, so that the l2 term is left
        with the supervised head alone; see `l2_variables`.
    """

    augmentation = "pretrain"
    number_of_views = 2
    metric_names: tuple[str, ...] = ()

    def __init__(
        self,
        network: Network,
        weight_decay: float = 0.0,
        optimizer_decays: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.network = network
        self.weight_decay = weight_decay
        self.optimizer_decays = optimizer_decays
        names = (*self.metric_names, "weight_decay", "total_loss")
        # Metrics are means over all replicas already; with several hosts Keras would add them up.
        self.distribute_reduction_method = "first"
        self.means = {name: keras.metrics.Mean(name) for name in names}

    def objective(
        self, views: tuple[tf.Tensor, ...], labels: tf.Tensor | None
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """The loss of this replica's share of the batch, and what to report.

        Args:
          views: each (n, height, width, 3), float32 in [0, 1].
          labels: (n,) int64, -1 for an image without label, or None when no image has one.

        Returns:
          The scalar loss, float32, and scalars named like `metric_names`.
        """
        raise NotImplementedError

    def after_update(self) -> None:
        """Called in every replica when the weights have been updated."""

    def train_step(self, data: tuple) -> dict[str, tf.Tensor]:
        """One update with a batch (views, labels), or (views,) without labels."""
        views, labels = data if len(data) == 2 else (data[0], None)
        values, gradients = self.values_and_gradients(views, labels)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        self.after_update()
        for name, value in values.items():
            self.means[name].update_state(value)
        return {name: mean.result() for name, mean in self.means.items()}

    def values_and_gradients(
        self, views: tuple[tf.Tensor, ...], labels: tf.Tensor | None
    ) -> tuple[dict[str, tf.Tensor], list[tf.Tensor]]:
        """What to report, and this replica's share of the gradients of trainable variables."""
        with tf.GradientTape() as tape:
            share, values = self.add_decay(*self.objective(views, labels))
        return values, tape.gradient(share, self.trainable_variables)

    def add_decay(
        self, loss: tf.Tensor, values: dict[str, tf.Tensor]
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """An objective with the l2 term, divided by the replicas that gradients are summed over."""
        decay = l2_term(self.decayed_variables, self.weight_decay)
        total = loss + decay
        values = values | {"weight_decay": decay, "total_loss": total}
        return total / replicas.num_replicas(), values

    @property
    def decayed_variables(self) -> list[tf.Variable]:
        """The variables of the l2 term."""
        return l2_variables(self.network, self.optimizer_decays)

    def reset_means(self) -> None:
        """Begin a new row of metrics."""
        for mean in self.means.values():
            mean.reset_state()

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """None that `fit` may reset at its start: rows of metrics go on when a run is resumed."""
        return []


def accuracy(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Share of labelled rows whose largest logit is the label's, averaged as the loss is.

    Args:
      logits: (n, classes).
      labels: (n,) integers; negative where there is no label.

    Returns:
      A float32 scalar; see `losses.mean_over_labelled`.
    """
    found = tf.equal(tf.argmax(logits, axis=1), tf.cast(labels, tf.int64))
    return mean_over_labelled(tf.cast(found, tf.float32), labels)


def l2_variables(network: Network, optimizer_decays: bool) -> list[tf.Variable]:
    """The variables whose l2 term belongs to the loss.

    Args:
      network: frozen as it will be trained.
      optimizer_decays: whether the optimizer decays the rest by itself (LARS, LAMB); then
        the kernel of the supervised head alone is left to the loss. Otherwise all trainable
        variables but those of batch norm.
    """
    if optimizer_decays:
        return [] if network.supervised_head is None else [network.supervised_head.kernel]
    not_decayed = {id(variable) for variable in batch_norm_variables(network)}
    return [v for v in network.trainable_variables if id(v) not in not_decayed]
