"""The probe of quick looks scales features before it fits."""

import numpy as np
import pytest

from simclr_tf.evaluation.linear_probe import L2, fit_linear_probe
from simclr_tf.evaluation.logistic_regression import fit_logistic_regression


def test_the_probe_is_logistic_regression_of_scaled_features():
    random = np.random.default_rng(0)
    labels = np.arange(60) % 3
    features = random.normal(size=(60, 4)).astype(np.float32) + labels[:, None]
    features *= np.float32([1, 100, 0.01, 1])
    scaled = (features - features.mean(axis=0)) / (features.std(axis=0) + 1e-6)
    expected = fit_logistic_regression(scaled, labels, num_classes=3, l2=L2).logits(scaled)

    probe = fit_linear_probe(features, labels, num_classes=3)
    found = probe.predict(features)
    assert np.array_equal(found, expected.argmax(axis=1))
    assert probe.accuracy(features, labels) == pytest.approx((found == labels).mean())
    assert probe.accuracy(features, labels) > 0.7
