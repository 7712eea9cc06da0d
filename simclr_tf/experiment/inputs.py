"""What a run works on: everything that it opens before its directory is touched."""

import dataclasses
from typing import Any

import numpy as np

from simclr_tf import checkpoints
from simclr_tf import flag as flags
from simclr_tf.checkpoints.run_directory import LENGTHS, RunDirectory, write_json
from simclr_tf.checkpoints.stored_network import StoredNetwork
from simclr_tf.data import subsets
from simclr_tf.data.classes import with_classes_of
from simclr_tf.data.sources import ImageDataset
from simclr_tf.devices.machine import machine
from simclr_tf.errors import UserError, printable
from simclr_tf.evaluation.overlap import require_apart, require_unseen
from simclr_tf.experiment import finetuning, inherited, parts, pretraining
from simclr_tf.experiment.config import ExperimentConfig

_SHOWN = 3


@dataclasses.dataclass(frozen=True)
class Inputs:
    """What was opened for a run.

    Attributes:
      config: the flags, completed by what the run or its checkpoints say.
      directory: the run directory.
      earlier: what the directory remembers of the run, if that goes on.
      saved: whether the run goes on from a checkpoint of its own.
      source: what --checkpoint holds; None without one, and when the run was saved.
      teacher: what --teacher holds, or None.
      dataset: the training images, with the labels of the supervised head.
      num_classes: outputs of the supervised head; None without labels.
      class_names: of these; None where they are not known.
    """

    config: ExperimentConfig
    directory: RunDirectory
    earlier: dict[str, Any] | None
    saved: bool
    source: StoredNetwork | None
    teacher: StoredNetwork | None
    dataset: ImageDataset
    num_classes: int | None
    class_names: tuple[str, ...] | None


def open_inputs(config: ExperimentConfig, given: frozenset[str]) -> Inputs:
    """Open the run directory, the checkpoints and the training images; nothing is written.

    Args:
      config: the flags.
      given: names of the flags that were given and not left at their defaults.

    Raises:
      UserError: something that was given cannot work.
    """
    directory = RunDirectory(config.run.model_dir)
    overwrite = config.run.overwrite
    earlier = directory.config() if directory.holds_run() and not overwrite else None
    if earlier:
        config = inherited.with_values_of_run(config, earlier, given)
    directory.check(flags.identity(config), config.run.resume, overwrite)
    saved = earlier is not None and directory.latest_checkpoint is not None
    # Once a run has saved itself, --checkpoint has done its work, and need not be there any more.
    source = None if saved else _read(config.train.checkpoint, config.train.variable_schema)
    teacher = _read(config.distillation.teacher)
    if not earlier:
        config = inherited.with_method_of_checkpoint(config, source, given)
        found = [stored for stored in (source, teacher) if stored]
        config = inherited.with_values_of_checkpoints(config, found, given)
    if config.train.train_mode == "pretrain":
        pretraining.recipe_of(config)  # before all images are looked at
    skipped = earlier["skipped_files"] if earlier else None
    dataset = parts.open_training_dataset(config, known_bad=skipped)
    num_classes, class_names = dataset.num_classes, dataset.class_names
    if teacher:
        finetuning.check_teacher(config, teacher, num_classes)
        num_classes, class_names = teacher.architecture.num_classes, teacher.class_names
        dataset = with_classes_of(dataset, class_names, num_classes, "the --teacher")
        class_names = class_names or dataset.class_names
    inputs = Inputs(
        config,
        directory,
        earlier,
        saved,
        source,
        teacher,
        dataset,
        num_classes,
        class_names,
    )
    if earlier:
        _require_same_images(inputs)
    return inputs


def _read(path: str | None, schema: str | None = None) -> StoredNetwork | None:
    return checkpoints.read(path, schema) if path else None


def open_eval_dataset(inputs: Inputs) -> ImageDataset | None:
    """The evaluation split, opened before training if it is needed during it or after.

    Raises:
      UserError: it cannot be opened, has other classes, or the images have no labels.
    """
    config = inputs.config
    knn = config.eval.knn_every_epochs > 0
    if not knn and config.train.mode == "train":
        return None
    dataset = parts.open_dataset(config, config.data.eval_split)
    require_apart(config.data.train_split, inputs.dataset.file_names, dataset)
    for source in (config.train.checkpoint, config.distillation.teacher):
        require_unseen(source, dataset, flags.to_dict(config))
    needing = [inputs.dataset, dataset] if knn or not inputs.teacher else []
    for split in needing:
        if split.num_classes is None:
            raise UserError(
                f"Evaluation and kNN need labels, and split {split.split!r} of {split.name} has "
                "none. Give --mode=train and --knn_every_epochs=0."
            )
    return with_classes_of(dataset, inputs.class_names, inputs.num_classes, "the training data")


def _require_same_images(inputs: Inputs) -> None:
    """Refuse to go on with other images or classes than the run began with.

    Raises:
      UserError: they are others; the message names some.
    """
    earlier, dataset, directory = inputs.earlier, inputs.dataset, inputs.directory
    begun = earlier["class_names"] and tuple(earlier["class_names"])
    if begun and inputs.class_names and begun != inputs.class_names:
        raise UserError(
            f"The classes of the training images are not those that the run in {directory.path} "
            f"began with: {_changes(begun, inputs.class_names) or 'their order differs'}. Bring "
            "them back, or give another --model_dir."
        )
    changes = ""
    if dataset.file_names and (begun_with := directory.image_names()):
        changes = _changes(begun_with, dataset.file_names)
    if changes or dataset.num_examples != earlier["num_examples"]:
        raise UserError(
            f"The training images are not those that the run in {directory.path} began with: there "
            f"were {earlier['num_examples']}, and are {dataset.num_examples}"
            f"{f'; {changes}' if changes else ''}. Bring them back, or give another --model_dir."
        )
    if inputs.num_classes != earlier["num_classes"]:
        raise UserError(
            f"The run in {directory.path} began with {_in_words(earlier['num_classes'])}, and now "
            f"the training images have {_in_words(inputs.num_classes)}. Give the --labels that it "
            "began with, or another --model_dir."
        )
    now = subsets.fingerprint(dataset)
    if earlier.get("images", now) != now:
        raise UserError(
            f"The training images have other labels than the run in {directory.path} began with. "
            "Bring those back, or give another --model_dir."
        )
    if earlier.get("content", dataset.content) != dataset.content:
        raise UserError(
            f"The data set {dataset.name} was packed or prepared in another way than when the run "
            f"in {directory.path} began with it, so its images, splits or their order are others. "
            "Bring that one back, or give another --model_dir."
        )


def _in_words(num_classes: int | None) -> str:
    return "no labels" if num_classes is None else f"{num_classes} classes"


def _changes(before: list[str] | tuple[str, ...], now: tuple[str, ...]) -> str:
    """Which names are gone and which are new, in words."""
    known, found = set(before), set(now)
    lists = {
        "gone": [name for name in before if name not in found],
        "new": [name for name in now if name not in known],
    }
    return "; ".join(
        f"{word}: {', '.join(map(printable, names[:_SHOWN]))}"
        + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
        for word, names in lists.items()
        if names
    )


def remembered(inputs: Inputs, planned_steps: int, command: str) -> dict[str, Any]:
    """What a run directory remembers besides the flags.

    Args:
      inputs: of the run.
      planned_steps: its length.
      command: the command line.
    """
    dataset, earlier, names = inputs.dataset, inputs.earlier, inputs.class_names
    values = flags.to_dict(inputs.config)
    length = {name: values[name] for name in LENGTHS} | {"planned_steps": planned_steps}
    lengths = [length | {"from_step": 0}]
    if earlier:
        first = {name: earlier[name] for name in length} | {"from_step": 0}
        lengths = earlier.get("lengths") or [first]
        if any(earlier[name] != value for name, value in length.items()):
            lengths = [*lengths, length | {"from_step": inputs.directory.latest_step}]
    return {
        "num_examples": dataset.num_examples,
        "num_classes": inputs.num_classes,
        "class_names": None if names is None else list(names),
        "skipped_files": list(dataset.skipped_files),
        "images": subsets.fingerprint(dataset),
        "content": dataset.content,
        "planned_steps": planned_steps,
        "lengths": lengths,
        "fraction": 1.0 if dataset.labelled is None else float(dataset.labelled.mean()),
        "command": command,
        "machine": machine(),
    }


def record_images(directory: RunDirectory, dataset: ImageDataset) -> None:
    """Write label_subset.json, when not all images were labelled, and the names of image files."""
    if dataset.labelled is not None:
        indices = np.flatnonzero(dataset.labelled).tolist()
        values = {"images": len(indices), "of": len(dataset.labelled), "indices": indices}
        write_json(directory / "label_subset.json", values)
    if dataset.file_names:
        directory.write_image_names(dataset.file_names)


def require_unclaimed(directory: RunDirectory, overwrite: bool) -> None:
    """Refuse to begin a run where another process has begun one since the inputs were opened.

    Args:
      directory: of the run, locked.
      overwrite: whether what is there is removed.

    Raises:
      UserError: another process was faster.
    """
    if directory.holds_run() and not overwrite:
        raise UserError(
            f"Another process began a run in --model_dir={directory.path} at the same time. Give "
            "the same command again to go on with it, or another --model_dir."
        )
