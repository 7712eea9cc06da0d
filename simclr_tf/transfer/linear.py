"""The linear protocol: logistic regression on features that are computed once."""

import pathlib

import numpy as np
from tqdm import tqdm

from simclr_tf.data.broken import naming_bad_images
from simclr_tf.data.sources import ImageDataset
from simclr_tf.evaluation.features import require_finite
from simclr_tf.evaluation.logistic_regression import (
    OPTIMUM_TOLERANCE,
    LinearClassifier,
    PrincipalAxes,
    fit_logistic_regression,
    principal_axes,
)
from simclr_tf.models import Network
from simclr_tf.studies.sweep import read_arrays, write_arrays
from simclr_tf.transfer.tasks import shown_batches

_PROGRESS_BAR_AFTER = 5  # seconds

Features = tuple[np.ndarray, np.ndarray]  # (n, d) float32, labels (n,) or (n, classes) int64


def read_or_compute(
    path: pathlib.Path,
    network: Network,
    dataset: ImageDataset,
    *,
    image_size: int,
    batch_size: int,
) -> Features:
    """h and the labels of every image, from a file; the file is written if it is not there.

    What takes long has a progress bar.

    Args:
      path: named by weights and data, both of which it does not check.
      network: in inference mode.
      dataset: the images.
      image_size: their shorter side, and their height and width after the central crop.
      batch_size: images at a time.

    Raises:
      NonFiniteFeaturesError: h is not finite; nothing is written.
    """
    stored = read_arrays(path, "features", "labels")
    if stored and stored[0].ndim == 2 and len(stored[0]) == len(stored[1]):
        return stored[0], stored[1]
    features, labels = [], []
    batches = shown_batches(
        dataset, shorter_side=image_size, image_size=image_size, batch_size=batch_size
    )
    with (
        naming_bad_images(dataset),
        tqdm(
            total=dataset.num_examples,
            desc=f"Features of {dataset.name}, {dataset.split}",
            unit="image",
            delay=_PROGRESS_BAR_AFTER,
        ) as progress,
    ):
        for images, batch_labels in batches:
            features.append(network.features(images).numpy())
            labels.append(batch_labels.numpy())
            progress.update(len(batch_labels))
    found = np.concatenate(features), np.concatenate(labels)
    require_finite(found[0])
    write_arrays(path, features=found[0], labels=found[1])
    return found


def fit(
    features: np.ndarray,
    labels: np.ndarray,
    *,
    num_classes: int,
    l2: float,
    start: LinearClassifier | None = None,
    axes: PrincipalAxes | None = None,
    tolerance: float = OPTIMUM_TOLERANCE,
) -> LinearClassifier:
    """Multinomial logistic regression; one against the rest where images have several labels.

    Args:
      features: (n, d) float32.
      labels: (n,) integers; or (n, classes) in {-1, 0, 1}, where -1 does not count.
      num_classes: number of classes.
      l2: strength of the penalty, see `fit_logistic_regression`.
      start: where to begin.
      axes: of these features or similar ones, see `fit_logistic_regression`.
      tolerance: the search ends with the first step that lowers the loss by less.
    """
    search = {"axes": principal_axes(features) if axes is None else axes, "tolerance": tolerance}
    if labels.ndim == 1:
        return fit_logistic_regression(
            features, labels, num_classes=num_classes, l2=l2, start=start, **search
        )
    columns = [
        _one_against_rest(
            features, labels[:, c], l2, start and (start.weights[:, c], start.bias[c]), search
        )
        for c in range(num_classes)
    ]
    weights, bias = zip(*columns, strict=True)
    return LinearClassifier(np.stack(weights, axis=1), np.array(bias, np.float32))


def _one_against_rest(features, labels, l2, start, search):
    """Weights (d,) and bias of the logit of one class."""
    if start is not None:
        weights, bias = start
        start = LinearClassifier(np.stack([-weights, weights], 1) / 2, np.array([-bias, bias]) / 2)
    counted = labels >= 0
    # Two classes with weights of opposite sign: half the penalty of each is that of both.
    found = fit_logistic_regression(
        features[counted], labels[counted], num_classes=2, l2=2 * l2, start=start, **search
    )
    return found.weights[:, 1] - found.weights[:, 0], found.bias[1] - found.bias[0]
