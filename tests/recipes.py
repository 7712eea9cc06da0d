"""Recipes of views by the flags that make them."""

import contextlib
from collections.abc import Iterator

import tensorflow as tf

from simclr_tf.data.recipe import (
    Recipe,
    ViewFlags,
    adjusted,
    finetuning_recipe,
    simclr_recipe,
)


def simclr(image_size: int, number: int = 2, **flags) -> Recipe:
    """SimCLR's views; other flags have their defaults."""
    view = ViewFlags(image_size, **flags)
    return adjusted(simclr_recipe(view, number), view)


def finetuning(image_size: int, augmentation: str = "crop_flip") -> Recipe:
    """The view of fine-tuning with --finetune_augmentation."""
    return finetuning_recipe(ViewFlags(image_size, finetune_augmentation=augmentation))


@contextlib.contextmanager
def not_compiled() -> Iterator[None]:
    """Views of one image are made operation by operation, which XLA takes seconds to compile."""
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(False)
