"""Reading JSON files that may be damaged, of another version, or somebody else's."""

import json
from collections.abc import Mapping
from typing import Any, Protocol

from simclr_tf.errors import UserError

Kinds = Mapping[str, type | tuple[type, ...]]


class DamagedFileError(UserError):
    """A file holds something else than this project writes there."""


class Readable(Protocol):
    """A path of the standard library, or one of `paths`."""

    def __fspath__(self) -> str:
        """The path as a string."""

    def read_bytes(self) -> bytes:
        """The content of the file."""


def read_object(path: Readable, needed: Kinds | None = None) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Args:
      path: of the file.
      needed: the entries that have to be there, and the types that each may have. A list has
        strings in it; a whole number is a float too; None is allowed where `type(None)` is.

    Raises:
      UserError: it cannot be read; as DamagedFileError, it is no object, or an entry is missing
        or of another type. That it is not there raises FileNotFoundError or NotADirectoryError.
    """
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}.") from None
    return parse_object(content, str(path), needed)


def parse_object(content: bytes, source: str, needed: Kinds | None = None) -> dict[str, Any]:
    """The object in JSON text; see `read_object`.

    Args:
      content: of the file.
      source: its name, for messages.
      needed: see `read_object`.
    """
    try:
        values = json.loads(content.decode("utf-8"))
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise DamagedFileError(f"{source} is damaged: it is no JSON ({error}).") from None
    if not isinstance(values, dict):
        raise DamagedFileError(
            f"{source} is damaged: it should hold a JSON object, and holds {_shown(values)}."
        )
    check_entries(values, needed or {}, source)
    return values


def check_entries(values: Mapping[str, Any], needed: Kinds, source: str) -> None:
    """Refuse an object that lacks entries, or has them of another type; see `read_object`.

    Args:
      values: the object.
      needed: the entries.
      source: the file, for messages.

    Raises:
      DamagedFileError: an entry is missing or of another type.
    """
    for name, kinds in needed.items():
        kinds = kinds if isinstance(kinds, tuple) else (kinds,)
        if name not in values:
            raise DamagedFileError(
                f"{source} is damaged or of another version: it has no {name!r}."
            )
        if not _fits(values[name], kinds):
            raise DamagedFileError(
                f"{source} is damaged or of another version: {name!r} is {_shown(values[name])}."
            )


def _fits(value: Any, kinds: tuple[type, ...]) -> bool:
    if isinstance(value, bool):
        return bool in kinds
    if isinstance(value, list):
        return list in kinds and all(isinstance(entry, str) for entry in value)
    return isinstance(value, kinds) or (isinstance(value, int) and float in kinds)


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
