"""Loading weights from what holds them: a run directory, a checkpoint, the original's files."""

import os

import tensorflow as tf

from simclr_tf.checkpoints import originals
from simclr_tf.checkpoints.files import reading
from simclr_tf.checkpoints.layout import network_variables
from simclr_tf.checkpoints.originals import StoredNetwork
from simclr_tf.checkpoints.restore import RestoreReport, assign
from simclr_tf.checkpoints.run_directory import RunDirectory, checkpoint_step
from simclr_tf.errors import UserError
from simclr_tf.models import Network

RUN_DIRECTORY = "run directory"
_NETWORK = "method/network/"


def read(path: str | os.PathLike, variable_schema: str | None = None) -> StoredNetwork:
    """Read the weights of a network and its architecture, and say what they come from.

    Args:
      path: a run directory of ours or one of its checkpoints, or a checkpoint, run
        directory or SavedModel of the original.
      variable_schema: regular expression that has to match from the beginning of a
        variable's name for it to be loaded; see `originals.read`.

    Raises:
      UserError: there is nothing to load, or it cannot be read.
    """
    path = os.fspath(path)
    directory, prefix = _own_checkpoint(path)
    if directory is None:
        return originals.read(path, variable_schema)
    if prefix is None:
        raise UserError(f"The run directory {path} has no checkpoint yet.")
    schema = originals.compile_schema(variable_schema)
    architecture = directory.architecture()
    keys = {_NETWORK + v.path + originals.VALUE: v for v in network_variables(architecture)}
    with reading(prefix):
        reader = tf.train.load_checkpoint(prefix)
        stored = reader.get_variable_to_shape_map()
        arrays = {
            variable.path: reader.get_tensor(key)
            for key, variable in keys.items()
            if key in stored and schema.match(variable.tf1)
        }
    return StoredNetwork(
        kind=RUN_DIRECTORY,
        architecture=architecture,
        arrays=arrays,
        ignored=tuple(sorted(key for key in stored if not key.startswith(_NETWORK))),
        unused=tuple(sorted(k for k in stored if k.startswith(_NETWORK) and k not in keys)),
        excluded=tuple(v.path for v in keys.values() if not schema.match(v.tf1)),
        step=checkpoint_step(prefix),
    )


def _own_checkpoint(path: str) -> tuple[RunDirectory | None, str | None]:
    """The run directory that a path names or lies in, and the prefix of the checkpoint meant."""
    directory = RunDirectory(path)
    if directory.holds_run():
        return directory, directory.latest_checkpoint
    prefix = path.removesuffix(".index")
    directory = RunDirectory(os.path.dirname(prefix))
    if directory.holds_run() and os.path.basename(prefix) in directory.checkpoints():
        return directory, prefix
    return None, None


def load_into(
    network: Network,
    path: str | os.PathLike,
    variable_schema: str | None = None,
    *,
    supervised_head: bool = True,
) -> RestoreReport:
    """Load the weights at `path` into a network.

    Args:
      network: what to load into; its encoder has to be there completely, its projection
        head too unless the schema leaves it out.
      path: see `read`.
      variable_schema: see `read`.
      supervised_head: False leaves the network's supervised head as it is.

    Returns:
      What became of every variable.

    Raises:
      UserError: there is nothing to load, or it does not fit; then nothing is changed.
    """
    stored = read(path, variable_schema)
    arrays, unused = dict(stored.arrays), list(stored.unused)
    if not supervised_head:
        left_out = [p for p in arrays if p.startswith("supervised_head/")]
        unused += left_out
        for name in left_out:
            del arrays[name]
    return assign(
        network,
        arrays,
        require_projection_head=not any(p.startswith("projection_head/") for p in stored.excluded),
        excluded=stored.excluded,
        unused=unused,
        ignored=stored.ignored,
        source=f"{path} ({stored.kind})",
    )


def load(path: str | os.PathLike) -> Network:
    """The network that is stored at `path`, with all of its weights.

    Args:
      path: a run directory of ours or one of its checkpoints, or a checkpoint, run
        directory or SavedModel of the original.

    Raises:
      UserError: there is nothing to load, or it is not complete.
    """
    stored = read(path)
    network = Network(stored.architecture)
    assign(
        network,
        stored.arrays,
        require_projection_head=True,
        require_supervised_head=True,
        source=f"{path} ({stored.kind})",
    )
    return network
