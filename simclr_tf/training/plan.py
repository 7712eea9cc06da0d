"""How long a run trains and how often it saves: decided once, before the first step."""

import dataclasses

from simclr_tf import optimizers
from simclr_tf.backend import keras
from simclr_tf.errors import UserError

SCHEDULES = ("cosine", "steps", "constant")
LONGEST = 10**6  # epochs of a milestone


@dataclasses.dataclass(frozen=True)
class Plan:
    """The numbers of a training run.

    Attributes:
      num_examples: images of the training split.
      batch_size: images of a step, over all replicas.
      train_steps: steps of the whole run; exactly so many are made.
      warmup_steps: how many of them warm the learning rate up.
      epoch_steps: steps of an epoch, rounded, at least 1.
      checkpoint_steps: steps between checkpoints.
      peak_learning_rate: the learning rate after scaling to the batch.
      warmup_start: where the warm-up starts, as a share of the peak.
      schedule_name: what follows the warm-up, one of SCHEDULES.
      by_epoch: whether a cosine falls once per epoch instead of in every step.
      final_rate: where a cosine ends, as a share of the peak.
      milestones: steps at which the schedule `steps` multiplies the rate by `gamma`; others have
        none.
      gamma: that factor.
      seed: of what a method draws in its steps.
    """

    num_examples: int
    batch_size: int
    train_steps: int
    warmup_steps: int
    epoch_steps: int
    checkpoint_steps: int
    peak_learning_rate: float
    warmup_start: float = 0.0
    schedule_name: str = "cosine"
    by_epoch: bool = False
    final_rate: float = 0.0
    milestones: tuple[int, ...] = ()
    gamma: float = 0.1
    seed: int = 0

    def steps_of(self, epochs: float) -> int:
        """Steps of so many epochs, rounded down."""
        return optimizers.warmup_steps(self.num_examples, epochs, self.batch_size)

    @property
    def schedule(self) -> keras.optimizers.schedules.LearningRateSchedule:
        """The learning rate of every step."""
        warmup = self.peak_learning_rate, self.train_steps, self.warmup_steps, self.warmup_start
        if self.schedule_name == "cosine":
            epoch_steps = self.num_examples / self.batch_size if self.by_epoch else 0
            return optimizers.WarmupCosine(*warmup, self.final_rate, epoch_steps)
        milestones = self.milestones if self.schedule_name == "steps" else ()
        return optimizers.WarmupSteps(*warmup, milestones, self.gamma)


def make_plan(
    num_examples: int,
    *,
    batch_size: int,
    train_epochs: int,
    train_steps: int,
    warmup_epochs: float,
    checkpoint_epochs: int,
    checkpoint_steps: int,
    learning_rate: float,
    learning_rate_scaling: str,
    num_replicas: int,
    shorten_warmup: bool = False,
    warmup_start: float = 0.0,
    schedule: str = "cosine",
    schedule_by: str = "step",
    schedule_milestones: str = "",
    schedule_gamma: float = 0.1,
    final_rate: float = 0.0,
    seed: int = 0,
) -> Plan:
    """The plan of a run over a data set of `num_examples` images.

    Steps that are 0 follow from the epochs. With `shorten_warmup`, a warm-up that is longer
    than `train_steps` keeps the share of the training that it has in epochs; else it is an
    error, as it always is where the training is given in epochs.

    Args:
      num_examples: images of the training split.
      num_replicas: devices that share the batch.
      shorten_warmup: see above.
      others: as the flags of these names.

    Raises:
      UserError: the numbers do not fit together; the message says which and how.
    """
    positive = {
        "--train_batch_size": batch_size,
        "--train_epochs": train_epochs,
        "--checkpoint_epochs": checkpoint_epochs,
    }
    for name, value in positive.items():
        if value < 1:
            raise UserError(f"{name} is at least 1. Received: {value}.")
    for name, value in {
        "--train_steps": train_steps,
        "--checkpoint_steps": checkpoint_steps,
        "--warmup_epochs": warmup_epochs,
    }.items():
        if value < 0:
            raise UserError(f"{name} is not negative. Received: {value}.")
    if batch_size > num_examples:
        raise UserError(
            f"The batch is larger than the data set: --train_batch_size={batch_size}, but there "
            f"are {num_examples} images. Give a batch of at most {num_examples}."
        )
    if batch_size % num_replicas:
        raise UserError(
            f"--train_batch_size={batch_size} is not divisible by the {num_replicas} replicas. "
            f"The next one that is: {-(-batch_size // num_replicas) * num_replicas}."
        )
    steps = train_steps or optimizers.train_steps(num_examples, train_epochs, batch_size)
    warmup = optimizers.warmup_steps(num_examples, warmup_epochs, batch_size)
    if warmup > steps and shorten_warmup and train_steps and warmup_epochs <= train_epochs:
        warmup = int(train_steps * warmup_epochs / train_epochs)
    if warmup > steps:
        raise UserError(
            f"The warm-up is longer than the training: --warmup_epochs={warmup_epochs:g} are "
            f"{warmup} steps, the training has {steps}. Give fewer --warmup_epochs, or train "
            "longer."
        )
    epoch_steps = optimizers.epoch_steps(num_examples, batch_size)
    if schedule not in SCHEDULES:
        raise UserError(f"--schedule is one of {', '.join(SCHEDULES)}. Received: {schedule}.")
    milestones = []
    if schedule == "steps":
        milestones = _milestones(schedule_milestones, None if train_steps else train_epochs)
    return Plan(
        num_examples=num_examples,
        batch_size=batch_size,
        train_steps=steps,
        warmup_steps=warmup,
        epoch_steps=epoch_steps,
        checkpoint_steps=checkpoint_steps or checkpoint_epochs * epoch_steps,
        peak_learning_rate=optimizers.scaled_learning_rate(
            learning_rate, batch_size, learning_rate_scaling
        ),
        warmup_start=warmup_start,
        schedule_name=schedule,
        by_epoch=schedule_by == "epoch",
        final_rate=final_rate,
        milestones=tuple(
            optimizers.warmup_steps(num_examples, epoch, batch_size) for epoch in milestones
        ),
        gamma=schedule_gamma,
        seed=seed,
    )


def _milestones(text: str, train_epochs: int | None) -> list[int]:
    """The epochs of --schedule_milestones; they lie within `train_epochs` if that is given."""
    words = [word.strip() for word in text.split(",")] if text else []
    if not all(word.isascii() and word.isdigit() for word in words):
        raise UserError(
            "--schedule_milestones are whole numbers of epochs with commas between, such as "
            f"120,160. Received: {text}."
        )
    epochs = [int(word) for word in words]
    if epochs != sorted(set(epochs)) or 0 in epochs or epochs[-1:] > [LONGEST]:
        raise UserError(
            f"--schedule_milestones grow from at least 1, such as 120,160, up to {LONGEST:,}. "
            f"Received: {text}."
        )
    if not epochs:
        raise UserError(
            "--schedule=steps needs --schedule_milestones: the epochs at which the learning rate "
            "drops, such as 120,160."
        )
    if train_epochs is not None and epochs[-1] >= train_epochs:
        raise UserError(
            f"--schedule_milestones={text} are not all within the training: it has "
            f"{train_epochs} epochs. Give earlier ones (if you gave none, these are the method's), "
            "another --schedule, or train longer."
        )
    return epochs
