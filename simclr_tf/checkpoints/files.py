"""Finding the checkpoint that a path means, and reading its arrays."""

import contextlib
import os
from collections.abc import Iterator

import tensorflow as tf

from simclr_tf.errors import UserError


def find_prefix(path: str) -> str:
    """The prefix of the checkpoint that `path` means.

    Args:
      path: a prefix, its .index or .data file, a SavedModel's directory, a directory whose
        `checkpoint` file names the latest, or one that holds exactly one checkpoint.

    Raises:
      UserError: there is no checkpoint, or several and none is said to be the latest.
    """
    path = os.fspath(path)
    prefix = path.removesuffix(".index").partition(".data-")[0]
    if tf.io.gfile.exists(prefix + ".index"):
        return prefix
    if not tf.io.gfile.isdir(path):
        raise UserError(
            f"There is no checkpoint {path}. Give the directory of a run or of a SavedModel, or "
            "the path of a checkpoint without its ending: the part before .index."
        )
    if tf.io.gfile.glob(os.path.join(path, "saved_model.pb*")):
        return _existing(path, os.path.join(path, "variables", "variables"))
    state = tf.io.gfile.exists(os.path.join(path, "checkpoint"))
    if state and (latest := _latest(path)):
        return _existing(path, latest)
    found = sorted(tf.io.gfile.glob(os.path.join(path, "*.index")))
    if len(found) == 1:
        return found[0].removesuffix(".index")
    if found:
        names = ", ".join(os.path.basename(f).removesuffix(".index") for f in found)
        raise UserError(f"{path} holds several checkpoints, give one of them: {names}.")
    raise UserError(
        f"There is no checkpoint in {path}: neither a `checkpoint` file nor *.index files nor a "
        "SavedModel."
    )


def _latest(directory: str) -> str | None:
    """The checkpoint that the `checkpoint` file names, also when its directory was moved."""
    try:
        state = tf.train.get_checkpoint_state(directory)
    except UnicodeDecodeError:
        state = None
    if state is None:
        raise UserError(f"The file {os.path.join(directory, 'checkpoint')} is corrupt.")
    if not state.model_checkpoint_path or tf.io.gfile.exists(
        state.model_checkpoint_path + ".index"
    ):
        return state.model_checkpoint_path
    return os.path.join(directory, os.path.basename(state.model_checkpoint_path))


def _existing(path: str, prefix: str) -> str:
    if not tf.io.gfile.exists(prefix + ".index"):
        raise UserError(f"{path} should hold the checkpoint {prefix}, but {prefix}.index is gone.")
    return prefix


@contextlib.contextmanager
def reading(path: str) -> Iterator[None]:
    """Turn TensorFlow's errors about files that cannot be read into a UserError."""
    try:
        yield
    except (tf.errors.OpError, RuntimeError, IndexError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{path} cannot be read, it is truncated or corrupt: {reason}") from error
