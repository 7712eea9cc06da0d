"""Features of a whole data set, on all replicas, in inference mode."""

from collections.abc import Iterable

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from simclr_tf.errors import UserError
from simclr_tf.models import Network

_PROGRESS_BAR_AFTER = 10  # seconds


class NonFiniteFeaturesError(UserError):
    """Features are infinite or NaN."""


def extract_features(
    network: Network,
    batches: Iterable,
    strategy: tf.distribute.Strategy | None = None,
    layer: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """h, or a layer of the projection head, and the label of every image, in the data's order.

    Args:
      network: in inference mode.
      batches: of (images (batch, height, width, 3) float32 in [0, 1], labels (batch,) int64,
        weights (batch,) float32); rows of weight 0 are padding and left out. Distributed
        by `strategy`, if one is given.
      strategy: the strategy that the network's variables belong to.
      layer: the entry of [h, after layer 1, ..., z].

    Returns:
      Features (n, features) float32 and labels (n,) int64.
    """
    strategy = strategy or tf.distribute.get_strategy()

    def features_of(images):
        return network.projections(images)[layer] if layer else network.features(images)

    @tf.function
    def step(images, labels, weights):
        features = strategy.run(features_of, args=(images,))
        return [strategy.gather(t, axis=0) for t in (features, labels, weights)]

    features, labels = [], []
    shown = tqdm(batches, "Extracting features", unit="batch", delay=_PROGRESS_BAR_AFTER)
    for batch in shown:
        rows, row_labels, weights = (t.numpy() for t in step(*batch))
        features.append(rows[weights > 0])
        labels.append(row_labels[weights > 0])
    return np.concatenate(features), np.concatenate(labels)


def labelled(features: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows (n, ...) with a label (n,) of 0 or more; without a copy where all have one."""
    known = np.asarray(labels) >= 0
    return (features, labels) if known.all() else (features[known], labels[known])


def require_finite(features: np.ndarray) -> None:
    """Refuse features that are not finite, as finite weights may make them too.

    Raises:
      NonFiniteFeaturesError: some are not.
    """
    if not np.isfinite(features).all():
        raise NonFiniteFeaturesError(
            "The features of the checkpoint are not finite: the training diverged."
        )
