"""What networks refuse, before TensorFlow ends the process, and what they take."""

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf.backend import keras
from simclr_tf.errors import UserError
from simclr_tf.models import Architecture, Network, resnet, simclr_projector

pytestmark = pytest.mark.usefixtures("toy_encoder")

IMAGES = np.random.default_rng(0).uniform(size=(4, 8, 8, 3))


@pytest.fixture(scope="module")
def network():
    return Network(
        Architecture(18, cifar_stem=True, projector=simclr_projector(out_dim=8), num_classes=3)
    )


@pytest.fixture(scope="module")
def calls(network):
    encoder = resnet(18, cifar_stem=True)
    return network.features, network.projections, network.logits, network, encoder


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (IMAGES[0], r"\(8, 8, 3\). Give a single image as images\[tf.newaxis\]"),
        (IMAGES[0, 0], r"\(batch, height, width, 3\). Received: \(8, 3\)"),
        (IMAGES[None], r"Received: \(1, 4, 8, 8, 3\)"),
        (IMAGES[..., :1], r"Received: \(4, 8, 8, 1\)"),
        (np.repeat(IMAGES, 2, axis=-1), r"Received: \(4, 8, 8, 6\)"),
        (
            (IMAGES * 255).astype(np.uint8),
            r"float in \[0, 1\]. Received: uint8. .* tf.cast\(images, tf.float32\) / 255",
        ),
        (tf.ones([2, 8, 8, 3], tf.int32), "Received: int32"),
        ([IMAGES[0], IMAGES[1, :4]], r"all of the same size. Received: something else \(list\)"),
        (None, "Received: something else"),
    ],
)
def test_what_is_no_batch_of_images_is_said_in_one_line(calls, images, message):
    """After batches of two sizes, which relax the shape that was traced."""
    for call in calls:
        call(IMAGES)
        call(IMAGES[:3])
        with pytest.raises(UserError, match=message) as error:
            call(images)
        assert "\n" not in str(error.value)
        call(IMAGES)


def test_every_float_type_and_lists_are_taken(network):
    expected = network.features(tf.constant(IMAGES, tf.float32))
    for images, tolerance in (
        (IMAGES, 1e-6),
        (list(IMAGES), 1e-6),
        (IMAGES.astype(np.float16), 1e-2),
        (tf.cast(IMAGES, tf.bfloat16), 5e-2),
    ):
        found = network.features(images)
        assert found.dtype == tf.float32
        np.testing.assert_allclose(found, expected, atol=tolerance * np.max(expected))


def test_other_batch_sizes_do_not_trace_again():
    network = Network(Architecture(18, cifar_stem=True, projector=()))
    images = tf.constant(IMAGES, tf.float32)
    for size in (4, 1, 2, 3):
        assert network.features(images[:size]).shape == (size, 512)
    assert network._features.experimental_get_tracing_count() == 2  # of 4 images, of any number


def test_graphs_of_unknown_shapes_go_on_working(network):
    images = tf.constant(IMAGES, tf.float32)
    expected = network.features(images)
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        replicated = Network(network.architecture)
        replicated.set_weights(network.get_weights())

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3])])
    def of_any_number(images):
        return network.features(images)

    @tf.function
    def on_replicas(images):
        return strategy.run(replicated.features, args=(images,))

    def one_by_one(images):
        return tf.map_fn(lambda image: network.features(image[tf.newaxis])[0], images)

    for function in (of_any_number, on_replicas, one_by_one):
        np.testing.assert_allclose(function(images), expected, atol=1e-5)


def test_an_unknown_rank_is_an_error_of_the_graph_and_not_the_end_of_the_process(network):
    """Also where Keras traces, which forgets the rank when it differs from call to call."""
    function = tf.function(network.features, input_signature=[tf.TensorSpec(None)])
    assert function(tf.constant(IMAGES, tf.float32)).shape == (4, 512)
    with pytest.raises(tf.errors.InvalidArgumentError, match="not compatible"):
        function(tf.constant(IMAGES[0], tf.float32))
    encoder = resnet(18, cifar_stem=True)
    expected = encoder.predict(IMAGES, verbose=0)
    with pytest.raises(tf.errors.InvalidArgumentError, match="not compatible"):
        encoder.predict(IMAGES[0], verbose=0)
    np.testing.assert_allclose(encoder.predict(IMAGES, verbose=0), expected, atol=1e-6)


def test_an_encoder_is_a_part_of_other_models():
    encoder = resnet(18, cifar_stem=True)
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, keras.layers.Dense(2)(encoder(inputs)))
    assert model(IMAGES).shape == (4, 2)
