"""The requests that TensorFlow Serving sends to a model before it gets traffic.

They are a TFRecord file of `PredictionLog` messages. The package that defines them
(tensorflow-serving-api) is not needed: all of the fields used are messages or strings,
which protocol buffers encode alike. Field numbers are those of prediction_log.proto,
predict.proto and model.proto in tensorflow_serving/apis.
"""

import os
import pathlib
from collections.abc import Mapping

import tensorflow as tf
from google.protobuf.message import Message

from simclr_tf.remote import tensorflow_file_errors

PATH = pathlib.PurePath("assets.extra", "tf_serving_warmup_requests")


def write_requests(
    saved_model: str | os.PathLike, requests: Mapping[str, Mapping[str, Message]]
) -> None:
    """Write one request for each signature into a SavedModel.

    Args:
      saved_model: local directory of the SavedModel.
      requests: by signature, the TensorProto of every input.

    Raises:
      OSError: they cannot be written.
    """
    path = pathlib.Path(saved_model) / PATH
    path.parent.mkdir(exist_ok=True)
    with tensorflow_file_errors(), tf.io.TFRecordWriter(str(path)) as writer:
        for signature, inputs in requests.items():
            writer.write(prediction_log(signature, inputs))


def prediction_log(signature: str, inputs: Mapping[str, Message]) -> bytes:
    """A serialized PredictionLog that asks one signature for a prediction.

    The model's name is left out: the server sends the request to the model it lies in.
    """
    model_spec = _field(3, signature.encode())  # ModelSpec.signature_name
    request = _field(1, model_spec)  # PredictRequest.model_spec
    for name, tensor in inputs.items():
        entry = _field(1, name.encode()) + _field(2, tensor.SerializeToString())
        request += _field(2, entry)  # PredictRequest.inputs
    predict_log = _field(1, request)  # PredictLog.request
    return _field(6, predict_log)  # PredictionLog.predict_log


def _field(number: int, value: bytes) -> bytes:
    """A string or message as a field: number and wire type 2, length, value."""
    return bytes([number << 3 | 2]) + _varint(len(value)) + value


def _varint(number: int) -> bytes:
    """A whole number from 0, seven bits in each byte, the lowest first."""
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + _varint(rest) if rest else bytes([low])
