"""Losses against a bank of rows: the official code of InstDisc and CMC, and NumPy."""

import numpy as np
import pytest
import recorded
import tensorflow as tf

from simclr_tf.errors import UserError
from simclr_tf.losses import instance_softmax, nce

RECORDED = np.load(recorded.GOLDEN / "banks.npz")
# Of each case: the features, the rows that they are compared with, the loss, and its Z.
CASES = {
    "instdisc/nce": [("feat", "memory", "loss", 0)],
    "instdisc/full": [("feat", "memory", "loss", 0)],
    "cmc/nce": [("feat_l", "memory_ab", "l_loss", 0), ("feat_ab", "memory_l", "ab_loss", 1)],
    "cmc/softmax": [("feat_l", "memory_ab", "l_loss", 0), ("feat_ab", "memory_l", "ab_loss", 1)],
}


def loss_of(scores, case, index, partition):
    images, negatives = RECORDED[f"{case}/settings"][:2].astype(int)
    if case == "instdisc/full":
        return instance_softmax(scores, index)
    if case.endswith("softmax"):
        return instance_softmax(scores)
    return nce(scores, images, negatives, partition)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("step", range(4))
def test_official_code(case, step):
    """Losses and gradients of four steps, with the rows as they were before each."""
    data = {n.removeprefix(f"{case}/"): RECORDED[n] for n in RECORDED.files if n.startswith(case)}
    images, temperature = int(data["settings"][0]), float(data["settings"][2])
    index = data["index"][step]
    chosen = data["chosen"][step] if "chosen" in data else np.tile(np.arange(images), (5, 1))
    for feature, memory, loss, which in CASES[case]:
        before = [data[f"{memory}_before"], *data[f"{memory}_after"]][step]
        partition = data["z"][step].reshape(-1)[which] if "z" in data else 1.0
        rows = tf.constant(data[feature][step])
        with tf.GradientTape() as tape:
            tape.watch(rows)
            scores = tf.einsum("nd,nmd->nm", rows, before[chosen]) / temperature
            found = loss_of(scores, case, index, partition)
        np.testing.assert_allclose(found, data[loss][step], rtol=1e-5)
        gradient = tape.gradient(found, rows)
        expected = data[f"grad_{feature}"][step]
        scale = np.abs(expected).max()
        np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-5 * scale)


def test_nce_is_its_equation():
    scores = np.random.default_rng(0).normal(size=(6, 1 + 9)) * 5
    images, negatives, partition = 50, 9, 700.0
    shares, noise = np.exp(scores) / partition, negatives / images
    own = np.log(shares[:, 0] / (shares[:, 0] + noise + 1e-7))
    others = np.log(noise / (shares[:, 1:] + noise + 1e-7)).sum(axis=1)
    found = nce(tf.constant(scores), images, negatives, partition)
    assert found.dtype == tf.float32
    np.testing.assert_allclose(found, -np.mean(own + others), rtol=1e-6)


def test_nce_of_one_image_among_equals():
    """Where all scores are alike: ln(1 + m) + m ln(1 + 1 / m)."""
    found = nce(tf.ones((3, 1 + 8)), 100, 8, 100 * np.e)
    np.testing.assert_allclose(found, np.log(9) + 8 * np.log(9 / 8), rtol=1e-5)


def test_an_own_image_that_is_far_away_costs_what_it_should():
    """P is below what float32 holds beside the noise, but not its logarithm."""
    found = nce(tf.constant([[-60.0, -60.0]]), 10, 1, 10.0)
    np.testing.assert_allclose(found, 60 + np.log(10) + np.log(0.1), rtol=1e-5)


def test_the_partition_gets_no_gradient():
    scores, partition = tf.ones((2, 3)), tf.constant(20.0)
    with tf.GradientTape() as tape:
        tape.watch(partition)
        loss = nce(scores, 10, 2, partition)
    assert tape.gradient(loss, partition) is None


def test_softmax_is_cross_entropy():
    scores = np.random.default_rng(1).normal(size=(4, 7))
    logs = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(instance_softmax(scores), -logs[:, 0].mean(), rtol=1e-5)
    own = np.array([3, 0, 6, 3])
    expected = -logs[np.arange(4), own].mean()
    np.testing.assert_allclose(instance_softmax(scores, own), expected, rtol=1e-5)


def test_other_numbers_of_negatives_are_refused():
    with pytest.raises(UserError, match="num_negatives=8 others. Received: 8 scores"):
        nce(tf.ones((3, 8)), 100, 8, 1.0)
