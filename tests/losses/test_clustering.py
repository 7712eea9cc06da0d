"""Assignments and the swapped prediction of SwAV, against its official code."""

import pathlib

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf import losses
from simclr_tf.errors import UserError

RECORDED = np.load(pathlib.Path(__file__).parents[1] / "golden" / "multi_crop.npz")
IMAGES = 12


def loss_and_gradient(queue):
    """Of the recorded scores (views, images, K), with rows of a queue for each assigned view."""
    prototypes = RECORDED["swav/loss/prototypes_after"]
    scores = tf.constant(np.moveaxis(RECORDED["swav/loss/scores"], 0, 1))
    assignments = []
    for i in (0, 1):
        rows = scores[:, i]
        if queue is not None:
            rows = tf.concat([queue[i] @ prototypes.T, rows], axis=0)
        assignments.append(losses.sinkhorn(rows)[-IMAGES:])
    with tf.GradientTape() as tape:
        tape.watch(scores)
        loss = losses.swapped_prediction(scores, tf.stack(assignments, axis=1), 0.1)
    return float(loss), np.moveaxis(tape.gradient(loss, scores), 1, 0)


@pytest.mark.parametrize("case", ["noqueue", "queue_not_full", "queue"])
def test_swapped_prediction(case):
    queue = RECORDED["swav/loss/queue"] if case == "queue" else None
    loss, gradient = loss_and_gradient(queue)
    expected = RECORDED[f"swav/loss/{case}_ranks1_loss_of_each"].mean()
    assert loss == pytest.approx(expected, rel=2e-6)
    recorded = RECORDED[f"swav/loss/{case}_ranks1_grad_scores"]
    np.testing.assert_allclose(gradient, recorded, rtol=0, atol=3e-6 * np.abs(recorded).max())


def test_no_epsilon_overflows():
    """Near 0 the assignment is hard; exp of the scores alone would be infinite."""
    scores = np.random.default_rng(0).uniform(-1, 1, (9, 3)).astype(np.float32)
    found = losses.sinkhorn(scores, epsilon=1e-3).numpy()
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
    balanced = losses.sinkhorn(scores, epsilon=0.5, iterations=100).numpy()
    np.testing.assert_allclose(balanced.sum(axis=0), 3, rtol=1e-4)


@pytest.mark.parametrize("dtype", [tf.float16, tf.float64])
def test_assignments_of_any_dtype(dtype):
    draws = np.random.default_rng(0)
    scores = tf.constant(draws.normal(size=(4, 3, 5)), tf.float32)
    assignments = tf.cast(draws.uniform(size=(4, 2, 5)), dtype)
    found = losses.swapped_prediction(scores, assignments)
    assert found == losses.swapped_prediction(scores, tf.cast(assignments, tf.float32))


def test_without_an_iteration_nothing_is_assigned():
    with pytest.raises(UserError, match="at least once. Received: iterations=0"):
        losses.sinkhorn(tf.ones((2, 3)), iterations=0)
