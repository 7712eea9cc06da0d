"""Warm-up requests are the messages that TensorFlow Serving's .proto files define."""

import tensorflow as tf
from prediction_log import prediction_log_class
from tensorflow.core.framework import tensor_pb2

from simclr_tf.export import warmup


def test_requests_are_prediction_logs(tmp_path):
    content = bytes(range(256)) * 100  # long enough for a length of three bytes
    given = {
        "serving_default": {"image_bytes": tf.make_tensor_proto([content])},
        "features": {
            "images": tf.make_tensor_proto(0.5, tf.float32, [1, 4, 4, 3]),
            "größe": tf.make_tensor_proto(7),
        },
    }
    warmup.write_requests(tmp_path, given)

    records = tf.data.TFRecordDataset(str(tmp_path / "assets.extra/tf_serving_warmup_requests"))
    logs = [prediction_log_class().FromString(record.numpy()) for record in records]
    for log, (signature, inputs) in zip(logs, given.items(), strict=True):
        request = log.predict_log.request
        assert request.model_spec.signature_name == signature
        assert [entry.key for entry in request.inputs] == list(inputs)
        for entry, expected in zip(request.inputs, inputs.values(), strict=True):
            assert tensor_pb2.TensorProto.FromString(entry.value) == expected
