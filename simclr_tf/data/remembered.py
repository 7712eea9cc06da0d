"""Remembering which files were decoded without an error, so that nobody decodes them again.

What is remembered of a folder is a file in the user's cache directory. It counts for files of the
same name, size and times, and for the version of TensorFlow that decoded them. It may be lost,
damaged, or beyond reach at any time: then the files are decoded again. Files that could not be
decoded are never remembered.
"""

import contextlib
import dataclasses
import hashlib
import os
import pathlib
import tempfile
import time
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from absl import logging

from simclr_tf.data.checking import Findings, check_files
from simclr_tf.data.file_states import states_of

_FORMAT = f"1, TensorFlow {tf.__version__}"
# A file that changed shortly before it was looked at may change again within the same tick of the
# clock of its file system, and nobody could tell.
_SETTLED_AFTER = 2 * 10**9  # nanoseconds


@dataclasses.dataclass(frozen=True)
class _Memory:
    """What is known of files.

    Attributes:
      names: (n,) uint64, rising, see `_digests`.
      stamps: (n, 3) int64, see `FileStates`.
      turned: (n,) bool, whether EXIF says to turn it.
      largest: (n,) int32, the largest value of a PNG of 16 bits, -1 for others.
    """

    names: np.ndarray
    stamps: np.ndarray
    turned: np.ndarray
    largest: np.ndarray

    def updated(self, new: "_Memory") -> "_Memory":
        """With what is newer in place of what is older."""
        kept = ~np.isin(self.names, new.names)
        both = [
            np.concatenate([getattr(self, field.name)[kept], getattr(new, field.name)])
            for field in dataclasses.fields(self)
        ]
        order = np.argsort(both[0], kind="stable")
        return _Memory(*(array[order] for array in both))


_NOTHING = _Memory(
    np.zeros(0, np.uint64), np.zeros((0, 3), np.int64), np.zeros(0, bool), np.zeros(0, np.int32)
)


def check_files_once(folder: str, files: Sequence[str]) -> Findings:
    """As `check_files`, without those that were decoded before and have not changed since.

    Args:
      folder: what the files lie in.
      files: their names, relative to the folder.
    """
    place, began = _place(folder), time.time_ns()
    paths = [os.path.join(folder, file) for file in files]
    stamps, names = states_of(paths).stamps, _digests(files)
    memory = _read(place)
    rows = np.minimum(np.searchsorted(memory.names, names), max(len(memory.names) - 1, 0))
    known = np.zeros(len(files), bool)
    if len(memory.names):
        known = (memory.names[rows] == names) & (memory.stamps[rows] == stamps).all(axis=1)
    unknown = np.flatnonzero(~known)
    found = check_files([paths[i] for i in unknown])
    turned, largest = np.zeros(len(files), bool), np.full(len(files), -1, np.int32)
    if known.any():
        logging.info("%d of %d images were checked before.", known.sum(), len(files))
        turned[known], largest[known] = memory.turned[rows[known]], memory.largest[rows[known]]
    turned[unknown[sorted(found.turned)]] = True
    largest[unknown[list(found.largest_of_16_bits)]] = list(found.largest_of_16_bits.values())
    settled = stamps[:, 2] < began - _SETTLED_AFTER  # by ctime, which nobody can set
    is_new = ~known & settled & (stamps[:, 0] >= 0)
    is_new[unknown[list(found.reasons)]] = False
    if is_new.any():
        order = np.flatnonzero(is_new)
        new = _Memory(names[order], stamps[order], turned[order], largest[order])
        _write(place, memory.updated(new))
    deep = np.flatnonzero(largest >= 0)
    return Findings(
        {int(unknown[i]): reason for i, reason in found.reasons.items()},
        frozenset(np.flatnonzero(turned).tolist()),
        dict(zip(deep.tolist(), largest[deep].tolist())),
    )


def _place(folder: str) -> pathlib.Path:
    """The file that holds what is remembered of a folder."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    name = hashlib.blake2b(os.fsencode(os.path.realpath(folder)), digest_size=16).hexdigest()
    return pathlib.Path(cache, "simclr_tf", "checked_images", f"{name}.npz")


def _digests(files: Sequence[str]) -> np.ndarray:
    """A number for each name, (n,) uint64."""
    digests = [hashlib.blake2b(os.fsencode(file), digest_size=8).digest() for file in files]
    return np.frombuffer(b"".join(digests), np.uint64)


def _read(place: pathlib.Path) -> _Memory:
    """What is remembered; nothing where it cannot be read."""
    # A damaged archive raises whatever it happens to.
    with contextlib.suppress(Exception), np.load(place, allow_pickle=False) as stored:
        arrays = {field.name: stored[field.name] for field in dataclasses.fields(_Memory)}
        fits = all(
            array.dtype == vars(_NOTHING)[name].dtype
            and array.shape == (len(arrays["names"]), *vars(_NOTHING)[name].shape[1:])
            for name, array in arrays.items()
        )
        rising = (arrays["names"][1:] > arrays["names"][:-1]).all()
        if str(stored["format"]) == _FORMAT and fits and rising:
            return _Memory(**arrays)
    return _NOTHING


def _write(place: pathlib.Path, memory: _Memory) -> None:
    """Remember; of two processes the later one counts. Where nobody may write, nothing is."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=place.parent, suffix=".part", delete=False) as file:
            try:
                np.savez(file, format=_FORMAT, **vars(memory))
                os.replace(file.name, place)
            except BaseException:
                os.unlink(file.name)
                raise
    except OSError as error:
        logging.info("Which images were checked is not remembered: %s.", error.strerror)
