"""What the file system says of files without opening them: which may be read, and which changed."""

import dataclasses
import os
import stat
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

LARGEST_FILE = 2**30  # bytes; no image is larger
_ASKED_AT_ONCE = 256
_THREADS = 16  # since answers take long where the files lie on other machines
_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@dataclasses.dataclass(frozen=True)
class FileStates:
    """The states of several files at one time.

    Attributes:
      stamps: (n, 3) int64, the size of each file in bytes, and when its content and when anything
        of it changed, in nanoseconds; a file whose three numbers are those of before is the same.
      reasons: by the rising numbers of the files that should not even be opened, why, in one line;
        reading a FIFO or a device may never end. Their stamps are -1.
    """

    stamps: np.ndarray
    reasons: dict[int, str]


def states_of(paths: Sequence[str]) -> FileStates:
    """Ask for the states of files.

    Args:
      paths: of the files, as `os.listdir` gives names.
    """
    starts = range(0, len(paths), _ASKED_AT_ONCE)
    parts = [paths[start : start + _ASKED_AT_ONCE] for start in starts]
    with ThreadPoolExecutor(_THREADS) as threads:
        answers = threads.map(lambda part: [_state(path) for path in part], parts)
        found = [answer for part in answers for answer in part]
    reasons = {i: answer for i, answer in enumerate(found) if isinstance(answer, str)}
    stamps = [(-1, -1, -1) if isinstance(answer, str) else answer for answer in found]
    return FileStates(np.array(stamps, np.int64).reshape(-1, 3), reasons)


def _state(path: str) -> tuple[int, int, int] | str:
    """The stamp of a file, or why it should not be opened."""
    try:
        status = os.stat(path)
    except OSError as error:
        return error.strerror
    kind = stat.S_IFMT(status.st_mode)
    if kind != stat.S_IFREG:
        return f"it is {_KINDS.get(kind, 'something else')} and no regular file"
    if status.st_size > LARGEST_FILE:
        return f"its {status.st_size:,} bytes are more than an image has"
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns
