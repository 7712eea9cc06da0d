"""What every method shares: the training step, slices of a batch, the probe, decay, metrics."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import tensorflow as tf

from simclr_tf.backend import keras
from simclr_tf.data.recipe import Recipe, ViewFlags
from simclr_tf.devices import replicas
from simclr_tf.losses import supervised_loss
from simclr_tf.methods.decay import l2_variables, without_batch_norm
from simclr_tf.methods.measures import accuracy
from simclr_tf.methods.slices import embed_slices, in_slices, slice_gradients
from simclr_tf.models import Dense
from simclr_tf.optimizers import RateFactor, l2_term
from simclr_tf.training.plan import Plan

COLLAPSED = 0.1  # of the spread that independent directions have
STREAMS = 8  # of random numbers that a method may draw in a step
Embeddings = dict[str, tf.Tensor]
Values = dict[str, tf.Tensor]


class Method(keras.Model):
    """A network and the objective that trains it, with `compile` and `fit` of Keras.

    A method says which views it wants (`recipe`), what it keeps of each image (`embed`), and
    what it wants of the whole batch (`objective`). It may also define `after_update`, for what
    follows an update, such as a momentum encoder. All else is here.

    The network has an `encoder`, which maps images (n, height, width, 3) to features (n, d); a
    `projection_head`, which maps features to a list: the features and the output of each layer;
    and a `supervised_head` or None. The method trains the supervised head beside, as a linear
    probe on the entry `probed_layer` of that list; no gradient of it reaches the encoder.

    Attributes:
      Flags: the dataclass of the method's own flags.
      DEFAULTS: values of flags that all methods share, where the user gives none.
      metrics_of: what the method reports besides the probe: names, and what they mean.
      together: whether views of one size go through the network in one pass and share their
        batch statistics; otherwise each view has a pass of its own.
      head_over_all: whether the projection head sees the features of all passes at once.
      sliceable: whether a batch can be embedded slice by slice, see `micro_batch_size`.
      zero_residuals: whether the last batch norm of every residual branch starts with a scale of
        0, as SimCLR's does, or of 1.
      wants_numbers: whether embeddings carry the number of each image, as "numbers".
      untrained: layers or models that gradients do not update, although their variables are
        trainable: a frozen batch norm would not use the statistics of its batch. A property,
        where there are some.
      memory: one row for each training image, (images, d), by the number of the image; kNN compares
        them with what `compared_with_memory` returns. Methods with a bank define it as a property;
        it is None otherwise.
      rate_factor: where some variables have another learning rate, a function from a variable to
        the scalar that multiplies its update, outside of the optimizer's slots, or to None for 1.
        A factor of 0 leaves the variable as it is, without decay and momentum.

    Args:
      network: what is trained.
      flags: the method's own; None takes their defaults.
      plan: the numbers of the training run, for what changes while it lasts; None where the
        method needs none.
      weight_decay: factor of the l2 term in the loss.
      optimizer_decays: whether the optimizer decays by itself, so that the l2 term is left
        with the supervised head alone; see `l2_variables`.
      micro_batch_size: images of a slice on each replica; 0 embeds the batch as one. A slice
        has batch statistics of its own, see `slices`.
    """

    Flags: type = type(None)
    DEFAULTS: ClassVar[Mapping[str, Any]] = {}
    metrics_of: ClassVar[Mapping[str, str]] = {}
    together = True
    head_over_all = False
    sliceable = True
    zero_residuals = True
    wants_numbers = False
    untrained: Sequence[tf.Module] = ()
    memory: tf.Tensor | None = None
    rate_factor: RateFactor | None = None

    def __init__(
        self,
        network: keras.Model,
        flags: Any = None,
        plan: Plan | None = None,
        *,
        weight_decay: float = 0.0,
        optimizer_decays: bool = False,
        micro_batch_size: int = 0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.network = network
        self.flags = self.Flags() if flags is None else flags
        self.plan = plan
        self.check(self.flags, plan)
        self.weight_decay = weight_decay
        self.optimizer_decays = optimizer_decays
        self.micro_batch_size = micro_batch_size
        # Metrics are means over all replicas already; with several hosts Keras would add them up.
        self.distribute_reduction_method = "first"
        self.means = {name: keras.metrics.Mean(name) for name in self.metric_names}

    @property
    def metric_names(self) -> tuple[str, ...]:
        """What a row of metrics holds."""
        probe = ("supervised_loss", "supervised_acc") if self.has_probe else ()
        return (*self.metrics_of, *probe, "weight_decay", "total_loss")

    @property
    def step(self) -> tf.Tensor:
        """The number of updates made so far, int64: k while update k (from 0) is computed."""
        return tf.cast(self.optimizer.iterations, tf.int64)

    def seed_of_step(self, stream: int) -> tf.Tensor:
        """The seed of what the method draws in this step, int64 (2,).

        Args:
          stream: tells apart what it draws, in [0, STREAMS).
        """
        run = self.plan.seed if self.plan else 0
        return tf.stack([tf.constant(STREAMS * run + stream, tf.int64), self.step])

    @property
    def has_probe(self) -> bool:
        """Whether a linear probe is trained beside."""
        return self.network.supervised_head is not None

    @classmethod
    def recipe(cls, flags: Any, view: ViewFlags) -> Recipe:
        """The views that the method wants.

        Args:
          flags: the method's own.
          view: those that all methods share; the house applies --color_jitter_strength and
            --use_blur to whatever the method returns.
        """
        raise NotImplementedError

    @classmethod
    def check(cls, flags: Any, plan: Plan | None) -> None:
        """Refuse flags that do not fit together, or not the training that is planned.

        Construction calls it, and a study does for all of its cells before the first is made.

        Args:
          flags: the method's own.
          plan: the numbers of the training run, or None.

        Raises:
          UserError: they do not fit.
        """

    @classmethod
    def for_xla(cls, flags: Any) -> Any:
        """These flags, as they have to be where XLA compiles the training step.

        Raises:
          UserError: one of them cannot be compiled.
        """
        return flags

    @classmethod
    def projector(cls, flags: Any) -> tuple[Dense, ...]:
        """The layers of the projection head that these flags describe, first to last."""
        raise NotImplementedError

    @classmethod
    def encoder_fields(cls, flags: Any) -> dict[str, Any]:
        """Fields of `Architecture`, where the encoder is no ResNet of RGB images."""
        return {}

    def embed(self, views: tuple[tf.Tensor, ...]) -> Embeddings:
        """What the objective needs of n images: here h and z of all views.

        Args:
          views: each (n, height, width, 3), float32 in [0, 1].

        Returns:
          Float32 tensors whose first axis is the image. "features", (n, views, d), feeds the
          probe; "projections" are (n, views, d') too.
        """
        features, projections = self.project(views)
        return {"features": features, "projections": projections}

    def objective(self, embeddings: Embeddings) -> tuple[tf.Tensor, Values]:
        """The loss of the global batch, which this replica computes for its own share of it.

        Args:
          embeddings: what `embed` returned for the images of this replica. What the loss needs
            of the others it gathers by itself (`replicas.gather`).

        Returns:
          The scalar loss, float32, and the scalars that `metrics_of` names. The mean of each
          over the replicas is that of the batch.
        """
        raise NotImplementedError

    def after_update(self, embeddings: Embeddings) -> None:
        """Called in every replica when the weights have been updated.

        Args:
          embeddings: those that the update was computed from.
        """
        del embeddings

    def compared_with_memory(self, projections: tf.Tensor) -> tf.Tensor:
        """Rows (n, d) that can be compared with those of `memory`, of projections (n, width)."""
        raise NotImplementedError

    @property
    def settled(self) -> int:
        """The step from which on `sign_of_collapse` means something."""
        return 0

    def chance_levels(self, batch_size: int) -> Mapping[str, float]:
        """The metrics that are losses, as they are where the encoder tells no images apart."""
        return {}

    def sign_of_collapse(self, values: Mapping[str, float], batch_size: int) -> str | None:
        """In words, what a row of metrics says of an encoder that learns nothing; else None."""
        for name, chance in self.chance_levels(batch_size).items():
            if values[name] > 0.99 * chance:
                return f"{name} is {values[name]:.4f} and still at its chance level {chance:.4f}"
        if values.get("spread", 1.0) < COLLAPSED:
            return (
                f"the embeddings of a batch have a spread of {values['spread']:.4f}: they are "
                "nearly the same for all images"
            )
        return None

    def project(
        self, views: Sequence[tf.Tensor], network: keras.Model | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """What a network makes of views of the same n images, in training mode.

        Args:
          views: each (n, height, width, 3), of any sizes.
          network: another than the method's own, such as its momentum encoder.

        Returns:
          What feeds the probe, (n, views, d), and the projections, (n, views, width), float32.
        """
        network = self.network if network is None else network
        passes = self._passes(views)
        features = [
            network.encoder(tf.concat([views[i] for i in numbers], axis=0), training=True)
            for numbers in passes
        ]
        if self.head_over_all:
            features, passes = [tf.concat(features, axis=0)], [sum(passes, [])]
        places = [place for numbers in passes for place in numbers]
        outputs = [network.projection_head(rows, training=True) for rows in features]
        selected = network.probed_layer

        def of_views(rows):
            found = [
                view
                for numbers, tensor in zip(passes, rows, strict=True)
                for view in tf.split(tf.cast(tensor, tf.float32), len(numbers))
            ]
            return tf.stack([found[places.index(i)] for i in range(len(views))], axis=1)

        return of_views([layers[selected] for layers in outputs]), of_views(
            [layers[-1] for layers in outputs]
        )

    def _passes(self, views):
        """The numbers of the views that go through the encoder together."""
        if not self.together:
            return [[i] for i in range(len(views))]
        by_size: dict[tuple, list[int]] = {}
        for i, view in enumerate(views):
            by_size.setdefault(tuple(view.shape[1:3]), []).append(i)
        return list(by_size.values())

    @tf.autograph.experimental.do_not_convert  # which saves seconds at the start
    def train_step(self, data: tuple) -> dict[str, tf.Tensor]:
        """One update with a batch: (views,), (views, labels), or (views, labels, numbers).

        `labels` are int64 (n,), -1 for an image without label; `numbers` are int64 (n,).
        """
        views, labels, numbers = (*data, None, None)[:3]
        embeddings, values, gradients = self.values_and_gradients(views, labels, numbers)
        self.optimizer.apply_gradients(zip(gradients, self.trained_variables, strict=True))
        self.after_update(embeddings)
        for name, value in values.items():
            self.means[name].update_state(value)
        return {name: mean.result() for name, mean in self.means.items()}

    def values_and_gradients(
        self,
        views: tuple[tf.Tensor, ...],
        labels: tf.Tensor | None = None,
        numbers: tf.Tensor | None = None,
    ) -> tuple[Embeddings, Values, list[tf.Tensor]]:
        """The embeddings, what to report, and this replica's share of the gradients.

        The gradients are those of `trained_variables`, in their order.
        """
        variables = self.trained_variables
        extra = {"numbers": numbers} if self.wants_numbers else {}
        if not self.micro_batch_size:
            with tf.GradientTape() as tape:
                embeddings = self.embed(views) | extra
                share, values = self.share(embeddings, labels)
            return embeddings, values, tape.gradient(share, variables)
        slices = in_slices(views, self.micro_batch_size)
        embeddings = embed_slices(self.embed, slices)
        with tf.GradientTape() as tape:
            tape.watch(embeddings)
            share, values = self.share(embeddings | extra, labels)
        upstream, outside = tape.gradient(
            share, (embeddings, variables), unconnected_gradients=tf.UnconnectedGradients.ZERO
        )
        gradients = slice_gradients(self.embed, slices, upstream, variables, outside)
        return embeddings | extra, values, gradients

    def share(self, embeddings: Embeddings, labels: tf.Tensor | None) -> tuple[tf.Tensor, Values]:
        """The loss divided by the replicas that gradients are summed over, and what to report."""
        loss, values = self.batch_loss(embeddings, labels)
        decay = l2_term(self.decayed_variables, self.weight_decay)
        total = loss + decay
        values = values | {"weight_decay": decay, "total_loss": total}
        return total / replicas.num_replicas(), values

    def batch_loss(
        self, embeddings: Embeddings, labels: tf.Tensor | None
    ) -> tuple[tf.Tensor, Values]:
        """The objective, with the loss of the probe where there is one."""
        loss, values = self.objective(embeddings)
        if not self.has_probe:
            return loss, values
        features = tf.unstack(tf.stop_gradient(embeddings["features"]), axis=1)
        logits = self.network.supervised_head(tf.concat(features, axis=0))
        labels = tf.concat([labels] * len(features), axis=0)
        probe_loss = supervised_loss(logits, labels)
        values = values | {
            "supervised_loss": probe_loss,
            "supervised_acc": accuracy(logits, labels),
        }
        return loss + probe_loss, values

    @property
    def trained_variables(self) -> list[tf.Variable]:
        """The variables that gradients update: all trainable ones but those of `untrained`."""
        left_out = {id(v) for part in self.untrained for v in part.variables}
        return [v for v in self.trainable_variables if id(v) not in left_out]

    @property
    def decayed_variables(self) -> list[tf.Variable]:
        """The variables of the l2 term."""
        if self.optimizer_decays:
            return l2_variables(self.network, optimizer_decays=True)
        return without_batch_norm(self.trained_variables, self)

    def reset_means(self) -> None:
        """Begin a new row of metrics."""
        for mean in self.means.values():
            mean.reset_state()

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """No metrics, so that `fit` resets none: a row of metrics goes on when a run is resumed."""
        return []
