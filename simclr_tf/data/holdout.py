"""Choosing examples of every class by hashes of their names: the same on every machine."""

import hashlib
import os
from collections.abc import Sequence

import numpy as np


def held_out(keys: Sequence[str], labels: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Choose a share of every class by the hashes of the examples' keys.

    The choice depends on nothing but the seed and the keys, so it is the same on
    every machine and with every version of NumPy. Every class with two examples or
    more keeps at least one on either side; a single example is not held out.

    Args:
      keys: n distinct names of the examples; those of files as `os.listdir` gives them.
      labels: (n,) integers, the examples' classes.
      fraction: share to hold out, in (0, 1).
      seed: seed of the choice.

    Returns:
      (n,) bool, True where the example is held out.
    """
    ranks = np.array([hashlib.blake2b(os.fsencode(f"{seed}/{key}")).digest() for key in keys])
    _, labels, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    counts = np.minimum(np.maximum(np.round(fraction * sizes), 1), sizes - 1)
    return lowest_of_each_class(ranks, labels, counts)


def hashes(keys: Sequence[str], seed: int) -> np.ndarray:
    """A random number for each key, (n,) uint64, that depends on seed and key alone."""
    names = [os.fsencode(f"{seed}/{key}") for key in keys]
    digests = [hashlib.blake2b(name, digest_size=8).digest() for name in names]
    return np.frombuffer(b"".join(digests), ">u8")


def lowest_of_each_class(ranks: np.ndarray, labels: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Choose so many examples of each class, those of the lowest ranks.

    Args:
      ranks: (n,), by which the examples of a class are sorted.
      labels: (n,) integers in [0, classes).
      counts: (classes,), how many of each class to choose; of a smaller class all are.

    Returns:
      (n,) bool, True where the example is chosen.
    """
    order = np.lexsort((ranks, labels))  # class by class
    sizes = np.bincount(labels, minlength=len(counts))
    starts = np.cumsum(sizes) - sizes
    place = np.empty(len(labels), np.int64)
    place[order] = np.arange(len(labels)) - starts[labels[order]]
    return place < counts[labels]
