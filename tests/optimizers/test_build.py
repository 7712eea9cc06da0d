import importlib.util
import json

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf import optimizers
from simclr_tf.backend import keras
from simclr_tf.errors import UserError

HAS_ADDONS = importlib.util.find_spec("tensorflow_addons") is not None


def test_momentum_is_nesterov_without_decay():
    variable = tf.Variable([[1.0]])
    optimizer = optimizers.build("momentum", 0.1, momentum=0.5, weight_decay=0.3)
    for _ in range(2):
        optimizer.apply_gradients([(tf.constant([[1.0]]), variable)])
    # v1 = -0.1, v2 = -0.15; each step is 0.5 * v - 0.1.
    np.testing.assert_allclose(variable, [[1 - 0.15 - 0.175]], rtol=1e-6)


def test_adam_has_no_decay():
    optimizer = optimizers.build("adam", 0.1, weight_decay=0.3)
    assert isinstance(optimizer, keras.optimizers.Adam) and optimizer.weight_decay is None
    assert "adam" not in optimizers.DECAYS_INSIDE


def test_lars_gets_momentum_decay_and_exclusions():
    kernel, head = tf.Variable([[1.0]]), tf.Variable([[1.0]])
    optimizer = optimizers.build("lars", 0.1, momentum=0.8, weight_decay=1e-4, exclude=[head])
    assert (optimizer.momentum, optimizer.weight_decay) == (0.8, 1e-4)
    assert "lars" in optimizers.DECAYS_INSIDE
    assert optimizer.decays(kernel) and optimizer.adapts(kernel)
    assert not optimizer.decays(head) and not optimizer.adapts(head)


@pytest.mark.parametrize("name", ["sgd", "larc"])
def test_sgd_and_larc_decay_all_but_the_excluded(name):
    kernel, vector, head = tf.Variable([[1.0]]), tf.Variable([1.0]), tf.Variable([[1.0]])
    optimizer = optimizers.build(name, 0.1, momentum=0.8, weight_decay=1e-4, exclude=[head])
    assert type(optimizer) is {"sgd": optimizers.SGD, "larc": optimizers.LARC}[name]
    assert (optimizer.momentum, optimizer.weight_decay) == (0.8, 1e-4)
    assert name in optimizers.DECAYS_INSIDE
    assert [optimizer.decays(v) for v in (kernel, vector, head)] == [True, True, False]


def test_lars_gets_where_its_rate_is():
    assert optimizers.build("lars", 0.1, rate_outside=True).rate_outside
    assert not optimizers.build("lars", 0.1).rate_outside


def test_unknown_name():
    with pytest.raises(UserError, match="'larz'.*Did you mean: lars"):
        optimizers.build("larz", 0.1)


@pytest.mark.skipif(HAS_ADDONS, reason="tensorflow-addons is installed")
def test_lamb_without_addons_names_the_stack():
    with pytest.raises(UserError, match=f"tensorflow-addons.*TensorFlow {tf.__version__}"):
        optimizers.build("lamb", 0.1)


@pytest.mark.skipif(not HAS_ADDONS, reason="tensorflow-addons is not installed")
def test_lamb_excludes_by_structure():
    """After one step Adam's direction is sign(g): + decay * w and |w| / |.| where included."""
    values = [[[3.0, 4.0]], [3.0, 4.0], [[3.0, 4.0]]]
    kernel, vector, head = [tf.Variable(value) for value in values]
    schedule = optimizers.warmup_cosine(0.1, 100)
    optimizer = optimizers.build("lamb", schedule, weight_decay=0.5, exclude=[head])
    optimizer.apply_gradients([(tf.ones_like(v), v) for v in (kernel, vector, head)])

    direction = np.array([1 + 1.5, 1 + 2.0])
    step = 0.1 * 5 / np.linalg.norm(direction) * direction
    np.testing.assert_allclose(kernel, [[3, 4] - step], rtol=1e-5)
    np.testing.assert_allclose(vector, [2.9, 3.9], rtol=1e-5)
    np.testing.assert_allclose(head, [[2.9, 3.9]], rtol=1e-5)


@pytest.mark.skipif(not HAS_ADDONS, reason="tensorflow-addons is not installed")
def test_lamb_trains_a_compiled_model():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.layers.Dense(1, input_shape=(4,))])
    optimizer = optimizers.build("lamb", optimizers.warmup_cosine(0.05, 60, 5), weight_decay=1e-6)
    model.compile(optimizer, loss="mse")
    inputs = np.random.default_rng(0).normal(size=(64, 4)).astype(np.float32)
    targets = inputs.sum(axis=1, keepdims=True)
    losses = model.fit(inputs, targets, batch_size=32, epochs=30, verbose=0).history["loss"]
    assert losses[-1] < 0.2 * losses[0]
    assert int(optimizer.iterations) == 60


@pytest.mark.skipif(not HAS_ADDONS, reason="tensorflow-addons is not installed")
def test_lamb_comes_back_from_its_configuration():
    from simclr_tf.optimizers.lamb import LAMB

    given = {"weight_decay": 0.3, "beta_1": 0.7, "beta_2": 0.8, "epsilon": 0.1}
    optimizer = LAMB(optimizers.warmup_cosine(0.05, 20, 3), name="mine", **given)
    again = LAMB.from_config(json.loads(json.dumps(optimizer.get_config())))
    assert again._name == "mine"
    variables = [[tf.Variable([[3.0, 4.0]]), tf.Variable([3.0, 4.0])] for _ in range(2)]
    for step in range(6):
        gradients = [tf.constant([[1.0, -step]]), tf.constant([step, 2.0])]
        for made, own in zip((optimizer, again), variables, strict=True):
            made.apply_gradients(zip(gradients, own, strict=True))
        for variable, other in zip(*variables, strict=True):
            np.testing.assert_array_equal(other, variable)
    plain = tf.Variable([[3.0, 4.0]])
    for step in range(6):
        LAMB(0.05).apply_gradients([(tf.constant([[1.0, -step]]), plain)])
    assert np.abs(plain - variables[0][0]).max() > 1e-3
