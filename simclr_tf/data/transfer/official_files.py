"""Finding the official files of a data set in a directory: unpacked, or in their archives.

What is unpacked here goes below `unpacked/` in that directory, one folder for each archive.
"""

import dataclasses
import hashlib
import pathlib
from collections.abc import Sequence

from absl import logging

from simclr_tf.data.transfer.unpacking import ENDINGS, unpack
from simclr_tf.errors import UserError

_UNPACKED = "unpacked"
_CHUNK = 1 << 20


@dataclasses.dataclass(frozen=True)
class Download:
    """An official file.

    Attributes:
      file: its name.
      url: where it is published, or was.
      md5: its MD5 sum, or None where none is known.
    """

    file: str
    url: str
    md5: str | None = None


@dataclasses.dataclass(frozen=True)
class OfficialFiles:
    """The files of one data set.

    Attributes:
      data_dir: directory that holds the downloads, or what was unpacked from them.
      name: of the data set.
      downloads: the official files; those in an archive come after it.
      check: compare the MD5 sums of archives before unpacking them.
    """

    data_dir: pathlib.Path
    name: str
    downloads: tuple[Download, ...]
    check: bool = True

    def find(self, *names: str) -> pathlib.Path:
        """The path of a file or folder, given as it is called inside the archives.

        The uppermost folder may be missing: `food-101/meta` is found as `meta` too.

        Args:
          *names: the file's possible names.

        Raises:
          UserError: it is not there, and in no archive that is.
        """
        if found := self._find_unpacked(names):
            return found
        for download in self.downloads:
            if download.file.endswith(ENDINGS):
                self._unpack(download)
        if found := self._find_unpacked(names):
            return found
        raise UserError(
            f"Data set {self.name} needs {' or '.join(names)}, which is neither in {self.data_dir} "
            "nor in an archive there. Put these files, or what is in them, into --data_dir: "
            + ", ".join(f"{d.file} ({d.url})" for d in self.downloads)
            + "."
        )

    def is_unpacked(self, name: str) -> bool:
        """Whether a file or folder is there, outside of archives."""
        return self._find_unpacked([name]) is not None

    def _find_unpacked(self, names: Sequence[str]) -> pathlib.Path | None:
        folders = [self.data_dir, *_folders_in(self.data_dir / _UNPACKED)]
        for name in names:
            for folder in folders:
                for form in (name, name.partition("/")[2]):
                    if form and (folder / form).exists():
                        return folder / form
        return None

    def _unpack(self, download: Download) -> None:
        folder = self.data_dir / _UNPACKED / download.file.split(".tar")[0].split(".tgz")[0]
        # Archives lie in archives too, in a folder there.
        unpacked = _folders_in(self.data_dir / _UNPACKED)
        places = [self.data_dir, *unpacked, *(p for place in unpacked for p in _folders_in(place))]
        archive = next((p / download.file for p in places if (p / download.file).is_file()), None)
        if archive is None or folder.exists():
            return
        if self.check and download.md5 and (found := _md5(archive)) != download.md5:
            raise UserError(
                f"{archive} is not the official file: its MD5 sum is {found}, not {download.md5}. "
                f"Get it again from {download.url}, or give the unpacked files."
            )
        logging.info("Unpacking %s into %s.", archive, folder)
        unpack(archive, folder)


def _folders_in(place: pathlib.Path) -> list[pathlib.Path]:
    """Those that are finished: what is unpacked just now has a hidden name."""
    if not place.is_dir():
        return []
    return sorted(p for p in place.iterdir() if p.is_dir() and not p.name.startswith("."))


def _md5(path: pathlib.Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
