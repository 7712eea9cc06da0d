"""The losses of BYOL and SimSiam against their official code, tiny rows included."""

import numpy as np
import pytest
import recorded
import tensorflow as tf

from simclr_tf.errors import UserError
from simclr_tf.losses import byol, simsiam

RECORDED = np.load(recorded.GOLDEN / "methods.npz")


def value_and_gradients(loss, *rows):
    rows = [tf.constant(r, tf.float32) for r in rows]
    with tf.GradientTape() as tape:
        tape.watch(rows)
        value = loss(*rows)
    return value, tape.gradient(value, rows)


def test_byol_equals_the_official_code():
    predictions, targets = (RECORDED[f"byol/loss/{n}"] for n in ("prediction", "projection"))
    loss, (gradient, of_targets) = value_and_gradients(byol, predictions, targets)
    np.testing.assert_allclose(loss, RECORDED["byol/loss/per_row"].mean(), rtol=2e-6)
    expected = RECORDED["byol/loss/gradient_of_mean"]
    scale = np.abs(expected).max(axis=1, keepdims=True)  # of each row: some are tiny
    np.testing.assert_allclose(gradient / scale, expected / scale, rtol=0, atol=2e-5)
    assert of_targets is None


def test_simsiam_equals_the_official_code():
    p1, p2, z1, z2 = (RECORDED[f"simsiam/{n}"] for n in ("p1", "p2", "z1", "z2"))
    first, (of_p1, of_targets) = value_and_gradients(simsiam, p1, z2)
    second, (of_p2, _) = value_and_gradients(simsiam, p2, z1)
    np.testing.assert_allclose((first + second) / 2, RECORDED["simsiam/loss"], rtol=2e-6)
    for found, name in ((of_p1, "grad_p1"), (of_p2, "grad_p2")):
        expected = RECORDED[f"simsiam/{name}"]
        scale = np.abs(expected).max(axis=1, keepdims=True)
        np.testing.assert_allclose(found / 2 / scale, expected / scale, rtol=0, atol=2e-5)
    assert of_targets is None


@pytest.mark.parametrize("loss", [byol, simsiam])
def test_rows_of_zeros_have_finite_gradients(loss):
    zeros, ones = np.zeros((2, 3)), np.ones((2, 3))
    for rows in ((zeros, ones), (ones, zeros), (zeros, zeros)):
        value, (gradient, _) = value_and_gradients(loss, *rows)
        assert np.isfinite(value) and np.all(np.isfinite(gradient))


def test_the_ends_of_their_ranges():
    rows = np.random.default_rng(0).normal(size=(4, 3))
    assert float(byol(rows, 2 * rows)) == pytest.approx(0, abs=1e-6)
    assert float(byol(rows, -rows)) == pytest.approx(4, rel=1e-6)
    assert float(simsiam(rows, 2 * rows)) == pytest.approx(-1, rel=1e-6)
    assert float(simsiam(rows, -rows)) == pytest.approx(1, rel=1e-6)


@pytest.mark.parametrize("loss", [byol, simsiam])
def test_rows_that_do_not_belong_together_are_refused(loss):
    with pytest.raises(UserError, match=r"predictions and targets .*\(4, 3\) and \(1, 3\)"):
        loss(tf.ones((4, 3)), tf.ones((1, 3)))
