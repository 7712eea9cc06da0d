"""Writing a network in a format of ours, of PyTorch, or of Keras."""

import dataclasses
import os
import tempfile
from collections.abc import Callable

import tensorflow as tf

from simclr_tf.checkpoints import torch_files
from simclr_tf.checkpoints.description import (
    CONVERTED_DESCRIPTION,
    KERAS_ENDING,
    TORCH_ENDINGS,
    Description,
    description_from,
    description_path,
    write_description,
)
from simclr_tf.checkpoints.restore import variable_paths
from simclr_tf.checkpoints.run_directory import MODEL, RunDirectory, write_json
from simclr_tf.checkpoints.torch_names import to_torch
from simclr_tf.errors import UserError
from simclr_tf.json_files import read_object
from simclr_tf.models import Network
from simclr_tf.outputs import publish, reason, require_new, require_writable, scratch
from simclr_tf.paths import AnyPath, as_path
from simclr_tf.remote import tensorflow_file_errors

ENCODER_FILE = "encoder.keras"
# What a directory holds besides model.json, its marker.
_OTHERS = r"checkpoint|converted\.json|encoder\.keras|ckpt-\d+\..*"
_H5_ENTRY = 4096  # bytes of an HDF5 file for each variable, besides its values
_BLOCK = 2**20  # bytes
_ANOTHER = "Give another destination."


def require_destination(to: str, destination: str) -> AnyPath:
    """Find out before the work whether a network can be written.

    Args:
      to: one of FORMATS.
      destination: see `convert`.

    Returns:
      The path of the destination.

    Raises:
      UserError: see `convert`.
    """
    if to not in FORMATS:
        raise UserError(f"Formats are {', '.join(FORMATS)}. Received: {to}.")
    endings, _ = FORMATS[to]
    if endings and not destination.endswith(endings):
        raise UserError(
            f"A file in format {to} ends in {' or '.join(endings)}. Received: {destination}."
        )
    if to == "torch":
        torch_files.require_library(destination)
    target = as_path(destination)
    require_new(target, "" if endings else _OTHERS, _ANOTHER)
    require_writable(target if endings else target / MODEL, destination)
    return target


def convert(network: Network, to: str, destination: str, description: Description) -> None:
    """Write a network; the destination appears once it is complete.

    Of a directory at a URL model.json comes last, and marks it as complete; what an interrupted
    call left there is replaced. Beside a file the description is written, before the file.

    Args:
      network: what to write.
      to: one of FORMATS.
      destination: local, or a URL: a directory for simclr_tf; for torch a file that ends in
        .safetensors, .pt or .pth, for keras in .weights.h5.
      description: what is known about the network.

    Raises:
      UserError: the format is unknown or cannot hold the network, the destination or another
        description exists, it has another ending or cannot be written, or a library is missing.
    """
    target = require_destination(to, destination)
    if to == "torch" and network.architecture.encoder == "keras":
        raise UserError(
            "PyTorch has no names for the variables of an encoder of Keras. Give another format: "
            f"{', '.join(name for name in FORMATS if name != to)}."
        )
    endings, write = FORMATS[to]
    beside = description_path(str(target)) if endings else None
    if beside:
        _require_same(beside, description)
    try:
        with scratch(target, ".convert-") as directory:
            path = directory / target.name
            with tensorflow_file_errors():
                write(network, str(path), description)
            if beside:
                write_description(str(target), description)
            publish(path, target, MODEL)
    except OSError as error:
        raise UserError(
            f"{destination} cannot be written: {reason(error)}. What was to be converted is "
            "unharmed; the same command starts again."
        ) from None


def _require_same(beside: AnyPath, description: Description) -> None:
    """Refuse a description of something else: of other weights, or no description at all."""
    try:
        if not beside.exists():
            return
        values = read_object(beside, {"architecture": dict})
        no_more = values.keys() <= dataclasses.asdict(description).keys()
        same = no_more and description_from(values, str(beside)) == description
    except (OSError, UserError):
        same = False
    if not same:
        raise UserError(f"{beside} exists already, and describes something else. {_ANOTHER}")


def _write_run_directory(network: Network, path: str, description: Description) -> None:
    RunDirectory(path).hold_model(network.architecture)
    write_json(RunDirectory(path) / CONVERTED_DESCRIPTION, dataclasses.asdict(description))
    checkpoint = tf.train.Checkpoint(method=tf.train.Checkpoint(network=network))
    manager = tf.train.CheckpointManager(checkpoint, path, max_to_keep=1, checkpoint_name="ckpt")
    manager.save(checkpoint_number=description.step or 0)
    if network.architecture.encoder == "keras":
        network.encoder.save(os.path.join(path, ENCODER_FILE))


def _write_torch(network: Network, path: str, description: Description) -> None:
    arrays = {name: variable.numpy() for name, variable in variable_paths(network).items()}
    torch_files.write(path, to_torch(arrays, network.architecture))


def _write_keras(network: Network, path: str, description: Description) -> None:
    # h5py tells of a full disk, and then once more, past everybody, when it lets go of the file.
    size = sum(variable.numpy().nbytes + _H5_ENTRY for variable in network.variables)
    with tempfile.TemporaryFile(dir=os.path.dirname(path)) as room:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(room.fileno(), 0, size)
        else:  # macOS
            for _ in range(-(-size // _BLOCK)):
                room.write(bytes(_BLOCK))
            room.flush()
    network.save_weights(path)


# Name -> (how files end, or () for a directory; how it is written).
FORMATS: dict[str, tuple[tuple[str, ...], Callable]] = {
    "simclr_tf": ((), _write_run_directory),
    "torch": (TORCH_ENDINGS, _write_torch),
    "keras": ((KERAS_ENDING,), _write_keras),
}
