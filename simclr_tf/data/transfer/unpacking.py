"""Unpacking tar and zip archives that somebody else made."""

import bz2
import errno
import gzip
import lzma
import os
import pathlib
import shutil
import stat
import struct
import tarfile
import zipfile
from collections.abc import Iterator
from typing import BinaryIO

from simclr_tf.data.transfer.official_text import reason
from simclr_tf.errors import UserError
from simclr_tf.unfinished import unfinished_directory

ENDINGS = (".tar", ".tar.gz", ".tgz", ".zip")
_MOST = 1 << 26  # bytes that any archive may unpack to, ...
_RATIO = 100  # ... or so many times as many as it has
_BLOCK = 512  # bytes of a tar archive's headers and end, and what an empty file counts for
_LONGEST_HEADER = 1 << 20
_LONGEST_END = 1 << 20  # of zeros behind the end of a tar archive
_COMPRESSIONS = ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ\0", lzma.open))
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def unpack(archive: pathlib.Path, folder: pathlib.Path) -> None:
    """Unpack an archive into a new folder, which is there only when all of it is.

    Several processes may do so at once; they end up with the same folder.

    Args:
      archive: a .tar, .tar.gz, .tgz or .zip file.
      folder: what to create.

    Raises:
      UserError: the archive is damaged or not complete; or it holds what would lie outside of the
        folder, a link, or anything else that is neither a file nor a folder; or it unpacks to
        more than it may or than there is room for.
    """
    if not archive.is_file():
        raise UserError(f"{archive} is no file. Put the official archive there.")
    files = _zip_files if archive.name.endswith(".zip") else _tar_files
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with unfinished_directory(folder.parent, f".{folder.name}-") as unfinished:
            left = _most(archive)
            for name, size, content in files(archive):
                left -= max(size, _BLOCK)
                _check_room(archive, size, left, unfinished)
                target = unfinished / _checked(name, archive)
                target.parent.mkdir(parents=True, exist_ok=True)
                with open(target, "wb") as file:
                    shutil.copyfileobj(content, file)
            if left == _most(archive):
                raise ValueError("it holds no files")
            if not folder.exists():
                unfinished.rename(folder)
    except UserError:
        raise
    except Exception as error:  # what a stranger's bytes can raise
        if folder.is_dir():
            return  # another process was faster
        if not isinstance(error, OSError) or error.errno is None:
            raise UserError(
                f"{archive} cannot be unpacked, it is damaged or not complete: {reason(error)}. "
                "Get it again."
            ) from error
        if error.errno in _NO_ROOM:
            raise _no_room(archive, folder.parent, reason(error)) from error
        raise UserError(f"{archive} cannot be unpacked to {folder}: {reason(error)}.") from error


def _most(archive: pathlib.Path) -> int:
    """How many bytes an archive may unpack to."""
    return max(_MOST, _RATIO * archive.stat().st_size)


def _tar_files(archive: pathlib.Path) -> Iterator[tuple[str, int, BinaryIO]]:
    with open(archive, "rb") as file:
        start = file.read(8)
        file.seek(0)
        opener = next((o for magic, o in _COMPRESSIONS if start.startswith(magic)), None)
        stream = _Bounded(file if opener is None else opener(file), archive)
        with tarfile.open(fileobj=stream, mode="r:") as tar:
            for member in tar:
                if member.isfile():
                    if member.size < 0:
                        raise ValueError(f"{member.name!r} has {member.size} bytes")
                    yield member.name, member.size, tar.extractfile(member)
                elif not member.isdir():
                    raise _refusal(archive, member.name, "which is a link or a device")
            _check_end(stream)


def _check_end(stream: "_Bounded") -> None:
    """tarfile ends without an error at whatever is no header, so see what it read last.

    Reading to the end also compares the checksum of a compressed archive.
    """
    block, length = stream.last, 0
    while block:
        if block.strip(b"\0"):
            raise ValueError(f"what ends at byte {stream.tell():,} is neither a header nor the end")
        length += len(block)
        if length > _LONGEST_END:
            raise ValueError(f"more than {_LONGEST_END:,} bytes of zeros follow the end")
        block = stream.read(_LONGEST_HEADER)
    if length < _BLOCK:
        raise ValueError(f"it ends at byte {stream.tell():,} without the mark of its end")


class _Bounded:
    """A stream of which no more is read than an archive may unpack to.

    What tarfile reads at once is either a part of a file or a header, whose length the archive
    says.
    """

    def __init__(self, stream: BinaryIO, archive: pathlib.Path):
        self._stream, self._archive, self._most = stream, archive, _most(archive) + _LONGEST_END
        self.tell = stream.tell
        self.last = b""  # what was read last

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _LONGEST_HEADER:
            raise ValueError(f"it has a header of {size:,} bytes")
        self._check(self.tell() + size)
        self.last = self._stream.read(size)
        return self.last

    def seek(self, place: int) -> None:
        if place < 0:
            raise ValueError("a member lies before the beginning")
        self._check(place)
        self._stream.seek(place)

    def _check(self, place: int) -> None:
        if place > self._most:
            raise _too_much(self._archive)


def _zip_files(archive: pathlib.Path) -> Iterator[tuple[str, int, BinaryIO]]:
    with zipfile.ZipFile(archive) as file:
        members = file.infolist()
        _check_number(archive, len(members))
        for member in members:
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _refusal(archive, member.filename, "which is a link or a device")
            if not member.is_dir():
                with file.open(member) as content:
                    yield member.filename, member.file_size, content


def _check_number(archive: pathlib.Path, found: int) -> None:
    """zipfile does not compare the number of members that an archive says it has."""
    with open(archive, "rb") as file:
        file.seek(max(archive.stat().st_size - (1 << 16) - 22, 0))
        end = file.read()
    (number,) = struct.unpack_from("<H", end, end.rindex(b"PK\5\6") + 10)
    if number not in (found, 0xFFFF):  # the last stands for more
        raise ValueError(f"{found} of its {number} members are there")


def _checked(name: str, archive: pathlib.Path) -> str:
    """The name of a member, when it stays inside."""
    name = name.replace("\\", "/")
    if os.path.isabs(name) or ":" in name.split("/")[0] or ".." in name.split("/"):
        raise _refusal(archive, name, "which would lie outside of the folder")
    return name


def _check_room(archive: pathlib.Path, size: int, left: int, place: pathlib.Path) -> None:
    if left < 0:
        raise _too_much(archive)
    if size > (free := shutil.disk_usage(place).free):
        raise _no_room(archive, place.parent, f"a file of {size:,} bytes, and {free:,} are free")


def _no_room(archive: pathlib.Path, place: pathlib.Path, why: str) -> UserError:
    return UserError(
        f"There is no room in {place} to unpack {archive} ({why}). The archive is untouched: make "
        "room, and the same command goes on."
    )


def _too_much(archive: pathlib.Path) -> UserError:
    return UserError(
        f"{archive} is not unpacked: it would become more than {_RATIO} times as large, and larger "
        f"than {_MOST:,} bytes. Get the official archive, or give the unpacked files."
    )


def _refusal(archive: pathlib.Path, name: str, reason: str) -> UserError:
    return UserError(
        f"{archive} holds {name!r}, {reason}; it is not unpacked. Get the official archive."
    )
