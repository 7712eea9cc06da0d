"""From the flags of a run to its optimizer and schedule."""

import types

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf import optimizers
from simclr_tf.errors import UserError
from simclr_tf.experiment import config as configuration
from simclr_tf.experiment import parts
from simclr_tf.flag import check_ranges

NO_HEAD = types.SimpleNamespace(supervised_head=None)


def optimizer_of(rate_factor=None, **flags):
    """For 100 images in batches of 10, 8 epochs, 2 of them warm-up, peak 0.5."""
    given = {"train_batch_size": 10, "train_epochs": 8, "warmup_epochs": 2.0}
    given |= {"learning_rate": 12.8}
    config = configuration.from_dict(given | flags)
    check_ranges(config)
    plan = parts.plan_of(config, num_examples=100, num_replicas=1)
    method = types.SimpleNamespace(network=NO_HEAD, rate_factor=rate_factor)
    return parts.make_optimizer(config, plan, method), plan


def test_the_default_is_simclrs():
    optimizer, plan = optimizer_of()
    assert type(optimizer) is optimizers.LARS and not optimizer.rate_outside
    assert optimizer.classic_momentum and optimizer.weight_decay == 1e-6
    expected = optimizers.warmup_cosine(0.5, 81, 20)
    np.testing.assert_array_equal(plan.schedule(np.arange(90)), expected(np.arange(90)))
    assert plan.schedule.get_config() == expected.get_config()


@pytest.mark.parametrize(
    "flags, expected",
    [
        (
            {"warmup_start": 0.1, "final_rate": 0.01},
            optimizers.WarmupCosine(0.5, 81, 20, warmup_start=0.1, final_rate=0.01),
        ),
        ({"schedule_by": "epoch"}, optimizers.WarmupCosine(0.5, 81, 20, epoch_steps=10)),
        (
            {"schedule": "steps", "schedule_milestones": "3,5", "schedule_gamma": 0.2},
            optimizers.WarmupSteps(0.5, 81, 20, milestones=(30, 50), gamma=0.2),
        ),
        (
            {"schedule": "constant", "schedule_milestones": "3,5"},
            optimizers.WarmupSteps(0.5, 81, 20),
        ),
    ],
)
def test_schedules(flags, expected):
    optimizer, plan = optimizer_of(**flags)
    assert type(plan.schedule) is type(expected)
    assert plan.schedule.get_config() == expected.get_config()
    variable = tf.Variable([1.0])
    for _ in range(25):
        optimizer.apply_gradients([(tf.constant([1.0]), variable)])
    assert float(optimizer.learning_rate) == float(expected(24))


@pytest.mark.parametrize("name", ["sgd", "larc"])
def test_optimizers(name):
    optimizer, _ = optimizer_of(optimizer=name, momentum=0.7, weight_decay=1e-3)
    assert type(optimizer) is {"sgd": optimizers.SGD, "larc": optimizers.LARC}[name]
    assert (optimizer.momentum, optimizer.weight_decay) == (0.7, 1e-3)


@pytest.mark.parametrize(("mode", "adapted"), [("pretrain", False), ("finetune", True)])
def test_larc_has_the_head_of_a_fine_tuning_and_no_probe(mode, adapted):
    flags = {"train_mode": mode, "optimizer": "larc", "weight_decay": 0.1}
    config, kernel = configuration.from_dict(flags), tf.Variable([3.0, 4.0])
    head = types.SimpleNamespace(trainable_weights=[kernel])
    network = types.SimpleNamespace(supervised_head=head)
    method = types.SimpleNamespace(network=network, rate_factor=None)
    plan = parts.plan_of(config, num_examples=1000, num_replicas=1)
    optimizer = parts.make_optimizer(config, plan, method)
    optimizer.build([kernel])
    assert optimizer.adapts(kernel) == adapted
    assert parts.weight_decay_of_loss(config) == (0.0 if adapted else 0.1)


def test_lars_with_the_rate_outside():
    assert optimizer_of(lars_rate_outside=True)[0].rate_outside


def test_factors_of_a_method():
    frozen, moving = tf.Variable([1.0]), tf.Variable([1.0])
    optimizer, _ = optimizer_of(
        lambda variable: 0.0 if variable is frozen else None, optimizer="sgd", warmup_epochs=0.0
    )
    optimizer.apply_gradients([(tf.constant([1.0]), v) for v in (frozen, moving)])
    assert float(frozen[0]) == 1 and float(moving[0]) == pytest.approx(0.5)


@pytest.mark.parametrize(
    "flags, message",
    [
        ({"final_rate": 1.5}, r"--final_rate lies in \[0, 1\]"),
        ({"warmup_start": -0.1}, r"--warmup_start lies in \[0, 1\]"),
        ({"schedule_gamma": 0.0}, r"--schedule_gamma lies in \(0, 1\]"),
        ({"schedule": "linear"}, "--schedule is one of cosine, steps, constant"),
        ({"schedule_by": "batch"}, "--schedule_by is one of step, epoch"),
    ],
)
def test_ranges(flags, message):
    with pytest.raises(UserError, match=message):
        optimizer_of(**flags)
