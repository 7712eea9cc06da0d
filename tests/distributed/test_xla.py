"""The whole training step as one XLA program, as on a TPU; here on the CPU."""

import types

import numpy as np
import pytest
import tensorflow as tf
import training

from simclr_tf import optimizers
from simclr_tf.backend import keras
from simclr_tf.checkpoints.restore import variable_paths
from simclr_tf.errors import UserError
from simclr_tf.experiment import config as configuration
from simclr_tf.experiment import parts, pretraining

pytestmark = pytest.mark.usefixtures("toy_encoder")

SIZE, BATCH = 8, 8


def make_method():
    flags = {"image_size": SIZE, "temperature": 0.5}
    config = configuration.from_dict(training.SMALL | flags)
    keras.utils.set_random_seed(0)
    method = pretraining.build(
        config, pretraining.architecture_of(config, num_classes=10), plan=None
    )
    method.optimizer = optimizers.build(
        "lars",
        0.1,
        weight_decay=1e-4,
        exclude=method.network.supervised_head.trainable_weights,
    )
    optimizers.create_slots(method.optimizer, method.trainable_variables)
    return method


def step_of(method, **options):
    """Loss, gradients, update and metrics, with static shapes."""
    view = tf.TensorSpec((BATCH, SIZE, SIZE, 3), tf.float32)
    labels = tf.TensorSpec((BATCH,), tf.int64)
    return tf.function(
        method.train_step, input_signature=[((view, view), labels)], **options
    ).get_concrete_function()


def batch():
    rng = np.random.default_rng(0)
    views = tuple(
        tf.constant(rng.uniform(size=(BATCH, SIZE, SIZE, 3)), tf.float32) for _ in range(2)
    )
    return views, tf.range(BATCH, dtype=tf.int64)


@pytest.fixture(scope="module")
def stepped():
    """Two methods after one step, plain and compiled, and their metrics; float32."""
    found = []
    for options in ({}, {"jit_compile": True}):
        method = make_method()
        step = step_of(method, **options)
        metrics = step(*tf.nest.flatten(batch()))
        found.append((method, step, metrics))
    return found


@pytest.mark.thorough
def test_the_step_is_one_program(stepped):
    """An operation that XLA lacks is then an error, and not left to TensorFlow."""
    for (_, step, _), expected in zip(stepped, (False, True), strict=True):
        attributes = step.function_def.attr
        assert ("_XlaMustCompile" in attributes and attributes["_XlaMustCompile"].b) == expected


def test_what_xla_lacks_is_an_error():
    @tf.function(jit_compile=True)
    def spell(x):
        return tf.strings.length(tf.strings.as_string(x))

    with pytest.raises(tf.errors.InvalidArgumentError, match="unsupported operations"):
        spell(tf.constant(1.0))


@pytest.mark.thorough
def test_the_compiled_step_computes_the_same(stepped):
    """Sums in another order: errors of 1e-6 in the loss, of 1e-5 in what came back from it."""
    (plain, _, plain_metrics), (compiled, _, compiled_metrics) = stepped
    assert len(plain_metrics) == 7
    for name, value in plain_metrics.items():
        np.testing.assert_allclose(compiled_metrics[name], value, rtol=1e-5, err_msg=name)
    weights = variable_paths(compiled.network)
    for name, variable in variable_paths(plain.network).items():
        np.testing.assert_allclose(weights[name], variable, atol=1e-5, rtol=1e-5, err_msg=name)
    slots = zip(plain.optimizer.momentums, compiled.optimizer.momentums, strict=True)
    for expected, found in slots:
        error = np.linalg.norm(found - expected) / (np.linalg.norm(expected) or 1)
        assert error <= 1e-4, expected.name


def test_the_flag_is_for_one_device(monkeypatch):
    two = types.SimpleNamespace(num_replicas_in_sync=2)
    monkeypatch.setattr(parts, "choose_strategy", lambda *args, **kwargs: two)
    with pytest.raises(UserError, match="--jit_compile is for one device.* There are 2"):
        parts.make_strategy(configuration.from_dict({"jit_compile": True}))
    assert parts.make_strategy(configuration.from_dict({})) is two


@pytest.mark.slow
def test_a_run_with_the_flag(tmp_path):
    for flag in (False, True):
        flags = {"jit_compile": flag, "train_steps": 2, "temperature": 0.5}
        assert training.run(tmp_path / str(flag), **flags) == 0
    plain, compiled = (training.rows(tmp_path / name)[-1] for name in ("False", "True"))
    assert compiled["total_loss"] == pytest.approx(plain["total_loss"], rel=1e-4)
