"""Optimizers, learning-rate schedules and weight decay."""

from collections.abc import Sequence

import tensorflow as tf

from simclr_tf.backend import keras
from simclr_tf.errors import UserError, did_you_mean
from simclr_tf.optimizers.lars import LARS
from simclr_tf.optimizers.schedules import (
    WarmupCosine,
    epoch_steps,
    scaled_learning_rate,
    train_steps,
    warmup_cosine,
    warmup_steps,
)
from simclr_tf.optimizers.weight_decay import l2_term

__all__ = [
    "DECAYS_INSIDE",
    "LARS",
    "WarmupCosine",
    "build",
    "create_slots",
    "epoch_steps",
    "l2_term",
    "scaled_learning_rate",
    "train_steps",
    "warmup_cosine",
    "warmup_steps",
]

NAMES = ("momentum", "adam", "lars", "lamb")
DECAYS_INSIDE = ("lars", "lamb")  # the others need weight decay as a term of the loss


def create_slots(optimizer: keras.optimizers.Optimizer, variables: Sequence[tf.Variable]) -> None:
    """Create what the optimizer keeps for each variable, before the first step or a restore."""
    if hasattr(optimizer, "build"):
        optimizer.build(variables)
    else:  # Keras' legacy kind, which is what tensorflow-addons builds on
        optimizer._create_all_weights(variables)


def build(
    name: str,
    learning_rate: float | keras.optimizers.schedules.LearningRateSchedule,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    exclude: Sequence[tf.Variable] = (),
) -> keras.optimizers.Optimizer:
    """The optimizer of that name.

    Args:
      name: `momentum` (SGD with Nesterov momentum), `adam`, `lars`, or `lamb` (of
        tensorflow-addons).
      learning_rate: A float or a LearningRateSchedule.
      momentum: Of momentum and lars.
      weight_decay: Of lars and lamb, which decay inside. The others leave it to the caller's
        loss (`l2_term`).
      exclude: Variables that lars and lamb neither decay nor adapt, besides all of rank 0
        and 1.

    Raises:
      UserError: If there is no such optimizer, or lamb is asked for where tensorflow-addons
        does not exist.
    """
    if name == "momentum":
        return keras.optimizers.SGD(learning_rate, momentum, nesterov=True)
    if name == "adam":
        return keras.optimizers.Adam(learning_rate)
    if name == "lars":
        optimizer = LARS(learning_rate, momentum, weight_decay)
        optimizer.exclude_from_weight_decay(var_list=exclude)
        optimizer.exclude_from_layer_adaptation(var_list=exclude)
        return optimizer
    if name == "lamb":
        from simclr_tf.optimizers.lamb import LAMB

        return LAMB(learning_rate, weight_decay, exclude)
    raise UserError(
        f"The optimizer must be one of {', '.join(NAMES)}. Received: {name!r}."
        f"{did_you_mean(name, list(NAMES))}"
    )
