"""Learning-rate schedules, and the only place where epochs become steps."""

import fractions
import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from simclr_tf.backend import keras
from simclr_tf.errors import UserError

LARGEST_BATCH = 2**24


def epoch_steps(num_examples: int, batch_size: int) -> int:
    """Steps of one epoch, at least 1: the nearest integer, for the interval of checkpoints."""
    return max(1, round(num_examples / batch_size))


def train_steps(num_examples: int, epochs: int, batch_size: int) -> int:
    """Steps of a whole training: those that fit into the epochs, and one more."""
    return num_examples * epochs // batch_size + 1


def warmup_steps(num_examples: int, epochs: float, batch_size: int) -> int:
    """Steps of a warm-up of so many epochs, rounded down."""
    return int(epochs * num_examples // batch_size)


def scaled_learning_rate(learning_rate: float, batch_size: int, scaling: str = "linear") -> float:
    """The peak learning rate for a batch size (arXiv 2002.05709, appendix B.1).

    Args:
      learning_rate: Rate per 256 examples (linear) or per square root of the batch (sqrt).
      batch_size: Global batch size, in images.
      scaling: `linear` or `sqrt`.

    Raises:
      UserError: If `scaling` is neither.
    """
    if scaling == "linear":
        return learning_rate * batch_size / 256
    if scaling == "sqrt":
        return learning_rate * math.sqrt(batch_size)
    raise UserError(
        f"Scaling of the learning rate must be `linear` or `sqrt`. Received: scaling={scaling!r}."
    )


def warmup_cosine(peak: float, train_steps: int, warmup_steps: int = 0) -> "WarmupCosine":
    """Linear warm-up from 0 to `peak`, then cosine to 0; see `WarmupCosine`."""
    return WarmupCosine(peak, train_steps, warmup_steps)


class Warmup(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up; a subclass says what follows in `share_after`.

    From 0, the peak belongs to the first step after the warm-up:

        rate(s) = peak * s / warmup_steps                                    for s < warmup_steps

    From a share of the peak above 0, both ends belong to the warm-up, as in SwAV's code:

        rate(s) = peak * (warmup_start + (1 - warmup_start) * s / (warmup_steps - 1))

    Args:
      peak: Learning rate at the end of the warm-up.
      train_steps: Number of steps of the whole training.
      warmup_steps: How many of them are warm-up.
      warmup_start: Where the warm-up starts, as a share of the peak, in [0, 1].

    Raises:
      UserError: If the warm-up is negative or longer than the training, or starts outside of
        [0, 1].
    """

    def __init__(
        self, peak: float, train_steps: int, warmup_steps: int = 0, warmup_start: float = 0.0
    ):
        super().__init__()
        if not 0 <= warmup_steps <= train_steps:
            raise UserError(
                "Warm-up must not be longer than training. "
                f"Received: warmup_steps={warmup_steps}, train_steps={train_steps}. "
                "Train longer, or shorten the warm-up."
            )
        _require_share("warmup_start", warmup_start)
        self.peak = peak
        self.train_steps = train_steps
        self.warmup_steps = warmup_steps
        self.warmup_start = warmup_start

    def share_after(self, step: tf.Tensor) -> tf.Tensor:
        """The share of the peak, a float32 scalar, in step `step` (int64) after the warm-up."""
        raise NotImplementedError

    def __call__(self, step: int | tf.Tensor) -> tf.Tensor:
        """The rate of step `step` (an integer, from 0) as a float32 scalar."""
        step = tf.cast(step, tf.int64)  # differences are exact in integers, also beyond 2^24
        after = self.peak * self.share_after(step)
        if self.warmup_steps == 0:
            return after
        last = max(self.warmup_steps - 1, 1) if self.warmup_start else self.warmup_steps
        share = self.warmup_start + (1 - self.warmup_start) * (tf.cast(step, tf.float32) / last)
        return tf.where(step < self.warmup_steps, self.peak * share, after)

    def get_config(self) -> dict[str, Any]:
        return {
            "peak": self.peak,
            "train_steps": self.train_steps,
            "warmup_steps": self.warmup_steps,
            "warmup_start": self.warmup_start,
        }


@keras.utils.register_keras_serializable("simclr_tf")
class WarmupCosine(Warmup):
    """Linear warm-up, then half a period of the cosine, without restarts (arXiv 1608.03983, eq. 5).

        rate(s) = peak * s / warmup_steps                            for s < warmup_steps
        rate(s) = peak * (1 + cos(pi * progress)) / 2                from then on,
            progress = (s - warmup_steps) / (train_steps - warmup_steps)

    The first step (s = 0) has rate 0 if there is a warm-up and `peak` if there is none; from
    `train_steps` on the rate stays 0. This is SimCLR's; other methods begin the warm-up above 0
    (see `Warmup`), end the cosine above 0, or let it fall once per epoch:

        rate = peak * (final_rate + (1 - final_rate) * (1 + cos(pi * progress)) / 2)

    With `epoch_steps` all steps of an epoch have the progress with which it begins. An epoch that
    has begun counts as a whole one, unless a single step of it is left: SimCLR's number of steps
    is one more than the epochs have, and that one has the rate of the end. The warm-up rises in
    every step nevertheless.

    Args:
      peak: Learning rate at the end of the warm-up.
      train_steps: Number of steps until the rate is at its end.
      warmup_steps: How many of them are warm-up.
      warmup_start: Where the warm-up starts, as a share of the peak, in [0, 1].
      final_rate: Where the cosine ends, as a share of the peak, in [0, 1].
      epoch_steps: Steps of an epoch, if the cosine falls once per epoch; 0 if in every step. It
        need not be whole: 50,000 images in batches of 512 are 97.65625, and a step belongs to the
        epoch in which it begins.

    Raises:
      UserError: If the warm-up is negative or longer than the training, or a share is outside of
        [0, 1].
    """

    def __init__(
        self,
        peak: float,
        train_steps: int,
        warmup_steps: int = 0,
        warmup_start: float = 0.0,
        final_rate: float = 0.0,
        epoch_steps: float = 0,
    ):
        super().__init__(peak, train_steps, warmup_steps, warmup_start)
        _require_share("final_rate", final_rate)
        self.final_rate = final_rate
        self.epoch_steps = epoch_steps

    def share_after(self, step: tf.Tensor) -> tf.Tensor:
        end = self.train_steps
        if self.epoch_steps:
            of_epoch = fractions.Fraction(self.epoch_steps).limit_denominator(LARGEST_BATCH)
            whole = end - 1 if of_epoch > 1 else end  # without a single last step
            epochs = max(1, math.ceil(whole / of_epoch))
            epoch = tf.minimum(step * of_epoch.denominator // of_epoch.numerator, epochs)
            end = epochs * self.epoch_steps
            began = tf.cast(epoch, tf.float64) * self.epoch_steps
            step = tf.cast(tf.maximum(began, self.warmup_steps), tf.float32)
        left = tf.maximum(tf.cast(end - step, tf.float32), 0)
        # (1 + cos(pi * progress)) / 2 without its cancellation near the end.
        angle = (math.pi / 2) * left / max(end - self.warmup_steps, 1)
        return self.final_rate + (1 - self.final_rate) * tf.sin(angle) ** 2

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "final_rate": self.final_rate,
            "epoch_steps": self.epoch_steps,
        }


@keras.utils.register_keras_serializable("simclr_tf")
class WarmupSteps(Warmup):
    """Linear warm-up, then the peak, which is multiplied by `gamma` at each milestone.

    Without milestones the rate stays at its peak.

    Args:
      peak: Learning rate at the end of the warm-up.
      train_steps: Number of steps of the whole training.
      warmup_steps: How many of them are warm-up.
      warmup_start: Where the warm-up starts, as a share of the peak, in [0, 1].
      milestones: Steps from which on the rate is multiplied once more.
      gamma: The factor.

    Raises:
      UserError: If the warm-up is negative or longer than the training, or starts outside of
        [0, 1].
    """

    def __init__(
        self,
        peak: float,
        train_steps: int,
        warmup_steps: int = 0,
        warmup_start: float = 0.0,
        milestones: Sequence[int] = (),
        gamma: float = 0.1,
    ):
        super().__init__(peak, train_steps, warmup_steps, warmup_start)
        self.milestones = tuple(milestones)
        self.gamma = gamma

    def share_after(self, step: tf.Tensor) -> tf.Tensor:
        share = tf.ones_like(step, tf.float32)
        for milestone in self.milestones:
            share = tf.where(step >= milestone, self.gamma * share, share)
        return share

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "milestones": list(self.milestones),
            "gamma": self.gamma,
        }


def _require_share(name, value):
    if not 0 <= value <= 1:
        raise UserError(f"{name} is a share of the peak, in [0, 1]. Received: {name}={value}.")
