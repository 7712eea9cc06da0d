"""Opening and reading official files, which may be damaged: every error names the file."""

import contextlib
import os
import pathlib
import stat
from collections.abc import Iterator
from typing import BinaryIO

from simclr_tf.errors import UserError

_LARGEST = 1 << 26  # bytes of a list or table; the largest official one has 2^24
_LONGEST_REASON = 200


@contextlib.contextmanager
def official(path: os.PathLike) -> Iterator[None]:
    """Say of whatever fails inside that this file is not as the official one.

    Raises:
      UserError: instead of any other error, as a stranger's bytes may raise any.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"{path} is damaged or not the official file: {reason(error)}. Get it again."
        ) from error


def reason(error: Exception) -> str:
    """What an error says, in one line; its kind where it says nothing or only a name."""
    said = " ".join(str(error).split())[:_LONGEST_REASON].rstrip(".")
    if isinstance(error, KeyError):
        return f"{said} is missing"
    return said or type(error).__name__


@contextlib.contextmanager
def open_official(path: os.PathLike, largest: int = _LARGEST) -> Iterator[BinaryIO]:
    """Open a regular file for reading; nothing else is opened, as a pipe would block.

    Args:
      path: of the file.
      largest: number of bytes that it may have.

    Yields:
      The file.

    Raises:
      UserError: it cannot be opened, is no regular file, or is larger.
    """
    with official(path):
        number = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise UserError(f"{path} is no regular file. Put the official file there.")
    with open(number, "rb") as file:
        if (size := os.fstat(number).st_size) > largest:
            raise UserError(
                f"{path} is not the official file: it has {size:,} bytes, and more than "
                f"{largest:,} are not read. Get it again."
            )
        yield file


def read_text(path: os.PathLike) -> str:
    """The content of a text file in UTF-8.

    Raises:
      UserError: it cannot be read, or has no such content.
    """
    with open_official(path) as file, official(path):
        return file.read().decode()


def read_lines(path: os.PathLike) -> list[str]:
    """The lines of a text file that are not empty, without white space around them.

    Raises:
      UserError: it cannot be read, or there are none.
    """
    lines = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    if not lines:
        raise UserError(f"{path} is not the official file: it is empty. Get it again.")
    return lines


def read_rows(path: pathlib.Path, columns: int) -> list[list[str]]:
    """The lines of a text file, each of them divided into columns at white space.

    Args:
      path: of the file.
      columns: so many; the last is all of the rest of the line.

    Raises:
      UserError: it cannot be read, or a line has fewer.
    """
    rows = [line.split(maxsplit=columns - 1) for line in read_lines(path)]
    for row in rows:
        if len(row) < columns:
            raise UserError(
                f"{path} is damaged or not the official file: {' '.join(row)[:80]!r} should have "
                f"{columns} columns. Get it again."
            )
    return rows
