"""Reading the checkpoints of the original SimCLR code, whatever their format.

Files are read as tables of arrays; no graph is built and no session started. What the
variables are called is the original's (google-research/simclr); see `layout`.
"""

import collections
import collections.abc
import os

import tensorflow as tf
from tensorflow.core.protobuf import trackable_object_graph_pb2

from simclr_tf.checkpoints.files import find_prefix, reading
from simclr_tf.checkpoints.infer import infer_architecture
from simclr_tf.checkpoints.layout import network_variables
from simclr_tf.checkpoints.plain_path import without_patterns
from simclr_tf.checkpoints.schema import compile_schema
from simclr_tf.checkpoints.stored_network import StoredNetwork
from simclr_tf.errors import UserError
from simclr_tf.models import Architecture

TF1_CHECKPOINT = "TF1 checkpoint"
TF1_HUB_MODULE = "TF1 hub module"
TF2_CHECKPOINT = "TF2 checkpoint"
TF2_SAVED_MODEL = "TF2 SavedModel"

OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
COUNTERS = ("global_step", "save_counter", "beta1_power", "beta2_power")
# Last parts of TF1 names: copies of a variable that optimizers and moving averages keep.
TF1_COPIES = ("Momentum", "ExponentialMovingAverage", "Adam", "Adam_1")
# Edges of the object graph to variables which have a place of their own elsewhere in it.
BOOKKEEPING = ("keras_api", "variables", "trainable_variables", "trainable_variables_list")


def read(path: str, variable_schema: str | None = None) -> StoredNetwork:
    """Read a checkpoint of the original.

    Args:
      path: what `files.find_prefix` accepts: a prefix, an .index file, a run's directory
        or a SavedModel's.
      variable_schema: regular expression that has to match from the beginning of a
        variable's name for the variable to be loaded; see `schema.compile_schema`.

    Raises:
      UserError: there is no such file, or it is corrupt, or holds no network of SimCLR.
    """
    schema = compile_schema(variable_schema)
    prefix = find_prefix(path)
    with reading(path), without_patterns(prefix) as plain:
        reader = tf.compat.v1.train.NewCheckpointReader(plain)
        key_shapes = reader.get_variable_to_shape_map()
        is_tf2 = OBJECT_GRAPH in key_shapes
        keys = _tf2_weights(reader) if is_tf2 else _tf1_weights(key_shapes)
        architecture = _architecture(path, keys, key_shapes, "tf2" if is_tf2 else "tf1")
        places = {v.tf2 if is_tf2 else v.tf1: v for v in network_variables(architecture)}
        arrays = {
            variable.path: reader.get_tensor(keys[name])  # opens the data files
            for name, variable in places.items()
            if name in keys and schema.match(variable.tf1)
        }
        step = _step(reader)
    return StoredNetwork(
        kind=_kind(prefix, is_tf2),
        architecture=architecture,
        arrays=arrays,
        ignored=tuple(sorted(_bare(key) for key in key_shapes.keys() - set(keys.values()))),
        unused=tuple(sorted(keys.keys() - places.keys())),
        excluded=tuple(v.path for v in places.values() if not schema.match(v.tf1)),
        step=step,
        note=_note(path, architecture),
    )


def _note(path: str, architecture: Architecture) -> str | None:
    """What a file does not tell of its classifier: of SimCLRv2's heads, which layer feeds it."""
    told = architecture.ft_proj_selector or len(architecture.projector) < 3
    if architecture.num_classes is None or told:
        return None
    return (
        "the classifier is taken to stand on h, as in pretraining. In SimCLRv2's fine-tuned "
        "checkpoints it stands on layer 1 of the head: convert one with python -m "
        f"simclr_tf.checkpoints {path} --ft_proj_selector=1 --to simclr_tf DIRECTORY, and give "
        "DIRECTORY."
    )


def _tf1_weights(keys: collections.abc.Collection[str]) -> dict[str, str]:
    """Name -> key of the variables of a TF1 file that are neither copies nor counters."""

    def is_weight(key: str) -> bool:
        owner, _, last = key.rpartition("/")
        return key not in COUNTERS and last not in TF1_COPIES and owner not in keys

    # A nonlinear head of one layer is the linear one, by another name.
    deeper = any(key.startswith("head_contrastive/nl_1/") for key in keys)
    prefix, linear = "head_contrastive/nl_0/", "head_contrastive/l_0/"
    return {key if deeper else key.replace(prefix, linear): key for key in keys if is_weight(key)}


def _tf2_weights(reader) -> dict[str, str]:
    """Path in the object graph -> key of the variables of a TF2 file that are weights.

    Paths begin at the original's model: `resnet_model/...`. In a SavedModel keys are other
    than paths, since variables are stored under the first list that mentions them.
    """
    graph = trackable_object_graph_pb2.TrackableObjectGraph()
    graph.ParseFromString(reader.get_tensor(OBJECT_GRAPH))
    names = {}
    paths = {0: ""}
    queue = collections.deque(paths)
    while queue:
        node = queue.popleft()
        for attribute in graph.nodes[node].attributes:
            names[attribute.checkpoint_key] = paths[node].removesuffix("/")
        for child in graph.nodes[node].children:
            if child.node_id not in paths and child.local_name not in BOOKKEEPING:
                paths[child.node_id] = f"{paths[node]}{child.local_name}/"
                queue.append(child.node_id)
    root = next(
        (p.partition("resnet_model/")[0] for p in names.values() if "resnet_model/" in p), ""
    )
    return {
        names.get(key, _bare(key)).removeprefix(root): key
        for key in reader.get_variable_to_shape_map()
        if key.endswith(VALUE)
        and ".OPTIMIZER_SLOT" not in key
        and "optimizer" not in key.split("/")
        and _bare(key) not in COUNTERS
    }


def _bare(key: str) -> str:
    return key.removesuffix(VALUE)


def _architecture(path, keys, key_shapes, naming) -> Architecture:
    shapes = {name: tuple(key_shapes[key]) for name, key in keys.items()}
    if not any(name.startswith(("base_model/", "resnet_model/")) for name in shapes):
        names = ", ".join(sorted(shapes)[:3]) or "none at all"
        raise UserError(
            f"{path} holds no network of SimCLR: no variable stands under base_model/ or "
            f"resnet_model/. Variables there: {names}."
        )
    return infer_architecture(shapes, naming)


def _kind(prefix: str, is_tf2: bool) -> str:
    exported = os.path.basename(prefix) == "variables"
    if is_tf2:
        return TF2_SAVED_MODEL if exported else TF2_CHECKPOINT
    return TF1_HUB_MODULE if exported else TF1_CHECKPOINT


def _step(reader) -> int | None:
    for key in ("global_step", "global_step" + VALUE):
        if reader.has_tensor(key):
            return int(reader.get_tensor(key))
    return None
