"""Names of files as people and as TensorFlow read them.

Inside Python a name is as `os.listdir` gives it: bytes that are not UTF-8 are lone surrogates.
"""

import os


def shown(name: str) -> str:
    r"""A name for messages, on one line: what is not UTF-8 or not printable is escaped.

    >>> shown("caf\udce9.png")
    'caf\\xe9.png'
    """
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
