"""Which images lie below a folder, by their names alone."""

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterator
from pathlib import PurePath

from absl import logging

from simclr_tf.errors import UserError, printable

IMAGE_EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif")
# Of images that are not read, and what people call them. Those of the last two are JPEG, but runs
# of before did not read them.
OTHER_FORMATS = {
    **{".tif": "TIFF", ".tiff": "TIFF", ".heic": "HEIC", ".heif": "HEIC"},
    **{".jfif": "JFIF", ".jpe": "JPE"},
}
DEEPEST = 3  # parts of an image's name


@dataclasses.dataclass(frozen=True)
class Entries:
    """What is below the data directory, relative to it and sorted.

    `files` are named like images; the `irregular` ones of them are no regular files.
    `unread` are named like images of OTHER_FORMATS, which are left out.
    """

    files: list[str]
    folders: list[str]
    irregular: frozenset[str]
    unread: list[str]

    def about_unread(self) -> str:
        """Of which formats the `unread` images are, with some of their names, and what to do."""
        formats = sorted({OTHER_FORMATS[PurePath(name).suffix.lower()] for name in self.unread})
        names = ", ".join(map(printable, self.unread[:3]))
        more = f", and {len(self.unread) - 3:,} more" if len(self.unread) > 3 else ""
        renamed = ""
        if {"JFIF", "JPE"}.intersection(formats):
            renamed = " JFIF and JPE are JPEG: give them names that end in .jpg."
        return (
            f"{' and '.join(formats)} images cannot be read: {names}{more}. Convert them to PNG or "
            f"JPEG.{renamed}"
        )


def scan(data_dir: str, any_depth: bool = False) -> Entries:
    """Look for images below a folder; links are followed, hidden names are left out.

    Args:
      data_dir: the folder.
      any_depth: whether to look deeper than one folder below DEEPEST, where images are still found
        to say that they lie too deep.

    Raises:
      UserError: a folder cannot be read.
    """
    files, folders, irregular, unread, others = [], [], [], [], 0
    waiting: list[tuple[str, frozenset]] = [(".", frozenset())]  # a folder, and those it lies in
    while waiting:
        here, above = waiting.pop()
        if any_depth:
            this = _identity(os.path.join(data_dir, here))
            if this in above:  # a link in a circle
                continue
            above |= {this}
        folders.append(here)
        for entry in _entries_of(os.path.join(data_dir, here)):
            name = os.path.normpath(os.path.join(here, entry.name))
            if _holds(entry.is_dir):
                # The depth, where there is one, also ends links that form a circle.
                enter = any_depth or len(PurePath(here).parts) <= DEEPEST
                waiting += [(name, above)] if enter else []
            elif _is_named_like_an_image(name):
                files.append(name)
                irregular += [] if _holds(entry.is_file) else [name]
            elif PurePath(name).suffix.lower() in OTHER_FORMATS:
                unread.append(name)
            else:
                others += 1
    if others:
        logging.info(
            "%d files below %s are no images and are ignored.", others, printable(data_dir)
        )
    empty = _empty_folders_among_images(files, folders)
    folders = sorted(set(folders).difference(empty))
    return Entries(sorted(files + empty), folders, frozenset(irregular + empty), sorted(unread))


@contextlib.contextmanager
def _reading(folder: str) -> Iterator[None]:
    """Say in one line that a folder cannot be read."""
    try:
        yield
    except OSError as error:
        folder = printable(os.path.normpath(folder))
        raise UserError(f"Cannot read {folder}: {error.strerror}.") from error


def _entries_of(folder: str) -> list[os.DirEntry]:
    """What is in a folder and not hidden."""
    with _reading(folder), os.scandir(folder) as entries:
        return [entry for entry in entries if not entry.name.startswith(".")]


def _identity(folder: str) -> tuple[int, int]:
    """Tells a folder from others, whatever path leads to it."""
    with _reading(folder):
        found = os.stat(folder)
    return found.st_dev, found.st_ino


def _holds(question: Callable[[], bool]) -> bool:
    """The answer to a question about a link; False where it leads nowhere or in a circle."""
    try:
        return question()
    except OSError:
        return False


def _is_named_like_an_image(name: str) -> bool:
    return name.lower().endswith(IMAGE_EXTENSIONS)


def _empty_folders_among_images(files: list[str], folders: list[str]) -> list[str]:
    """Folders that are named like images, lie where the images lie, and hold none."""
    filled = {os.path.dirname(file) for file in files}
    filled |= {os.path.dirname(folder) for folder in filled}
    depths = {file.count(os.sep) for file in files}
    return [
        folder
        for folder in folders
        if _is_named_like_an_image(folder)
        and folder not in filled
        and {folder.count(os.sep)} == depths
    ]
