"""Paths that TensorFlow does not take for patterns when it looks for a checkpoint."""

import contextlib
import os
import tempfile
from collections.abc import Iterator

from simclr_tf.errors import UserError

_OF_PATTERNS = set("[]*?{}\\")


@contextlib.contextmanager
def without_patterns(prefix: str) -> Iterator[str]:
    """A path to the same checkpoint in which no character has a meaning in a pattern.

    TensorFlow writes a checkpoint to any path, and reads it only where its prefix, taken as a
    pattern, matches itself. So a link to the directory stands in for it while it is read.

    Args:
      prefix: of a checkpoint.

    Raises:
      UserError: the path has such characters and is no local one, so that it cannot be linked to.
    """
    if not _OF_PATTERNS.intersection(prefix):
        yield prefix
        return
    if "://" in prefix:
        raise UserError(
            f"TensorFlow cannot read a checkpoint whose path holds one of []*?{{}}\\: {prefix}. "
            "Copy it to another place."
        )
    directory, name = os.path.split(os.path.abspath(prefix))
    with tempfile.TemporaryDirectory(prefix="simclr_tf-") as place:
        os.symlink(directory, os.path.join(place, "checkpoint"))
        yield os.path.join(place, "checkpoint", name)
