"""Writing a network in a format of ours, of PyTorch, or of Keras."""

import os
import pathlib
import tempfile
from collections.abc import Callable

import tensorflow as tf

from simclr_tf.checkpoints import torch_files
from simclr_tf.checkpoints.description import (
    KERAS_ENDING,
    TORCH_ENDINGS,
    Description,
    description_path,
    write_description,
)
from simclr_tf.checkpoints.restore import variable_paths
from simclr_tf.checkpoints.run_directory import RunDirectory
from simclr_tf.checkpoints.torch_names import to_torch
from simclr_tf.errors import UserError
from simclr_tf.models import Network


def convert(network: Network, to: str, destination: str, description: Description) -> None:
    """Write a network; the destination appears once it is complete.

    Args:
      network: what to write.
      to: one of FORMATS.
      destination: a directory for simclr_tf; for torch a file that ends in .safetensors, .pt
        or .pth, for keras in .weights.h5. Beside a file the description is written.
      description: what is known about the network.

    Raises:
      UserError: the format is unknown, the destination exists, has another ending or cannot be
        written, or a library is missing.
    """
    if to not in FORMATS:
        raise UserError(f"Formats are {', '.join(FORMATS)}. Received: {to}.")
    endings, write = FORMATS[to]
    if endings and not destination.endswith(endings):
        raise UserError(
            f"A file in format {to} ends in {' or '.join(endings)}. Received: {destination}."
        )
    target = pathlib.Path(destination).expanduser()
    beside = pathlib.Path(description_path(str(target))) if endings else None
    for path in filter(None, (target, beside)):
        if path.exists():
            raise UserError(f"{path} exists already. Give another destination.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part = tempfile.TemporaryDirectory(dir=target.parent, prefix=".convert-")
    except OSError as error:
        raise UserError(f"{destination} cannot be written: {error.strerror}.") from None
    with part as directory:
        path = os.path.join(directory, target.name)
        write(network, path, description)
        if beside:
            write_description(path, description)
            os.replace(description_path(path), beside)
        os.replace(path, target)


def _write_run_directory(network: Network, path: str, description: Description) -> None:
    RunDirectory(path).hold_model(network.architecture)
    checkpoint = tf.train.Checkpoint(method=tf.train.Checkpoint(network=network))
    manager = tf.train.CheckpointManager(checkpoint, path, max_to_keep=1, checkpoint_name="ckpt")
    manager.save(checkpoint_number=description.step or 0)


def _write_torch(network: Network, path: str, description: Description) -> None:
    arrays = {name: variable.numpy() for name, variable in variable_paths(network).items()}
    torch_files.write(path, to_torch(arrays, network.architecture))


def _write_keras(network: Network, path: str, description: Description) -> None:
    network.save_weights(path)


# Name -> (how files end, or () for a directory; how it is written).
FORMATS: dict[str, tuple[tuple[str, ...], Callable]] = {
    "simclr_tf": ((), _write_run_directory),
    "torch": (TORCH_ENDINGS, _write_torch),
    "keras": ((KERAS_ENDING,), _write_keras),
}
