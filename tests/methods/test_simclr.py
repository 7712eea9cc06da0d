"""What a training step of a method does, beyond what losses and optimizers do by themselves."""

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf import losses, optimizers
from simclr_tf.backend import keras
from simclr_tf.experiment import config, parts
from simclr_tf.methods import SimCLR
from simclr_tf.methods.decay import l2_variables
from simclr_tf.methods.supervised.classes import Supervised
from simclr_tf.methods.supervised.multi_label import MultiLabel
from simclr_tf.models import Architecture, Network, simclr_projector
from simclr_tf.models.batch_norm import batch_norm_variables
from simclr_tf.training.plan import Plan

pytestmark = pytest.mark.usefixtures("rewritten_graphs")
PLAN = Plan(1000, 8, 100, 0, 125, 125, 0.5)


def network(**changes):
    keras.utils.set_random_seed(1)
    small = dict(
        resnet_depth=18, cifar_stem=True, projector=simclr_projector(num_layers=2, out_dim=16)
    )
    return Network(Architecture(**small | changes))


@pytest.fixture(scope="module")
def views():
    pixels = np.random.default_rng(0).uniform(size=(2, 8, 8, 8, 3)).astype(np.float32)
    return tuple(tf.constant(view) for view in pixels)


LABELS = tf.constant([0, 1, 2, 0, 1, 2, 0, 1], tf.int64)


def loss_of(method, views, labels):
    """The loss, without decay, and what is reported."""
    return method.batch_loss(method.embed(views), labels)


def gradients(method, variables, views, labels):
    with tf.GradientTape() as tape:
        loss, _ = loss_of(method, views, labels)
    return tape.gradient(loss, variables)


@pytest.mark.slow
def test_the_probe_sends_nothing_into_the_encoder(views):
    with_probe, without = network(num_classes=3), network()
    for part in ("encoder", "projection_head"):
        getattr(without, part).set_weights(getattr(with_probe, part).get_weights())
    body = with_probe.encoder.trainable_variables + with_probe.projection_head.trainable_variables
    found = gradients(SimCLR(with_probe), body, views, LABELS)
    expected = gradients(SimCLR(without), without.trainable_variables, views, None)
    for a, b in zip(found, expected):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * np.abs(b).max())
    head = with_probe.supervised_head.trainable_variables
    assert all(np.abs(g).max() > 0 for g in gradients(SimCLR(with_probe), head, views, LABELS))


def test_the_objective_is_the_contrast_of_both_views_plus_the_probe_on_both(views):
    model = network(num_classes=3)
    loss, values = loss_of(SimCLR(model, SimCLR.Flags(temperature=0.5)), views, LABELS)
    outputs = model(tf.concat(views, axis=0), training=True)
    contrast, *_ = losses.nt_xent(outputs["projections"][-1], 0.5)
    probe = losses.supervised_loss(outputs["logits"], tf.concat([LABELS, LABELS], axis=0))
    assert float(values["contrast_loss"]) == pytest.approx(float(contrast), rel=1e-5)
    assert float(values["supervised_loss"]) == pytest.approx(float(probe), rel=1e-5)
    assert float(loss) == pytest.approx(float(contrast + probe), rel=1e-5)


@pytest.mark.parametrize("name", ["lars", pytest.param("momentum", marks=pytest.mark.thorough)])
def test_one_step_updates_every_variable_by_its_rule(name, views):
    decay = 0.1
    flags = {"optimizer": name, "weight_decay": decay, "momentum": 0.9}
    model = network(num_classes=3)
    method = SimCLR(model, weight_decay=decay, optimizer_decays=name == "lars")
    method.compile(parts.make_optimizer(config.from_dict(flags), PLAN, method))
    before = [v.numpy() for v in model.trainable_variables]
    slopes = gradients(method, model.trainable_variables, views, LABELS)
    logs = method.train_step((views, LABELS))
    kernel = model.supervised_head.kernel
    norms = {id(v) for v in batch_norm_variables(model)}
    for v, w, g in zip(model.trainable_variables, before, slopes):
        g = g.numpy()
        if name == "lars":
            decayed = v.shape.rank > 1
            g = g + decay * w if decayed else g
            trust = 0.001 * np.linalg.norm(w) / np.linalg.norm(g) if decayed else 1.0
            step = 0.5 * g if v is kernel else 0.5 * trust * g
        else:
            g = g if id(v) in norms else g + decay * w
            step = 0.5 * 1.9 * g  # the first Nesterov step
        np.testing.assert_allclose(v, w - step, rtol=2e-4, atol=2e-5 * np.abs(step).max() + 1e-7)
    decayed = [kernel] if name == "lars" else l2_variables(model, optimizer_decays=False)
    start = dict(zip(map(id, model.trainable_variables), before))
    expected = decay * sum(np.sum(start[id(v)].astype(np.float64) ** 2) for v in decayed) / 2
    assert float(logs["weight_decay"]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.thorough
def test_what_the_loss_decays():
    model = network(num_classes=3, se_ratio=0.25)
    assert [v is model.supervised_head.kernel for v in l2_variables(model, True)] == [True]
    chosen = {id(v) for v in l2_variables(model, False)}
    norms = {id(v) for v in batch_norm_variables(model)}
    assert chosen == {id(v) for v in model.trainable_variables} - norms
    # 21 convolutions, 8 blocks with 2 kernels and 2 biases of SE, 2 dense layers, the head's 2.
    assert len(chosen) == 21 + 8 * 4 + 2 + 2
    assert l2_variables(network(), optimizer_decays=True) == []


def test_the_assembled_lars_leaves_vectors_and_the_head_alone():
    model = network(num_classes=3)
    optimizer = parts.make_optimizer(config.from_dict({"optimizer": "lars"}), PLAN, SimCLR(model))
    optimizers.create_slots(optimizer, model.trainable_variables)
    for v in model.trainable_variables:
        expected = v.shape.rank > 1 and v is not model.supervised_head.kernel
        assert optimizer.decays(v) == optimizer.adapts(v) == expected, v.name
    assert sum(map(optimizer.decays, model.trainable_variables)) == 23


@pytest.mark.slow
def test_supervised_training_sees_one_view(views):
    model = network(num_classes=3, projector=())
    loss, values = loss_of(Supervised(model), views[:1], LABELS)
    logits = model(views[0], training=True)["logits"]
    assert float(loss) == pytest.approx(float(losses.supervised_loss(logits, LABELS)), rel=1e-5)
    found = np.mean(logits.numpy().argmax(1) == LABELS.numpy())
    assert float(values["supervised_acc"]) == pytest.approx(found)


PARTLY = tf.constant([0, -1, 2, -1, -1, 2, -1, 1], tf.int64)


def numpy_probe(logits, labels):
    """Mean cross-entropy and accuracy of the labelled rows, in float64."""
    logits, labels = np.asarray(logits, np.float64), np.asarray(labels)
    known = labels >= 0
    logits, labels = logits[known], labels[known]
    entropies = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(labels)), labels]
    return entropies.mean(), np.mean(logits.argmax(axis=1) == labels)


def test_the_probe_learns_from_labelled_images_alone(views):
    model = network(num_classes=3)
    _, values = loss_of(SimCLR(model), views, PARTLY)
    logits = model(tf.concat(views, axis=0), training=True)["logits"]
    loss, found = numpy_probe(logits, tf.concat([PARTLY, PARTLY], axis=0))
    assert float(values["supervised_loss"]) == pytest.approx(loss, rel=1e-4)
    assert float(values["supervised_acc"]) == pytest.approx(found)


@pytest.mark.slow
def test_supervised_training_learns_from_labelled_images_alone(views):
    model = network(num_classes=3, projector=())
    loss, values = loss_of(Supervised(model), views[:1], PARTLY)
    expected, found = numpy_probe(model(views[0], training=True)["logits"], PARTLY)
    assert float(loss) == pytest.approx(expected, rel=1e-4)
    assert float(values["supervised_acc"]) == pytest.approx(found)


@pytest.mark.slow
def test_a_batch_without_labels_trains_the_encoder_alone(views):
    """The row of metrics has no NaN, and the probe does not move."""
    model = network(num_classes=3)
    method = SimCLR(model)
    method.compile(keras.optimizers.SGD(0.1))
    head, stem = model.supervised_head.kernel.numpy(), model.trainable_variables[0].numpy()
    logs = method.train_step((views, tf.fill([8], tf.constant(-1, tf.int64))))
    assert float(logs["supervised_loss"]) == 0 and float(logs["supervised_acc"]) == 0
    assert all(np.isfinite(float(value)) for value in logs.values())
    np.testing.assert_array_equal(model.supervised_head.kernel, head)
    assert np.abs(model.trainable_variables[0] - stem).max() > 0


def test_classes_that_do_not_count_are_left_out_of_the_accuracy_of_several_labels(views):
    model = network(num_classes=3, projector=())
    labels = np.random.default_rng(0).integers(-1, 2, (8, 3))
    _, values = loss_of(MultiLabel(model), views[:1], tf.constant(labels))
    logits = model(views[0], training=True)["logits"].numpy()
    found = ((logits > 0) == (labels == 1))[labels >= 0].mean()
    assert float(values["supervised_acc"]) == pytest.approx(found)
