"""Finding the checkpoint that a path means, and reading its arrays."""

import contextlib
import os
import re
from collections.abc import Iterator

import tensorflow as tf

from simclr_tf.errors import UserError, first_line
from simclr_tf.paths import as_path


def prefix_of(path: str) -> str:
    """What the files of a checkpoint have in common: a path without the ending of one of them."""
    return re.sub(r"\.index$|\.data-\d{5}-of-\d{5}$", "", path)


def find_prefix(path: str) -> str:
    """The prefix of the checkpoint that `path` means.

    Args:
      path: a prefix, its .index or .data file, a SavedModel's directory, a directory whose
        `checkpoint` file names the latest, or one that holds exactly one checkpoint.

    Raises:
      UserError: there is no checkpoint, or several and none is said to be the latest.
    """
    path = os.fspath(path)
    prefix = prefix_of(path)
    if _is_file(prefix + ".index"):
        return prefix
    names = _names(path)
    if any(name.startswith("saved_model.pb") for name in names):
        return _existing(path, os.path.join(path, "variables", "variables"))
    if "checkpoint" in names and (latest := _latest(path)):
        return _existing(path, latest)
    found = sorted(name.removesuffix(".index") for name in names if name.endswith(".index"))
    if len(found) == 1:
        return os.path.join(path, found[0])
    if found:
        raise UserError(f"{path} holds several checkpoints, give one of them: {', '.join(found)}.")
    raise UserError(
        f"There is no checkpoint in {path}: neither a `checkpoint` file nor *.index files nor a "
        "SavedModel."
    )


def _names(path: str) -> list[str]:
    """What lies in a directory.

    Raises:
      UserError: it is none, or cannot be read.
    """
    try:
        directory = as_path(path)
        if directory.is_dir():
            return [file.name for file in directory.iterdir()]
    except OSError as error:
        raise _unreadable(path, error) from None
    raise UserError(
        f"There is no checkpoint {path}. Give the directory of a run or of a SavedModel, or "
        "the path of a checkpoint without its ending: the part before .index."
    )


def _is_file(path: str) -> bool:
    try:
        return as_path(path).is_file()
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: str, error: OSError) -> UserError:
    return UserError(f"{path} cannot be read: {error.strerror}.")


def _latest(directory: str) -> str | None:
    """The checkpoint that the `checkpoint` file names, also when its directory was moved."""
    try:
        state = tf.train.get_checkpoint_state(directory)
    except UnicodeDecodeError:
        state = None
    if state is None:
        raise UserError(f"The file {os.path.join(directory, 'checkpoint')} is corrupt.")
    if not state.model_checkpoint_path or _is_file(state.model_checkpoint_path + ".index"):
        return state.model_checkpoint_path
    return os.path.join(directory, os.path.basename(state.model_checkpoint_path))


def _existing(path: str, prefix: str) -> str:
    if not _is_file(prefix + ".index"):
        raise UserError(f"{path} should hold the checkpoint {prefix}, but {prefix}.index is gone.")
    return prefix


@contextlib.contextmanager
def reading(path: str) -> Iterator[None]:
    """Turn TensorFlow's errors about files that cannot be read into a UserError."""
    try:
        yield
    except (tf.errors.OpError, RuntimeError, IndexError) as error:
        raise UserError(
            f"{path} cannot be read, it is truncated or corrupt: {first_line(error)}"
        ) from error
