"""Files and directories at URLs, as the file systems that TensorFlow knows have them."""

import contextlib
import errno
import io
import os
import pathlib
import re
from collections.abc import Iterator

import tensorflow as tf

# What TensorFlow's errors about files are among those of the system; others are EIO.
_NUMBERS = {
    tf.errors.NotFoundError: errno.ENOENT,
    tf.errors.AlreadyExistsError: errno.EEXIST,
    tf.errors.PermissionDeniedError: errno.EACCES,
    tf.errors.UnauthenticatedError: errno.EACCES,
    tf.errors.ResourceExhaustedError: errno.ENOSPC,
}

_NODES = re.compile(r"\{\{.*?\}\}|\[Op:\w+\]")  # where in a graph they come from


@contextlib.contextmanager
def tensorflow_file_errors() -> Iterator[None]:
    """Turn what TensorFlow raises about files into OSError; put nothing else inside.

    Raises:
      OSError: instead of tf.errors.OpError, with a `strerror` of one line.
    """
    try:
        yield
    except tf.errors.OpError as error:
        words = _NODES.sub("", str(error)).strip() or type(error).__name__
        number = _NUMBERS.get(type(error), errno.EIO)
        raise OSError(number, words.splitlines()[0]) from None


class RemotePath(os.PathLike):
    """A file or directory at a URL; on object stores directories are beginnings of names.

    Args:
      url: of a scheme that TensorFlow has registered.
    """

    def __init__(self, url: str):
        scheme, _, rest = url.partition("://")
        self._url = f"{scheme}://{rest.rstrip('/')}"

    def __fspath__(self) -> str:
        return self._url

    __str__ = __fspath__

    def __repr__(self) -> str:
        return f"RemotePath({self._url!r})"

    def __eq__(self, other) -> bool:
        return isinstance(other, RemotePath) and self._url == other._url

    def __hash__(self) -> int:
        return hash(self._url)

    def __truediv__(self, name: str | os.PathLike) -> "RemotePath":
        return RemotePath(f"{self._url}/{os.fspath(name)}")

    @property
    def name(self) -> str:
        """The last part of the URL; "" of a whole bucket."""
        return self._parts()[1]

    @property
    def suffix(self) -> str:
        """The last ending of the name, with its dot."""
        return pathlib.PurePosixPath(self.name).suffix

    @property
    def parent(self) -> "RemotePath":
        """What it lies in; a bucket is its own."""
        return RemotePath(self._parts()[0])

    def _parts(self) -> tuple[str, str]:
        scheme, _, rest = self._url.partition("://")
        bucket, slash, inside = rest.partition("/")
        above, _, name = inside.rpartition("/")
        return f"{scheme}://{bucket}{slash}{above}", name

    def with_name(self, name: str) -> "RemotePath":
        """The path beside it with another name."""
        return self.parent / name

    def exists(self) -> bool:
        """Whether there is a file or directory."""
        return self._is_directory() is not None

    def is_dir(self) -> bool:
        """Whether it is a directory."""
        return self._is_directory() is True

    def is_file(self) -> bool:
        """Whether it is a file."""
        return self._is_directory() is False

    def _is_directory(self) -> bool | None:
        """None where nothing is; tf.io.gfile.isdir would take every error for "no"."""
        try:
            with tensorflow_file_errors():
                return tf.io.gfile.stat(self._url).is_directory
        except FileNotFoundError:
            return None

    def iterdir(self) -> Iterator["RemotePath"]:
        """What lies in the directory."""
        with tensorflow_file_errors():
            names = tf.io.gfile.listdir(self._url)
        return (self / name.rstrip("/") for name in names)

    def mkdir(self, parents: bool = False, exist_ok: bool = False) -> None:
        """Make the directory; those above it are made too."""
        del parents, exist_ok
        with tensorflow_file_errors():
            tf.io.gfile.makedirs(self._url)

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove the file."""
        try:
            with tensorflow_file_errors():
                tf.io.gfile.remove(self._url)
        except FileNotFoundError:
            if not missing_ok:
                raise

    def rmdir(self) -> None:
        """Remove the directory.

        Raises:
          OSError: something is in it.
        """
        with contextlib.suppress(FileNotFoundError):
            if any(path.name for path in self.iterdir()):
                raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), self._url)
        self.rmtree()

    def rmtree(self) -> None:
        """Remove the directory and all that is in it; what is gone meanwhile is no error."""
        with contextlib.suppress(FileNotFoundError), tensorflow_file_errors():
            tf.io.gfile.rmtree(self._url)

    def replace(self, target: os.PathLike) -> None:
        """Give the file another name; a file of that name is replaced."""
        with tensorflow_file_errors():
            tf.io.gfile.rename(self._url, os.fspath(target), overwrite=True)

    def open(
        self,
        mode: str = "r",
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> io.IOBase:
        """Open the file as pathlib.Path does, for reading, writing or appending."""
        raw = _RemoteFile(self._url, mode.replace("b", ""))
        file = io.BufferedReader(raw) if raw.readable() else io.BufferedWriter(raw)
        if "b" in mode:
            return file
        return io.TextIOWrapper(file, encoding or "utf-8", errors, newline)

    def read_bytes(self) -> bytes:
        """The content of the file."""
        with self.open("rb") as file:
            return file.read()

    def read_text(self, encoding: str | None = None, errors: str | None = None) -> str:
        """The content of the file as text."""
        with self.open("r", encoding, errors) as file:
            return file.read()

    def write_bytes(self, content: bytes | memoryview) -> None:
        """Write the file."""
        with self.open("wb") as file:
            file.write(content)

    def write_text(self, content: str, encoding: str | None = None) -> None:
        """Write the file as text."""
        with self.open("w", encoding) as file:
            file.write(content)


class _RemoteFile(io.RawIOBase):
    """The bytes of a file that TensorFlow opens."""

    def __init__(self, url: str, mode: str):
        super().__init__()
        self._reads = mode == "r"
        self._file = tf.io.gfile.GFile(url, mode + "b")
        with tensorflow_file_errors():  # GFile opens a file when it is first used
            self._file.size() if self._reads else self._file.write(b"")

    def readable(self) -> bool:
        return self._reads

    def writable(self) -> bool:
        return not self._reads

    def seekable(self) -> bool:
        return self._reads

    def readinto(self, buffer) -> int:
        with tensorflow_file_errors():
            content = self._file.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def write(self, content) -> int:
        with tensorflow_file_errors():
            self._file.write(bytes(content))
        return len(content)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if not self._reads:
            raise io.UnsupportedOperation("seek")
        with tensorflow_file_errors():
            self._file.seek(offset, whence)
            return self._file.tell()

    def close(self) -> None:
        if self.closed:
            return
        try:
            with tensorflow_file_errors():
                self._file.close()
        finally:
            super().close()
