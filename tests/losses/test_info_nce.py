"""InfoNCE with a queue against the official code of MoCo, and against NumPy."""

import numpy as np
import pytest
import recorded
import tensorflow as tf

from simclr_tf.errors import UserError
from simclr_tf.losses import info_nce
from simclr_tf.methods.twin import Queue

RECORDED = np.load(recorded.GOLDEN / "methods.npz")


def test_six_steps_of_the_official_code():
    """Loss, logits, gradient of queries before normalisation, and the queue, which wraps."""
    data = {name: RECORDED[f"moco/loss/{name}"] for name in ("q", "k", "queue_before")}
    temperature = float(RECORDED["moco/loss/temperature"])
    queue = Queue(*data["queue_before"].shape)
    queue.rows.assign(data["queue_before"])
    for step, (q, k) in enumerate(zip(data["q"], data["k"], strict=True)):
        q = tf.constant(q)
        keys = tf.math.l2_normalize(k, axis=1)
        with tf.GradientTape() as tape:
            tape.watch(q)
            loss, logits = info_nce(tf.math.l2_normalize(q, axis=1), keys, queue.rows, temperature)
        queue.push(keys)
        found = {"loss": loss, "logits": logits, "grad_q": tape.gradient(loss, q)}
        found |= {"queue_after": queue.rows, "pointer_after": queue.next_row}
        for name, values in found.items():
            expected = RECORDED[f"moco/loss/{name}"][step]
            atol = 1e-5 * np.abs(expected).max()
            np.testing.assert_allclose(values, expected, rtol=0, atol=atol, err_msg=name)


@pytest.mark.parametrize(("n", "size", "width", "temperature"), [(3, 5, 4, 0.07), (8, 1, 16, 1.0)])
def test_equals_numpy(n, size, width, temperature):
    draws = np.random.default_rng(n)
    rows = [draws.normal(size=(count, width)) for count in (n, n, size)]
    q, k, c = (r / np.linalg.norm(r, axis=1, keepdims=True) for r in rows)
    logits = np.concatenate([np.sum(q * k, axis=1, keepdims=True), q @ c.T], axis=1) / temperature
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    q, k, c = (tf.constant(r, tf.float32) for r in (q, k, c))
    with tf.GradientTape() as tape:
        tape.watch([q, k, c])
        loss, found = info_nce(q, k, c, temperature)
    np.testing.assert_allclose(found, logits, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(loss, -np.log(shares[:, 0]).mean(), rtol=1e-5)
    of_queries, of_keys, of_queue = tape.gradient(loss, [q, k, c])
    expected = (shares[:, 1:] @ c.numpy() + (shares[:, :1] - 1) * k.numpy()) / (temperature * n)
    np.testing.assert_allclose(of_queries, expected, rtol=1e-4, atol=1e-6)
    assert of_keys is None and of_queue is None


def test_queries_without_a_key_of_their_own_are_refused():
    with pytest.raises(UserError, match=r"queries and keys .*\(4, 3\) and \(1, 3\)"):
        info_nce(tf.ones((4, 3)), tf.ones((1, 3)), tf.ones((6, 3)))
