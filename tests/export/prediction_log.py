"""The messages of TensorFlow Serving's request log, as far as warm-up requests use them."""

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

# Message -> (number, name, type of the field); from tensorflow_serving/apis.
MESSAGES = {
    "ModelSpec": [(1, "name", "string"), (3, "signature_name", "string")],
    "InputsEntry": [(1, "key", "string"), (2, "value", "bytes")],
    "PredictRequest": [(1, "model_spec", "ModelSpec"), (2, "inputs", "InputsEntry")],
    "PredictLog": [(1, "request", "PredictRequest")],
    "PredictionLog": [(6, "predict_log", "PredictLog")],
}


def prediction_log_class() -> type:
    """PredictionLog with these fields; the map is a repeated entry, a tensor its bytes."""
    kind = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="log.proto", package="t", syntax="proto3")
    for message, fields in MESSAGES.items():
        described = file.message_type.add(name=message)
        for number, name, of in fields:
            field = described.field.add(name=name, number=number)
            field.label = kind.LABEL_REPEATED if name == "inputs" else kind.LABEL_OPTIONAL
            if of in MESSAGES:
                field.type, field.type_name = kind.TYPE_MESSAGE, f".t.{of}"
            else:
                field.type = kind.TYPE_STRING if of == "string" else kind.TYPE_BYTES
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("t.PredictionLog"))
