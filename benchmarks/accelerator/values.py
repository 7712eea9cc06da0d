"""What a training step starts from, drawn by NumPy on every machine, so that no file holds it."""

from collections.abc import Sequence
from typing import Any

import numpy as np

SEED = 2020
Description = dict[str, Any]


def describe(values: Sequence[np.ndarray]) -> list[Description]:
    """What `draw` needs of variables: shape, type, and their one value or their deviation.

    Args:
      values: of the variables, in the order in which the step takes them.
    """
    return [
        {"shape": list(value.shape), "dtype": str(value.dtype)}
        | (
            {"value": value.flat[0].item()}
            if np.ptp(value) == 0
            else {"deviation": float(np.std(value))}
        )
        for value in values
    ]


def draw(descriptions: Sequence[Description]) -> list[np.ndarray]:
    """Variables: those of one value have it, the others are normal with mean 0."""
    rng = np.random.default_rng(SEED)
    return [
        np.full(d["shape"], d["value"], d["dtype"])
        if "value" in d
        else (d["deviation"] * rng.standard_normal(d["shape"], np.float32)).astype(d["dtype"])
        for d in descriptions
    ]


def batch(images: int, image_size: int, classes: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Two views (images, image_size, image_size, 3) of noise, float32, and labels int64."""
    rng = np.random.default_rng(SEED + 1)
    shape = (images, image_size, image_size, 3)
    return [rng.random(shape, np.float32) for _ in range(2)], np.arange(images) % classes
