"""The data set `digits`: scikit-learn's 1797 handwritten digits, 8 x 8 grey pixels.

It needs no download. Its own split: a fifth of every class is for testing.
"""

import numpy as np
import tensorflow as tf

from simclr_tf.data.holdout import held_out
from simclr_tf.data.sources import ImageDataset, indexed
from simclr_tf.errors import UserError, did_you_mean

_SPLITS = ("train", "test", "validation")
_TEST_FRACTION = 0.2


def load(split: str, **_: object) -> ImageDataset:
    """Load `train`, or `test` (`validation` is another name of it).

    The split does not depend on any seed.

    Raises:
      UserError: for another split.
    """
    from sklearn.datasets import load_digits  # takes a second, and few runs need it

    if split not in _SPLITS:
        raise UserError(
            f"Data set digits has no split {split!r}; it has {', '.join(_SPLITS)}."
            + did_you_mean(split, list(_SPLITS))
        )
    digits = load_digits()
    keys = [str(i) for i in range(len(digits.target))]
    is_test = held_out(keys, digits.target, _TEST_FRACTION, seed=0)
    chosen = np.flatnonzero(is_test == (split != "train"))
    pixels = np.rint(digits.images[chosen] * (255 / 16)).astype(np.uint8)[..., None]
    images = tf.stack([tf.io.encode_png(image) for image in pixels])
    return ImageDataset(
        name="digits",
        split=split,
        num_examples=len(chosen),
        num_classes=10,
        class_names=tuple(str(name) for name in digits.target_names),
        source=indexed(images, digits.target[chosen]),
    )
