"""Distillation: the loss against NumPy, its gradients, and what is kept out of checkpoints."""

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf.backend import keras
from simclr_tf.losses import distillation_loss
from simclr_tf.methods.supervised.distillation import Distillation
from simclr_tf.models import Architecture, Network

SMALL = Architecture(resnet_depth=18, cifar_stem=True, num_classes=3, kept_proj_layers=0)


def softmax(x):
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def logits(seed, scale=3.0):
    return np.random.default_rng(seed).normal(size=(6, 5)) * scale


@pytest.mark.parametrize("temperature", [0.1, 1.0, 4.0])
def test_loss_and_gradient(temperature):
    student, teacher = tf.Variable(logits(0)), tf.Variable(logits(1))
    with tf.GradientTape() as tape:
        loss = distillation_loss(student, teacher, temperature)
    of_student, of_teacher = tape.gradient(loss, [student, teacher])
    p, q = softmax(logits(1) / temperature), softmax(logits(0) / temperature)
    assert loss.dtype == tf.float32
    assert float(loss) == pytest.approx(-(p * np.log(q)).sum(axis=1).mean(), rel=1e-5)
    np.testing.assert_allclose(of_student, (q - p) / temperature / 6, atol=1e-6)
    assert of_teacher is None


def test_the_least_loss_is_the_teacher_s_entropy():
    p = softmax(logits(1))
    loss = float(distillation_loss(logits(1), logits(1)))
    assert loss == pytest.approx(-(p * np.log(p)).sum(axis=1).mean(), rel=1e-5)


@pytest.fixture  # of each test: between two, conftest.py lets go of gradients that were traced
def networks():
    keras.utils.set_random_seed(0)
    return Network(SMALL), Network(SMALL)


def batch(labels=(2, -1, 0, -1)):
    images = tf.random.stateless_uniform((4, 8, 8, 3), (1, 2))
    return ((images,),) if labels is None else ((images,), tf.constant(labels, tf.int64))


@pytest.mark.slow
def test_the_weighted_form(networks):
    student, teacher = networks
    method = Distillation(student, teacher.logits, temperature=2.0, alpha=0.7)
    (views, labels) = batch()
    embedded = method.embed(views)
    total, values = method.batch_loss(embedded, labels)
    softened = distillation_loss(embedded["logits"], embedded["teacher_logits"], 2.0)
    assert float(values["distillation_loss"]) == pytest.approx(float(softened), rel=1e-6)
    assert float(total) == pytest.approx(
        0.7 * float(values["distillation_loss"]) + 0.3 * float(values["supervised_loss"]), rel=1e-6
    )
    assert {*values, "weight_decay", "total_loss"} == set(method.metric_names)


@pytest.mark.slow
def test_the_student_alone_is_trained_and_saved(networks):
    student, teacher = networks
    before = [v.numpy() for v in teacher.variables]
    method = Distillation(student, teacher.logits)
    method.compile(keras.optimizers.SGD(0.1))
    weights = [v.numpy() for v in student.trainable_variables]
    images = batch(labels=None)  # without labels
    first = method.train_step(images)
    assert "supervised_loss" not in first
    assert all(np.array_equal(a, v.numpy()) for a, v in zip(before, teacher.variables))
    assert any(not np.array_equal(a, v.numpy()) for a, v in zip(weights, student.variables))
    assert {id(v) for v in method.trainable_variables} == {
        id(v) for v in student.trainable_variables
    }
    own = {id(v) for v in method.variables}
    assert not own & {id(v) for v in teacher.variables}


@pytest.mark.thorough
def test_checkpoints_have_the_names_of_every_other_method(networks, tmp_path):
    student, teacher = networks
    method = Distillation(student, teacher.logits)
    path = tf.train.Checkpoint(method=method).write(str(tmp_path / "ckpt"))
    names = [name for name, _ in tf.train.list_variables(path)]
    of_networks = [name for name in names if "/kernel/" in name or "/gamma/" in name]
    assert len(of_networks) == 21 + 1 + 21  # convolutions, supervised head, batch norms
    assert all(name.startswith("method/network/") for name in of_networks)


@pytest.mark.slow
def test_training_brings_the_student_nearer_to_the_teacher(networks):
    student, teacher = networks
    method = Distillation(student, teacher.logits)
    method.compile(keras.optimizers.SGD(0.05))
    step = tf.function(method.train_step)
    losses = []
    for _ in range(8):
        method.reset_means()
        losses.append(float(step(batch(labels=None))["distillation_loss"]))
    assert losses[-1] < losses[0]
