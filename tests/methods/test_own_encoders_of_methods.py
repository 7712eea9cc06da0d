"""Every method trains an encoder of the user's own, but for those that have their own."""

import numpy as np
import pytest
import tensorflow as tf
from every_method import SMALL, SMALL_OF

from simclr_tf import Pretraining
from simclr_tf.backend import keras
from simclr_tf.errors import UserError
from simclr_tf.experiment.config import config_class
from simclr_tf.flag import flag_fields
from simclr_tf.methods import METHODS

PIXELS = np.random.default_rng(0).integers(0, 256, (64, 12, 12, 3)).astype(np.uint8)
OF_PLANES = {"cmc", "predictive"}
OF_RESNETS = {"resnet_depth"}


def pretraining(name, **flags):
    known = {field.name for _, field in flag_fields(config_class(name))} - OF_RESNETS
    settings = {n: value for n, value in (SMALL | SMALL_OF.get(name, {})).items() if n in known}
    encoder = keras.Sequential(
        [
            keras.Input((None, None, 3)),
            keras.layers.Conv2D(6, 3, activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.GlobalAveragePooling2D(),
        ]
    )
    images = (PIXELS, np.arange(64) % 3)
    return Pretraining(images, name, encoder=encoder, **settings | flags)


@pytest.mark.parametrize("name", sorted(METHODS.keys() - OF_PLANES))
def test_gradients_reach_all_of_the_encoder(name):
    keras.utils.set_random_seed(0)
    training = pretraining(name)
    method, draws = training.method, np.random.default_rng(1)
    method.optimizer = keras.optimizers.SGD()  # which counts steps
    views = tuple(
        tf.constant(draws.uniform(size=(16, view.size, view.size, 3)), tf.float32)
        for view in training.recipe
    )
    labels, numbers = tf.range(16, dtype=tf.int64) % 3, tf.range(16, dtype=tf.int64)
    _, values, gradients = method.values_and_gradients(views, labels, numbers)
    assert values.keys() == set(method.metric_names)
    assert np.isfinite([float(value) for value in values.values()]).all()
    found = {id(v): g for v, g in zip(method.trained_variables, gradients, strict=True)}
    for variable in training.network.encoder.trainable_variables[:2]:
        assert np.abs(found[id(variable)].numpy()).max() > 0, variable.name
    assert not any(v.name.startswith("batch_norm") for v in method.decayed_variables)


@pytest.mark.parametrize(("name", "warns"), [("moco", True), ("simclr", False)])
def test_moco_says_that_batch_norm_of_keras_has_no_groups(name, warns, caplog):
    """Nor does it refuse a batch that groups do not divide."""
    pretraining(name, train_batch_size=9)
    assert ("which --bn_groups do not reach" in caplog.text) == warns


@pytest.mark.parametrize("name", sorted(OF_PLANES))
def test_encoders_of_planes_stay_their_own(name):
    with pytest.raises(UserError, match=f"{name} has encoders of its own"):
        pretraining(name)
