import math
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf.errors import UserError
from simclr_tf.losses import chance_level, contrastive_metrics, nt_xent, nt_xent_with_metrics

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "nt_xent.npz")


def numpy_nt_xent(hidden, temperature, hidden_norm):
    """The loss in float64, one row at a time, from the formulas of the paper's Algorithm 1."""
    hidden = np.asarray(hidden, np.float64)
    if hidden_norm:
        hidden = hidden / np.linalg.norm(hidden, axis=1, keepdims=True)
    rows = len(hidden)
    similarity = hidden @ hidden.T / temperature
    total = 0.0
    for i in range(rows):
        others = [similarity[i, k] for k in range(rows) if k != i]
        highest = max(others)
        log_sum = highest + math.log(sum(math.exp(s - highest) for s in others))
        total += log_sum - similarity[i, (i + rows // 2) % rows]
    return 2 * total / rows  # both directions, per image


def embeddings(seed, rows=12, width=6):
    return np.random.default_rng(seed).normal(size=(rows, width)).astype(np.float32)


def loss_and_gradient(hidden, *args):
    hidden = tf.constant(hidden)
    with tf.GradientTape() as tape:
        tape.watch(hidden)
        loss = nt_xent(hidden, *args)[0]
    return loss, tape.gradient(loss, hidden)


@pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("hidden_norm", [True, False])
def test_equals_the_recorded_original(temperature, hidden_norm):
    case = f"N16_T{temperature}_norm{int(hidden_norm)}"
    hidden = GOLDEN["hidden_N16"]
    _, logits_ab, labels = nt_xent(hidden, temperature, hidden_norm)
    loss, gradient = loss_and_gradient(hidden, temperature, hidden_norm)

    np.testing.assert_allclose(loss, GOLDEN[f"{case}/loss"], rtol=1e-6)
    np.testing.assert_allclose(logits_ab, GOLDEN[f"{case}/logits_ab"], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(labels, GOLDEN[f"{case}/labels"])
    np.testing.assert_allclose(gradient, GOLDEN[f"{case}/grad"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("temperature", [0.05, 0.3])
@pytest.mark.parametrize("hidden_norm", [True, False])
def test_equals_numpy_and_its_finite_differences(temperature, hidden_norm):
    hidden = embeddings(1)
    loss, gradient = loss_and_gradient(hidden, temperature, hidden_norm)
    np.testing.assert_allclose(
        loss, numpy_nt_xent(hidden, temperature, hidden_norm), rtol=1e-5, atol=1e-6
    )

    step = 1e-6
    differences = np.zeros(hidden.shape)
    for place in np.ndindex(hidden.shape):
        shift = np.zeros(hidden.shape)
        shift[place] = step
        differences[place] = (
            numpy_nt_xent(hidden + shift, temperature, hidden_norm)
            - numpy_nt_xent(hidden - shift, temperature, hidden_norm)
        ) / (2 * step)
    np.testing.assert_allclose(gradient, differences, rtol=1e-4, atol=2e-5)


def test_equals_keras_cv():
    keras_cv = pytest.importorskip("keras_cv")
    hidden = embeddings(2)
    theirs = keras_cv.losses.SimCLRLoss(temperature=0.2)(hidden[:6], hidden[6:])
    np.testing.assert_allclose(nt_xent(hidden, 0.2)[0], theirs, rtol=1e-5)


def test_a_row_is_not_its_own_negative():
    """All rows orthogonal: each sees 2N - 1 equal logits, because its own, 1 / t, is masked."""
    loss, _, _ = nt_xent(tf.eye(10), temperature=0.1)
    np.testing.assert_allclose(loss, 2 * math.log(9), rtol=1e-6)
    assert chance_level(5) == pytest.approx(2 * math.log(9))


def test_both_directions_are_summed():
    """By hand: logits of view 1 are (1, 0 | -, 1) and (1, 0 | 1, -), of view 2 (1, 1 | -, 0) and
    (0, 0 | 0, -)."""
    hidden = tf.constant([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    many = math.log(2 * math.e + 1)
    view_1 = (many - 1) + many
    view_2 = (many - 1) + math.log(3)
    loss, logits_ab, _ = nt_xent(hidden, temperature=1.0, hidden_norm=False)
    np.testing.assert_allclose(loss, (view_1 + view_2) / 2, rtol=1e-6)
    np.testing.assert_array_equal(logits_ab, [[1, 0], [1, 0]])


@pytest.mark.parametrize("dtype", [tf.bfloat16, tf.float16])
def test_half_precision_is_computed_in_float32(dtype):
    hidden = tf.cast(50 * embeddings(3), dtype)
    loss, gradient = loss_and_gradient(hidden, 0.05)
    in_float32, exact = loss_and_gradient(tf.cast(hidden, tf.float32), 0.05)
    assert loss.dtype == tf.float32 and gradient.dtype == dtype
    np.testing.assert_array_equal(loss, in_float32)
    assert np.abs(exact).max() > 1e-3
    np.testing.assert_array_equal(gradient, tf.cast(exact, dtype))  # rounded once, at the end


def test_rows_of_zeros_are_finite():
    loss, gradient = loss_and_gradient(np.zeros((4, 3), np.float32))
    np.testing.assert_allclose(loss, chance_level(2), rtol=1e-6)
    assert np.isfinite(gradient).all()


def test_metrics():
    logits = np.array([[5.0, 1.0, 0.0], [2.0, 1.0, 0.0], [0.0, 0.0, 0.1]], np.float32)
    accuracy, entropy = contrastive_metrics(logits, tf.one_hot([0, 1, 2], 6))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(accuracy, 2 / 3, rtol=1e-6)
    np.testing.assert_allclose(
        entropy, -(probabilities * np.log(probabilities + 1e-8)).sum(axis=1).mean(), rtol=1e-6
    )


def test_entropy_of_a_certain_row_is_finite():
    _, entropy = contrastive_metrics(tf.constant([[1000.0, 0.0]]), tf.one_hot([0], 4))
    np.testing.assert_allclose(entropy, 0.0, atol=1e-7)


def test_what_does_not_exist_is_refused():
    with pytest.raises(UserError, match="negatives is one of both, other_view. Received: one_view"):
        nt_xent(embeddings(0), negatives="one_view")
    with pytest.raises(UserError, match="implementation is one of auto, dense, tiled. .*: denes"):
        nt_xent_with_metrics(embeddings(0), implementation="denes")
    with pytest.raises(UserError, match="those of two views.* Received: 5 rows"):
        nt_xent_with_metrics(embeddings(0, rows=5), implementation="tiled")


@pytest.mark.parametrize("dtype", [tf.float16, tf.float64])
def test_a_memory_of_any_dtype(dtype):
    hidden, memory = embeddings(0), tf.cast(embeddings(1, rows=4), dtype)
    expected = nt_xent(hidden, memory=tf.cast(memory, tf.float32))[0]
    assert float(nt_xent(hidden, memory=memory)[0]) == float(expected)
