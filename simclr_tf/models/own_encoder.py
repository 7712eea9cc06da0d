"""An encoder of the user's own: any Keras model from images to vectors, as text and back."""

import json
from typing import Any

import tensorflow as tf

from simclr_tf.backend import keras
from simclr_tf.errors import UserError

_TRIED_SIZE = 224  # pixels of the image that an encoder is tried on that does not say its output
# What Keras raises for models that it cannot turn into text, or text into a model.
_REFUSED = (ValueError, TypeError, LookupError, AttributeError, NotImplementedError)
_REFUSED += (ImportError, RuntimeError)
_NO_REASON = "Exception encountered when calling"  # Keras says the reason in the next line


def described(encoder: keras.Model) -> dict[str, Any]:
    """The fields of an `Architecture` from which the encoder can be built again.

    Args:
      encoder: a model of images (batch, height, width, 3), float32 in [0, 1], to (batch, d), with
        a configuration of its own (`get_config`), as those of keras.applications have.

    Raises:
      UserError: it is no such model.
    """
    if not isinstance(encoder, keras.Model):
        raise UserError(
            "An encoder is a model of the Keras that this package uses: build it with "
            f"simclr_tf.backend.keras. Received: {type(encoder).__module__}."
            f"{type(encoder).__qualname__}."
        )
    image_shape(encoder)
    shape = _output_shape(encoder)
    if not isinstance(shape, tuple) or len(shape) != 2 or not isinstance(shape[1], int):
        raise UserError(
            "An encoder maps images to one vector each, (batch, d): end it with "
            f"GlobalAveragePooling2D, or give pooling='avg'. Its output has shape {shape}."
        )
    text = _text(encoder)
    again = rebuilt(text, "This encoder")
    if [w.shape for w in again.weights] != [w.shape for w in encoder.weights]:
        raise UserError(
            f"The encoder {encoder.name} has other weights when Keras builds it again from its "
            "configuration. Complete its get_config."
        )
    return {"keras_model": text, "keras_features": shape[1]}


def _output_shape(encoder: keras.Model) -> Any:
    """The shape of its output, batch first; that of an image that it is tried on if need be."""
    try:
        return encoder.output_shape
    except (AttributeError, RuntimeError):  # it has not been called yet, or not by Keras' inputs
        outputs = tried(encoder, *(size or _TRIED_SIZE for size in image_shape(encoder)))
    return tf.nest.map_structure(lambda output: (None, *output.shape[1:]), outputs)


def tried(encoder: keras.Model, height: int, width: int) -> Any:
    """The outputs of an encoder for a black image; one that was not built is built for this size.

    Raises:
      UserError: it takes no such image.
    """
    try:
        return encoder(tf.zeros((1, height, width, 3)))
    except (*_REFUSED, tf.errors.OpError) as error:
        raise UserError(
            f"The encoder {encoder.name} takes no images (1, {height}, {width}, 3) of float32: "
            f"{_first_sentence(error)}"
        ) from None


def image_shape(encoder: keras.Model) -> tuple[int | None, int | None]:
    """Height and width of the images that an encoder takes; None where it takes any.

    Raises:
      UserError: it takes something else.
    """
    try:
        shape = encoder.input_shape
    except (AttributeError, RuntimeError):
        return None, None
    if not isinstance(shape, tuple) or len(shape) != 4 or shape[-1] != 3:
        raise UserError(
            f"An encoder takes images (batch, height, width, 3). This one takes {shape}."
        )
    return shape[1:3]


def _text(encoder: keras.Model) -> str:
    try:
        return json.dumps(keras.saving.serialize_keras_object(encoder))
    except _REFUSED as error:
        raise UserError(
            f"The encoder {encoder.name} cannot be saved: {_first_sentence(error)} Give it a "
            "get_config that returns the arguments of its class."
        ) from None


def rebuilt(text: str, source: str) -> keras.Model:
    """The encoder, with new weights, from what `described` says of it.

    Keras imports the modules that the text names, and refuses layers that are lambdas.

    Args:
      text: JSON.
      source: what it comes from, for messages.

    Raises:
      UserError: Keras cannot build it.
    """
    try:
        encoder = keras.saving.deserialize_keras_object(json.loads(text))
        if not encoder.built:
            _output_shape(encoder)
    except _REFUSED as error:
        raise UserError(
            f"{source} cannot be built again by Keras: {_first_sentence(error)} Import what "
            "registers its layers first (keras.saving.register_keras_serializable); lambdas are "
            "refused."
        ) from None
    return encoder


def name_of(text: str) -> str:
    """The name of the encoder that a text describes, such as "efficientnetb0"."""
    values = json.loads(text)
    return str(values["config"].get("name", values["class_name"]))


def _first_sentence(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line and not line.startswith(_NO_REASON)]
    line = lines[0] if lines else type(error).__name__
    return f"{' '.join(line.partition('. ')[0].split())[:300].removesuffix('.')}."
