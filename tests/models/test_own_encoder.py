"""Encoders of the user's own in place of a ResNet, and models of Keras around ours."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf

import simclr_tf
from simclr_tf import checkpoints
from simclr_tf.backend import keras
from simclr_tf.checkpoints.contradictions import contradictions
from simclr_tf.checkpoints.convert import ENCODER_FILE, convert
from simclr_tf.checkpoints.description import Description
from simclr_tf.checkpoints.loading import load_into
from simclr_tf.checkpoints.restore import variable_paths
from simclr_tf.errors import UserError
from simclr_tf.export import export_saved_model
from simclr_tf.models import Architecture, Network, resnet, simclr_projector
from simclr_tf.models.lab import LabEncoder

pytestmark = pytest.mark.usefixtures("toy_encoder")

IMAGES = np.random.default_rng(0).uniform(size=(4, 8, 8, 3)).astype(np.float32)
HEADS = Architecture(18, projector=simclr_projector(num_layers=2, out_dim=8), num_classes=3)


def small(size=None, last=None):
    """A Keras model with a model inside, to 5 features; with `last` in place of the pooling."""
    inputs = keras.Input((size, size, 3))
    inside = keras.Sequential([keras.layers.Conv2D(5, 3), keras.layers.BatchNormalization()])
    outputs = keras.layers.Conv2D(4, 3, activation="relu")(inputs)
    outputs = (last or keras.layers.GlobalAveragePooling2D())(inside(outputs))
    return keras.Model(inputs, outputs, name="small")


def scatter(model):
    """Give all weights, also those that would start at 0 or 1, other values."""
    draws = np.random.default_rng(1)
    for variable in model.weights:
        variable.assign(draws.uniform(0.5, 1, variable.shape))
    return model


@pytest.fixture(scope="module")
def network():
    return scatter(Network(HEADS, encoder=small()))


@pytest.fixture(scope="module")
def saved(network, tmp_path_factory):
    path = str(tmp_path_factory.mktemp("saved") / "one")
    convert(network, "simclr_tf", path, Description(network.architecture, 7, 8))
    return path


def test_the_encoder_is_the_users_object_and_feeds_the_heads():
    encoder = scatter(small())
    network = Network(HEADS, encoder=encoder)
    assert network.encoder is encoder
    h = encoder(IMAGES, training=False)
    np.testing.assert_allclose(network.features(IMAGES), h, rtol=1e-6)
    z = network.projection_head(h)[-1]
    np.testing.assert_allclose(network.projections(IMAGES)[-1], z, atol=1e-6)
    kernel, bias = network.supervised_head.weights
    np.testing.assert_allclose(network.logits(IMAGES), h @ kernel + bias, atol=1e-6)
    assert set(network.call(IMAGES)) == {"final_avg_pool", "projections", "logits"}


def test_the_architecture_is_json_and_has_nothing_of_resnets(network):
    a = network.architecture
    values = json.loads(json.dumps(a.to_json()))
    assert Architecture.from_json(values, "a file") == a
    assert (values["encoder"], values["keras_features"], a.feature_dim) == ("keras", 5, 5)
    assert not {"resnet_depth", "cifar_stem", "plane_groups"} & values.keys()
    assert (a.projector, a.num_classes) == (HEADS.projector, 3)
    for lost in ("keras_model", "keras_features"):
        rest = {name: value for name, value in values.items() if name != lost}
        with pytest.raises(UserError, match="a file is damaged.* lacks keras_model or keras_feat"):
            Architecture.from_json(rest, "a file")


def test_copies_have_weights_of_their_own(network):
    copy = Network.from_config(network.get_config())
    copy.set_weights(network.get_weights())
    np.testing.assert_array_equal(copy.features(IMAGES), network.features(IMAGES))
    scattered = network.features(IMAGES).numpy()
    copy.encoder.weights[0].assign_add(tf.ones_like(copy.encoder.weights[0]))
    np.testing.assert_array_equal(network.features(IMAGES), scattered)


def test_every_variable_has_one_path_which_checkpoints_have_too(network, saved):
    paths = variable_paths(network)
    assert len(paths) == len(network.weights)
    assert "encoder/layer_with_weights-1/layer_with_weights-1/moving_mean" in paths
    stored = checkpoints.read(saved)
    assert stored.arrays.keys() == paths.keys()
    assert not (stored.unused or stored.missing())


def test_what_is_saved_is_loaded_again(network, saved):
    loaded = simclr_tf.load(saved)
    assert loaded.architecture == network.architecture
    np.testing.assert_array_equal(loaded.features(IMAGES), network.features(IMAGES))
    np.testing.assert_array_equal(loaded.logits(IMAGES), network.logits(IMAGES))
    found = checkpoints.read(saved).found("one")
    assert found == (
        "found: converted checkpoint one, small of Keras, h of 5, projection head of 2 layers to "
        "8, supervised head of 3 classes, step 7"
    )


def test_it_is_converted_to_keras_and_not_to_torch(network, tmp_path):
    about = Description(network.architecture)
    convert(network, "keras", str(tmp_path / "one.weights.h5"), about)
    loaded = simclr_tf.load(tmp_path / "one.weights.h5")
    np.testing.assert_array_equal(loaded.logits(IMAGES), network.logits(IMAGES))
    with pytest.raises(UserError, match="Give another format: simclr_tf, keras"):
        convert(network, "torch", str(tmp_path / "one.safetensors"), about)


def test_its_directory_has_the_encoder_for_keras_or_is_not_there(network, tmp_path, monkeypatch):
    about = Description(network.architecture)
    convert(network, "simclr_tf", str(tmp_path / "whole"), about)
    encoder = keras.models.load_model(tmp_path / "whole" / ENCODER_FILE)
    np.testing.assert_allclose(encoder(IMAGES), network.features(IMAGES), rtol=1e-6)

    def full(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(network.encoder, "save", full)
    with pytest.raises(UserError, match="cannot be written: No space left"):
        convert(network, "simclr_tf", str(tmp_path / "cut"), about)
    assert not (tmp_path / "cut").exists()


def test_weights_go_into_an_encoder_of_the_same_kind_alone(network, saved):
    other = Network(HEADS, encoder=small())
    assert not np.allclose(other.features(IMAGES), network.features(IMAGES))
    load_into(other, saved)
    np.testing.assert_array_equal(other.features(IMAGES), network.features(IMAGES))
    with pytest.raises(UserError, match="an encoder of RGB images, but the .* one of Keras"):
        load_into(Network(dataclasses.replace(HEADS, cifar_stem=True)), saved)
    wider = keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(5, 1)])
    wider.add(keras.layers.GlobalAveragePooling2D())
    with pytest.raises(UserError, match="encoder cannot be loaded"):
        load_into(Network(HEADS, encoder=wider), saved)
    asked = dataclasses.replace(HEADS, resnet_depth=50)
    said = contradictions(asked, network.architecture, {"resnet_depth"})
    assert said == ["--resnet_depth=50, but the checkpoint has an encoder of Keras"]


@pytest.mark.slow
def test_it_is_exported_also_where_it_takes_one_size_alone(tmp_path):
    network = scatter(Network(HEADS, encoder=small(8, keras.layers.Flatten())))
    export_saved_model(network, tmp_path / "1", image_size=8)
    signatures = tf.saved_model.load(str(tmp_path / "1")).signatures
    found = signatures["features"](images=IMAGES)["features"]
    np.testing.assert_allclose(found, network.features(IMAGES), rtol=1e-5)
    pixels = np.full((2, 8, 8, 3), 51, np.uint8)
    assert signatures["logits"](images=IMAGES)["logits"].shape == (4, 3)
    logits = signatures["images"](images=pixels)["logits"]
    expected = network.logits(tf.fill((2, 8, 8, 3), 0.2))
    np.testing.assert_allclose(logits, expected, rtol=1e-5)


@pytest.mark.thorough
def test_random_layers_are_exported(tmp_path):
    """Keras keeps the state of what they draw in generators, which no layer tracks."""
    layers = [keras.layers.RandomFlip(), keras.layers.Dropout(0.5), small()]
    network = Network(HEADS, encoder=keras.Sequential([keras.Input((8, 8, 3)), *layers]))
    export_saved_model(network, tmp_path / "1", image_size=8)
    found = tf.saved_model.load(str(tmp_path / "1")).signatures["features"](images=IMAGES)
    np.testing.assert_allclose(found["features"], network.features(IMAGES), rtol=1e-5, atol=1e-6)


@pytest.mark.thorough
def test_what_is_served_is_float32_whatever_the_encoder_computes_in(tmp_path):
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        encoder = small()
    finally:
        keras.mixed_precision.set_global_policy("float32")
    network = scatter(Network(HEADS, encoder=encoder))
    export_saved_model(network, tmp_path / "1", image_size=8)
    found = tf.saved_model.load(str(tmp_path / "1")).signatures["endpoints"](images=IMAGES)
    assert {value.dtype for value in found.values()} == {tf.float32}


def test_another_size_is_not_exported(tmp_path):
    network = Network(HEADS, encoder=small(8))
    with pytest.raises(UserError, match="takes images of 8x8, and 16x16 are shown"):
        export_saved_model(network, tmp_path / "1", image_size=16)
    assert not list(tmp_path.iterdir())


def test_it_is_frozen_as_a_whole_and_then_is_as_in_evaluation():
    network = scatter(Network(HEADS, encoder=small()))
    network.freeze(4)
    assert len(network.trainable_weights) == 2  # of the supervised head
    found = network.call(IMAGES, training=True)["final_avg_pool"]
    np.testing.assert_allclose(found, network.features(IMAGES), rtol=1e-6)
    network.freeze(-1)
    assert network.encoder.trainable and network.projection_head.trainable
    with pytest.raises(UserError, match="has no groups of blocks. Received: 2"):
        network.freeze(2)


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        (lambda: keras.layers.Dense(3), "is a model of the Keras .* Received: .*Dense"),
        (lambda: small(last=keras.layers.ReLU()), r"GlobalAveragePooling2D.*\(None, .*, 5\)"),
        (
            lambda: keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten()]),
            r"takes images \(batch, height, width, 3\). This one takes \(None, 8, 8, 1\)",
        ),
        (
            lambda: small(last=keras.layers.Lambda(lambda rows: tf.reduce_mean(rows, [1, 2]))),
            "This encoder cannot be built again by Keras: .* lambdas are refused",
        ),
        (
            lambda: keras.Sequential([keras.layers.Conv2D(2, 3), keras.layers.Dense(2)]),
            r"end it with GlobalAveragePooling2D",
        ),
    ],
)
def test_models_that_are_no_encoders_are_refused_in_one_line(encoder, message):
    with pytest.raises(UserError, match=message) as error:
        Network(HEADS, encoder=encoder())
    assert "\n" not in str(error.value)


def test_a_model_of_another_keras_is_refused():
    if not tf.__version__.startswith(("2.15", "2.14")):
        other = tf.keras.Sequential([tf.keras.Input((8, 8, 3)), tf.keras.layers.Flatten()])
        with pytest.raises(UserError, match="build it with simclr_tf.backend.keras. Received: ker"):
            Network(HEADS, encoder=other)
    with pytest.raises(UserError, match="no residual blocks"):
        Network(HEADS, recompute=True, encoder=small())


@pytest.mark.slow
def test_a_model_of_keras_applications_is_an_encoder(tmp_path):
    encoder = keras.applications.MobileNet(
        input_shape=(32, 32, 3), alpha=0.25, include_top=False, weights=None, pooling="avg"
    )
    network = Network(HEADS, encoder=encoder)
    assert network.architecture.feature_dim == 256
    assert network.image_shape == (32, 32)
    path = str(tmp_path / "mobile")
    convert(network, "simclr_tf", path, Description(network.architecture))
    images = np.random.default_rng(2).uniform(size=(2, 32, 32, 3))
    np.testing.assert_array_equal(simclr_tf.load(path).features(images), network.features(images))


@pytest.mark.slow
def test_a_backbone_of_keras_cv_is_an_encoder(tmp_path):
    if keras is not tf.keras:
        pytest.skip("keras-cv speaks Keras 3 with newer versions of TensorFlow")
    import keras_cv

    backbone = keras_cv.models.ResNetV2Backbone(
        [16, 32], [2, 2], stackwise_strides=[1, 2], include_rescaling=False
    )
    pooled = keras.Sequential([backbone, keras.layers.GlobalAveragePooling2D()])
    network = Network(HEADS, encoder=pooled)
    path = str(tmp_path / "backbone")
    convert(network, "simclr_tf", path, Description(network.architecture))
    np.testing.assert_array_equal(simclr_tf.load(path).features(IMAGES), network.features(IMAGES))


@pytest.mark.parametrize(
    ("kind", "around"),
    [("resnet", "alone"), ("resnet", "sequential"), ("resnet", "functional"), ("lab", "alone")],
)
def test_models_around_our_encoders_are_saved_and_loaded_by_keras(kind, around, tmp_path):
    model = encoder = resnet(18, cifar_stem=True)
    if kind == "lab":
        model = encoder = LabEncoder(depth=18, cifar_stem=True)
        encoder.build((None, None, None, 3))
    inputs = keras.Input((8, 8, 3))
    if around == "sequential":
        model = keras.Sequential([inputs, encoder, keras.layers.Dense(2)])
    elif around == "functional":
        model = keras.Model(inputs, keras.layers.Dense(2)(encoder(inputs)))
    scatter(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert len(loaded.weights) == len(model.weights)
    np.testing.assert_allclose(loaded(IMAGES), model(IMAGES), rtol=1e-6)


def test_a_whole_network_is_saved_and_loaded_by_keras(network, tmp_path):
    network.save(tmp_path / "network.keras")
    loaded = keras.models.load_model(tmp_path / "network.keras")
    np.testing.assert_array_equal(loaded.logits(IMAGES), network.logits(IMAGES))
