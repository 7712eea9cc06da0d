"""Factors of single variables' updates, under every optimizer, compiled or not, and on replicas."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf import optimizers
from simclr_tf.backend import keras
from simclr_tf.errors import UserError

FROZEN_STEPS = 2
NAMES = [name for name in optimizers.NAMES if name != "lamb"]
START = np.array([[1.0, -2.0], [0.5, 3.0]], np.float32)


def gradient(step):
    return tf.constant(np.random.default_rng(step).normal(size=START.shape), tf.float32)


def train(name, steps, rate_factor=None, schedule=0.1, start=(START,), begin=0):
    """The variables after each step, and the optimizer."""
    variables = [tf.Variable(value) for value in start]
    optimizer = optimizers.build(
        name,
        schedule,
        weight_decay=0.01,
        rate_factor=rate_factor and (lambda v: rate_factor(optimizer, variables, v)),
    )
    values = []
    for step in range(begin, begin + steps):
        optimizer.apply_gradients([(gradient(step), variable) for variable in variables])
        values.append([variable.numpy() for variable in variables])
    return np.array(values), optimizer


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("as_tensor", [True, False])
def test_multiplies_the_update_and_not_the_gradient(name, as_tensor):
    """The first of two equal variables moves as without factors, the second a quarter as far."""

    def factor(optimizer, variables, variable):
        if variable is variables[0]:
            return None
        return tf.constant(0.25, tf.float64) if as_tensor else 0.25

    plain, plain_optimizer = train(name, 1)
    both, optimizer = train(name, 1, factor, start=(START, START))
    np.testing.assert_array_equal(both[0, 0], plain[0, 0])
    np.testing.assert_allclose(both[0, 1] - START, 0.25 * (plain[0, 0] - START), atol=3e-7)
    slots = [v.numpy() for v in plain_optimizer.variables if v.shape == START.shape]
    of_both = [v.numpy() for v in optimizer.variables if v.shape == START.shape]
    assert len(of_both) == 2 * len(slots) >= 2
    for slot in of_both:
        assert any(np.array_equal(slot, expected) for expected in slots)


@pytest.mark.parametrize("name", NAMES)
def test_factors_of_one_change_no_bit(name):
    schedule = optimizers.warmup_cosine(0.3, 8, 2)
    plain, _ = train(name, 8, schedule=schedule)
    factored, _ = train(name, 8, lambda *_: tf.constant(1.0), schedule=schedule)
    absent, _ = train(name, 8, lambda *_: None, schedule=schedule)
    np.testing.assert_array_equal(factored, plain)
    np.testing.assert_array_equal(absent, plain)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "adam"])
def test_a_frozen_variable_begins_later_as_if_it_were_new(name):
    """As SwAV's prototypes: while the factor is 0 there is no momentum and no decay."""

    def factor(optimizer, variables, variable):
        return tf.cast(optimizer.iterations >= FROZEN_STEPS, tf.float32)

    frozen, optimizer = train(name, 5, factor)
    assert int(optimizer.iterations) == 5
    np.testing.assert_array_equal(frozen[:FROZEN_STEPS], [[START]] * FROZEN_STEPS)
    later, _ = train(name, 3, begin=FROZEN_STEPS)
    np.testing.assert_array_equal(frozen[FROZEN_STEPS:], later)


@pytest.mark.parametrize("name", NAMES)
def test_slots_rest_while_the_factor_is_zero(name):
    """In the middle of training, too; iterations count on."""
    variable, factor = tf.Variable(START), tf.Variable(1.0)
    optimizer = optimizers.build(name, 0.1, weight_decay=0.1, rate_factor=lambda v: factor)
    optimizer.apply_gradients([(gradient(0), variable)])
    slots = [v for v in optimizer.variables if v.shape == START.shape]
    before = [v.numpy() for v in (variable, *slots)]
    factor.assign(0.0)
    optimizer.apply_gradients([(gradient(1), variable)])
    assert len(slots) >= 1
    for value, v in zip(before, (variable, *slots), strict=True):
        np.testing.assert_array_equal(v, value)
    assert int(optimizer.iterations) == 2


@pytest.mark.thorough
def test_a_constant_rate_under_any_schedule():
    """As SimSiam's predictor; a large factor loses nothing to rounding."""
    schedule = optimizers.WarmupCosine(0.1, 50, epoch_steps=2)

    def factor(optimizer, variables, variable):
        return optimizers.constant_rate_factor(0.1, optimizer.learning_rate)

    found, optimizer = train("sgd", 50, factor, schedule=schedule)
    assert float(optimizer.learning_rate) < 0.1 / 250
    expected, _ = train("sgd", 50, schedule=0.1)
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5)


def test_a_constant_rate_where_the_schedule_is_zero():
    """The variable rests in the first step of a warm-up, and the result is finite."""
    schedule = optimizers.warmup_cosine(0.1, 4, 2)

    def factor(optimizer, variables, variable):
        return optimizers.constant_rate_factor(0.1, optimizer.learning_rate)

    found, _ = train("sgd", 5, factor, schedule=schedule)
    np.testing.assert_array_equal(found[0, 0], START)
    expected, _ = train("sgd", 3, begin=1)
    np.testing.assert_allclose(found[1:4], expected, atol=1e-6)
    np.testing.assert_array_equal(found[4], found[3])


def test_swav_freezes_its_prototypes_alone():
    prototypes = tf.Variable(START)
    kernel = tf.Variable(START)
    optimizer = optimizers.build(
        "larc",
        4.8,
        weight_decay=1e-6,
        rate_factor=lambda v: (
            tf.cast(optimizer.iterations >= FROZEN_STEPS, tf.float32) if v is prototypes else None
        ),
    )
    for step in range(3):
        optimizer.apply_gradients([(gradient(step), v) for v in (kernel, prototypes)])
        assert np.any(kernel.numpy() != START)
        assert np.all(prototypes.numpy() == START) == (step < FROZEN_STEPS)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("whole_step", [True, False])
def test_compiled(name, whole_step):
    """Compiled by XLA with the step around it, or each update by itself, as Keras does on GPUs."""

    def factor(optimizer, variables, variable):
        if variable is variables[0]:
            return None
        return tf.where(optimizer.iterations < FROZEN_STEPS, 0.0, 0.25)

    expected, _ = train(name, 4, factor, start=(START, START))
    variables = [tf.Variable(START), tf.Variable(START)]
    optimizer = optimizers.build(
        name, 0.1, weight_decay=0.01, rate_factor=lambda v: factor(optimizer, variables, v)
    )
    optimizer.build(variables)
    optimizer.jit_compile = not whole_step

    @tf.function(jit_compile=whole_step)
    def update(given):
        optimizer.apply_gradients([(given, variable) for variable in variables])

    for step in range(4):
        update(gradient(step))
        for variable, value in zip(variables, expected[step], strict=True):
            np.testing.assert_allclose(variable, value, rtol=2e-6, atol=2e-6)


def test_lamb_has_one_rate():
    with pytest.raises(UserError, match="lamb has one learning rate.*momentum, sgd"):
        optimizers.build("lamb", 0.1, rate_factor=lambda v: None)


@pytest.mark.parametrize(
    "optimizer",
    [
        keras.optimizers.legacy.Adam(),
        keras.optimizers.Ftrl(),
        keras.mixed_precision.LossScaleOptimizer(keras.optimizers.SGD()),
    ],
)
def test_optimizers_that_cannot_keep_to_factors(optimizer):
    with pytest.raises(UserError, match=f"the optimizer {type(optimizer).__name__} cannot keep"):
        optimizers.with_rate_factors(optimizer, lambda v: 0.5)


def test_an_optimizer_that_sets_variables():
    class Setting(keras.optimizers.SGD):
        def update_step(self, gradient, variable):
            variable.assign(tf.convert_to_tensor(variable) - gradient)

    optimizer = optimizers.with_rate_factors(Setting(), lambda v: 0.5)
    with pytest.raises(UserError, match="the optimizer Setting cannot keep to them"):
        optimizer.apply_gradients([(gradient(0), tf.Variable(START))])


def test_the_peak_of_a_schedule():
    schedules = keras.optimizers.schedules
    piecewise = schedules.PiecewiseConstantDecay([3, 6], [0.1, 0.75, 0.2])
    for rate, expected in (
        (0.3, None),
        (optimizers.WarmupCosine(0.7, 20, 4), 0.7),
        (piecewise, 0.75),
        (schedules.ExponentialDecay(0.5, 2, 0.5), 0.5),
    ):
        assert optimizers.peak_rate(keras.optimizers.SGD(rate), 10) == expected


def test_the_names_of_slots_stay(tmp_path):
    """So a checkpoint of a run with factors is read without, and the other way round."""
    factored = optimizers.build("sgd", 0.1, rate_factor=lambda v: 0.5)
    plain = optimizers.build("sgd", 0.1)
    variable = tf.Variable(START, name="kernel")
    for optimizer in (factored, plain):
        optimizers.create_slots(optimizer, [variable])
    keys = []
    for i, optimizer in enumerate((factored, plain)):
        path = tf.train.Checkpoint(optimizer=optimizer).write(str(tmp_path / str(i)))
        keys.append(sorted(name for name, _ in tf.train.list_variables(path)))
    assert keys[0] == keys[1]


@pytest.mark.slow
def test_two_replicas_equal_one():
    script = pathlib.Path(__file__).with_name("factors_on_replicas.py")
    done = subprocess.run(
        [sys.executable, str(script), *NAMES],
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == NAMES
