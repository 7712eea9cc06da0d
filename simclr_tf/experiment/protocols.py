"""The protocols of finetune.py: which flags each of them sets, and what it does not allow.

A protocol is a dictionary of flag values that hold where the user gave none. What is
trained then is told by the flags alone; `train` runs it as it runs run.py.
"""

from typing import Any

from simclr_tf import flag as flags
from simclr_tf.errors import UserError
from simclr_tf.experiment import logistic, train
from simclr_tf.experiment.config import FinetuneConfig

_FINETUNING = {
    "mode": "train_then_eval",
    "train_mode": "finetune",
    "optimizer": "momentum",
    "momentum": 0.9,
    "learning_rate_scaling": "linear",
    "warmup_epochs": 0.0,
    "weight_decay": 0.0,
}

PROTOCOLS: dict[str, dict[str, Any]] = {
    # SimCLR (arXiv 2002.05709), appendix B.6
    "linear": _FINETUNING
    | {
        "fine_tune_after_block": 4,
        "zero_init_logits_layer": True,
        "learning_rate": 0.1,
        "train_epochs": 90,
    },
    # Appendix B.5; 60 epochs are those of 1% of the labels, with 10% it has 30
    "semi_supervised": _FINETUNING
    | {"zero_init_logits_layer": True, "learning_rate": 0.05, "train_epochs": 60},
    # As above, with the epochs that SimCLRv2 has for all labels (arXiv 2006.10029, section 3)
    "full": _FINETUNING
    | {"zero_init_logits_layer": True, "learning_rate": 0.05, "train_epochs": 30},
    # Issue 10 of google-research/simclr; epochs and warm-up are those of configs/supervised.cfg
    "supervised": _FINETUNING
    | {"learning_rate": 0.1, "train_epochs": 90, "warmup_epochs": 5.0, "weight_decay": 1e-4},
    # SimCLRv2: the schedule of pretraining, for 400 epochs
    "distill": _FINETUNING
    | {
        "optimizer": "lars",
        "learning_rate": 0.1,
        "learning_rate_scaling": "sqrt",
        "train_epochs": 400,
        "warmup_epochs": 20.0,
        "weight_decay": 1e-4,
    },
}

# What makes a protocol what it is: another value is a contradiction.
_FIXED: dict[str, dict[str, Any]] = {
    "linear": {"fine_tune_after_block": 4, "teacher": None},
    "semi_supervised": {"teacher": None, "classifier": "sgd"},
    "full": {
        "teacher": None,
        "classifier": "sgd",
        "label_fraction": 1.0,
        "labels_per_class": 0,
    },
    "supervised": {
        "teacher": None,
        "classifier": "sgd",
        "checkpoint": None,
        "fine_tune_after_block": -1,
    },
    "distill": {"classifier": "sgd", "finetune_augmentation": "crop_flip"},
}
_NEEDED = {
    "linear": "checkpoint",
    "semi_supervised": "checkpoint",
    "full": "checkpoint",
    "distill": "teacher",
}

# Logistic regression is exact: nothing of how SGD gets there plays a part.
_OF_SGD = (
    "optimizer",
    "learning_rate",
    "learning_rate_scaling",
    "warmup_epochs",
    "warmup_start",
    "schedule",
    "schedule_by",
    "schedule_milestones",
    "schedule_gamma",
    "final_rate",
    "weight_decay",
    "momentum",
    "lars_rate_outside",
    "train_batch_size",
    "train_epochs",
    "train_steps",
    "zero_init_logits_layer",
    "eval_steps",
    "knn_every_epochs",
    "finetune_augmentation",
)


def complete(config: FinetuneConfig, given: frozenset[str]) -> FinetuneConfig:
    """The flags, with those of --protocol where none was given.

    Args:
      config: the flags.
      given: names of the flags that were given and not left at their defaults.

    Raises:
      UserError: there is no protocol of this module, or a flag contradicts it.
    """
    name = config.protocol.protocol
    if name not in PROTOCOLS:
        raise UserError(f"--protocol is missing. Give one of {', '.join(PROTOCOLS)}, transfer.")
    values = flags.to_dict(config)
    fixed = {"train_mode": "finetune"} | _FIXED[name]
    contradictions = [
        f"--{flag}={values[flag]} (it is {value})"
        for flag, value in fixed.items()
        if flag in given and values[flag] != value
    ]
    if contradictions:
        raise UserError(
            f"Flags contradict --protocol={name}: {'; '.join(contradictions)}. Leave them out, or "
            "give another protocol."
        )
    if name in _NEEDED and not values[_NEEDED[name]]:
        raise UserError(f"--protocol={name} needs --{_NEEDED[name]}.")
    if config.protocol.classifier == "logistic_regression":
        inert = [f"--{flag}" for flag in _OF_SGD if flag in given]
        if inert:
            raise UserError(
                f"{', '.join(inert)} have no effect with --classifier=logistic_regression. "
                "Leave them out."
            )
    return flags.with_defaults(config, PROTOCOLS[name], given)


def run(config: FinetuneConfig, given: frozenset[str] = frozenset()) -> int:
    """Do what finetune.py was asked for.

    Args:
      config: the flags.
      given: names of the flags that were given and not left at their defaults.

    Returns:
      The exit status, as that of `train.run`.

    Raises:
      UserError: something that the user gave cannot work.
      NonFiniteLossError: training diverged.
    """
    if config.train.mode == "eval" and "mode" in given:
        return train.run(flags.with_defaults(config, {"train_mode": "finetune"}, given), given)
    config = complete(config, given)
    if config.protocol.classifier == "logistic_regression":
        return logistic.run(config, given)
    return train.run(config, given)
