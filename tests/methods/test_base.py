"""What the base gives to methods that ask for it."""

import every_method
import numpy as np
import pytest
import tensorflow as tf

from simclr_tf import optimizers
from simclr_tf.backend import keras
from simclr_tf.methods import Method, SimCLR
from simclr_tf.methods.measures import spread
from simclr_tf.models.batch_norm import BatchNormalization
from simclr_tf.models.heads import Dense, Head

IMAGES = 6


class TinyNetwork(keras.Model):
    """What a method asks of a network, and no more: here the encoder is two layers of Keras."""

    probed_layer = 0

    def __init__(self):
        super().__init__()
        self.encoder = keras.Sequential(
            [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(5), BatchNormalization()]
        )
        self.projection_head = Head((Dense(4), Dense(3, center=False, relu=False)))
        self.supervised_head = None
        self.encoder.build((None, None, None, 3))
        self.projection_head.build((None, 5))
        self.built = True


class Plain(Method):
    """A method that keeps the projections, and the numbers if it is asked to."""

    metrics_of = {"size": "mean square of the projections", "number": "mean number"}

    def embed(self, views):
        features, projections = self.project(views)
        return {"features": features, "projections": projections}

    def objective(self, embeddings):
        size = tf.reduce_mean(tf.square(embeddings["projections"]))
        number = tf.reduce_mean(tf.cast(embeddings.get("numbers", 0), tf.float32))
        return size, {"size": size, "number": number}


def views(*sizes):
    draws = np.random.default_rng(0)
    return tuple(tf.constant(draws.uniform(size=(IMAGES, s, s, 3)), tf.float32) for s in sizes)


@pytest.fixture
def network():
    keras.utils.set_random_seed(0)
    return TinyNetwork()


@pytest.mark.parametrize(
    ("together", "head_over_all", "passes", "heads"),
    [
        (True, False, [[0, 2], [1, 3]], [[0, 2], [1, 3]]),
        (True, True, [[0, 2], [1, 3]], [[0, 2, 1, 3]]),
        (False, False, [[0], [1], [2], [3]], [[0], [1], [2], [3]]),
        (False, True, [[0], [1], [2], [3]], [[0, 1, 2, 3]]),
    ],
)
def test_which_views_share_their_batch_statistics(
    network, monkeypatch, together, head_over_all, passes, heads
):
    """Views 0 and 2 have one size, 1 and 3 another; rows come back in the order of the views."""
    monkeypatch.setattr(Plain, "together", together)
    monkeypatch.setattr(Plain, "head_over_all", head_over_all)
    shown = views(8, 4, 8, 4)
    features, projections = Plain(network).project(shown)
    expected = {}
    for numbers in passes:
        rows = network.encoder(tf.concat([shown[i] for i in numbers], axis=0), training=True)
        expected |= dict(zip(numbers, tf.split(rows, len(numbers))))
    np.testing.assert_allclose(features, tf.stack([expected[i] for i in range(4)], 1), atol=1e-6)
    projected = {}
    for numbers in heads:
        rows = tf.concat([expected[i] for i in numbers], axis=0)
        rows = network.projection_head(rows, training=True)[-1]
        projected |= dict(zip(numbers, tf.split(rows, len(numbers))))
    projected = tf.stack([projected[i] for i in range(4)], 1)
    np.testing.assert_allclose(projections, projected, atol=1e-5)


@pytest.mark.parametrize("size", [0, 3])
@pytest.mark.parametrize("wanted", [True, False])
def test_numbers_travel_with_the_embeddings_where_a_method_wants_them(
    network, monkeypatch, wanted, size
):
    monkeypatch.setattr(Plain, "wants_numbers", wanted)
    method = Plain(network, micro_batch_size=size)
    method.compile(keras.optimizers.SGD(0.1))
    numbers = tf.constant([4, 0, 2, 9, 7, 5], tf.int64)
    row = method.train_step((views(8, 8), tf.fill([IMAGES], -1), numbers))
    assert float(row["number"]) == (4.5 if wanted else 0)


def test_rate_factors_reach_the_update(network):
    """One variable rests, one is twice as fast, the others are as ever."""
    plain, factored = (Plain(network), Plain(network))
    still, fast, *_ = factored.trained_variables
    factors = {id(still): 0.0, id(fast): 2.0}
    start = [v.numpy() for v in plain.trained_variables]
    steps = []
    for method, factor in ((plain, None), (factored, lambda v: factors.get(id(v)))):
        for variable, value in zip(method.trained_variables, start, strict=True):
            variable.assign(value)
        method.compile(optimizers.build("sgd", 0.1, weight_decay=0.1, rate_factor=factor))
        optimizers.create_slots(method.optimizer, method.trained_variables)
        method.train_step((views(8, 8),))
        steps.append([v.numpy() - s for v, s in zip(method.trained_variables, start)])
    for i, (ever, found) in enumerate(zip(*steps, strict=True)):
        np.testing.assert_allclose(found, (0, 2, 1)[min(i, 2)] * ever, rtol=1e-4, atol=1e-7)


def test_the_spread_of_embeddings():
    rows = np.random.default_rng(0).normal(size=(4000, 32))
    assert float(spread(tf.constant(rows, tf.float32))) == pytest.approx(1, abs=0.02)
    assert float(spread(tf.constant(rows[:1].repeat(9, 0), tf.float32))) == pytest.approx(
        0, abs=1e-6
    )
    # Lengths play no part.
    long = rows * np.arange(1, 4001)[:, None]
    assert float(spread(tf.constant(long, tf.float32))) == pytest.approx(1, abs=0.02)


def test_signs_of_collapse(network):
    method = Plain(network)
    assert method.sign_of_collapse({"size": 1.0}, 16) is None
    assert method.sign_of_collapse({"spread": 0.5}, 16) is None
    assert "spread of 0.0200: they are nearly the same" in method.sign_of_collapse(
        {"spread": 0.02}, 16
    )
    simclr = SimCLR(network)
    chance = 2 * np.log(2 * 16 - 1)
    assert simclr.chance_levels(16) == {"contrast_loss": pytest.approx(chance)}
    assert simclr.sign_of_collapse({"contrast_loss": 0.9 * chance}, 16) is None
    expected = f"contrast_loss is {chance:.4f} and still at its chance level {chance:.4f}"
    assert simclr.sign_of_collapse({"contrast_loss": chance}, 16) == expected


@pytest.mark.thorough
def test_what_a_method_draws_follows_the_seed():
    methods = [every_method.build("moco", seed=seed) for seed in (0, 1, 1)]
    orders = [method.order_of_keys(0, 40).numpy().tolist() for method in methods]
    assert orders[0] != orders[1] == orders[2]
    assert orders[0] != methods[0].order_of_keys(1, 40).numpy().tolist()
