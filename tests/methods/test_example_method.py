"""The objective of the method that only tests know, as every method's file is tested."""

import every_method
import numpy as np
import pytest
import tensorflow as tf

from simclr_tf.methods import METHODS

pytestmark = pytest.mark.usefixtures("toy_encoder")


def test_the_objective_and_its_gradient(monkeypatch):
    monkeypatch.setitem(METHODS, "example", every_method.Example)
    method = every_method.build("example")
    draws = np.random.default_rng(0)

    def unit(*shape):
        rows = draws.normal(size=shape)
        return rows / np.linalg.norm(rows, axis=-1, keepdims=True)

    queries, keys = unit(6, 2, 16), unit(6, 16)
    queue = method.queue.rows.numpy().astype(np.float64)
    own = np.einsum("nvd,nd->nv", queries, keys)
    logits = np.concatenate([own[..., None], queries @ queue.T], axis=-1) / 0.5
    chances = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    # d loss / d query: what is found instead of the own key, less the own key.
    instead = chances[..., :1] * keys[:, None] + chances[..., 1:] @ queue
    expected = (instead - keys[:, None]) / 0.5 / 12
    given = tf.constant(queries, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(given)
        loss, values = method.objective({"queries": given, "keys": tf.constant(keys, tf.float32)})
    assert float(loss) == pytest.approx(-np.log(chances[..., 0]).mean(), rel=1e-5)
    np.testing.assert_allclose(tape.gradient(loss, given), expected, rtol=1e-4, atol=1e-6)
    found = (logits.argmax(-1) == 0).mean()
    assert float(values["contrast_acc"]) == pytest.approx(found)
    deviation = keys.std(0).mean() * 4  # the root of 16
    assert float(values["spread"]) == pytest.approx(deviation, rel=1e-5)
