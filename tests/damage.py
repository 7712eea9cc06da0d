"""Files as they are after a fault of the disk or of the network."""

from collections.abc import Iterator

import numpy as np


def damaged(whole: bytes, count: int, random: np.random.Generator) -> Iterator[bytes]:
    """`count` damaged copies of a file: in turns with one bit turned, and cut."""
    for i in range(count):
        copy = bytearray(whole)
        if i % 2:
            copy = copy[: random.integers(len(whole))]
        else:
            copy[random.integers(len(whole))] ^= 1 << random.integers(8)
        yield bytes(copy)
