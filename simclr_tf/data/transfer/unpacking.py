"""Unpacking tar and zip archives that somebody else made."""

import os
import pathlib
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from simclr_tf.errors import UserError

ENDINGS = (".tar", ".tar.gz", ".tgz", ".zip")


def unpack(archive: pathlib.Path, folder: pathlib.Path) -> None:
    """Unpack an archive into a new folder, which is there only when all of it is.

    Several processes may do so at once; they end up with the same folder.

    Args:
      archive: a .tar, .tar.gz, .tgz or .zip file.
      folder: what to create.

    Raises:
      UserError: the archive is damaged, or holds what would lie outside of the folder, a link,
        or anything else that is neither a file nor a folder.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = pathlib.Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    files = _zip_files if archive.name.endswith(".zip") else _tar_files
    try:
        for name, content in files(archive):
            target = unfinished / _checked(name, archive)
            target.parent.mkdir(parents=True, exist_ok=True)
            with open(target, "wb") as file:
                shutil.copyfileobj(content, file)
        if not folder.exists():
            unfinished.rename(folder)
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        if folder.is_dir():
            return  # another process was faster
        raise UserError(f"{archive} cannot be unpacked: {error}.") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _tar_files(archive: pathlib.Path) -> Iterator[tuple[str, BinaryIO]]:
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.isfile():
                yield member.name, tar.extractfile(member)
            elif not member.isdir():
                raise _refusal(archive, member.name, "which is a link or a device")


def _zip_files(archive: pathlib.Path) -> Iterator[tuple[str, BinaryIO]]:
    with zipfile.ZipFile(archive) as file:
        for member in file.infolist():
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _refusal(archive, member.filename, "which is a link or a device")
            if not member.is_dir():
                with file.open(member) as content:
                    yield member.filename, content


def _checked(name: str, archive: pathlib.Path) -> str:
    """The name of a member, when it stays inside."""
    name = name.replace("\\", "/")
    if os.path.isabs(name) or ":" in name.split("/")[0] or ".." in name.split("/"):
        raise _refusal(archive, name, "which would lie outside of the folder")
    return name


def _refusal(archive: pathlib.Path, name: str, reason: str) -> UserError:
    return UserError(
        f"{archive} holds {name!r}, {reason}; it is not unpacked. Get the official archive."
    )
