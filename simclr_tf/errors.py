"""Errors that are addressed to the person who started the program."""

import difflib


class UserError(ValueError):
    """What the user gave cannot work; the message says what was given and what is allowed.

    The programs print the message on one line and exit with status 2. It is a
    ValueError, so library users can catch it as one.
    """


class LostHostError(RuntimeError):
    """Another host of the job is gone; the whole job has to be started again."""


def did_you_mean(given: str, known: list[str], shown: int = 3) -> str:
    """Return " Did you mean: a, b?" with the known names nearest to `given`, or ""."""
    near = difflib.get_close_matches(given, known, n=shown, cutoff=0.5)
    return f" Did you mean: {', '.join(near)}?" if near else ""
