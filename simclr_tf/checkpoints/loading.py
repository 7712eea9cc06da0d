"""Loading weights from what holds them: a run directory, a checkpoint, the original's files."""

import dataclasses
import os
import sys

from simclr_tf.checkpoints import originals, own_formats, torch_files
from simclr_tf.checkpoints.contradictions import ENCODER_FLAGS, PROJECTION_FLAGS, contradictions
from simclr_tf.checkpoints.description import KERAS_ENDING, KERAS_MODEL_ENDING, TORCH_ENDINGS
from simclr_tf.checkpoints.layout import network_variables
from simclr_tf.checkpoints.rescale import rescale_v1_weights as rescale
from simclr_tf.checkpoints.restore import RestoreReport, assign
from simclr_tf.checkpoints.schema import compile_schema
from simclr_tf.checkpoints.stored_network import StoredNetwork, input_in_words
from simclr_tf.errors import UserError
from simclr_tf.models import Network
from simclr_tf.paths import as_path

PICKLE_ENDINGS = (".pkl", ".pickle")
RESCALED = "--rescale_v1_weights: convolution weights are divided by 16.8, the function stays."
NOT_LIKE_V1 = "They were not as large as SimCLRv1's."


def read(
    path: str | os.PathLike, variable_schema: str | None = None, *, layout: str | None = None
) -> StoredNetwork:
    """Read the weights of a network and its architecture, and say what they come from.

    Args:
      path: a run directory of ours or one of its checkpoints, a SavedModel of ours, what
        `python -m simclr_tf.checkpoints` wrote, or a checkpoint, run directory or SavedModel
        of the original; docs/checkpoints.md tells how they are recognised.
      variable_schema: regular expression that has to match from the beginning of a
        variable's name for it to be loaded; see `schema.compile_schema`.
      layout: "torchvision" for a PyTorch file whose names are torchvision's and whose network was
        trained as in torchvision: on images less the mean of ImageNet, with symmetric padding.

    Raises:
      UserError: there is nothing to load, it cannot be read, or `layout` is given for a file
        that says its own.
    """
    path = str(as_path(path))
    schema = compile_schema(variable_schema)
    if layout is not None and not path.endswith(TORCH_ENDINGS):
        raise UserError(
            f"--layout={layout} is of files that end in {', '.join(TORCH_ENDINGS)}. Leave it out. "
            f"Received: {path}."
        )
    if run := own_formats.find_run(path):
        return own_formats.read_run(path, *run, schema)
    if own_formats.model_card(path).is_file():
        return own_formats.read_exported(path, schema)
    if path.endswith(KERAS_ENDING):
        return own_formats.read_keras_weights(path, schema)
    if path.endswith(KERAS_MODEL_ENDING):
        return own_formats.read_keras_model(path, schema)
    if path.endswith(TORCH_ENDINGS):
        return torch_files.read(path, schema, layout)
    if path.endswith(PICKLE_ENDINGS):
        raise UserError(
            f"{path} is a pickle of Python, and reading one would run the code in it: BYOL's Haiku "
            "files and others are not read. Give one of PyTorch or safetensors: "
            f"{', '.join(TORCH_ENDINGS)}."
        )
    return originals.read(path, variable_schema)


def load_into(
    network: Network,
    path: str | os.PathLike,
    variable_schema: str | None = None,
    *,
    supervised_head: bool = True,
    rescale_v1_weights: bool = False,
) -> RestoreReport:
    """Load the weights at `path` into a network.

    Args:
      network: what to load into; its encoder has to be there completely, its projection
        head too unless the schema leaves it out.
      path: see `read`.
      variable_schema: see `read`.
      supervised_head: False leaves the network's supervised head as it is.
      rescale_v1_weights: see `rescale.rescale_v1_weights`.

    Returns:
      What was found, and what became of every variable.

    Raises:
      UserError: there is nothing to load, or it does not fit; then nothing is changed.
    """
    return load_stored_into(
        network,
        read(path, variable_schema),
        path,
        variable_schema,
        supervised_head=supervised_head,
        rescale_v1_weights=rescale_v1_weights,
    )


def load_stored_into(
    network: Network,
    stored: StoredNetwork,
    path: str | os.PathLike,
    variable_schema: str | None = None,
    *,
    supervised_head: bool = True,
    rescale_v1_weights: bool = False,
) -> RestoreReport:
    """Load a StoredNetwork into a network, without reading `path` again.

    Args:
      network: see `load_into`.
      stored: what `read` found, with the same schema.
      path: where, for messages.
      variable_schema: see `read`.
      supervised_head: see `load_into`.
      rescale_v1_weights: see `rescale.rescale_v1_weights`.

    Returns:
      What was found, and what became of every variable.

    Raises:
      UserError: it does not fit; then nothing is changed.
    """
    schema = compile_schema(variable_schema)
    variables = network_variables(network.architecture)
    excluded = [v.path for v in variables if not schema.match(v.tf1)]
    without_projection = any(p.startswith("projection_head/") for p in excluded)
    flags = ENCODER_FLAGS if without_projection else ENCODER_FLAGS + PROJECTION_FLAGS
    here, there = network.architecture, stored.architecture
    if here.input != there.input:
        raise UserError(
            f"{path} ({stored.kind}) does not fit: its encoder takes {input_in_words(there)}, this "
            f"one {input_in_words(here)}. Build this one with input_mean, input_deviation and "
            "pool_padding of the checkpoint's architecture."
        )
    if differences := contradictions(network.architecture, stored.architecture, flags):
        raise UserError(
            f"{path} ({stored.kind}) does not fit: {'; '.join(differences)}. Change these flags, "
            "or give another checkpoint."
        )
    arrays, unused = dict(stored.arrays), list(stored.unused)
    if rescale_v1_weights:
        arrays = rescale(arrays, stored.architecture)
    if not supervised_head:
        left_out = [p for p in arrays if p.startswith("supervised_head/")]
        unused += left_out
        for name in left_out:
            del arrays[name]
    report = assign(
        network,
        arrays,
        require_projection_head=not without_projection,
        excluded=excluded,
        unused=unused,
        ignored=stored.ignored,
        source=f"{path} ({stored.kind})",
    )
    notes = [stored.found(os.fspath(path)), *([stored.note] if stored.note else [])]
    if rescale_v1_weights:
        notes.append(RESCALED if stored.looks_like_v1() else f"{RESCALED} {NOT_LIKE_V1}")
    classes = stored.architecture.num_classes
    loaded = any(p.startswith("supervised_head/") for p in report.matched)
    if classes is not None and network.supervised_head is not None and not loaded:
        notes.append(
            f"The supervised head ({classes} classes there, {network.architecture.num_classes} "
            "here) is not loaded: this one starts anew."
        )
    return dataclasses.replace(report, notes=tuple(notes))


def load(
    path: str | os.PathLike, *, rescale_v1_weights: bool = False, layout: str | None = None
) -> Network:
    """The network that is stored at `path`, with all of its weights.

    Args:
      path: see `read`.
      rescale_v1_weights: see `rescale.rescale_v1_weights`.
      layout: see `read`.

    Raises:
      UserError: there is nothing to load, or it is not complete.
    """
    return network_of(read(path, layout=layout), path, rescale_v1_weights=rescale_v1_weights)


def network_of(
    stored: StoredNetwork,
    path: str | os.PathLike,
    *,
    rescale_v1_weights: bool = False,
    ft_proj_selector: int | None = None,
) -> Network:
    """The network that was read from `path`, with all of its weights; its note goes to stderr.

    Args:
      stored: what was read.
      path: where, for messages.
      rescale_v1_weights: see `rescale.rescale_v1_weights`.
      ft_proj_selector: the layer that feeds the supervised head, for files that do not say.

    Raises:
      UserError: it is not complete.
    """
    if stored.note and (ft_proj_selector is None or "--ft_proj_selector" not in stored.note):
        print(f"note: {stored.note}", file=sys.stderr)
    arrays, architecture = stored.arrays, stored.architecture
    if rescale_v1_weights:
        arrays = rescale(arrays, architecture)
    if ft_proj_selector is not None:
        architecture = dataclasses.replace(architecture, ft_proj_selector=ft_proj_selector)
    network = Network(architecture)
    assign(
        network,
        arrays,
        require_projection_head=True,
        require_supervised_head=True,
        unused=stored.unused,
        source=f"{path} ({stored.kind})",
    )
    return network
