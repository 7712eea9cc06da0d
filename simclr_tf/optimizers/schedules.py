"""Learning-rate schedule, and the only place where epochs become steps."""

import math
from typing import Any

import tensorflow as tf

from simclr_tf.backend import keras
from simclr_tf.errors import UserError


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


@keras.utils.register_keras_serializable("simclr_tf")
class WarmupCosine(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up, then half a period of the cosine, without restarts (arXiv 1608.03983, eq. 5).

        rate(s) = peak * s / warmup_steps                            for s < warmup_steps
        rate(s) = peak * (1 + cos(pi * progress)) / 2                from then on,
            progress = (s - warmup_steps) / (train_steps - warmup_steps)

    The first step (s = 0) has rate 0 if there is a warm-up and `peak` if there is none; from
    `train_steps` on the rate stays 0.

    Args:
      peak: Learning rate at the end of the warm-up.
      train_steps: Number of steps until the rate is 0.
      warmup_steps: How many of them are warm-up.

    Raises:
      UserError: If the warm-up is negative or longer than the training.
    """

    def __init__(self, peak: float, train_steps: int, warmup_steps: int = 0):
        super().__init__()
        if not 0 <= warmup_steps <= train_steps:
            raise UserError(
                "Warm-up must not be longer than training. "
                f"Received: warmup_steps={warmup_steps}, train_steps={train_steps}. "
                "Train longer, or shorten the warm-up."
            )
        self.peak = peak
        self.train_steps = train_steps
        self.warmup_steps = warmup_steps

    def __call__(self, step: int | tf.Tensor) -> tf.Tensor:
        """The rate of step `step` (an integer, from 0) as a float32 scalar."""
        step = tf.cast(step, tf.int64)  # differences are exact in integers, also beyond 2^24
        left = tf.cast(tf.maximum(self.train_steps - step, 0), tf.float32)
        # (1 + cos(pi * progress)) / 2 without its cancellation near the end.
        angle = (math.pi / 2) * left / max(self.train_steps - self.warmup_steps, 1)
        cosine = self.peak * tf.sin(angle) ** 2
        if self.warmup_steps == 0:
            return cosine
        warmup = self.peak * (tf.cast(step, tf.float32) / self.warmup_steps)
        return tf.where(step < self.warmup_steps, warmup, cosine)

    def get_config(self) -> dict[str, Any]:
        return {
            "peak": self.peak,
            "train_steps": self.train_steps,
            "warmup_steps": self.warmup_steps,
        }
