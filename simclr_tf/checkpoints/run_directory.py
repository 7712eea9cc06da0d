"""A run directory: what a run leaves behind, and who may go on with it.

run.json           all flags of the run, and the size of its data set
model.json         the architecture of the network
label_subset.json  the indices of the images whose labels were used, when not all were
features-*.npz     features that a logistic regression was fitted to
ckpt-STEP.*        checkpoints; `checkpoint` names the latest
metrics.jsonl      one row of metrics in each line
events.*, eval*/   TensorBoard events of training and of evaluations
views.png          what the encoder was shown
result*.json       evaluations; flags.json, the flags they were made with
saved_model/STEP/  exported models
probe.json         a linear probe and kNN beside those of random weights
"""

import dataclasses
import fnmatch
import json
import os
import re
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from simclr_tf.errors import UserError
from simclr_tf.models import Architecture
from simclr_tf.outputs import require_writable
from simclr_tf.paths import AnyPath, as_path

CONFIG = "run.json"
MODEL = "model.json"

# Everything that a run writes; overwriting removes these and nothing else.
FILES = (
    MODEL,
    "label_subset.json",
    "features-*.npz",
    "checkpoint",
    "ckpt-*",
    "metrics.jsonl",
    "events.out.tfevents.*",
    "eval*",
    "views.png",
    "result*.json",
    "flags.json",
    "saved_model",
    "probe.json",
    "*.json.part",
    CONFIG,  # last, so that what is left of a half removed run is still known as one
)


def write_json(path: AnyPath, values: Mapping[str, Any]) -> None:
    """Write a JSON file so that readers see the old file or the new one, never a part."""
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(json.dumps(values, indent=2) + "\n")
    temporary.replace(path)


class RunDirectory:
    """The directory of one run.

    Constructing it touches nothing. `check` says whether a configuration may use it and
    `claim` makes it the directory of that configuration.

    Args:
      path: the directory, local or gs://; it need not exist.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = as_path(path)

    def __truediv__(self, name: str) -> AnyPath:
        return self.path / name

    @property
    def latest_checkpoint(self) -> str | None:
        """The prefix of the newest checkpoint that is there, or None."""
        steps = [checkpoint_step(name) for name in self.checkpoints()]
        return self.checkpoint(max(steps)) if steps else None

    def checkpoint(self, step: int) -> str:
        """The prefix of the checkpoint of a step."""
        return str(self / f"ckpt-{step}")

    def checkpoints(self) -> list[str]:
        """Names of the checkpoints that are there, such as ckpt-120."""
        names = [path.name for path in self.path.iterdir()] if self.path.is_dir() else []
        return [n.removesuffix(".index") for n in names if re.fullmatch(r"ckpt-\d+\.index", n)]

    @property
    def latest_step(self) -> int:
        """The step of the newest checkpoint; 0 without one."""
        prefix = self.latest_checkpoint
        return checkpoint_step(prefix) if prefix else 0

    def config(self) -> dict[str, Any]:
        """The flags of the run that the directory holds.

        Raises:
          UserError: the directory holds no run.
        """
        return self._read(CONFIG)

    def architecture(self) -> Architecture:
        """The architecture of the network whose checkpoints the directory holds.

        Raises:
          UserError: the directory holds no run.
        """
        return Architecture(**self._read(MODEL))

    def _read(self, name: str) -> dict[str, Any]:
        try:
            return json.loads((self / name).read_text())
        except (FileNotFoundError, NotADirectoryError):
            raise UserError(
                f"{self.path} is not a run directory: it has no {name}. "
                "Give --model_dir of an earlier run."
            ) from None
        except (OSError, json.JSONDecodeError) as error:
            raise UserError(f"{self / name} cannot be read: {error}.") from None

    def holds_run(self) -> bool:
        """Whether some run has claimed the directory."""
        return (self / CONFIG).is_file()

    def holds_model(self) -> bool:
        """Whether it holds checkpoints of ours: of a run, or converted from elsewhere."""
        return (self / MODEL).is_file()

    def check(self, identity: Mapping[str, Any], resume: bool, overwrite: bool) -> None:
        """Refuse a directory that another configuration or something else uses.

        Args:
          identity: the flags that decide what is trained.
          resume: whether an earlier run of this configuration may go on.
          overwrite: whether an earlier run may be removed.

        Raises:
          UserError: the directory may not be used; the message names each difference.
        """
        require_writable(self / CONFIG, f"--model_dir={self.path}", suffix=".part")
        if not self.holds_run():
            if tf.train.latest_checkpoint(str(self.path)):
                raise UserError(
                    f"--model_dir={self.path} holds checkpoints of another program. "
                    "Give a new directory, or load them with --checkpoint."
                )
            return
        if overwrite:
            return
        stored = self.config()
        differences = [
            f"--{name} was {stored[name]!r}, now {value!r}"
            for name, value in identity.items()
            if name in stored and stored[name] != value
        ]
        if differences:
            raise UserError(
                f"--model_dir={self.path} belongs to a run with other flags: "
                f"{'; '.join(differences)}. Give the same flags to go on with it, another "
                "--model_dir for a new run, or --overwrite to remove it."
            )
        if not resume and self.latest_checkpoint:
            raise UserError(
                f"--model_dir={self.path} holds a run at step {self.latest_step}, and "
                "--resume=False was given. Give another --model_dir, or --overwrite to remove it."
            )

    def claim(self, flags: Mapping[str, Any], architecture: Architecture, overwrite: bool) -> None:
        """Make this the directory of a run; call `check` first. Removes a run if told to."""
        if overwrite and self.holds_run():
            found = list(self.path.iterdir())
            for path in [p for pattern in FILES for p in found if fnmatch.fnmatch(p.name, pattern)]:
                path.rmtree() if path.is_dir() else path.unlink()
        self.hold_model(architecture)
        write_json(self / CONFIG, flags)

    def hold_model(self, architecture: Architecture) -> None:
        """Make this a directory for checkpoints of networks of this architecture."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            write_json(self / MODEL, dataclasses.asdict(architecture))
        except OSError as error:
            raise UserError(f"The directory {self.path} cannot be written: {error}.") from None


def checkpoint_step(prefix: str) -> int:
    """The step that a checkpoint's name carries: .../ckpt-120 -> 120."""
    return int(prefix.rsplit("-", 1)[1])
