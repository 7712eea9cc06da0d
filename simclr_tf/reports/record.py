"""What a run directory says without its weights: flags, rows of metrics, and what it was worth."""

import dataclasses
import math
from typing import Any

from simclr_tf.checkpoints.run_directory import RunDirectory, checkpoint_step
from simclr_tf.data.recipe import Recipe, ViewFlags, adjusted, finetuning_recipe
from simclr_tf.errors import UserError
from simclr_tf.flag import check_types, from_dict, with_method
from simclr_tf.json_files import Kinds, read_object
from simclr_tf.methods import METHODS
from simclr_tf.models import Architecture
from simclr_tf.training.metrics_log import read_rows

PRETRAINED, RANDOM = "pretrained", "random weights"  # encoders, as probe.json calls them too
_OF_DATA = ("data_dir", "eval_split")


@dataclasses.dataclass(frozen=True)
class _Views:
    """The flags that views follow; those of a method are added."""

    view: ViewFlags = ViewFlags()


@dataclasses.dataclass(frozen=True)
class Record:
    """A run, as its directory tells of it.

    Attributes:
      name: what the report calls it.
      directory: where it is.
      flags: of the run, and what else run.json remembers.
      architecture: of its network.
      rows: of metrics, by rising step; may be empty.
      checkpoint: prefix of the newest checkpoint, or None where there is none yet.
      probe: what probe.json says of that checkpoint on the data of the run, or None.
      result: what result.json says, or None.
    """

    name: str
    directory: RunDirectory
    flags: dict[str, Any]
    architecture: Architecture
    rows: list[dict[str, Any]]
    checkpoint: str | None
    probe: dict[str, Any] | None
    result: dict[str, Any] | None

    @property
    def method(self) -> str:
        """In words: the name of the method, or that it is a fine-tuning."""
        return "fine-tuning" if self.finetuned else self.flags["method"]

    @property
    def finetuned(self) -> bool:
        """Whether it was trained with labels."""
        return self.flags.get("train_mode") == "finetune"

    @property
    def step(self) -> int:
        """The newest step that anything is known of."""
        steps = [row["step"] for row in self.rows]
        return max([*steps, checkpoint_step(self.checkpoint) if self.checkpoint else 0])

    @property
    def metrics_of(self) -> dict[str, str]:
        """The metrics of the method, and what they mean."""
        return {} if self.finetuned else dict(METHODS[self.flags["method"]].metrics_of)

    @property
    def seconds(self) -> float | None:
        """How long the steps took that rows tell of; None where none does."""
        found = [row for row in self.rows if _positive(row.get("images_per_second"))]
        before, seconds = 0, 0.0
        for row in found:
            images = (row["step"] - before) * self.flags["train_batch_size"]
            before, seconds = row["step"], seconds + images / row["images_per_second"]
        return seconds or None

    @property
    def images_per_second(self) -> float | None:
        """The mean speed of training; None where no row tells it."""
        steps = [r["step"] for r in self.rows if _positive(r.get("images_per_second"))]
        return steps[-1] * self.flags["train_batch_size"] / self.seconds if steps else None

    def recipe(self) -> Recipe:
        """The views that the encoder was shown."""
        method = METHODS[self.flags["method"]]
        config_class = with_method(_Views, method.Flags)
        check_types(self.flags, config_class, str(self.directory / "run.json"))
        config = from_dict(self.flags, config_class)
        if self.finetuned:
            return finetuning_recipe(config.view)
        return adjusted(method.recipe(config.method, config.view), config.view)


def _positive(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and value > 0


def read_record(path: str, name: str | None = None) -> Record:
    """Read what a run directory says; of a run that goes on, what there is.

    Args:
      path: of the run directory.
      name: what the report calls the run; by default the name of the directory.

    Raises:
      UserError: there is no run, its files are damaged, or its method is unknown.
    """
    directory = RunDirectory(path)
    flags = directory.config()
    if flags["method"] not in METHODS:
        raise UserError(
            f"The run in {directory.path} was pretrained with --method={flags['method']}, which "
            f"this version does not know: it has {', '.join(METHODS)}."
        )
    if not isinstance(flags.get("train_batch_size"), int):
        raise UserError(f"{directory / 'run.json'} is damaged: it has no 'train_batch_size'.")
    metrics = directory / "metrics.jsonl"
    checkpoint = directory.latest_checkpoint  # read once: the run may go on beside
    probe = _read_if_there(directory, "probe.json", dict.fromkeys((PRETRAINED, RANDOM), dict))
    if not checkpoint or not probe or probe.get("step") != checkpoint_step(checkpoint):
        probe = None  # it is about another checkpoint
    elif any(probe.get("settings", flags).get(k) != flags.get(k) for k in _OF_DATA):
        probe = None  # it is about other images
    return Record(
        name=name or directory.path.name or str(directory.path),
        directory=directory,
        flags=flags,
        architecture=directory.architecture(),
        rows=sorted(read_rows(metrics), key=lambda r: r["step"]) if metrics.is_file() else [],
        checkpoint=checkpoint,
        probe=probe,
        result=_read_if_there(directory, "result.json"),
    )


def _read_if_there(
    directory: RunDirectory, name: str, needed: Kinds | None = None
) -> dict[str, Any] | None:
    try:
        return read_object(directory / name, needed)
    except FileNotFoundError:
        return None
