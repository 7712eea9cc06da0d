"""SimCLR with a memory: NT-Xent with further negatives, and what joins the memory."""

import every_method
import numpy as np
import pytest
import tensorflow as tf

from simclr_tf.losses import nt_xent

pytestmark = pytest.mark.usefixtures("toy_encoder")


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def nt_xent_in_numpy(hidden, memory, temperature):
    """Loss and gradient of memory's rows being negatives of every row, in float64."""
    z = unit(hidden)
    n = len(z) // 2
    logits = np.concatenate([z @ z.T, z @ memory.T], axis=1) / temperature
    np.fill_diagonal(logits, -np.inf)
    positives = logits[np.arange(2 * n), (np.arange(2 * n) + n) % (2 * n)]
    return 2 * np.mean(np.log(np.exp(logits).sum(axis=1)) - positives)


@pytest.mark.parametrize(("images", "rows"), [(4, 7), (5, 1)])
def test_the_memory_has_further_negatives(images, rows):
    draws = np.random.default_rng(images)
    hidden = draws.normal(size=(2 * images, 6))
    memory = tf.constant(unit(draws.normal(size=(rows, 6))), tf.float32)
    z = tf.constant(hidden, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch([z, memory])
        loss, logits, labels = nt_xent(z, 0.5, memory=memory)
    expected = nt_xent_in_numpy(hidden, memory.numpy(), 0.5)
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    assert logits.shape == (images, images) and labels.shape == (images, 2 * images)
    gradient, of_memory = tape.gradient(loss, [z, memory])
    assert of_memory is None
    step = 1e-6
    for place in ((0, 0), (images, 3), (2 * images - 1, 5)):
        ends = []
        for sign in (1, -1):
            moved = hidden.copy()
            moved[place] += sign * step
            ends.append(nt_xent_in_numpy(moved, memory.numpy(), 0.5))
        expected = (ends[0] - ends[1]) / (2 * step)
        assert float(gradient[place]) == pytest.approx(expected, rel=1e-3, abs=1e-5)


def test_without_rows_it_is_nt_xent():
    hidden = np.random.default_rng(0).normal(size=(8, 5))
    z = tf.constant(hidden, tf.float32)
    plain, *_ = nt_xent(z, 0.5)
    none, *_ = nt_xent(z, 0.5, memory=tf.zeros((0, 5)))
    assert float(none) == float(plain)
    assert float(plain) == pytest.approx(nt_xent_in_numpy(hidden, np.zeros((0, 5)), 0.5), rel=1e-5)


def test_what_the_moving_average_projects_joins_the_memory_after_the_update():
    method = every_method.build("simclr_memory")
    views = tuple(map(tf.constant, every_method.views_of("simclr_memory")))
    _, expected = method.project(views, method.twin)
    expected = unit(expected.numpy())
    before = method.queue.rows.numpy()
    weights = [v.numpy() for v in method.twin.trainable_variables]
    method.train_step((views, tf.constant(every_method.LABELS)))
    rows = method.queue.rows.numpy()
    np.testing.assert_allclose(rows[:16], expected[:, 0], rtol=0, atol=1e-5)
    np.testing.assert_allclose(rows[16:32], expected[:, 1], rtol=0, atol=1e-5)
    np.testing.assert_array_equal(rows[32:], before[32:])
    decay = method.flags.target_decay
    both = zip(method.twin.trainable_variables, method.network.trainable_variables, strict=True)
    for old, (own, other) in zip(weights, both, strict=True):
        moved = decay * old + (1 - decay) * other.numpy()
        np.testing.assert_allclose(own, moved, rtol=1e-6, atol=1e-7)


def test_the_objective_has_the_memory_as_negatives():
    method = every_method.build("simclr_memory")
    projections = np.random.default_rng(0).normal(size=(16, 2, 16))
    loss, _ = method.objective({"projections": tf.constant(projections, tf.float32)})
    hidden = np.concatenate(np.moveaxis(projections, 1, 0))
    expected = nt_xent_in_numpy(hidden, method.queue.rows.numpy(), 0.5)
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    assert method.chance_levels(16)["contrast_loss"] == pytest.approx(2 * np.log(31 + 36))
