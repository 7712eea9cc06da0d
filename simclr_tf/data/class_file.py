"""A CSV file with the class of each image of a folder: one line `file,class` for an image."""

import codecs
import csv
import io
import os

from simclr_tf.data.folder_scan import IMAGE_EXTENSIONS, OTHER_FORMATS, Entries
from simclr_tf.errors import UserError, printable

_SHOWN = 200  # letters of a line, in messages


def classes_of_files(path: str, data_dir: str, entries: Entries) -> dict[str, str]:
    """The classes that a CSV file gives to images of a folder.

    Files are named relative to the folder, or all of them relative to the CSV file; absolute names
    are understood too. A first line whose file does not end as an image does is a header. Lines
    of images that cannot be read for their format are left out, as those images are.

    Args:
      path: of the CSV file, text in UTF-8; names of files may have other bytes.
      data_dir: the folder.
      entries: what is below it, at any depth.

    Returns:
      The class by the name of the file, relative to the folder.

    Raises:
      UserError: the file cannot be read, a line has other columns or no class, an image is named
        twice, or a name is that of no image of the folder.
    """
    given = f"--labels={printable(path)}"
    path = os.path.expanduser(path)
    rows = _rows(path, given)
    if not rows:
        raise UserError(f"{given} names no images. Give one line file,class for each.")
    images, unread = set(entries.files), set(entries.unread)
    readings = [_in_folder(rows, base, data_dir) for base in (data_dir, os.path.dirname(path))]
    lost = [
        [row for row, file in zip(rows, files) if file not in images and file not in unread]
        for files in readings
    ]
    files, lost = min(zip(readings, lost), key=lambda reading: len(reading[1]))
    if lost:
        line, name, _ = lost[0]
        raise UserError(
            f"{given} names {len(lost):,} of {len(rows):,} files that are no images below "
            f"{printable(data_dir)}, the first in line {line}: {printable(name)}. Names have an "
            "ending such as .jpg, and are relative to that folder or to the CSV file."
        )
    lines: dict[str, int] = {}
    for file, (line, _, _) in zip(files, rows):
        if file in lines:
            raise UserError(
                f"{given} names {printable(file)} twice, in lines {lines[file]} and {line}. An "
                "image has one class: remove one of the lines."
            )
        lines[file] = line
    return {file: name for file, (_, _, name) in zip(files, rows) if file in images}


def _rows(path: str, given: str) -> list[tuple[int, str, str]]:
    """(number of the line, file, class) of each line; empty lines and the header are left out.

    Raises:
      UserError: the file cannot be read, or a line has other columns or no class.
    """
    try:
        with open(path, "rb") as file:
            content = file.read().removeprefix(codecs.BOM_UTF8)
    except OSError as error:
        raise UserError(
            f"{given} cannot be read: {error.strerror}. Give folders, none, or a CSV file."
        ) from None
    if b"\0" in content:
        raise UserError(f"{given} cannot be read: it is no text in UTF-8.")
    reader = csv.reader(io.StringIO(os.fsdecode(content), newline=""), skipinitialspace=True)
    rows = []
    try:
        for fields in filter(None, reader):
            if len(fields) != 2 or not all(field.strip() for field in fields):
                line = ",".join(fields)
                more = "..." if len(line) > _SHOWN else ""
                raise UserError(
                    f"{given} has to have two columns, file,class, with a comma between. Line "
                    f"{reader.line_num} is {printable(line[:_SHOWN])}{more}."
                )
            rows.append((reader.line_num, fields[0], fields[1].strip()))
    except csv.Error as error:  # such as a quote that is not closed, in a long file
        raise UserError(f"{given} cannot be read up to line {reader.line_num}: {error}.") from None
    has_header = rows and not rows[0][1].strip().lower().endswith(
        (*IMAGE_EXTENSIONS, *OTHER_FORMATS)
    )
    return rows[1:] if has_header else rows


def _in_folder(rows: list[tuple[int, str, str]], base: str, data_dir: str) -> list[str]:
    """The files of rows, which are relative to `base`, relative to the folder if they are in it."""
    base, start = os.path.abspath(base), os.path.join(os.path.abspath(data_dir), "")
    return [os.path.normpath(os.path.join(base, name)).removeprefix(start) for _, name, _ in rows]
