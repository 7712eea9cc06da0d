"""A trained network as a SavedModel that serves requests and can be trained on elsewhere.

Whoever loads it needs TensorFlow and nothing of this package. What its signatures take
and give stands in `servable` and, for users, in docs/serving.md.
"""

import contextlib
import json
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf
from absl import logging

from simclr_tf.checkpoints.restore import variable_paths
from simclr_tf.data.views import MAX_UNCROPPED_SIZE
from simclr_tf.errors import UserError
from simclr_tf.export import warmup
from simclr_tf.export.servable import IMAGE_BYTES, IMAGES, IMAGES_UINT8, servable
from simclr_tf.labels import label_lines
from simclr_tf.models import Network
from simclr_tf.outputs import publish, reason, require_new, require_writable, scratch
from simclr_tf.paths import AnyPath, as_path
from simclr_tf.remote import tensorflow_file_errors

MARKER = "saved_model.pb"  # a version without it is not complete
_OTHERS = r"assets|assets\.extra|variables|fingerprint\.pb"


def require_new_version(directory: AnyPath) -> None:
    """Refuse a directory that cannot become an exported version, before anything is computed.

    Raises:
      UserError: it is there and more than the rest of an interrupted copy to a URL, or it
        cannot be written.
    """
    require_new(directory, _OTHERS, "Export to another version.")
    require_writable(directory / MARKER, str(directory))


def export_saved_model(
    network: Network,
    directory: str | os.PathLike,
    *,
    image_size: int,
    class_names: Sequence[str] | None = None,
    upright: bool = True,
    card: Mapping[str, Any] | None = None,
) -> None:
    """Write a SavedModel for TensorFlow Serving, tf.saved_model.load and TF Hub.

    A local directory appears once everything is in it; in one at a URL `saved_model.pb` comes
    last, and what an interrupted call left there is replaced. Weights and computation are
    float32, whatever the type of the network's activations and whichever of its layers are
    frozen.

    Args:
      network: what to export; it is not changed.
      directory: where to, a local path or a URL; it must not exist. TensorFlow Serving wants a
        number as its name.
      image_size: height and width of the images that the network was trained on.
      class_names: by index, when there is a supervised head; its indices by default. Names that
        are no UTF-8 have surrogate escapes, and are exported as the bytes they stand for.
      upright: whether encoded JPEGs are turned as their EXIF orientation says.
      card: further entries of the model card, such as `step` and `source`.

    Raises:
      UserError: the directory exists or cannot be written, there is another number of names than
        of classes, or the encoder does not take this size.
    """
    network.require_size(image_size)
    directory = as_path(directory)
    require_new_version(directory)
    names = _class_names(network, class_names)
    model, signatures = servable(_float32_copy(network), image_size, names, upright)
    card = _model_card(network, image_size, signatures) | dict(card or {})
    if class_names is not None:
        card["class_names"] = names
    try:
        with scratch(directory, ".export-") as part:
            model.model_card = _asset(part / "model_card.json", _json(card))
            if names:
                model.labels = _asset(part / "labels.txt", label_lines(names))
            saved = part / "model"
            options = tf.saved_model.SaveOptions(experimental_custom_gradients=True)
            with _without_info(), tensorflow_file_errors():
                tf.saved_model.save(model, str(saved), signatures, options)
                warmup.write_requests(saved, _example_requests(signatures, image_size))
            publish(saved, directory, MARKER)
    except OSError as error:
        raise UserError(
            f"{directory} cannot be written: {reason(error)}. The network that was to be exported "
            "is unharmed; the same command starts again."
        ) from None


@contextlib.contextmanager
def _without_info() -> Iterator[None]:
    """Keep TensorFlow from telling at length about a temporary place and argument names."""
    before = logging.get_verbosity()
    logging.set_verbosity(logging.WARNING)
    try:
        yield
    finally:
        logging.set_verbosity(before)


def keep_newest(directory: str | os.PathLike, keep: int) -> None:
    """Remove all but the `keep` versions with the highest numbers; 0 keeps all.

    Args:
      directory: holds one directory for each version, named by a whole number; whatever
        has another name is left alone.
      keep: how many versions remain.

    Raises:
      UserError: a version cannot be removed.
    """
    try:
        versions = sorted(
            (path for path in as_path(directory).iterdir() if path.name.isdecimal()),
            key=lambda path: int(path.name),
            reverse=True,
        )
        for path in versions[keep:] if keep else []:
            path.rmtree()
    except OSError as error:
        raise UserError(
            f"Old versions in {directory} cannot be removed: {reason(error)}. Those that are kept "
            "are complete."
        ) from None


def _float32_copy(network: Network) -> Network:
    copy = Network(network.architecture)
    values = variable_paths(network)
    for path, variable in variable_paths(copy).items():
        variable.assign(values[path].read_value())
    return copy


def _class_names(network: Network, class_names: Sequence[str] | None) -> list[str]:
    number = network.architecture.num_classes or 0
    names = [str(i) for i in range(number)] if class_names is None else list(class_names)
    if number and len(names) != number:
        raise UserError(
            f"There must be a name for each of the {number} classes of the supervised head. "
            f"Received: {len(names)} names."
        )
    return names if number else []


def _asset(path: pathlib.Path, content: bytes) -> tf.saved_model.Asset:
    path.write_bytes(content)
    return tf.saved_model.Asset(str(path))


def _json(values: Mapping[str, Any]) -> bytes:
    return (json.dumps(values, indent=2) + "\n").encode()


def _example_requests(signatures: Mapping[str, Callable], image_size: int):
    """One grey image for each signature."""
    grey = tf.io.encode_png(tf.fill([image_size, image_size, 3], tf.constant(128, tf.uint8)))
    shape = [1, image_size, image_size, 3]
    examples = {
        IMAGE_BYTES.dtype: tf.make_tensor_proto([grey.numpy()]),
        IMAGES.dtype: tf.make_tensor_proto(0.5, tf.float32, shape),
        IMAGES_UINT8.dtype: tf.make_tensor_proto(128, tf.uint8, shape),
    }
    return {
        name: {spec.name: examples[spec.dtype] for spec in _inputs(signature)}
        for name, signature in signatures.items()
    }


def _inputs(signature: Callable) -> list[tf.TensorSpec]:
    return list(signature.structured_input_signature[0])


def _model_card(network: Network, image_size: int, signatures: Mapping[str, Callable]) -> dict:
    """What a user of the model has to know, as JSON values."""
    crop = "the whole image"
    if image_size > MAX_UNCROPPED_SIZE:
        crop = "the central 87.5% of the largest square"
    preprocessing = f"{crop}, resized to {image_size}x{image_size} (bicubic), clipped to [0, 1]"
    ready = f"preprocessed: float32 in [0, 1], {image_size}x{image_size}"
    takes = {
        "serving_default": "encoded images (JPEG, PNG, GIF or BMP) of any sizes",
        "embedding": "encoded images (JPEG, PNG, GIF or BMP) of any sizes",
        "images": "uint8 in 0 to 255, any height and width",
        "images_float": "float32 in [0, 1], any height and width",
    }

    def tensors(specs):
        return {name: {"dtype": s.dtype.name, "shape": s.shape.as_list()} for name, s in specs}

    return {
        "architecture": network.architecture.to_json(),
        "image_size": image_size,
        "input": "RGB in [0, 1], no mean or standard deviation subtracted",
        "preprocessing": preprocessing,
        "signatures": {
            name: {
                "takes": takes.get(name, ready),
                "inputs": tensors((spec.name, spec) for spec in _inputs(signature)),
                "outputs": tensors(signature.structured_outputs.items()),
            }
            for name, signature in signatures.items()
        },
        "variables": list(variable_paths(network)),
    }
