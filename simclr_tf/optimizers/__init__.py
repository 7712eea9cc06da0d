"""Optimizers, learning-rate schedules and weight decay."""

from collections.abc import Sequence

import tensorflow as tf

from simclr_tf.backend import keras
from simclr_tf.errors import UserError, did_you_mean
from simclr_tf.optimizers.larc import LARC
from simclr_tf.optimizers.lars import LARS
from simclr_tf.optimizers.rate_factors import (
    RateFactor,
    constant_rate_factor,
    peak_rate,
    with_rate_factors,
)
from simclr_tf.optimizers.schedules import (
    WarmupCosine,
    WarmupSteps,
    epoch_steps,
    scaled_learning_rate,
    train_steps,
    warmup_cosine,
    warmup_steps,
)
from simclr_tf.optimizers.sgd import SGD
from simclr_tf.optimizers.weight_decay import l2_term

__all__ = [
    "DECAYS_INSIDE",
    "LARC",
    "LARS",
    "SGD",
    "RateFactor",
    "WarmupCosine",
    "WarmupSteps",
    "build",
    "constant_rate_factor",
    "create_slots",
    "epoch_steps",
    "l2_term",
    "peak_rate",
    "scaled_learning_rate",
    "train_steps",
    "warmup_cosine",
    "warmup_steps",
    "with_rate_factors",
]

NAMES = ("momentum", "sgd", "adam", "lars", "larc", "lamb")
# The others need weight decay as a term of the loss.
DECAYS_INSIDE = ("sgd", "lars", "larc", "lamb")


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
    rate_outside: bool = False,
    rate_factor: RateFactor | None = None,
) -> keras.optimizers.Optimizer:
    """The optimizer of that name.

    Args:
      name: `momentum` (Keras' SGD with Nesterov momentum), `sgd` (PyTorch's, without Nesterov),
        `adam`, `lars`, `larc`, or `lamb` (of tensorflow-addons).
      learning_rate: A float or a LearningRateSchedule.
      momentum: Of all but adam and lamb.
      weight_decay: Of sgd, lars, larc and lamb, which decay inside. The others leave it to the
        caller's loss (`l2_term`).
      exclude: Variables that those four neither decay nor adapt; lars and lamb besides all of
        rank 0 and 1.
      rate_outside: Whether lars keeps the learning rate outside its slots; see `LARS`.
      rate_factor: What a variable's updates are multiplied by; see `with_rate_factors`. None
        leaves all as they are.

    Raises:
      UserError: If there is no such optimizer, if lamb is asked for where tensorflow-addons
        does not exist, or if it is given a `rate_factor`.
    """
    if name == "lamb":
        if rate_factor is not None:
            raise UserError(
                "The optimizer lamb has one learning rate for all variables, and the method asks "
                f"for several. Choose one of {', '.join(n for n in NAMES if n != name)}."
            )
        from simclr_tf.optimizers.lamb import LAMB

        return LAMB(learning_rate, weight_decay, exclude)
    optimizer = _build(name, learning_rate, momentum, weight_decay, exclude, rate_outside)
    return optimizer if rate_factor is None else with_rate_factors(optimizer, rate_factor)


def _build(name, learning_rate, momentum, weight_decay, exclude, rate_outside):
    if name == "momentum":
        return keras.optimizers.SGD(learning_rate, momentum, nesterov=True)
    if name == "adam":
        return keras.optimizers.Adam(learning_rate)
    if name == "lars":
        optimizer = LARS(learning_rate, momentum, weight_decay, rate_outside=rate_outside)
        optimizer.exclude_from_weight_decay(var_list=exclude)
        optimizer.exclude_from_layer_adaptation(var_list=exclude)
        return optimizer
    if name in ("sgd", "larc"):
        optimizer = {"sgd": SGD, "larc": LARC}[name](learning_rate, momentum, weight_decay)
        optimizer.exclude_from_weight_decay(var_list=exclude)
        return optimizer
    raise UserError(
        f"The optimizer must be one of {', '.join(NAMES)}. Received: {name!r}."
        f"{did_you_mean(name, list(NAMES))}"
    )
