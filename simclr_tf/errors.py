"""Errors that are addressed to the person who started the program."""

import difflib
import os


class UserError(ValueError):
    """What the user gave cannot work; the message says what was given and what is allowed.

    The programs print the message on one line and exit with status 2. It is a
    ValueError, so library users can catch it as one.
    """


class NonFiniteLossError(ArithmeticError):
    """The loss or a weight became infinite or NaN."""


class LostHostError(RuntimeError):
    """Another host of the job is gone; the whole job has to be started again."""


def first_line(error: Exception) -> str:
    """The first line of what an error says; its type where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def did_you_mean(given: str, known: list[str], shown: int = 3) -> str:
    """Return " Did you mean: a, b?" with the known names nearest to `given`, or ""."""
    near = difflib.get_close_matches(given, known, n=shown, cutoff=0.5)
    return f" Did you mean: {', '.join(near)}?" if near else ""


def printable(name: str) -> str:
    r"""The name of a file or class as text on one line, whatever its bytes are.

    Inside Python a name is as `os.listdir` gives it: bytes that are not UTF-8 are lone
    surrogates. They are shown as `\xe9`, and line breaks as `\n`.
    """
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def require_utf8(path: str | os.PathLike, what: str) -> None:
    """Refuse a path that TensorFlow cannot take.

    Args:
      path: as the command line or the file system gave it.
      what: the flag or argument, for the message.

    Raises:
      UserError: its bytes are not UTF-8, or one of them is 0.
    """
    text = os.fspath(path)
    if any("\ud800" <= letter <= "\udfff" or letter == "\0" for letter in text):
        raise UserError(
            f"{what} has to be UTF-8 text. Received: {printable(text)}. Give it another name."
        )
