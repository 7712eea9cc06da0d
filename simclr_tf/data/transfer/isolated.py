"""Reading files whose readers a stranger's bytes can crash: in a process that may be lost."""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np

from simclr_tf.data.transfer import isolated_reader
from simclr_tf.data.transfer.official_text import open_official, reason
from simclr_tf.errors import UserError

_SECONDS = 300  # until its process is stopped, most of which is waiting for a disk
_LARGEST_ARRAYS = 1 << 29  # bytes in all


def read(kind: str, paths: Sequence[pathlib.Path], *, largest: int, refusal: str) -> list[Any]:
    """Read files in a process of their own, whose memory and time are limited.

    Args:
      kind: `matlab`, or `pickle` for pickles of plain values and arrays by Python 2.
      paths: of the files.
      largest: number of bytes that each may have.
      refusal: what is said of a file that cannot be read, behind its path.

    Returns:
      For each file Python's numbers, str, bytes, lists and dictionaries, and NumPy's arrays of
      numbers. MATLAB's structs are lists of dictionaries, its cells are lists.

    Raises:
      UserError: there is no such file, or its content is anything else.
    """
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(open_official(path, largest)) for path in paths]
        try:
            texts, arrays, status = _answer(kind, files)
        except OSError as error:
            raise UserError(f"No process can be started to read {paths[0]}: {error}.") from error
    found = []
    for path, text in zip(paths, texts, strict=True):
        try:
            answer = json.loads(text)
            why = answer.get("error")
            if why is None:
                found.append(_value(answer["found"], arrays))
                continue
        except Exception as error:  # the process crashed, or says what no process of ours says
            why = _ending(status) or reason(error)
        why = " ".join(why.split()).rstrip(".")
        raise UserError(f"{path} {refusal}: {why}. Get the official file again.")
    return found


def _answer(kind: str, files: Sequence[BinaryIO]) -> tuple[list[bytes], bytes, int]:
    """The lines of JSON, the bytes of the arrays, and the exit status of the process."""
    program = pathlib.Path(isolated_reader.__file__)
    numbers = [file.fileno() for file in files]
    command = [sys.executable, "-I", "-S", str(program), kind, json.dumps([numbers, sys.path])]
    one_thread = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        pass_fds=numbers,
        env={**os.environ, **one_thread},
    ) as process:
        timer = threading.Timer(_SECONDS, process.kill)
        timer.start()
        try:
            texts = [process.stdout.readline(isolated_reader.LARGEST_JSON) for _ in files]
            arrays = process.stdout.read(_LARGEST_ARRAYS + 1)
            if len(arrays) > _LARGEST_ARRAYS:
                process.kill()
            status = process.wait()
        except BaseException:
            process.kill()
            raise
        finally:
            timer.cancel()
    return texts, arrays, status


def _ending(status: int) -> str:
    """How a process ended that did not end well."""
    if status < 0:
        return f"reading it ended with {signal.Signals(-status).name}"
    return f"reading it ended with status {status}" if status else ""


def _value(found: Any, arrays: bytes) -> Any:
    """What the process found, from JSON as `isolated_reader.Answer` makes it."""
    if isinstance(found, list):
        return [_value(item, arrays) for item in found]
    if not isinstance(found, dict):
        return found
    if "bytes" in found:
        return found["bytes"].encode("latin1")
    if "items" in found:
        return {_value(k, arrays): _value(v, arrays) for k, v in found["items"]}
    name, shape, order, place, length = found["array"]
    dtype = np.dtype(name)
    if dtype.kind not in "biuf":
        raise ValueError(f"it holds values of the type {name}")
    return np.frombuffer(arrays[place : place + length], dtype).reshape(shape, order=order)
