import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf import optimizers
from simclr_tf.backend import keras
from simclr_tf.optimizers import LARS

GOLDEN = Path(__file__).parents[1] / "golden"
SUPERVISED_HEAD_KERNEL = 6


class NumpyLARS:
    """The rule for one variable, in float64."""

    def __init__(self, momentum, weight_decay, nesterov, classic, included):
        self.momentum, self.weight_decay = momentum, weight_decay
        self.nesterov, self.classic, self.included = nesterov, classic, included
        self.v = 0.0

    def trust(self, w, x):
        norms = np.linalg.norm(w.ravel()), np.linalg.norm(x.ravel())
        return 0.001 * norms[0] / norms[1] if self.included and min(norms) > 0 else 1.0

    def step(self, w, g, lr):
        if self.included:
            g = g + self.weight_decay * w
        if self.classic:
            scaled = lr * self.trust(w, g) * g
            self.v = self.momentum * self.v + scaled
            return w - (self.momentum * self.v + scaled if self.nesterov else self.v)
        self.v = self.momentum * self.v + g
        direction = self.momentum * self.v + g if self.nesterov else self.v
        return w - lr * self.trust(w, direction) * direction


def random_variables(*shapes, dtype=tf.float32, seed=0):
    generator = np.random.default_rng(seed)
    return [tf.Variable(tf.cast(generator.normal(size=shape), dtype)) for shape in shapes]


def random_gradients(variables, seed):
    generator = np.random.default_rng(seed)
    return [tf.cast(generator.normal(size=v.shape), v.dtype) for v in variables]


@pytest.mark.parametrize("index", ["0", "3", "5"])
def test_equals_the_recorded_original(index):
    recorded = np.load(GOLDEN / "lars.npz")
    settings = json.loads((GOLDEN / "lars.json").read_text())["configs"][index]
    variables = [tf.Variable(recorded[f"init/{i}"]) for i in range(10)]
    optimizer = LARS(
        learning_rate=0.0,
        momentum=settings["momentum"],
        weight_decay=settings["weight_decay"],
        use_nesterov=settings["use_nesterov"],
        classic_momentum=settings["classic_momentum"],
        eeta=settings["eeta"],
    )
    optimizer.exclude_from_weight_decay(var_list=[variables[SUPERVISED_HEAD_KERNEL]])
    optimizer.exclude_from_layer_adaptation(var_list=[variables[SUPERVISED_HEAD_KERNEL]])
    assert [optimizer.decays(v) for v in variables] == settings["decay"]
    assert [optimizer.adapts(v) for v in variables] == settings["adapt"]

    for step, learning_rate in enumerate(settings["lr"]):
        optimizer.learning_rate = learning_rate
        gradients = [recorded[f"grads/{i}"][step] for i in range(10)]
        optimizer.apply_gradients(zip(map(tf.constant, gradients), variables, strict=True))
        for i, (variable, slot) in enumerate(zip(variables, optimizer.momentums, strict=True)):
            value = recorded[f"c{index}/value/{i}"][step]
            momentum = recorded[f"c{index}/momentum/{i}"][step]
            np.testing.assert_allclose(variable, value, rtol=2e-6, atol=2e-7)
            np.testing.assert_allclose(slot, momentum, rtol=2e-6, atol=2e-7)


@pytest.mark.parametrize("classic", [True, False])
@pytest.mark.parametrize("nesterov", [True, False])
def test_equals_numpy_with_a_schedule_in_a_graph(classic, nesterov):
    variables = random_variables((3, 3, 2, 4), (4,), (4, 5), dtype=tf.float64)
    schedule = optimizers.warmup_cosine(0.5, train_steps=8, warmup_steps=2)
    optimizer = LARS(schedule, 0.8, 0.01, nesterov, classic)
    oracles = [NumpyLARS(0.8, 0.01, nesterov, classic, len(v.shape) > 1) for v in variables]
    expected = [v.numpy() for v in variables]

    @tf.function
    def update(gradients):
        optimizer.apply_gradients(zip(gradients, variables, strict=True))

    for step in range(8):
        gradients = random_gradients(variables, seed=step)
        lr = float(schedule(step))
        expected = [
            oracle.step(w, g.numpy(), lr)
            for oracle, w, g in zip(oracles, expected, gradients, strict=True)
        ]
        update(gradients)
        for variable, value in zip(variables, expected, strict=True):
            np.testing.assert_allclose(variable, value, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("weight, gradient", [(0.0, 2.0), (3.0, 0.0), (0.0, 0.0)])
@pytest.mark.parametrize("classic", [True, False])
def test_a_norm_of_zero_means_no_adaptation(weight, gradient, classic):
    variable = tf.Variable(tf.fill([2, 2], weight))
    LARS(0.1, classic_momentum=classic).apply_gradients([(tf.fill([2, 2], gradient), variable)])
    np.testing.assert_allclose(variable, np.full([2, 2], weight - 0.1 * gradient), rtol=1e-6)


def test_a_gradient_whose_norm_overflows_moves_nothing():
    """Its norm is infinite, not 0: the trust ratio is 0, as in the official code, and not 1."""
    variable = tf.Variable([[1.0, 2.0]])
    LARS(1.0, 0.0).apply_gradients([(tf.constant([[1e20, 1.0]]), variable)])
    np.testing.assert_array_equal(variable, [[1.0, 2.0]])


def test_vectors_are_neither_decayed_nor_adapted():
    """The kernel moves by lr * eeta * |w| along g + decay * w, the vector by lr * g alone."""
    kernel, vector = tf.Variable([[3.0, 4.0]]), tf.Variable([3.0, 4.0])
    gradient = np.array([0.6, 0.8], np.float32)
    LARS(0.5, weight_decay=0.1).apply_gradients(
        [(tf.constant([gradient]), kernel), (tf.constant(gradient), vector)]
    )
    np.testing.assert_allclose(vector, [3 - 0.3, 4 - 0.4], rtol=1e-6)
    np.testing.assert_allclose(
        kernel, [[3 - 0.5 * 0.001 * 5 * 0.6, 4 - 0.5 * 0.001 * 5 * 0.8]], rtol=1e-6
    )


def test_decay_and_adaptation_are_excluded_apart():
    """Gradients of zero show the decay: lr * decay * w without adaptation, lr * eeta * w with."""
    both, decay_only, adaptation_only, neither = [tf.Variable([[2.0]]) for _ in range(4)]
    optimizer = LARS(1.0, weight_decay=0.25)
    optimizer.exclude_from_weight_decay(var_list=[adaptation_only, neither])
    optimizer.exclude_from_layer_adaptation(var_list=[decay_only, neither])
    variables = [both, decay_only, adaptation_only, neither]
    optimizer.apply_gradients([(tf.zeros([1, 1]), v) for v in variables])
    np.testing.assert_allclose(
        [float(v[0, 0]) for v in variables], [2 - 0.001 * 2, 2 - 0.25 * 2, 2, 2], rtol=1e-6
    )
    with pytest.raises(ValueError, match="before the optimizer is built"):
        optimizer.exclude_from_layer_adaptation(var_list=[both])


def test_decay_is_in_the_gradient_and_not_beside_it():
    """A decoupled decay would shrink the zero-gradient vector and ignore the momentum."""
    kernel, vector = tf.Variable([[2.0]]), tf.Variable([2.0])
    optimizer = LARS(1.0, momentum=0.5, weight_decay=0.5, eeta=1.0)
    optimizer.exclude_from_layer_adaptation(var_list=[kernel])
    for _ in range(2):
        optimizer.apply_gradients([(tf.zeros([1, 1]), kernel), (tf.zeros([1]), vector)])
    assert float(kernel[0, 0]) == 2 - 1 - (0.5 * 1 + 0.5)  # the second step keeps half the first
    assert float(vector[0]) == 2


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
def test_half_precision_variables(dtype):
    (variable,) = random_variables((256, 256), dtype=dtype)
    (gradient,) = random_gradients([variable], seed=1)
    expected = NumpyLARS(0.9, 0.01, False, True, True).step(
        variable.numpy().astype(np.float64), gradient.numpy().astype(np.float64), 10.0
    )
    LARS(10.0, weight_decay=0.01).apply_gradients([(gradient, variable)])
    np.testing.assert_allclose(tf.cast(variable, tf.float64), expected, rtol=0.01, atol=1e-4)


def test_gradients_of_lower_precision_than_the_variable():
    variable = tf.Variable([[1.0, 2.0]])
    gradient = tf.constant([[0.5, 0.25]], tf.bfloat16)
    LARS(1.0, eeta=1.0).apply_gradients([(gradient, variable)])
    np.testing.assert_allclose(variable, [[1 - 2.0, 2 - 1.0]], rtol=1e-6)


def test_config_round_trip():
    given = {
        "name": "mine",
        "momentum": 0.8,
        "weight_decay": 0.03,
        "use_nesterov": True,
        "classic_momentum": False,
        "eeta": 0.02,
        "clipnorm": 1.0,
    }
    optimizer = LARS(optimizers.warmup_cosine(0.7, 20, 3), **given)
    again = keras.optimizers.deserialize(
        json.loads(json.dumps(keras.optimizers.serialize(optimizer)))
    )
    assert isinstance(again, LARS) and not again.jit_compile
    for made in (optimizer, again):
        assert {name: getattr(made, name) for name in given} == given
        assert {name: made.get_config()[name] for name in given} == given
    variables = random_variables((4, 3), (3,))
    others = [tf.Variable(v) for v in variables]
    for step in range(6):  # of other rates
        gradients = random_gradients(variables, step)
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
        again.apply_gradients(zip(gradients, others, strict=True))
        for variable, other in zip(variables, others, strict=True):
            np.testing.assert_array_equal(other, variable)
    assert np.abs(variables[0] - random_variables((4, 3), (3,))[0]).max() > 0.01


def test_checkpoint_keeps_slots_and_iterations(tmp_path):
    def build():
        variables = random_variables((3, 4), (4,))
        optimizer = LARS(optimizers.warmup_cosine(0.5, 20, 4), weight_decay=0.01)
        return variables, optimizer, tf.train.Checkpoint(optimizer=optimizer, variables=variables)

    def train(variables, optimizer, steps):
        for step in steps:
            optimizer.apply_gradients(
                zip(random_gradients(variables, step), variables, strict=True)
            )

    variables, optimizer, checkpoint = build()
    train(variables, optimizer, range(5))
    path = checkpoint.write(str(tmp_path / "five"))
    train(variables, optimizer, range(5, 8))

    resumed, resumed_optimizer, resumed_checkpoint = build()
    status = resumed_checkpoint.read(path)  # slots do not exist yet: they are restored when built
    train(resumed, resumed_optimizer, range(5, 8))
    status.assert_existing_objects_matched()
    for variable, other in zip(
        variables + optimizer.momentums, resumed + resumed_optimizer.momentums, strict=True
    ):
        np.testing.assert_array_equal(variable, other)
    assert int(resumed_optimizer.iterations) == 8


def test_slots_are_named_momentum():
    variable = tf.Variable([[1.0]], name="kernel")
    optimizer = LARS(0.1)
    optimizer.build([variable])
    assert [slot.name for slot in optimizer.momentums] == ["Momentum/kernel:0"]
    assert optimizer.momentums[0].shape == variable.shape
