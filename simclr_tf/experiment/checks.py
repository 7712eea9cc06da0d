"""What flags alone can tell, without data, devices and checkpoints."""

import dataclasses
import re
from collections.abc import Sequence

from simclr_tf import flag as flags
from simclr_tf.errors import UserError
from simclr_tf.experiment.config import ExperimentConfig
from simclr_tf.flag import check_ranges
from simclr_tf.methods import METHODS

# What acts in pretraining alone, and what in fine-tuning.
OF_PRETRAINING = ("micro_batch_size", "recompute", "image_size_schedule")
OF_FINETUNING = (
    "fine_tune_after_block",
    "label_fraction",
    "labels_per_class",
    "finetune_augmentation",
    "teacher",
)


def check_flags(config: ExperimentConfig) -> None:
    """Check what can be checked without data, devices and checkpoints.

    Raises:
      UserError: a flag, or a combination of flags, cannot work.
    """
    if not config.run.model_dir:
        raise UserError("--model_dir is missing: give the directory for the results of the run.")
    check_settings(config)


def check_settings(config: ExperimentConfig) -> None:
    """Check what does not need the directory of a run either.

    Raises:
      UserError: a flag, or a combination of flags, cannot work.
    """
    check_ranges(config)
    name = config.eval.eval_name
    if name is not None and not re.fullmatch(r"\w[\w.=,+-]{0,99}", name):
        raise UserError(
            "--eval_name is a name of letters, digits and _.=,+- which begins with a letter, and "
            f"becomes a folder of the run directory. Received: {name}."
        )
    if config.train.train_mode == "pretrain":
        if config.train.train_batch_size == 1:
            raise UserError(
                "--train_batch_size is at least 2 in pretraining: an image is told from the others."
            )
        of_what = "fine-tuning only. Give --train_mode=finetune, or leave it out."
        _refuse(config, OF_FINETUNING, of_what)
        _refuse_flags_of_other_views(config)
    else:
        _refuse(config, OF_PRETRAINING, "pretraining only. Leave it out.")
    _refuse_flags_of_distillation(config)


def _refuse(config: ExperimentConfig, names: Sequence[str], of_what: str) -> None:
    """Refuse flags whose values are not their defaults."""
    values, defaults = flags.to_dict(config), flags.to_dict(type(config)())
    for name in names:
        if values[name] != defaults[name]:
            raise UserError(f"--{name} is for {of_what}")


def _refuse_flags_of_distillation(config: ExperimentConfig) -> None:
    """Flags that change nothing without a teacher, or with one."""
    default = type(config.distillation)()
    for name in ("distillation_temperature", "distillation_alpha"):
        given = getattr(config.distillation, name)
        if config.distillation.teacher is None and given != getattr(default, name):
            raise UserError(f"--{name}={given:g} changes nothing without --teacher.")
    shown = config.view.finetune_augmentation
    if config.distillation.teacher is not None and shown != "crop_flip":
        raise UserError(
            f"--finetune_augmentation={shown} changes nothing with --teacher, whose views are "
            "crops and flips. Leave it out."
        )


def _refuse_flags_of_other_views(config: ExperimentConfig) -> None:
    """Flags of SimCLR's views change nothing in those of most methods."""
    method = METHODS[config.train.method]
    for name in ("brightness", "blur_sigma"):
        default = getattr(type(config.view)(), name)
        without = dataclasses.replace(config.view, **{name: default})
        if config.view == without:
            continue
        if method.recipe(config.method, config.view) == method.recipe(config.method, without):
            raise UserError(
                f"--{name}={getattr(config.view, name)} changes nothing in the views of "
                f"--method={config.train.method}, which are those of its official code. Leave it "
                "out."
            )
