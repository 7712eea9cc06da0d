"""Barlow Twins and VICReg against their official code, and against NumPy in other shapes."""

import numpy as np
import pytest
import recorded
import tensorflow as tf

from simclr_tf.errors import UserError
from simclr_tf.losses import barlow_twins, vicreg

RECORDED = np.load(recorded.GOLDEN / "methods.npz")


def close(found, expected, tolerance):
    atol = tolerance * max(np.abs(expected).max(), 1e-12)
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol)


@pytest.mark.parametrize("term", ["invariance", "variance", "covariance"])
def test_each_term_of_vicreg_equals_the_official_code(term):
    x, y = (tf.constant(RECORDED[f"vicreg/{n}"], tf.float32) for n in "xy")
    weights = {name: float(name == term) for name in ("invariance", "variance", "covariance")}
    with tf.GradientTape() as tape:
        tape.watch([x, y])
        loss, terms = vicreg(x, y, **weights)
    assert set(terms) == set(weights)
    for value in (loss, terms[term]):
        close(value, RECORDED[f"vicreg/{term}_loss"], 2e-6)
    for gradient, name in zip(tape.gradient(loss, [x, y]), "xy", strict=True):
        close(gradient, RECORDED[f"vicreg/{term}_grad_{name}"], 1e-5)


def test_vicreg_adds_its_terms_with_their_weights():
    x, y = (tf.constant(RECORDED[f"vicreg/{n}"], tf.float32) for n in "xy")
    loss, terms = vicreg(x, y)
    assert float(loss) == pytest.approx(float(RECORDED["vicreg/total_loss"]), rel=2e-6)
    other, same = vicreg(x, y, 2.0, 3.0, 5.0)
    expected = sum(w * float(terms[n]) for n, w in zip(terms, (2.0, 3.0, 5.0), strict=True))
    assert float(other) == pytest.approx(expected, rel=1e-5)
    assert all(float(same[name]) == float(terms[name]) for name in terms)


def covariances_off_the_diagonal(z):
    z = z - z.mean(0)
    products = z.T @ z / (len(z) - 1)
    return products - np.diag(np.diag(products))


@pytest.mark.parametrize(("n", "d"), [(5, 3), (4, 9), (32, 17)])
def test_vicreg_equals_numpy(n, d):
    a, b = np.random.default_rng(n).normal(size=(2, n, d)) * 0.5
    _, terms = vicreg(tf.constant(a, tf.float32), tf.constant(b, tf.float32))
    deviations = [np.sqrt(z.var(axis=0, ddof=1) + 1e-4) for z in (a, b)]
    expected = {
        "invariance": ((a - b) ** 2).mean(),
        "variance": sum(np.maximum(1 - s, 0).mean() for s in deviations) / 2,
        "covariance": sum((covariances_off_the_diagonal(z) ** 2).sum() / d for z in (a, b)),
    }
    for name, value in expected.items():
        assert float(terms[name]) == pytest.approx(value, rel=1e-5), name


@pytest.mark.parametrize(("n", "d", "weight"), [(5, 3, 0.0051), (4, 9, 1.0), (32, 17, 0.0)])
def test_barlow_twins_equals_numpy(n, d, weight):
    a, b = np.random.default_rng(n).normal(size=(2, n, d))
    scaled = [(z - z.mean(0)) / np.sqrt(z.var(axis=0) + 1e-5) for z in (a, b)]
    c = scaled[0].T @ scaled[1] / n
    expected = ((np.diag(c) - 1) ** 2).sum()
    expected += weight * ((c - np.diag(np.diag(c))) ** 2).sum()
    found = barlow_twins(tf.constant(a, tf.float32), tf.constant(b, tf.float32), weight)
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_the_deviation_of_barlow_twins_is_the_biased_one():
    """With that of n - 1 the recorded loss, of 16 rows, would be seen to differ."""
    z1, z2 = (tf.constant(RECORDED[f"barlow/{n}"], tf.float32) for n in ("z1", "z2"))
    found = float(barlow_twins(z1, z2, float(RECORDED["barlow/lambd"])))
    expected = float(RECORDED["barlow/ranks1_loss"])
    assert found == pytest.approx(expected, rel=2e-6)
    a, b = (
        (z - z.mean(0)) / np.sqrt(z.var(axis=0, ddof=1) + 1e-5)
        for z in (RECORDED["barlow/z1"], RECORDED["barlow/z2"])
    )
    c = a.T @ b / len(a)
    other = ((np.diag(c) - 1) ** 2).sum()
    other += float(RECORDED["barlow/lambd"]) * ((c - np.diag(np.diag(c))) ** 2).sum()
    assert abs(other - expected) > 1e-3 * expected


def test_a_batch_of_one_image_has_no_variance():
    with pytest.raises(UserError, match="needs 2 images or more. Received: 1"):
        vicreg(tf.ones((1, 4)), tf.ones((1, 4)))
