"""Which flags a run takes from what it goes on from, where they are not given."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from simclr_tf import flag as flags
from simclr_tf.checkpoints.description import TrainingData
from simclr_tf.checkpoints.run_directory import LENGTHS
from simclr_tf.checkpoints.stored_network import StoredNetwork
from simclr_tf.data.folder_splits import NONE
from simclr_tf.errors import UserError
from simclr_tf.evaluation.overlap import contradiction, of_same_data
from simclr_tf.experiment import config as configuration
from simclr_tf.experiment.config import ExperimentConfig
from simclr_tf.methods import METHODS

# A run that goes on keeps its own of these where none is given: they may come from a checkpoint.
INHERITED = (
    "method",
    "image_size",
    "cifar_stem",
    "holdout_fraction",
    "split_seed",
    "label_seed",
    "labels",
    "upright",
)


def with_values_of_run(
    config: ExperimentConfig, stored: Mapping[str, Any], given: frozenset[str]
) -> ExperimentConfig:
    """The flags of a run that goes on: of INHERITED and LENGTHS, the run's where none is given.

    So are those of the method in fine-tuning, which begins before it is known whose they are. Where
    --train_steps says the length, epochs are those of the run: its warm-up is a share of them.

    Args:
      config: the flags.
      stored: what the run directory remembers.
      given: names of the flags that were given and not left at their defaults.

    Raises:
      UserError: the run is of a method, or has values, that this version does not have.
    """
    of_run = configuration.config_class(stored["method"], type(config))
    flags.check_types(stored, of_run, "run.json")
    names = [name for name in INHERITED if name not in given]
    same_steps = stored["train_steps"] and config.train.train_steps == stored["train_steps"]
    if same_steps or not given.intersection(LENGTHS):
        names += LENGTHS
    if config.train.train_mode == "finetune":
        names += [name for name in _of_method(config) - given if name in stored]
    return configuration.from_dict(
        flags.to_dict(config) | {name: stored[name] for name in names}, type(config)
    )


def with_values_of_checkpoints(
    config: ExperimentConfig, sources: Sequence[StoredNetwork], given: frozenset[str]
) -> ExperimentConfig:
    """The flags of a new run; what was not given is as in the runs that its weights come from.

    That is the size of the images, and how the data are divided and read: images that were
    held out there must not be trained on here, nor the other way round. If the run had labels and
    the data are the same, the labels are the run's too.

    Args:
      config: the flags.
      sources: what --checkpoint and --teacher hold.
      given: names of the flags that were given and not left at their defaults.

    Raises:
      UserError: a flag, or one of two sources, divides the same data in another way.
    """
    values = flags.to_dict(config)
    divided_by = frozenset(("holdout_fraction", "split_seed", "upright"))
    with_data = [stored for stored in sources if stored.data is not None]
    decided = given
    # What was trained on the same data says first how they are divided.
    for stored in sorted(with_data, key=lambda stored: not of_same_data(values, stored.data)):
        if problem := contradiction(values, given, stored.data):
            raise UserError(problem)
        if _is_divided(stored.data) and contradiction(values, decided, stored.data):
            raise UserError(
                "The runs of --checkpoint and --teacher divide the same images in other ways, so "
                "that one has seen what the other holds out. Give runs of the same --split_seed "
                "and --holdout_fraction, or other images."
            )
        values |= {name: getattr(stored.data, name) for name in divided_by - decided}
        has_labels = stored.data.labels != NONE
        if has_labels and "labels" not in given and of_same_data(values, stored.data):
            values["labels"] = stored.data.labels
        decided |= divided_by
    if sources and "image_size" not in given:
        values["image_size"] = sources[0].shown_size
        print(f"The images have {values['image_size']} pixels, as those of the checkpoint.")
    return configuration.from_dict(values, type(config))


def _is_divided(data: TrainingData) -> bool:
    """Whether a seed divides such data, and they are not used as a whole."""
    divided = data.dataset == "image_folder" or data.dataset.startswith("transfer/")
    return divided and data.labels != NONE


def with_method_of_checkpoint(
    config: ExperimentConfig, source: StoredNetwork | None, given: frozenset[str]
) -> ExperimentConfig:
    """The flags of a new fine-tuning, whose method is that of what it starts from.

    Args:
      config: the flags.
      source: what --checkpoint holds, or None.
      given: names of the flags that were given and not left at their defaults.

    Raises:
      UserError: --method is another, or a flag belongs to another.
    """
    method = source.method if source else None
    if config.train.train_mode != "finetune" or method in (None, config.train.method):
        return config
    if "method" in given:
        raise UserError(
            f"--method={config.train.method} contradicts --checkpoint={config.train.checkpoint}, "
            f"which was pretrained with --method={method}. Leave it out."
        )
    if method not in METHODS:
        raise UserError(
            f"--checkpoint={config.train.checkpoint} was pretrained with --method={method}, which "
            f"this version does not know: it has {', '.join(METHODS)}."
        )
    values, others = flags.to_dict(config), _of_method(config) - given
    values = {name: value for name, value in values.items() if name not in others}
    found = configuration.from_dict(values | {"method": method}, type(config))
    if lost := sorted(given & (flags.to_dict(config).keys() - flags.to_dict(found).keys())):
        raise UserError(
            f"--{lost[0]} belongs to --method={config.train.method}, but "
            f"--checkpoint={config.train.checkpoint} was pretrained with --method={method}. Leave "
            "it out."
        )
    return found


def _of_method(config: ExperimentConfig) -> set[str]:
    """The names of the method's own flags."""
    return {field.name for field in dataclasses.fields(config.method)}
