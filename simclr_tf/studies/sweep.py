"""The directory of a sweep: results, and who is at work on which fit.

    sweep.json          the settings that all fits share
    at_work.claim       locked by every process that takes part
    table.claim         locked by the process that writes the tables
    ID.json             the result of a finished fit, written last
    ID.claim            locked by the process that makes the fit
    ID.npz              what a fit of transfer found: a linear classifier, or predictions
    images/             of transfer: which images the data sets have, and which of them cannot be
                        decoded
    features/           of transfer: those of the linear protocol

The ID of a fit of transfer is DATASET/PROTOCOL/NAME. The fits of a study are the cells of its
grid, whose ID is cells/NAME/result; their trainings have run directories at cells/NAME/run.

Locks are those of the operating system, which end with their process however it ends. So there
is no server, and a fit whose process was killed is free at once. The file system has to lock files,
as local ones and NFS do and buckets do not.
"""

import contextlib
import fcntl
import math
import os
import pathlib
import socket
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from simclr_tf.checkpoints.run_directory import write_json
from simclr_tf.errors import UserError
from simclr_tf.json_files import DamagedFileError, read_object
from simclr_tf.outputs import complete_file
from simclr_tf.paths import as_path, is_local

SETTINGS = "sweep.json"
IMAGES = "images"
_AT_WORK = "at_work"


class Sweep:
    """A directory that several processes share.

    Args:
      path: of the directory; it is created when something is written.

    Raises:
      UserError: it is the URL of another file system.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = as_path(path)
        if not is_local(self.path):
            raise UserError(
                f"A sweep needs a directory of this machine, or a mounted one, whose files can be "
                f"locked. Received: {os.fspath(path)}."
            )

    def compare(self, settings: Mapping[str, Any]) -> dict[str, Any] | None:
        """Compare settings with those of the sweep; nothing is written.

        The weights of a checkpoint are compared, and not its path.

        Returns:
          Those of the sweep; None if there is no sweep, or one of other settings in which nothing
          was begun, see `has_results`.

        Raises:
          UserError: the directory belongs to a sweep with other settings.
        """
        stored = self.settings()
        if stored is None:
            return None
        differences = [
            f"{name} was {stored.get(name)!r}, now {value!r}"
            for name, value in settings.items()
            if name != "checkpoint" and stored.get(name) != value
        ]
        if not differences:
            return stored
        if not self.has_results():
            return None
        if stored.get("weights") != settings.get("weights"):
            differences.append(
                f"--checkpoint was {stored.get('checkpoint')!r} (of a run that went on, give the "
                "checkpoint of then)"
            )
        raise UserError(
            f"{self.path} holds a sweep with other settings: {'; '.join(differences)}. Give the "
            "same to go on with it, or another directory."
        )

    def settings(self) -> dict[str, Any] | None:
        """The settings of the sweep, or None if there is none.

        Raises:
          UserError: they cannot be read, or the path is that of a file.
        """
        if os.path.isfile(self.path):
            raise UserError(f"{self.path} is a file. Give the directory of a sweep, or a new one.")
        try:
            return _read(self.path / SETTINGS)
        except DamagedFileError as error:
            raise UserError(
                f"{error} Remove it if this command has the settings of that sweep; else give "
                "another directory."
            ) from error

    @contextlib.contextmanager
    def take_part(self, settings: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Write the settings of a new sweep, or compare them with those of an earlier call.

        Other settings replace those of a sweep in which no fit is finished and no other process
        takes part.

        Yields:
          The settings of the sweep, whose checkpoint may be another path to the same weights.

        Raises:
          UserError: the directory belongs to a sweep with other settings, or cannot be written.
        """
        with contextlib.ExitStack() as stack:
            try:
                with self.claim(SETTINGS, wait=True):
                    members = stack.enter_context(open(self.path / f"{_AT_WORK}.claim", "a+"))
                    alone = _lock(members, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    stored = self.compare(settings)
                    if stored is None and not alone:
                        raise UserError(
                            f"Another process takes part in the sweep {self.path} with other "
                            "settings. Give the same, or another directory."
                        )
                    if stored is None:
                        stored = dict(settings)
                        _write(self.path / SETTINGS, stored)
                    _lock(members, fcntl.LOCK_SH)
            except OSError as error:
                raise UserError(
                    f"The sweep directory {self.path} cannot be written: {error}."
                ) from None
            yield stored

    @contextlib.contextmanager
    def claim(self, name: str, *, wait: bool = False) -> Iterator[bool]:
        """Hold the claim of a name.

        Args:
          name: an id of a fit, or any other.
          wait: wait for the process that holds it.

        Yields:
          Whether this process has it.

        Raises:
          OSError: the directory cannot be written.
        """
        path = self.path / f"{name}.claim"
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a+") as file:
            if not _lock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB)):
                yield False
                return
            file.truncate(0)
            file.write(f"{socket.gethostname()} {os.getpid()}\n")
            file.flush()
            # A client of NFS remembers for a while that a file was not there, such as the result
            # that the process before wrote, until it has changed the folder itself.
            with tempfile.NamedTemporaryFile(dir=path.parent):  # one without a name changes nothing
                pass
            yield True

    def result(self, fit_id: str, numbers: Sequence[str] = ()) -> dict[str, Any] | None:
        """The result of a fit, or None as long as it is not finished.

        Args:
          fit_id: of the fit.
          numbers: what the result has to have, each of them a number.

        Raises:
          UserError: the file of the result cannot be read, or lacks one of them.
        """
        path = self.path / f"{fit_id}.json"
        try:
            found = _read(path)
            for name in numbers if found is not None else ():
                if not _is_number(found.get(name)):
                    raise DamagedFileError(f"{path} is damaged: its {name} is no number.")
        except DamagedFileError as error:
            raise UserError(f"{error} Remove it, and the fit is made again.") from error
        return found

    def finish(self, fit_id: str, result: Mapping[str, Any]) -> None:
        """Write the result of a fit, all at once; it marks the fit as finished."""
        _write(self.path / f"{fit_id}.json", result)

    def left_out(self, name: str, max_bad_images: int) -> tuple[str, ...] | None:
        """The images of a data set that cannot be decoded, as `leave_out` noted them.

        Args:
          name: below images/.
          max_bad_images: how many may be left out now.

        Returns:
          None if nothing was noted, or what was is damaged or allowed more than now.
        """
        try:
            found = _read(self.path / IMAGES / f"{name}.json") or {}
        except DamagedFileError:
            return None
        names, most = found.get("left_out"), found.get("max_bad_images")
        if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
            return None
        return tuple(names) if isinstance(most, int) and most <= max_bad_images else None

    def leave_out(self, name: str, left_out: Sequence[str], max_bad_images: int) -> None:
        """Note which images of a data set cannot be decoded."""
        noted = {"left_out": list(left_out), "max_bad_images": max_bad_images}
        _write(self.path / IMAGES / f"{name}.json", noted)

    def arrays(self, fit_id: str) -> pathlib.Path:
        """The file for the arrays of a fit."""
        return self.path / f"{fit_id}.npz"

    def has_results(self, below: str = "") -> bool:
        """Whether some .json file lies below the folders of the sweep, or of one folder in it.

        So it is where a fit is finished, or the run of a study was begun.
        """
        for folder, _, files in os.walk(self.path / below):
            inside = pathlib.Path(folder).relative_to(self.path)
            if len(inside.parts) >= 2 and any(name.endswith(".json") for name in files):
                return True
        return False


def read_arrays(path: pathlib.Path, *names: str) -> list[np.ndarray] | None:
    """Arrays of a file that `write_arrays` wrote; None if it is not there or damaged."""
    try:
        with np.load(path) as stored:
            return [stored[name] for name in names]
    except Exception:  # a damaged file can raise any
        return None


def write_arrays(path: pathlib.Path, **arrays: np.ndarray) -> None:
    """Write arrays to a .npz file, all at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with complete_file(path) as part, open(part, "wb") as file:
        np.savez(file, **arrays)


def _read(path: pathlib.Path) -> dict[str, Any] | None:
    """The object in a JSON file; None if there is no file."""
    try:
        if path.exists() and not path.is_file():
            raise DamagedFileError(f"{path} is no file.")
        return read_object(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error}.") from error


def _is_number(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value)


def _write(path: pathlib.Path, values: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, values)


def _lock(file: Any, kind: int) -> bool:
    """Lock an open file; False if another process has it."""
    try:
        fcntl.flock(file, kind)
    except BlockingIOError:
        return False
    return True
