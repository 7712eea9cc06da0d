"""The fine-tuning protocol: settings, updates, and images with several labels."""

import numpy as np
import official_archives
import pytest
import recipes
import tensorflow as tf

from simclr_tf import checkpoints
from simclr_tf.checkpoints.restore import variable_paths
from simclr_tf.data import pipeline
from simclr_tf.losses.multi_label import multi_label_loss
from simclr_tf.models import Architecture, simclr_projector
from simclr_tf.models.batch_norm import BatchNormalization, batch_norm_variables
from simclr_tf.transfer import finetuning
from simclr_tf.transfer.finetuning import FitSettings
from simclr_tf.transfer.tasks import Task

pytestmark = pytest.mark.usefixtures("toy_encoder")


@pytest.mark.parametrize(
    ("num_examples", "expected"), [(75_750, 1 - 2560 / 75_750), (2_040, 0.9), (25_600, 0.9)]
)
def test_batch_norm_momentum(num_examples, expected):
    assert finetuning.batch_norm_momentum(num_examples, 256) == pytest.approx(expected)


@pytest.fixture(scope="module")
def stored(checkpoint):
    return checkpoints.read(checkpoint)


def values(network):
    return {name: variable.numpy() for name, variable in variable_paths(network).items()}


@pytest.fixture(scope="module")
def pets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pets")
    official_archives.pets(folder)
    return Task("pets", str(folder), check=False)


@pytest.fixture(scope="module")
def begun(stored, pets):
    """The network after a step that moves nothing."""
    return finetuning.train(
        Architecture(resnet_depth=18, cifar_stem=True, projector=simclr_projector(num_layers=2)),
        stored,
        pets.open("train"),
        FitSettings(steps=1, batch_size=8, image_size=8),
        learning_rate=1e-30,
        weight_decay=0.0,
    )


@pytest.mark.slow
def test_training_begins_at_the_checkpoint_with_a_new_head(checkpoint, begun, pets):
    before = values(checkpoints.load(checkpoint))
    assert begun.supervised_head.units == 2
    moved = [
        name
        for name, value in values(begun).items()
        if name in before and "moving" not in name and not np.array_equal(value, before[name])
    ]
    assert not moved
    momenta = {m.momentum for m in begun.submodules if isinstance(m, BatchNormalization)}
    assert momenta == {0.9}
    random = finetuning.train(
        begun.architecture,
        None,
        pets.open("train"),
        FitSettings(steps=1, batch_size=8, image_size=8),
        learning_rate=1e-30,
        weight_decay=0.0,
    )
    name = next(name for name in before if name.endswith("kernel"))
    assert not np.array_equal(values(random)[name], before[name])


@pytest.mark.slow
def test_two_steps_are_those_of_nesterov_momentum(stored, pets):
    """Against the rule by hand, with gradients of an independent tape."""
    settings = FitSettings(steps=2, batch_size=8, image_size=8, seed=3)
    rate, decay = 0.01, 1e-3
    architecture = Architecture(
        resnet_depth=18, cifar_stem=True, projector=simclr_projector(num_layers=2)
    )
    options = {"learning_rate": rate, "weight_decay": decay}
    trained = finetuning.train(architecture, stored, pets.open("train"), settings, **options)
    still = {"learning_rate": 1e-30, "weight_decay": 0.0}
    network = finetuning.train(
        architecture, stored, pets.open("train"), FitSettings(1, 8, 8, 3), **still
    )
    variables = network.trainable_variables
    undecayed = {id(v) for v in batch_norm_variables(network)}
    velocity = [np.zeros(v.shape, np.float32) for v in variables]
    batches = pipeline.training_dataset(
        pets.open("train"), recipes.finetuning(8), batch_size=8, seed=3
    )
    for step, (views, labels) in enumerate(batches.take(2)):
        with tf.GradientTape() as tape:
            logits = network(views[0], training=True)["logits"]
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
            loss = tf.reduce_mean(losses)
        gradients = tape.gradient(loss, variables, unconnected_gradients="zero")
        now = rate * (1 + np.cos(np.pi * step / 2)) / 2
        for i, (variable, gradient) in enumerate(zip(variables, gradients)):
            gradient = gradient.numpy()
            if id(variable) not in undecayed:
                gradient += decay / rate * variable.numpy()
            velocity[i] = 0.9 * velocity[i] - now * gradient
            variable.assign_add(0.9 * velocity[i] - now * gradient)
    for mine, theirs in zip(variables, trained.trainable_variables, strict=True):
        np.testing.assert_allclose(theirs.numpy(), mine.numpy(), atol=2e-5)


@pytest.mark.thorough
def test_predictions_are_of_the_test_views(begun, pets):
    test = pets.open("train+validation")
    logits, labels = finetuning.predict(begun, test, FitSettings(batch_size=7, image_size=8))
    assert logits.shape == (20, 2)
    np.testing.assert_array_equal(labels, [e["label"] for e in test.examples()])


def test_multi_label_loss():
    logits = np.array([[2.0, -1.0, 0.5], [0.0, 3.0, -2.0]])
    labels = np.array([[1, 0, -1], [0, 1, 1]])
    chance = 1 / (1 + np.exp(-logits))
    terms = np.where(labels == 1, -np.log(chance), -np.log(1 - chance)) * (labels >= 0)
    found = multi_label_loss(tf.constant(logits, tf.float32), tf.constant(labels))
    np.testing.assert_allclose(found, terms.sum(axis=1).mean(), rtol=1e-6)
