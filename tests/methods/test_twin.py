"""A twin that follows a network, and a queue of rows, against NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf.backend import keras
from simclr_tf.methods.twin import Queue, follow, twin
from simclr_tf.models import Architecture, Network
from simclr_tf.models.heads import Dense

pytestmark = pytest.mark.usefixtures("toy_encoder")
SMALL = Architecture(18, cifar_stem=True, projector=(Dense(8, bias=True, norm=False),))


def test_a_twin_begins_as_its_network_and_shares_nothing_with_it():
    keras.utils.set_random_seed(0)
    network = Network(SMALL)
    copy = twin(network)
    images = tf.random.stateless_uniform((2, 8, 8, 3), (1, 2))
    np.testing.assert_array_equal(copy.projections(images)[-1], network.projections(images)[-1])
    assert not {id(v) for v in copy.variables} & {id(v) for v in network.variables}
    assert copy.trainable_variables and copy.architecture == network.architecture


def test_a_twin_in_training_mode_uses_the_statistics_of_its_batch():
    copy = twin(Network(SMALL))
    images = tf.random.stateless_uniform((4, 8, 8, 3), (1, 2))
    before = [v.numpy() for v in copy.non_trainable_variables]
    assert np.any(copy.encoder(images, training=True) != copy.encoder(images, training=False))
    after = copy.non_trainable_variables
    assert all(np.any(a != v.numpy()) for a, v in zip(before, after, strict=True))


@pytest.mark.parametrize("decay", [0.0, 0.9, 1.0])
def test_a_twin_follows_weights_alone(decay):
    network = Network(SMALL)
    copy = twin(network)
    for variable in network.variables:
        variable.assign_add(tf.ones_like(variable))
    before = {v.ref(): v.numpy() for v in copy.variables}
    follow(copy, network, decay)
    for own, other in zip(copy.trainable_variables, network.trainable_variables, strict=True):
        expected = decay * before[own.ref()] + (1 - decay) * other.numpy()
        np.testing.assert_allclose(own, expected, rtol=1e-6, atol=1e-7)
    for own in copy.non_trainable_variables:
        np.testing.assert_array_equal(own, before[own.ref()])


def test_a_queue_begins_with_rows_of_length_one():
    keras.utils.set_random_seed(0)
    queue = Queue(50, 8)
    np.testing.assert_allclose(np.linalg.norm(queue.rows.numpy(), axis=1), 1, rtol=1e-6)
    assert queue.rows.shape == (50, 8) and int(queue.next_row) == 0
    assert not queue.rows.trainable and not queue.next_row.trainable


@pytest.mark.parametrize("sizes", [(2, 2, 2), (3, 3, 3, 3), (5, 5), (7, 1), (12, 4)])
def test_a_queue_holds_the_newest_rows(sizes):
    """Of 5 rows, whatever a batch has: fewer, as many, more, and none that divides it."""
    queue, rows = Queue(5, 2), []
    oldest = list(queue.rows.numpy())
    push = tf.function(queue.push)
    for number, size in enumerate(sizes):
        batch = np.full((size, 2), number, np.float32) + np.arange(size)[:, None] / 100
        push(tf.constant(batch, tf.float32))
        rows += list(np.float32(batch))
        expected = (oldest + rows)[-5:]
        found = sorted(map(tuple, queue.rows.numpy()))
        assert found == sorted(map(tuple, expected))
        # The row that goes next is the oldest one.
        np.testing.assert_array_equal(queue.rows[int(queue.next_row)], expected[0])
