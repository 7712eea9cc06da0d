"""Writing what a user asked for: refused before the work, and there once it is complete."""

import contextlib
import csv
import errno
import os
import pathlib
import re
import secrets
import stat
import tempfile
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from simclr_tf.errors import UserError
from simclr_tf.paths import AnyPath, LocalPath, is_local
from simclr_tf.remote import RemotePath, tensorflow_file_errors
from simclr_tf.unfinished import unfinished_directory

_BEGUN = ".simclr_tf-unfinished"  # lies in a directory at a URL until all of it is copied


def reason(error: OSError) -> str:
    """What went wrong with a file, in words."""
    return error.strerror or str(error) or type(error).__name__


def require_writable(file: AnyPath, given: str) -> None:
    """Find out before the work whether a file can be written; nothing of it stays behind.

    Args:
      file: what will be written, or replaced. Directories above it may be missing.
      given: what the user gave, for the message.

    Raises:
      UserError: it cannot be written: it is a directory, lies below a file or where nobody may
        write, its name is too long, or its file system cannot be reached.
    """
    try:
        if is_local(file):
            _require_writable_locally(file)
        else:
            # A name of its own: other hosts of the job ask the same at the same time.
            probe = _part(file.with_name(f"{file.name}.{secrets.token_hex(4)}"))
            probe.write_bytes(b"")
            probe.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{given} cannot be written: {reason(error)}.") from None


def require_file(file: AnyPath, given: str) -> None:
    """As `require_writable`, of a file in a directory that has to be there.

    Args:
      file: what will be written, or replaced.
      given: what the user gave, for the message.

    Raises:
      UserError: it cannot be written.
    """
    require_writable(file, given)
    if is_local(file) and not file.parent.is_dir():
        raise UserError(f"{given} cannot be written: {file.parent} is no directory.")


@contextlib.contextmanager
def csv_writer(file: AnyPath) -> Iterator[Any]:
    """Give a writer of the csv module; FILE is there once all rows are written.

    Raises:
      OSError: it cannot be written.
    """
    with complete_file(file) as part, open(part, "w", encoding="utf-8", newline="") as sheet:
        yield csv.writer(sheet)


def _require_writable_locally(file: LocalPath) -> None:
    place = next((path for path in file.parents if os.path.lexists(path)), file)
    if not stat.S_ISDIR(os.stat(place).st_mode):
        raise NotADirectoryError(errno.ENOTDIR, f"{place} is not a directory")
    if os.path.isdir(file):
        raise IsADirectoryError(errno.EISDIR, f"{file} is a directory")
    names = (_part(file).name, *file.parent.relative_to(place).parts)
    for path in (_part(file), *(place / name for name in names)):
        with contextlib.suppress(FileNotFoundError):
            os.lstat(path)  # tells names that are too long
    with tempfile.TemporaryFile(dir=place):
        pass


def _part(file: AnyPath) -> AnyPath:
    """Where a file is while it is unfinished."""
    return file.with_name(file.name + ".part")


@contextlib.contextmanager
def complete_file(file: AnyPath) -> Iterator[AnyPath]:
    """Give a path to write to, which becomes `file` at the end; what was there is kept till then.

    What a killed process left at FILE.part is overwritten.

    Raises:
      OSError: it cannot be renamed.
    """
    part = _part(file)
    try:
        yield part
        part.replace(file)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise


@contextlib.contextmanager
def private_file(file: AnyPath) -> Iterator[AnyPath]:
    """As `complete_file`, for what is written for long: processes that write the same do not meet.

    The last one to end counts. What killed processes left beside a local file is removed by the
    next.

    Raises:
      OSError: it cannot be made or renamed.
    """
    if not is_local(file):
        with complete_file(file) as part:
            yield part
        return
    with scratch(file, f".{file.name}-") as directory:
        made = LocalPath(directory / file.name)
        yield made
        os.replace(made, file)


def write_complete(file: AnyPath, content: bytes | memoryview) -> None:
    """Write a file so that it appears once it is complete.

    Raises:
      OSError: it cannot be written.
    """
    with complete_file(file) as part:
        part.write_bytes(content)


@contextlib.contextmanager
def scratch(target: AnyPath, prefix: str) -> Iterator[pathlib.Path]:
    """Make a local directory in which `target` is put together before `publish`.

    It lies beside a local target, so that publishing is a renaming. It is removed at the end,
    and what killed processes left at the next.

    Args:
      target: the file or directory to come; directories above it are made.
      prefix: what the name of the directory begins with.

    Raises:
      OSError: it cannot be made.
    """
    parent = pathlib.Path(tempfile.gettempdir())
    if is_local(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        parent = target.parent
    with unfinished_directory(parent, prefix) as directory:
        yield directory


def publish(made: pathlib.Path, target: AnyPath, marker: str | None = None) -> None:
    """Move what was made in a `scratch` directory to its place.

    Args:
      made: a local file or directory.
      target: where to; there is nothing, or the rest of a copy that was interrupted.
      marker: the file of a directory that is copied last, so that it marks it as complete.

    Raises:
      OSError: it cannot be written.
    """
    if is_local(target):
        os.replace(made, target)
        return
    if target.is_dir():
        target.rmtree()
    if made.is_dir():
        target.mkdir()
        (target / _BEGUN).write_bytes(b"")
    files = [made] if made.is_file() else [path for path in made.rglob("*") if path.is_file()]
    for file in sorted(files, key=lambda file: (file.name == marker, file)):
        place = target if file == made else target / file.relative_to(made).as_posix()
        place.parent.mkdir(parents=True, exist_ok=True)
        with tensorflow_file_errors():
            tf.io.gfile.copy(str(file), str(place), overwrite=True)
    if made.is_dir():
        (target / _BEGUN).unlink()


def require_new(target: AnyPath, parts: str, hint: str) -> None:
    """Refuse a directory that is there, unless it is the rest of an interrupted `publish`.

    Args:
      target: the directory.
      parts: regular expression of the names that lie in such a directory besides its marker.
      hint: what to do, a sentence.

    Raises:
      UserError: there is something, or its file system cannot be reached.
    """
    try:
        there = os.path.lexists(target) if is_local(target) else not _is_rest(target, parts)
    except OSError as error:
        raise UserError(f"{target} cannot be read: {reason(error)}.") from None
    if there:
        raise UserError(f"{target} exists already. {hint}")


def _is_rest(target: RemotePath, parts: str) -> bool:
    """Whether nothing is there, or what an interrupted `publish` left."""
    if not target.exists():
        return True
    if not target.is_dir():
        return False
    names = {path.name for path in target.iterdir()}
    ours = {name for name in names if name == _BEGUN or re.fullmatch(parts, name)}
    return not names or (_BEGUN in names and names == ours)
