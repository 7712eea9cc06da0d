"""Files with the names of classes, one in each line.

Names are what folders are called: bytes, which Python shows as text with surrogate escapes.
"""

import codecs
import os
from collections.abc import Sequence

from simclr_tf.errors import UserError
from simclr_tf.paths import AnyPath


def label_lines(class_names: Sequence[str]) -> bytes:
    """The content of a file of labels; a line break in a name becomes a space."""
    return b"".join(b" ".join(os.fsencode(name).splitlines()) + b"\n" for name in class_names)


def read_labels(path: AnyPath, given: str) -> list[str]:
    """The names in a file of labels.

    Args:
      path: of the file.
      given: what the user gave, for the message.

    Raises:
      UserError: it cannot be read, or is no text.
    """
    try:
        content = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    except OSError as error:
        raise UserError(f"{given} cannot be read: {error.strerror}.") from None
    if b"\0" in content:
        raise UserError(f"{given} cannot be read: it is no text in UTF-8.")
    lines = content.removesuffix(b"\n").split(b"\n") if content else []
    return [os.fsdecode(line.removesuffix(b"\r")) for line in lines]
