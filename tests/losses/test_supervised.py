"""The loss of what is labelled, against NumPy; replicas are in tests/methods/test_micro_batches."""

import math

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf.losses import mean_over_labelled, supervised_loss

LOGITS = np.random.default_rng(0).normal(size=(6, 5)) * 3
LABELS = np.array([2, -1, 0, -1, -1, 4])


def softmax(x):
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def test_by_hand():
    logits = np.array([[2.0, 0.0, -1.0], [0.5, 0.5, 0.5]], np.float32)
    expected = (math.log(math.e**2 + 1 + math.exp(-1)) + math.log(3)) / 2
    loss = supervised_loss(tf.constant(logits, tf.bfloat16), tf.constant([1, 2]))
    assert loss.dtype == tf.float32
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_rows_without_label_do_not_count(dtype):
    """Neither in the loss nor, with a share of it, in the gradient."""
    logits = tf.Variable(LOGITS, dtype=tf.float32)
    with tf.GradientTape() as tape:
        loss = supervised_loss(logits, LABELS.astype(dtype))
    p = softmax(LOGITS)
    expected = -np.log([p[0, 2], p[2, 0], p[5, 4]]).mean()
    assert float(loss) == pytest.approx(expected, rel=1e-6)
    slope = (p - np.eye(5)[LABELS]) * (LABELS >= 0)[:, None] / 3
    np.testing.assert_allclose(tape.gradient(loss, logits), slope, atol=1e-6)


def test_without_labels_loss_and_gradient_are_0():
    logits = tf.Variable(LOGITS, dtype=tf.float32)
    with tf.GradientTape() as tape:
        loss = supervised_loss(logits, tf.fill([6], -1))
    assert float(loss) == 0
    np.testing.assert_array_equal(tape.gradient(loss, logits), np.zeros((6, 5)))


def test_means_over_what_is_labelled():
    values = tf.constant([[1.0, 2.0], [3.0, 5.0]])
    assert float(mean_over_labelled(values, tf.constant([[0, -1], [1, 7]]))) == 3.0
    assert float(mean_over_labelled(values, tf.fill([2, 2], -1))) == 0.0
