"""The directory of a sweep: results, and who is at work on which fit.

    sweep.json                          the settings that all fits share
    DATASET/PROTOCOL/NAME.json          the result of a finished fit
    DATASET/PROTOCOL/NAME.claim         locked by the process that makes the fit
    DATASET/PROTOCOL/NAME.npz           what it found: a linear classifier, or predictions
    images/                             which images of the data sets cannot be decoded
    features/                           of the linear protocol

Locks are those of the operating system, which end with their process however it ends. So there
is no server, and a fit whose process was killed is free at once. File systems that do not lock
files (such as buckets) can serve one process only.
"""

import contextlib
import fcntl
import json
import os
import pathlib
import socket
from collections.abc import Iterator, Mapping
from typing import Any

from simclr_tf.errors import UserError

SETTINGS = "sweep.json"


class Sweep:
    """A directory that several processes share.

    Args:
      path: of the directory; it is created when something is written.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = pathlib.Path(path)

    def settle(self, settings: Mapping[str, Any]) -> None:
        """Write the settings of a new sweep, or compare them with those of an earlier call.

        Raises:
          UserError: the directory belongs to a sweep with other settings, or cannot be written.
        """
        file = self.path / SETTINGS
        try:
            with self.claim(SETTINGS, wait=True):
                if not file.exists():
                    _write(file, settings)
                stored = json.loads(file.read_text())
        except OSError as error:
            raise UserError(
                f"The sweep directory {self.path} cannot be written: {error}."
            ) from None
        differences = [
            f"{name} was {stored.get(name)!r}, now {value!r}"
            for name, value in settings.items()
            if stored.get(name) != value
        ]
        if differences:
            raise UserError(
                f"{self.path} holds a sweep with other settings: {'; '.join(differences)}. Give "
                "the same to go on with it, or another directory."
            )

    @contextlib.contextmanager
    def claim(self, name: str, *, wait: bool = False) -> Iterator[bool]:
        """Hold the claim of a name; gives whether it was to be had.

        Args:
          name: an id of a fit, or any other.
          wait: wait for the process that holds it.
        """
        path = self.path / f"{name}.claim"
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
                return
            file.truncate(0)
            file.write(f"{socket.gethostname()} {os.getpid()}\n")
            file.flush()
            yield True

    def result(self, fit_id: str) -> dict[str, Any] | None:
        """The result of a fit, or None as long as it is not finished."""
        try:
            return json.loads((self.path / f"{fit_id}.json").read_text())
        except FileNotFoundError:
            return None

    def finish(self, fit_id: str, result: Mapping[str, Any]) -> None:
        """Write the result of a fit, all at once."""
        _write(self.path / f"{fit_id}.json", result)

    def arrays(self, fit_id: str) -> pathlib.Path:
        """The file for the arrays of a fit."""
        return self.path / f"{fit_id}.npz"


def _write(path: pathlib.Path, values: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.part")
    unfinished.write_text(json.dumps(values, indent=2) + "\n")
    unfinished.replace(path)
