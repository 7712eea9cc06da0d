"""The linear probe of quick looks: exact logistic regression on features of unit variance."""

import dataclasses

import numpy as np

from simclr_tf.evaluation.logistic_regression import (
    ACCURACY_TOLERANCE,
    LinearClassifier,
    fit_logistic_regression,
)

L2 = 1e-4  # of features that are scaled to unit variance


@dataclasses.dataclass(frozen=True)
class LinearProbe:
    """A linear classifier of features that are centred and scaled before.

    Attributes:
      mean, scale: (d,) float32, of the features that it was fitted to.
      classifier: of the scaled features.
    """

    mean: np.ndarray
    scale: np.ndarray
    classifier: LinearClassifier

    def predict(self, features: np.ndarray) -> np.ndarray:
        """The most probable class, (n,) int64, of features (n, d)."""
        return self.classifier.logits((features - self.mean) / self.scale).argmax(axis=1)

    def accuracy(self, features: np.ndarray, labels: np.ndarray) -> float:
        """Share of the rows whose most probable class is the label."""
        return float(np.mean(self.predict(features) == labels))


def fit_linear_probe(features: np.ndarray, labels: np.ndarray, *, num_classes: int) -> LinearProbe:
    """Fit the probe.

    Args:
      features: (n, d) float32.
      labels: (n,) integers in [0, num_classes).
      num_classes: number of classes.
    """
    mean, scale = features.mean(axis=0), features.std(axis=0) + 1e-6
    classifier = fit_logistic_regression(
        (features - mean) / scale,
        labels,
        num_classes=num_classes,
        l2=L2,
        tolerance=ACCURACY_TOLERANCE,
    )
    return LinearProbe(mean, scale, classifier)
