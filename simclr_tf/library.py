"""Pretraining for people who write Keras: no flags, no files, as often as you like.

    images = simclr_tf.open_images("digits")
    training = simclr_tf.Pretraining(images, "simclr", image_size=8, train_batch_size=64)
    training.compile()
    training.fit()
    features, labels = training.features(simclr_tf.open_images("digits", "test"))
    training.save("digits_encoder")

docs/library.md tells it from the beginning.
"""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from simclr_tf import flag, optimizers
from simclr_tf.backend import keras
from simclr_tf.checkpoints.convert import convert
from simclr_tf.checkpoints.description import Description, TrainingData
from simclr_tf.data import datasets, pipeline
from simclr_tf.data.classes import with_classes_of
from simclr_tf.data.own_images import own_images
from simclr_tf.data.recipe import Recipe
from simclr_tf.data.sources import ImageDataset
from simclr_tf.devices.strategies import distribute_batches
from simclr_tf.errors import UserError, did_you_mean, first_line
from simclr_tf.experiment import checks, parts, pretraining, probing
from simclr_tf.experiment import config as configuration
from simclr_tf.experiment.config import ExperimentConfig
from simclr_tf.methods import METHODS, Method
from simclr_tf.models import Network
from simclr_tf.models.own_encoder import tried
from simclr_tf.training import callbacks

# What of the flags describes a run of a program, and no pretraining.
_PROGRAM_GROUPS = ("data", "distillation", "eval", "run")
_PROGRAM_FLAGS = ("mode", "train_mode", "method", "checkpoint", "variable_schema")
_PROGRAM_FLAGS += ("rescale_v1_weights", "zero_init_logits_layer", "fine_tune_after_block")
_PROGRAM_FLAGS += ("finetune_augmentation", "image_size_schedule")
# What means nothing to an encoder of the user's own, which is as it is.
_RESNET_FLAGS = ("resnet_depth", "width_multiplier", "sk_ratio", "se_ratio", "cifar_stem")
_RESNET_FLAGS += ("recompute", "micro_batch_size", "mixed_precision")


@dataclasses.dataclass(frozen=True)
class OpenedImages(ImageDataset):
    """A split of a data set, and how it was opened, which `Pretraining.save` writes down."""

    opened: TrainingData | None = None


def open_images(
    name: str, split: str = "train", *, data_dir: str | os.PathLike | None = None, **options: Any
) -> OpenedImages:
    """Open a split of a data set by its name.

    Args:
      name: `image_folder`, for the images below `data_dir`; `digits`, which needs no download; or
        a name of TensorFlow Datasets.
      split: name of the split.
      data_dir: the folder of the images, or where TensorFlow Datasets keeps its files.
      **options: further arguments of `simclr_tf.data.datasets.load`, such as `holdout_fraction`.

    Raises:
      UserError: there is no such data set or split, or it cannot be read.
    """
    data_dir = None if data_dir is None else os.path.expanduser(data_dir)
    if "labels" in options:
        options["labels"] = os.fspath(options["labels"])
    found = datasets.load(name, split, data_dir=data_dir, **options)
    how = {f.name: options[f.name] for f in dataclasses.fields(TrainingData) if f.name in options}
    values = {f.name: getattr(found, f.name) for f in dataclasses.fields(found)}
    return OpenedImages(**values, opened=TrainingData(name, data_dir, **how))


def image_dataset(images: Any) -> ImageDataset:
    """Images as a data set: what `open_images` or `own_images` returned, or own images."""
    return images if isinstance(images, ImageDataset) else own_images(images)


class Pretraining:
    """A network, the method that trains it without labels, and the views that it learns from.

    Attributes:
      images: the data set.
      recipe: the views of each image, as data.
      plan: steps, warm-up and learning rate of the whole training.
      network: encoder, projection head and, where there are labels, the linear probe.
      method: the keras.Model that trains the network, with `compile` and `fit` of Keras.

    Args:
      images: what `open_images` returned; or own images, see `own_images`.
      method: a name of METHODS.
      encoder: a Keras model from images (batch, height, width, 3) in [0, 1] to vectors (batch, d),
        in place of a ResNet. It is trained as it is, with the weights that it has; one that does
        not say its input, and was not called yet, is built for images of `image_size`.
      recipe: other views than the method's own, as many as those.
      **settings: flags of run.py that say what is trained, by their names: those of the method,
        the views, the model, the optimizer, and `train_batch_size`, `train_epochs`,
        `train_steps`, `seed`, ...; `run.py --method=NAME --help` lists them. `seed` is that of
        order and views; weights follow keras.utils.set_random_seed. What is not given has the
        method's defaults.

    Raises:
      UserError: something that was given does not exist, or cannot work.
    """

    def __init__(
        self,
        images: Any,
        method: str = "simclr",
        *,
        encoder: keras.Model | None = None,
        recipe: Recipe | None = None,
        **settings: Any,
    ):
        self._config = _config(method, settings, own_encoder=encoder is not None)
        self._strategy = tf.distribute.get_strategy()
        if isinstance(encoder, keras.Model):
            if not encoder.built:
                tried(encoder, self.image_size, self.image_size)
            _require_in_scope(encoder, self._strategy)
        self.images = image_dataset(images)
        self.recipe = _recipe(self._config, recipe)
        self.plan = parts.plan_of(
            self._config,
            self.images.num_examples,
            self._strategy.num_replicas_in_sync,
            frozenset(settings),
        )
        architecture = pretraining.architecture_of(self._config, self.images.num_classes)
        self.method: Method = pretraining.build(
            self._config, architecture, self.plan, encoder=encoder
        )
        self.network: Network = self.method.network
        for size in sorted({view.size for view in self.recipe} | {self.image_size}):
            self.network.require_size(size)

    @property
    def image_size(self) -> int:
        """Height and width of the images that evaluation shows."""
        return self._config.view.image_size

    @property
    def epochs(self) -> int:
        """How many epochs `fit` shows; the last one may have fewer steps."""
        return -(-self.plan.train_steps // self.steps_per_epoch)

    @property
    def steps_per_epoch(self) -> int:
        """How many steps an epoch of `fit` has: those of the plan, over the epochs asked for."""
        asked_for = self._config.train.train_epochs
        if self._config.train.train_steps:
            asked_for = max(1, round(self.plan.train_steps / self.plan.epoch_steps))
        return -(-self.plan.train_steps // asked_for)

    def compile(self, optimizer: Any = None, **options: Any) -> None:
        """Compile the method.

        The optimizer counts the steps. So another call begins the plan anew, with the weights that
        the network has.

        Args:
          optimizer: one of Keras, or its name. By default that of the method or the settings,
            with its schedule. Another one ignores the settings of rate, schedule and momentum;
            what `weight_decay` adds to the loss stays.
          **options: further arguments of keras.Model.compile, such as `run_eagerly`.

        Raises:
          UserError: Keras has no such optimizer, or it is one of another Keras, or an option is a
            setting of the training.
        """
        _refuse_taken({"steps_per_execution", "jit_compile"}, options)
        config, method = self._config, self.method
        with self._strategy.scope():
            if optimizer is None:
                optimizer = parts.make_optimizer(config, self.plan, method)
            else:
                optimizer = _optimizer_of_keras(optimizer)
                if method.rate_factor is not None:
                    optimizer = optimizers.with_rate_factors(optimizer, method.rate_factor)
            method.compile(
                optimizer,
                steps_per_execution=config.train.steps_per_execution,
                jit_compile=config.train.jit_compile,
                **options,
            )
            optimizers.create_slots(method.optimizer, method.trained_variables)

    def batches(self, start_step: int = 0) -> tf.data.Dataset | tf.distribute.DistributedDataset:
        """Endless batches for `method.fit`, a function of the seed and the step alone.

        Args:
          start_step: how many batches were consumed before.

        Returns:
          Batches (views,), (views, labels) or (views, labels, numbers): views float32 (batch,
          size, size, 3) in [0, 1], one for each view of the recipe; labels and numbers int64
          (batch,).
        """

        def make_part(part: int, of_parts: int) -> tf.data.Dataset:
            return parts.training_batches(
                self._config,
                self.images,
                self.recipe,
                batch_size=self.plan.batch_size,
                start_step=start_step,
                numbers=self.method.wants_numbers,
                host_index=part,
                num_hosts=of_parts,
                threads=pipeline.threads_of_this_host(),
            )

        return distribute_batches(self._strategy, make_part)

    def fit(
        self,
        epochs: int | None = None,
        *,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        **options: Any,
    ) -> keras.callbacks.History:
        """Train, from the step that was reached to the end of the plan.

        Args:
          epochs: how many more; None is all that are left.
          callbacks: of Keras. Logs of an epoch are means over it.
          **options: further arguments of keras.Model.fit, such as `verbose`.

        Returns:
          The History of Keras, with what the method reports.

        Raises:
          UserError: the plan is at its end, steps_per_execution would lead past it, a callback is
            of another Keras, or an option follows from the plan.
          NonFiniteLossError: the training diverged.
        """
        _refuse_taken({"x", "initial_epoch", "steps_per_epoch"}, options)
        for callback in callbacks:
            if not isinstance(callback, keras.callbacks.Callback):
                raise UserError(
                    "Callbacks are those of simclr_tf.backend.keras. Received: "
                    f"{type(callback).__module__}.{type(callback).__name__}."
                )
        if self.method.optimizer is None:
            self.compile()
        done, steps, plan_end = int(self.method.step), self.steps_per_epoch, self.plan.train_steps
        if done >= plan_end:
            raise UserError(
                f"The training is finished, at step {done} of {plan_end}. Plan more "
                "train_epochs or train_steps, or go on with method.fit."
            )
        at_once, rest = self._config.train.steps_per_execution, (plan_end - done) % steps
        if rest % at_once:
            raise UserError(
                f"steps_per_execution={at_once} leads past step {plan_end}, the last of the plan: "
                f"{rest} steps are left for the last epoch. Give a divisor of {rest}."
            )
        first = done // steps
        last = self.epochs if epochs is None else min(self.epochs, first + epochs)
        return self.method.fit(
            self.batches(done),
            initial_epoch=first,
            epochs=last,
            steps_per_epoch=steps,
            callbacks=[*self._callbacks(done), *callbacks],
            **options,
        )

    def _callbacks(self, done):
        return [
            callbacks.StopOnNonFiniteLoss(done),
            parts.collapse_warning(self.method, self.plan, done, self.steps_per_epoch),
            callbacks.RowOfEachEpoch(),
            callbacks.StopAt(done, self.plan.train_steps),
        ]

    def features(self, images: Any, batch_size: int = 256) -> tuple[np.ndarray, np.ndarray]:
        """Features of all images, see `features_of`."""
        return features_of(self.network, images, self.image_size, batch_size)

    def save(self, path: str | os.PathLike) -> None:
        """Write the network to a new directory, which `simclr_tf.load` and the programs read.

        An own encoder is written besides as encoder.keras, for keras.models.load_model.

        Args:
          path: the directory, local or a URL.

        Raises:
          UserError: it exists, or cannot be written.
        """
        about = Description(
            self.network.architecture,
            step=int(self.method.step) if self.method.optimizer else 0,
            image_size=self.image_size,
            source="simclr_tf.Pretraining",
            class_names=self.images.class_names,
            data=getattr(self.images, "opened", None),
            method=self._config.train.method,
        )
        convert(self.network, "simclr_tf", os.fspath(path), about)


def _require_in_scope(encoder: keras.Model, strategy: tf.distribute.Strategy) -> None:
    """Refuse an encoder whose weights are on one device where several are to train it."""
    if not all(map(strategy.extended.variable_created_in_scope, encoder.variables)):
        raise UserError(
            "The encoder was built outside of strategy.scope(), so its weights are on one device. "
            "Build it within the scope, as Pretraining is."
        )


def features_of(
    network: Network, images: Any, image_size: int, batch_size: int = 256
) -> tuple[np.ndarray, np.ndarray]:
    """h of every image, as evaluation shows it, in the order of the images.

    Args:
      network: of a Pretraining, or what `simclr_tf.load` returned.
      images: what `open_images` returned; or own images, see `own_images`.
      image_size: height and width that they are shown with.
      batch_size: images at a time, over all replicas; it is rounded up to what these divide.

    Returns:
      Features (n, d) float32, and labels (n,) int64, -1 where there is none.

    Raises:
      UserError: the encoder does not take this size, an image cannot be read, or the features are
        not finite.
    """
    network.require_size(image_size)
    dataset = image_dataset(images)
    values = {"image_size": image_size, "eval_batch_size": min(batch_size, dataset.num_examples)}
    return parts.features_of(flag.from_dict(values, ExperimentConfig), network, dataset)


def probe(network: Network, images: Any, unseen: Any, image_size: int) -> dict[str, float]:
    """Accuracy of an exact linear probe and of kNN on the features of a network.

    Args:
      network: see `features_of`.
      images: what both are fitted to, with labels.
      unseen: what they are measured on, with labels. Classes are matched by their names where
        both data sets have names, and else by their numbers.
      image_size: see `features_of`.

    Returns:
      `linear_probe_top_1_accuracy` and `knn_top_1_accuracy`, in [0, 1].

    Raises:
      UserError: there are no labels, `images` lack a class of `unseen`, the features are not
        finite, or the encoder does not take this size.
    """
    network.require_size(image_size)
    bank, queries = image_dataset(images), image_dataset(unseen)
    for dataset in (bank, queries):
        if dataset.num_classes is None:
            raise UserError(f"A probe needs labels, and {dataset.name} have none.")
    if bank.class_names and queries.class_names:
        owner = f"split {bank.split!r} of {bank.name}, which the probe is fitted to"
        queries = with_classes_of(queries, bank.class_names, bank.num_classes, owner)
    elif queries.num_classes > bank.num_classes:
        raise UserError(
            f"The probe is fitted to images of {bank.num_classes} classes, and the unseen ones are "
            f"of {queries.num_classes}."
        )
    config = flag.from_dict({"image_size": image_size}, ExperimentConfig)
    return probing.probe(config, network, bank, queries)


def _config(method: str, settings: dict[str, Any], own_encoder: bool) -> ExperimentConfig:
    """The configuration of these settings, completed by the method's defaults."""
    if method not in METHODS:
        raise UserError(
            f"There is no method {method!r}. There are {', '.join(METHODS)}."
            + did_you_mean(str(method), list(METHODS))
        )
    config_class = configuration.config_class(method)
    known = {
        field.name: field
        for group, field in flag.flag_fields(config_class)
        if group not in _PROGRAM_GROUPS and field.name not in _PROGRAM_FLAGS
    }
    for name, value in settings.items():
        if name not in known:
            raise UserError(
                f"{method} has no setting {name!r} here." + did_you_mean(name, list(known))
            )
        if own_encoder and name in _RESNET_FLAGS:
            raise UserError(f"{name} is for ResNets. Leave it out where the encoder is an own one.")
        if not flag.fits(value, known[name]):
            raise UserError(f"{name} has another type. Received: {value!r}.")
    config = configuration.from_dict(settings | {"method": method}, config_class)
    config = configuration.with_defaults_of_method(config, frozenset(settings))
    checks.check_settings(config)
    if own_encoder and METHODS[method].encoder_fields(config.method):
        raise UserError(f"{method} has encoders of its own, of colour planes. Leave out encoder.")
    return config


def _recipe(config: ExperimentConfig, given: Recipe | None) -> Recipe:
    """The views of the method, or those that were given in their place."""
    recipe = pretraining.recipe_of(config)
    if given is None:
        return recipe
    if len(given) != len(recipe):
        raise UserError(
            f"{config.train.method} learns from {len(recipe)} view(s) of each image. "
            f"Received: a recipe of {len(given)}."
        )
    return tuple(given)


def _refuse_taken(taken: set[str], options: Mapping[str, Any]) -> None:
    """Refuse arguments of Keras that follow from what the training was made with."""
    if found := sorted(taken & options.keys()):
        raise UserError(
            f"{found[0]} follows from the settings of Pretraining. Leave it out, or give it there."
        )


def _optimizer_of_keras(optimizer: Any) -> keras.optimizers.Optimizer:
    try:
        return keras.optimizers.get(optimizer)
    except (ValueError, TypeError) as error:
        raise UserError(
            "The optimizer is one of simclr_tf.backend.keras, or its name. Received: "
            f"{optimizer!r}, of which Keras says: {first_line(error)}"
        ) from None
