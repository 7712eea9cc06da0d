"""Directories for what is not finished: named as such, and gone when their process is."""

import contextlib
import fcntl
import os
import pathlib
import re
import secrets
import shutil
from collections.abc import Iterator

_RANDOM = 4  # bytes, twice as many letters


@contextlib.contextmanager
def unfinished_directory(parent: pathlib.Path, prefix: str) -> Iterator[pathlib.Path]:
    """Make a local directory in which something is put together before it is renamed.

    It lies in a directory of this process, which is removed at the end. What processes left that
    were killed meanwhile is removed at the beginning: a living process holds a lock on a file
    beside, which a network file system tells other machines, and where there are no locks nothing
    is removed.

    Args:
      parent: where the directory of this process is made; has to exist. Renaming inside of it is
        atomic.
      prefix: what the name of that one begins with. Directories with the same prefix and as many
        random letters behind it are taken for those of other processes.

    Yields:
      The new directory, empty.

    Raises:
      OSError: it cannot be made.
    """
    _remove_abandoned(parent, prefix)
    own, lock = _new(parent, prefix)
    try:
        directory = own / "made"
        directory.mkdir()
        yield directory
    finally:
        os.close(lock)  # before, as an open file stays in a directory of NFS
        shutil.rmtree(own, ignore_errors=True)


def _new(parent: pathlib.Path, prefix: str) -> tuple[pathlib.Path, int]:
    """A new directory of this process, and the descriptor of the file that locks it."""
    while True:
        directory = parent / f"{prefix}{secrets.token_hex(_RANDOM)}"
        try:
            directory.mkdir()
        except FileExistsError:
            if not directory.exists():  # it is the parent that is no directory
                raise
            continue
        # Another process may take it for abandoned until it is locked: then take a new one.
        try:
            lock = _open(directory)
        except FileNotFoundError:
            continue
        with contextlib.suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
        if directory.exists():
            return directory, lock
        os.close(lock)


def _remove_abandoned(parent: pathlib.Path, prefix: str) -> None:
    named = re.compile(re.escape(prefix) + r"[a-z0-9_]{8}")
    for name in os.listdir(parent):
        directory = parent / name
        if not named.fullmatch(name) or directory.is_symlink():
            continue
        try:
            lock = _open(directory)
        except OSError:  # no directory, or already gone
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # its process lives, or there are no locks here
            pass
        else:
            shutil.rmtree(directory, ignore_errors=True)
        finally:
            os.close(lock)


def _open(directory: pathlib.Path) -> int:
    return os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
