"""The update rules of other methods, against what their official code computed.

golden/optimizers.npz: seven variables, two of them zero and one without gradient in two steps,
under the LARS of Barlow Twins and VICReg, apex' LARC as in SwAV, and PyTorch's SGD; the LARS of
BYOL; and MoCo v1's training, whose gradients are given.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf import optimizers
from simclr_tf.backend import keras
from simclr_tf.errors import UserError
from simclr_tf.optimizers import LARC, LARS, SGD

RECORDED = np.load(Path(__file__).parents[1] / "golden" / "optimizers.npz")
NAMES = ("conv", "dense", "bias", "gamma", "zero_bias", "zero_dense", "still_dense")
DECAY = float(RECORDED["optimizer/weight_decay"])


def part(prefix):
    return {
        k.removeprefix(f"{prefix}/"): RECORDED[k]
        for k in RECORDED.files
        if k.startswith(f"{prefix}/")
    }


def assert_steps(optimizer, initial, gradients, rates, expected, tolerance=2e-6):
    variables = {name: tf.Variable(initial[name]) for name in expected}
    for step, rate in enumerate(rates):
        optimizer.learning_rate = rate
        optimizer.apply_gradients(
            [(tf.constant(gradients[name][step]), v) for name, v in variables.items()]
        )
        for name, variable in variables.items():
            scale = np.abs(expected[name]).max()
            np.testing.assert_allclose(
                variable, expected[name][step], rtol=0, atol=tolerance * scale, err_msg=name
            )


@pytest.mark.parametrize(
    "optimizer, case",
    [
        (lambda: LARS(0.0, 0.9, DECAY, rate_outside=True), "lars_vicreg"),
        (lambda: LARC(0.0, 0.9, DECAY), "larc_swav"),
        (lambda: SGD(0.0, 0.9, DECAY), "sgd_simsiam"),
    ],
)
def test_five_steps(optimizer, case):
    initial, gradients = part("optimizer/initial"), part("optimizer/gradients")
    assert set(initial) == set(NAMES)
    rates, expected = RECORDED["optimizer/lr"], part(f"optimizer/{case}")
    assert_steps(optimizer(), initial, gradients, rates, expected)


def test_barlow_twins_has_a_rate_for_kernels_and_one_for_the_rest():
    rates, of_biases = RECORDED["optimizer/lr"], RECORDED["optimizer/lr_biases"]

    def factor(variable):
        step = optimizer.iterations
        return tf.gather(of_biases / rates, step) if variable.shape.rank == 1 else None

    optimizer = optimizers.build(
        "lars", 0.0, weight_decay=DECAY, rate_outside=True, rate_factor=factor
    )
    expected = part("optimizer/lars_barlow")
    assert_steps(optimizer, part("optimizer/initial"), part("optimizer/gradients"), rates, expected)


def test_lars_of_byol():
    optimizer = LARS(0.0, 0.9, float(RECORDED["byol/lars/weight_decay"]), rate_outside=True)
    initial, gradients = part("byol/lars/initial"), part("byol/lars/gradients")
    expected = part("byol/lars/after")
    assert len(expected) == 6
    assert_steps(optimizer, initial, gradients, RECORDED["byol/lars/lr"], expected)


def test_sgd_of_moco_decays_every_weight():
    _, _, decay, momentum = RECORDED["moco/v1/settings"]
    before, gradients = part("moco/v1/before"), part("moco/v1/gradient")
    rates, expected = RECORDED["moco/v1/learning_rate"], part("moco/v1/q_after")
    assert {"bn.weight", "bn.bias", "fc.bias"} < set(expected)
    assert_steps(SGD(0.0, float(momentum), float(decay)), before, gradients, rates, expected)


def test_the_rate_is_outside_of_the_slot():
    """A rate that drops to 0 stops the variable at once; inside the slot the momentum goes on."""
    for optimizer, stops in [
        (SGD(0.1), True),
        (LARC(0.1), True),
        (LARS(0.1, rate_outside=True), True),
        (LARS(0.1), False),
        (keras.optimizers.SGD(0.1, 0.9), False),
    ]:
        variable = tf.Variable([[1.0, 2.0]])
        optimizer.apply_gradients([(tf.constant([[1.0, 1.0]]), variable)])
        after = variable.numpy()
        optimizer.learning_rate = 0.0
        optimizer.apply_gradients([(tf.constant([[1.0, 1.0]]), variable)])
        assert (after == variable.numpy()).all() == stops


def test_nesterov_with_the_rate_outside():
    """Two steps of gradient 1 of a vector: v = 1, 1.5; each step is lr * (0.5 * v + 1)."""
    variable = tf.Variable([10.0])
    optimizer = LARS(1.0, 0.5, use_nesterov=True, rate_outside=True)
    for rate in (1.0, 2.0):
        optimizer.learning_rate = rate
        optimizer.apply_gradients([(tf.constant([1.0]), variable)])
    assert float(variable[0]) == 10 - 1.5 - 2 * 1.75


def test_popular_momentum_has_the_rate_outside_anyway():
    with pytest.raises(UserError, match="rate_outside=True is for classic momentum"):
        LARS(0.1, classic_momentum=False, rate_outside=True)


@pytest.mark.parametrize("optimizer", [SGD, LARC])
def test_excluded_objects_are_not_decayed(optimizer):
    """Gradients of 2 move an excluded variable by lr * 2, whatever its norm."""
    kernel, head = tf.Variable([[4.0]]), tf.Variable([[4.0]])
    made = optimizer(0.5, weight_decay=0.25)
    made.exclude_from_weight_decay(var_list=[head])
    made.apply_gradients([(tf.constant([[2.0]]), v) for v in (kernel, head)])
    assert made.decays(kernel) and not made.decays(head)
    assert float(head[0, 0]) == 4 - 0.5 * 2
    adapted = 0.001 * 4 / (2 + 0.25 * 4) if optimizer is LARC else 1
    np.testing.assert_allclose(kernel, [[4 - 0.5 * adapted * (2 + 0.25 * 4)]], rtol=1e-6)


@pytest.mark.parametrize("optimizer", [SGD, LARC])
@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
def test_half_precision_variables(optimizer, dtype):
    generator = np.random.default_rng(0)
    value, gradient = generator.normal(size=(2, 256, 256))
    half, single = tf.Variable(tf.cast(value, dtype)), tf.Variable(tf.cast(value, tf.float32))
    for variable in (half, single):
        optimizer(0.1, weight_decay=0.01).apply_gradients(
            [(tf.cast(gradient, variable.dtype), variable)]
        )
    np.testing.assert_allclose(tf.cast(half, tf.float32), single, rtol=0.01, atol=0.01)


@pytest.mark.parametrize(
    "optimizer, given",
    [
        (SGD, {"momentum": 0.8, "weight_decay": 0.03, "name": "mine", "clipnorm": 1.0}),
        (LARC, {"momentum": 0.8, "weight_decay": 0.03, "eeta": 0.02, "epsilon": 0.1}),
        (LARS, {"momentum": 0.8, "weight_decay": 0.03, "rate_outside": True}),
    ],
)
def test_config_round_trip(optimizer, given):
    made = optimizer(optimizers.WarmupSteps(0.7, 20, 2, milestones=(3, 5)), **given)
    again = keras.optimizers.deserialize(json.loads(json.dumps(keras.optimizers.serialize(made))))
    assert type(again) is optimizer and not again.jit_compile
    for either in (made, again):
        assert {name: either.get_config()[name] for name in given} == given
    pair = [tf.Variable([[1.0, -2.0]]), tf.Variable([[1.0, -2.0]])]
    for step in range(6):
        for either, variable in zip((made, again), pair, strict=True):
            either.apply_gradients([(tf.constant([[step - 2.0, 0.5]]), variable)])
        np.testing.assert_array_equal(*pair)
    assert np.abs(pair[0] - [[1.0, -2.0]]).max() > 1e-3


def test_no_decay_of_larc_may_be_none():
    moved = []
    for decay in (None, 0.0):
        variable = tf.Variable([[1.0, 2.0]])
        optimizers.LARC(1.0, weight_decay=decay).apply_gradients([(tf.ones((1, 2)), variable)])
        moved.append(variable.numpy())
    np.testing.assert_array_equal(*moved)
