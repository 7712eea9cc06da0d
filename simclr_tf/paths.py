"""Paths that users give: local ones, and URLs of the file systems that TensorFlow knows.

Both kinds have the methods of pathlib.Path that this project needs, and raise OSError.
"""

import contextlib
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator

import tensorflow as tf

from simclr_tf.errors import UserError, require_utf8
from simclr_tf.remote import RemotePath


class LocalPath(type(pathlib.Path())):
    """A local path."""

    def rmtree(self) -> None:
        """Remove the directory and all that is in it."""
        shutil.rmtree(self)


AnyPath = LocalPath | RemotePath


def as_path(text: str | os.PathLike) -> AnyPath:
    """The path that a user gave; ~ is their home.

    Args:
      text: a local path, file:///PATH, or a URL of a scheme that TensorFlow has registered.

    Raises:
      UserError: the scheme is unknown, or TensorFlow cannot open such a name.
    """
    text = os.fsdecode(os.fspath(text))
    require_utf8(text, "A path")
    scheme, separator, rest = text.partition("://")
    if separator and "/" not in scheme:
        known = sorted({*filter(None, map(tf.compat.as_str, _registered())), "file"})
        if scheme not in known:
            raise UserError(
                f"Nothing opens {scheme}:// here. URLs begin with "
                f"{', '.join(f'{name}://' for name in known)}. Received: {text}."
            )
        if scheme != "file":
            return RemotePath(text)
        if not rest.startswith("/"):
            raise UserError(f"A URL of a local file begins with file:///. Received: {text}.")
        return LocalPath(rest)
    scheme, separator, rest = text.partition(":/")
    if separator and scheme and scheme in _registered():
        raise UserError(f"A URL has two slashes: {scheme}://{rest}. Received: {text}.")
    return LocalPath(os.path.expanduser(text))


def _registered() -> list[str]:
    return tf.io.gfile.get_registered_schemes()


def is_local(path: AnyPath) -> bool:
    """Whether a path is one of this machine and no URL."""
    return isinstance(path, LocalPath)


@contextlib.contextmanager
def local_copy(file: AnyPath) -> Iterator[pathlib.Path]:
    """A file for libraries that read local ones only: itself, or a copy that is removed.

    Raises:
      OSError: it cannot be read, or there is no place for the copy.
    """
    if is_local(file):
        yield file
        return
    with tempfile.TemporaryDirectory(prefix="simclr_tf-") as directory:
        copy = pathlib.Path(directory, file.name)
        with file.open("rb") as source, copy.open("wb") as target:
            shutil.copyfileobj(source, target)
        yield copy
