"""TensorFlow's C API by ctypes, with no Python of TensorFlow: `python c_api.py < JSON`.

Loads a SavedModel as TensorFlow Serving does, feeds batches of strings, and prints the
float outputs. A batch that fails gives its error code.

The JSON holds: library (libtensorflow_cc), directory, input and output (tensor names of a
signature), batches (lists of file paths whose contents are the strings).
"""

import ctypes
import json
import pathlib
import sys

STRING = 7  # TF_DataType
SIZE_OF_STRING = 24  # sizeof(TF_TString)
POINTERS = [
    "TF_NewStatus",
    "TF_NewGraph",
    "TF_NewSessionOptions",
    "TF_LoadSessionFromSavedModel",
    "TF_GraphOperationByName",
    "TF_AllocateTensor",
    "TF_TensorData",
]


class Output(ctypes.Structure):
    """TF_Output."""

    _fields_ = [("operation", ctypes.c_void_p), ("index", ctypes.c_int)]


class Model:
    """A session with a loaded SavedModel."""

    def __init__(self, library: str, directory: str):
        self.tf = tf = ctypes.CDLL(library)
        for name in POINTERS:
            getattr(tf, name).restype = ctypes.c_void_p
        tf.TF_Message.restype = ctypes.c_char_p
        tf.TF_Dim.restype = ctypes.c_int64
        self.status = ctypes.c_void_p(tf.TF_NewStatus())
        self.graph = ctypes.c_void_p(tf.TF_NewGraph())
        options = ctypes.c_void_p(tf.TF_NewSessionOptions())
        tags = (ctypes.c_char_p * 1)(b"serve")
        self.session = ctypes.c_void_p(
            tf.TF_LoadSessionFromSavedModel(
                options, None, directory.encode(), tags, 1, self.graph, None, self.status
            )
        )
        if tf.TF_GetCode(self.status):
            sys.exit(tf.TF_Message(self.status).decode())

    def tensor(self, name: str) -> Output:
        """The tensor "operation:index" of the graph."""
        operation, index = name.split(":")
        found = self.tf.TF_GraphOperationByName(self.graph, operation.encode())
        return Output(found, int(index))

    def strings(self, values: list[bytes]) -> ctypes.c_void_p:
        """A one-dimensional TF_Tensor of strings."""
        shape = (ctypes.c_int64 * 1)(len(values))
        size = ctypes.c_size_t(SIZE_OF_STRING * len(values))
        tensor = ctypes.c_void_p(self.tf.TF_AllocateTensor(STRING, shape, 1, size))
        data = self.tf.TF_TensorData(tensor)
        for i, value in enumerate(values):
            string = ctypes.c_void_p(data + SIZE_OF_STRING * i)
            self.tf.TF_StringInit(string)
            self.tf.TF_StringCopy(string, value, ctypes.c_size_t(len(value)))
        return tensor

    def run(self, output: str, inputs: str, values: list[bytes]) -> list[list[float]] | int:
        """The (batch, n) float output for a batch of strings, or the error's code."""
        fetched = (ctypes.c_void_p * 1)()
        self.tf.TF_SessionRun(
            self.session,
            None,
            (Output * 1)(self.tensor(inputs)),
            (ctypes.c_void_p * 1)(self.strings(values)),
            1,
            (Output * 1)(self.tensor(output)),
            fetched,
            1,
            None,
            0,
            None,
            self.status,
        )
        if code := self.tf.TF_GetCode(self.status):
            return code
        result = ctypes.c_void_p(fetched[0])
        rows, columns = (self.tf.TF_Dim(result, i) for i in range(2))
        data = (ctypes.c_float * (rows * columns)).from_address(self.tf.TF_TensorData(result))
        return [data[columns * r : columns * (r + 1)] for r in range(rows)]


def main() -> None:
    given = json.load(sys.stdin)
    model = Model(given["library"], given["directory"])
    results = [
        model.run(given["output"], given["input"], [pathlib.Path(p).read_bytes() for p in batch])
        for batch in given["batches"]
    ]
    print(json.dumps(results))


if __name__ == "__main__":
    main()
