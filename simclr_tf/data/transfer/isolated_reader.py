"""A program that reads MATLAB files or pickles, for `isolated`; it imports nothing of ours.

What is damaged on purpose can crash or fill a process, and this one may be lost. The files are
given to it open. To its standard output go a line of JSON for each, then the bytes of all arrays.
"""

import contextlib
import json
import pickle
import resource
import sys
from typing import Any, BinaryIO

LARGEST_JSON = 1 << 24
_MEMORY = 3 << 30  # bytes of addresses
_SECONDS = 60  # of computing


class Dtype:
    """Stands for numpy.dtype in a pickle: its name and nothing else."""

    __slots__ = ("name",)

    def __init__(self, name: bytes, *_):
        self.name = name.decode()

    def __setstate__(self, state: tuple):
        pass  # of what the plain types of the official files have, nothing differs


class Array:
    """Stands for numpy.ndarray in a pickle: what it was made of."""

    __slots__ = ("dtype", "fortran", "raw", "shape")

    def __setstate__(self, state: tuple):
        _, self.shape, self.dtype, self.fortran, self.raw = state


def reconstruct(*_) -> Array:
    """Stands for numpy's function that makes an array without content."""
    return Array()


# What the pickled arrays of the official files are made of; nothing else is ever called.
_ARRAY_PARTS = {
    ("numpy.core.multiarray", "_reconstruct"): reconstruct,
    ("numpy", "ndarray"): Array,
    ("numpy", "dtype"): Dtype,
}


class ArrayUnpickler(pickle.Unpickler):
    """Reads plain Python values and what stands for arrays; refuses everything else."""

    def find_class(self, module: str, name: str) -> Any:
        """What a pickle may call."""
        if (module, name) not in _ARRAY_PARTS:
            raise pickle.UnpicklingError(f"it wants to call {module}.{name}")
        return _ARRAY_PARTS[module, name]


class Answer:
    """Values as JSON, and beside them the bytes of arrays."""

    def __init__(self):
        self.arrays: list[bytes] = []
        self._length = 0

    def plain(self, value: Any) -> Any:
        """A value that JSON can hold, from Python's and NumPy's."""
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, bytes):
            return {"bytes": value.decode("latin1")}
        if isinstance(value, list | tuple):
            return [self.plain(item) for item in value]
        if isinstance(value, dict):
            return {"items": [[self.plain(k), self.plain(v)] for k, v in value.items()]}
        if isinstance(value, Array):
            order = "F" if value.fortran else "C"
            return self._array(value.dtype.name, value.shape, order, value.raw)
        if not hasattr(value, "dtype"):
            raise ValueError(f"it holds a {type(value).__name__}")
        if value.dtype.names:
            rows = value.reshape(-1)
            return [self.plain({n: row[n] for n in value.dtype.names}) for row in rows]
        if value.dtype.kind in "biuf" and value.ndim:
            return self._array(value.dtype.str, value.shape, "C", value.tobytes())
        if value.dtype.kind in "biufOU":
            return self.plain(value.tolist() if value.dtype.kind != "O" else list(value.flat))
        raise ValueError(f"it holds values of the type {value.dtype}")

    def _array(self, dtype: str, shape: tuple, order: str, raw: bytes) -> dict[str, Any]:
        if not isinstance(raw, bytes):
            raise ValueError("it holds an array of objects")
        place = self._length
        self.arrays.append(raw)
        self._length += len(raw)
        return {"array": [dtype, list(shape), order, place, len(raw)]}


def read_matlab(file: BinaryIO) -> dict[str, Any]:
    """The variables of a MATLAB file."""
    found = sys.modules["scipy.io"].loadmat(file, squeeze_me=True)
    return {name: value for name, value in found.items() if not name.startswith("__")}


def read_pickle(file: BinaryIO) -> Any:
    """A pickle of Python 2."""
    return ArrayUnpickler(file, encoding="bytes").load()


def limit() -> None:
    """Give this process no more memory and time than the official files need."""
    for kind, value in (
        (resource.RLIMIT_AS, _MEMORY),
        (resource.RLIMIT_CPU, _SECONDS),
        (resource.RLIMIT_CORE, 0),
    ):
        with contextlib.suppress(ValueError, OSError):  # where the system has no such limit
            resource.setrlimit(kind, (value, value))


def main() -> None:
    kind, (numbers, sys.path[:]) = sys.argv[1], json.loads(sys.argv[2])
    if kind == "matlab":
        import scipy.io  # noqa: F401  # before there is a limit: libraries reserve addresses
    limit()
    answer, out = Answer(), sys.stdout.buffer
    for number in numbers:
        try:
            with open(number, "rb") as file:
                found = {"matlab": read_matlab, "pickle": read_pickle}[kind](file)
            text = json.dumps({"found": answer.plain(found)})
            if len(text) >= LARGEST_JSON:
                raise ValueError("it holds more values than the official one")
        except Exception as error:
            said = str(error) or type(error).__name__
            text = json.dumps({"error": said[:1000]})
        out.write(text.encode() + b"\n")
        out.flush()  # so that it is known which file this process was lost to
    out.writelines(answer.arrays)
    out.flush()


if __name__ == "__main__":
    main()
