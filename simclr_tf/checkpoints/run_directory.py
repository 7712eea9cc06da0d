"""A run directory: what a run leaves behind, and who may go on with it.

run.json           all flags of the run, the size of its data set, every length, and the machine
run.lock           locked by the process that trains
images.txt.gz      the files of an image folder that the run trains on
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
report.html        what was learned, in pictures
"""

import contextlib
import gzip
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from simclr_tf.checkpoints import run_files
from simclr_tf.checkpoints.run_files import checkpoint_step
from simclr_tf.errors import UserError
from simclr_tf.json_files import Kinds, check_entries, read_object
from simclr_tf.models import Architecture
from simclr_tf.outputs import require_writable, write_complete
from simclr_tf.paths import AnyPath, as_path

CONFIG = run_files.CONFIG
MODEL = "model.json"
IMAGES = "images.txt.gz"
LENGTHS = ("train_epochs", "train_steps")  # what a finished run may have more of

# What run.json says besides flags, and the flags that are read from it by name.
_REMEMBERED: Kinds = {
    "num_examples": int,
    "num_classes": (int, type(None)),
    "class_names": (list, type(None)),
    "skipped_files": list,
    "planned_steps": int,
    "dataset": str,
    "data_dir": (str, type(None)),
    "holdout_fraction": float,
    "split_seed": int,
    "label_seed": (int, type(None)),
    "labels": str,
    "upright": bool,
    "method": str,
    "cifar_stem": str,
    "image_size": int,
    "train_epochs": int,
    "train_steps": int,
}

# What runs of versions without these flags did.
_BEFORE = {
    "label_seed": None,
    "labels": "folders",
    "upright": False,
    "cifar_stem": "auto",
    "method": "simclr",
    "warmup_start": 0.0,
    "schedule": "cosine",
    "schedule_by": "step",
    "schedule_milestones": "",
    "schedule_gamma": 0.1,
    "final_rate": 0.0,
    "lars_rate_outside": False,
    "image_size_schedule": "",
    "blur_sigma": "image",
    "reduced_decoding": False,
}
_BEFORE_OF_METHODS = {
    "simclr": {"transforms": "", "added_transform": "none"},
    "moco": {"infomin": False, "small_crops": 0},
    "moco_v1": {"infomin": False, "small_crops": 0},
}


def write_json(path: AnyPath, values: Mapping[str, Any]) -> None:
    """Write a JSON file so that readers see the old file or the new one, never a part."""
    write_complete(path, (json.dumps(values, indent=2) + "\n").encode())


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
        return run_files.checkpoints(self.path)

    def keep_checkpoints(self, number: int) -> None:
        """Remove all checkpoints but the newest, and what killed processes left of others.

        Args:
          number: how many are kept; 0 keeps all.
        """
        run_files.keep_checkpoints(self.path, number)

    @property
    def latest_step(self) -> int:
        """The step of the newest checkpoint; 0 without one."""
        prefix = self.latest_checkpoint
        return checkpoint_step(prefix) if prefix else 0

    def config(self, complete: bool = True) -> dict[str, Any]:
        """The flags of the run that the directory holds, and what else it remembers.

        Runs of earlier versions have no split seed of their own, it is their seed; they did
        not turn photographs; their method was SimCLR, and they had one schedule.

        Args:
          complete: whether all that a run needs has to be there, to go on or be evaluated.

        Raises:
          UserError: the directory holds no run, or its run.json is damaged.
        """
        stored = self._read(CONFIG)
        of_method = _BEFORE_OF_METHODS.get(str(stored.get("method", _BEFORE["method"])), {})
        stored = _BEFORE | of_method | {"split_seed": stored.get("seed", 0)} | stored
        needed = {n: k for n, k in _REMEMBERED.items() if complete or n in stored}
        check_entries(stored, needed, str(self / CONFIG))
        return stored

    def write_image_names(self, names: Sequence[str]) -> None:
        """Remember the files of an image folder that the run trains on."""
        content = b"\0".join(os.fsencode(name) for name in names)
        write_complete(self / IMAGES, gzip.compress(content, mtime=0))

    def image_names(self) -> list[str]:
        """What `write_image_names` remembers; of other data nothing.

        Raises:
          UserError: the file is damaged.
        """
        file = self / IMAGES
        if not file.is_file():
            return []
        try:
            content = gzip.decompress(file.read_bytes())
        except (OSError, EOFError, gzip.zlib.error) as error:
            raise UserError(f"{file} is damaged: {error}. Remove it to go on.") from None
        return [os.fsdecode(name) for name in content.split(b"\0")]

    def architecture(self) -> Architecture:
        """The architecture of the network whose checkpoints the directory holds.

        Raises:
          UserError: the directory holds no run, or its model.json is damaged.
        """
        return Architecture.from_json(self._read(MODEL), str(self / MODEL))

    def _read(self, name: str) -> dict[str, Any]:
        try:
            return read_object(self / name)
        except (FileNotFoundError, NotADirectoryError):
            raise UserError(
                f"{self.path} is not a run directory: it has no {name}. "
                "Give --model_dir of an earlier run."
            ) from None

    def holds_run(self) -> bool:
        """Whether some run has claimed the directory."""
        return (self / CONFIG).is_file()

    def holds_model(self) -> bool:
        """Whether it holds checkpoints of ours: of a run, or converted from elsewhere."""
        return (self / MODEL).is_file()

    def check(self, identity: Mapping[str, Any], resume: bool, overwrite: bool) -> None:
        """Refuse a directory that another configuration or something else uses.

        A finished run may be made longer: for LENGTHS see `check_length`.

        Args:
          identity: the flags that decide what is trained.
          resume: whether an earlier run of this configuration may go on.
          overwrite: whether an earlier run may be removed.

        Raises:
          UserError: the directory may not be used; the message names each difference.
        """
        require_writable(self / CONFIG, f"--model_dir={self.path}")
        if not self.holds_run():
            names = run_files.names_in(self.path)
            if any(name == "checkpoint" or name.endswith(".index") for name in names):
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
            if name in stored and stored[name] != value and name not in LENGTHS
        ]
        if differences:
            raise UserError(
                f"--model_dir={self.path} belongs to a run with other flags: "
                f"{'; '.join(differences)}. Give the same flags to go on with it, another "
                "--model_dir for a new run, or --overwrite to remove it."
                + (_BATCH_HINT if "train_batch_size" in " ".join(differences) else "")
            )
        if not resume and self.latest_checkpoint:
            raise UserError(
                f"--model_dir={self.path} holds a run at step {self.latest_step}, and "
                "--resume=False was given. Give another --model_dir, or --overwrite to remove it."
            )

    def check_length(self, identity: Mapping[str, Any], planned_steps: int) -> bool:
        """Whether the run that the directory holds was finished and is now made longer.

        Args:
          identity: the flags that decide what is trained.
          planned_steps: the length that they ask for.

        Raises:
          UserError: the length is another one, and the run is not finished or would not be longer.
        """
        stored = self.config()
        differences = [
            f"--{name} was {stored[name]!r}, now {identity[name]!r}"
            for name in LENGTHS
            if stored[name] != identity[name]
        ]
        if not differences:
            return False
        before, done = stored["planned_steps"], self.latest_step
        if done < before:
            raise UserError(
                f"--model_dir={self.path} belongs to a run of another length: "
                f"{'; '.join(differences)}. It is at step {done} of {before}; a run can be made "
                "longer when it is finished. Give the same flags to go on with it, another "
                "--model_dir for a new run, or --overwrite to remove it."
            )
        if planned_steps <= before:
            raise UserError(
                f"--model_dir={self.path} holds a run that is finished at step {before}, and can "
                f"only be made longer: {'; '.join(differences)}, which are {planned_steps} steps. "
                "Give another --model_dir for a new run, or --overwrite to remove this one."
            )
        return True

    def locked(self) -> contextlib.AbstractContextManager[None]:
        """Keep other processes from training here, as long as the context and its process last.

        Raises:
          UserError: another process trains here, or the directory cannot be written.
        """
        return run_files.locked(self.path)

    def claim(self, flags: Mapping[str, Any], architecture: Architecture, overwrite: bool) -> None:
        """Make this the directory of a run; call `check` first. Removes a run if told to."""
        if overwrite and self.holds_run():
            run_files.remove_run(self.path)
        self.hold_model(architecture)
        write_json(self / CONFIG, flags)

    def hold_model(self, architecture: Architecture) -> None:
        """Make this a directory for checkpoints of networks of this architecture."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            write_json(self / MODEL, architecture.to_json())
        except OSError as error:
            raise UserError(f"The directory {self.path} cannot be written: {error}.") from None


_BATCH_HINT = (
    " With another batch, epochs have other steps: to go on from its weights, give --checkpoint "
    "with its directory, and another --model_dir."
)
