"""Which examples of every class are held out for evaluation."""

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
    hashes = np.array([hashlib.blake2b(os.fsencode(f"{seed}/{key}")).digest() for key in keys])
    chosen = np.zeros(len(keys), bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = min(max(round(fraction * len(members)), 1), len(members) - 1)
        chosen[members[np.argsort(hashes[members])[:count]]] = True
    return chosen
