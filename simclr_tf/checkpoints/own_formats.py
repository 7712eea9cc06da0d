"""Reading what this package writes: run directories, exported SavedModels, and files of Keras."""

import dataclasses
import re

import tensorflow as tf

from simclr_tf.backend import keras
from simclr_tf.checkpoints.description import (
    CONVERTED_DESCRIPTION,
    Description,
    TrainingData,
    description_from,
    description_path,
    parse_description,
    read_description,
)
from simclr_tf.checkpoints.files import find_prefix, prefix_of, reading
from simclr_tf.checkpoints.layout import network_variables
from simclr_tf.checkpoints.originals import VALUE
from simclr_tf.checkpoints.plain_path import without_patterns
from simclr_tf.checkpoints.restore import variable_paths
from simclr_tf.checkpoints.run_directory import RunDirectory, checkpoint_step
from simclr_tf.checkpoints.stored_network import StoredNetwork
from simclr_tf.errors import UserError, first_line
from simclr_tf.json_files import read_object
from simclr_tf.labels import read_labels
from simclr_tf.models import Network
from simclr_tf.paths import AnyPath, as_path, local_copy

RUN_DIRECTORY = "run directory"
RUN_CHECKPOINT = "checkpoint of a run directory"
CONVERTED = "converted checkpoint"
EXPORTED = "exported SavedModel"
KERAS_WEIGHTS = "Keras weights"
KERAS_MODEL = "Keras model"
_NETWORK = "method/network/"


def find_run(path: str) -> tuple[RunDirectory, str | None] | None:
    """The run directory that a path names or lies in, and the prefix of the checkpoint meant.

    Directories that were written by the converter count too. None when the path is something
    else; the prefix is None when the directory has no checkpoint yet.
    """
    directory = RunDirectory(path)
    if directory.holds_model():
        return directory, directory.latest_checkpoint
    prefix = prefix_of(path)
    directory = RunDirectory(as_path(prefix).parent)
    if directory.holds_model() and as_path(prefix).name in directory.checkpoints():
        return directory, prefix
    return None


def read_run(
    path: str, directory: RunDirectory, prefix: str | None, schema: re.Pattern
) -> StoredNetwork:
    """Read a checkpoint of a run directory.

    Args:
      path: what the user gave, for messages.
      directory: the directory.
      prefix: the checkpoint, or None.
      schema: which variables are read, by their TF1 names.

    Raises:
      UserError: there is no checkpoint, or it is damaged.
    """
    if prefix is None:
        raise UserError(f"The run directory {path} has no checkpoint yet.")
    with reading(prefix), without_patterns(prefix) as plain:
        reader = tf.compat.v1.train.NewCheckpointReader(plain)
        keys = [k for k in reader.get_variable_to_shape_map() if k.endswith(VALUE)]
        weights = [key for key in keys if key.startswith(_NETWORK)]
        arrays = {
            key.removeprefix(_NETWORK).removesuffix(VALUE): reader.get_tensor(key)
            for key in weights
        }
    about = _described(directory)
    if directory.holds_run() or about.step is not None:  # the converter calls an unknown one 0
        about = dataclasses.replace(about, step=checkpoint_step(prefix))
    kind = RUN_DIRECTORY if as_path(path).is_dir() else RUN_CHECKPOINT
    return chosen(
        kind if directory.holds_run() else CONVERTED,
        about,
        arrays,
        schema,
        ignored=sorted(key.removesuffix(VALUE) for key in set(keys) - set(weights)),
    )


def _described(directory: RunDirectory) -> Description:
    """What a run directory, or one that the converter wrote, says about its network."""
    if not directory.holds_run():
        converted = directory / CONVERTED_DESCRIPTION
        known = parse_description(converted) if converted.is_file() else None
        return known or Description(directory.architecture())
    run = directory.config()
    names = run["class_names"]
    return Description(
        directory.architecture(),
        image_size=run["image_size"],
        class_names=None if names is None else tuple(names),
        data=TrainingData.of_run(run),
        method=run["method"],
    )


def model_card(path: str) -> AnyPath:
    """The file that tells a SavedModel of ours from others."""
    return as_path(path) / "assets" / "model_card.json"


def read_exported(path: str, schema: re.Pattern) -> StoredNetwork:
    """Read a SavedModel that `simclr_tf.export` wrote; its model card names its variables.

    Raises:
      UserError: it is damaged.
    """
    card = read_object(model_card(path), {"architecture": dict, "variables": list})
    description = description_from(card, str(model_card(path)))
    if description.class_names is None:
        description = dataclasses.replace(description, class_names=_labels(path))
    names = card["variables"]
    prefix = find_prefix(path)
    with reading(path), without_patterns(prefix) as plain:
        reader = tf.compat.v1.train.NewCheckpointReader(plain)
        arrays = {
            name: reader.get_tensor(f"variables/{i}{VALUE}")
            for i, name in enumerate(names)
            if reader.has_tensor(f"variables/{i}{VALUE}")
        }
    return chosen(EXPORTED, description, arrays, schema)


def _labels(path: str) -> tuple[str, ...] | None:
    """The class names of a SavedModel of ours; None where numbers stand for them."""
    file = as_path(path) / "assets" / "labels.txt"
    if not file.is_file():
        return None
    names = tuple(read_labels(file, str(file)))
    return None if names == tuple(str(i) for i in range(len(names))) else names


def read_keras_weights(path: str, schema: re.Pattern) -> StoredNetwork:
    """Read NAME.weights.h5 as `Network.save_weights` writes it, with NAME.json beside it.

    Raises:
      UserError: a file is missing or damaged, or they do not belong together.
    """
    file = as_path(path)
    if not file.is_file():
        raise UserError(f"There is no file {path}.")
    description = read_description(path)
    if description is None:
        raise UserError(
            f"{path} needs {description_path(path)} beside it, which says the architecture. "
            "`python -m simclr_tf.checkpoints SOURCE --to keras FILE` writes both."
        )
    network = Network(description.architecture)
    try:
        with local_copy(file) as local:
            network.load_weights(str(local))
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"{path} cannot be read, it is damaged or not of the architecture in "
            f"{description_path(path)}: {first_line(error)}"
        ) from None
    arrays = {name: variable.numpy() for name, variable in variable_paths(network).items()}
    return chosen(KERAS_WEIGHTS, description, arrays, schema)


def read_keras_model(path: str, schema: re.Pattern) -> StoredNetwork:
    """Read NAME.keras as `Network.save` writes it.

    Raises:
      UserError: there is no such file, it is damaged, or holds another model.
    """
    file = as_path(path)
    if not file.is_file():
        raise UserError(f"There is no file {path}.")
    try:
        with local_copy(file) as local:
            network = keras.models.load_model(str(local), compile=False)
    except Exception as error:  # a damaged archive, or layers that are not known, have many kinds
        raise UserError(f"{path} cannot be read as a Keras model: {first_line(error)}") from None
    if not isinstance(network, Network):
        raise UserError(
            f"{path} holds a model that is no simclr_tf.models.Network, such as an encoder alone. "
            "Of what Pretraining.save wrote, give the directory."
        )
    arrays = {name: variable.numpy() for name, variable in variable_paths(network).items()}
    return chosen(KERAS_MODEL, Description(network.architecture), arrays, schema)


def chosen(
    kind: str,
    description: Description,
    arrays: dict,
    schema: re.Pattern,
    ignored: list[str] | tuple[str, ...] = (),
) -> StoredNetwork:
    """What was read, with the arrays that the architecture has and the schema wants.

    Args:
      kind: which format it has, in words.
      description: what is known about the arrays.
      arrays: everything that was read, by the paths of our networks.
      schema: which variables are wanted, by their TF1 names.
      ignored: names that are no weights.
    """
    variables = network_variables(description.architecture)
    excluded = [v.path for v in variables if not schema.match(v.tf1)]
    places = {v.path for v in variables}
    return StoredNetwork(
        kind=kind,
        architecture=description.architecture,
        arrays={p: a for p, a in arrays.items() if p in places.difference(excluded)},
        ignored=tuple(ignored),
        unused=tuple(sorted(arrays.keys() - places)),
        excluded=tuple(excluded),
        step=description.step,
        image_size=description.image_size,
        class_names=description.class_names,
        data=description.data,
        method=description.method,
    )
