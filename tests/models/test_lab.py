"""Encoders of colour planes: joined ResNets, their heads, and what describes and converts them."""

import dataclasses
import json
import subprocess
import sys
from unittest import mock

import numpy as np
import pytest
import recorded
import tensorflow as tf
import toy

import simclr_tf
from simclr_tf import checkpoints
from simclr_tf.checkpoints import layout, restore
from simclr_tf.checkpoints.contradictions import contradictions
from simclr_tf.checkpoints.convert import convert
from simclr_tf.checkpoints.description import Description
from simclr_tf.checkpoints.stored_network import describe
from simclr_tf.errors import UserError
from simclr_tf.export import export_saved_model
from simclr_tf.json_files import DamagedFileError
from simclr_tf.models import Architecture, Dense, Network, ResNet
from simclr_tf.models.colors import to_planes
from simclr_tf.models.heads import Head
from simclr_tf.models.lab import LabEncoder
from simclr_tf.models.resnet import DEPTHS


@pytest.fixture(autouse=True, scope="module")
def one_block():
    """Networks of depth 18 have a block of full width, as `layout` knows it."""
    with mock.patch.dict(DEPTHS, {18: toy.TOY}):
        yield


PLANES = Architecture(
    18,
    cifar_stem=True,
    projector=(Dense(bias=True), Dense(6, bias=True, norm=False, relu=False)),
    num_classes=3,
    encoder="lab",
    view_width=0.5,
)
THREE = dataclasses.replace(
    PLANES, color_space="ydbdr", plane_groups=((0,), (1,), (2,)), ft_proj_selector=1
)


@pytest.fixture(scope="module")
def network():
    made = Network(PLANES)
    restore.assign(made, recorded.random_arrays(layout.network_variables(PLANES)))
    return made


@pytest.fixture(scope="module")
def images():
    return tf.constant(recorded.random_images()[:3, :8, :8])


def test_features_are_those_of_each_encoder_on_its_planes(network, images):
    """Joined, and each part goes through a head of its own."""
    planes = to_planes(images, "lab")
    features, projections = [], []
    for i, view in enumerate((planes[..., :1], planes[..., 1:])):
        alone = ResNet(18, cifar_stem=True, channels=view.shape[-1], block_width=0.5)
        alone.build(view.shape)
        alone.set_weights(network.encoder.streams[i].get_weights())
        head = Head(PLANES.projector)
        head.build((None, 256))
        head.set_weights(network.projection_head.heads[i].get_weights())
        features.append(alone(view))
        projections.append(head(features[-1])[-1])
    close = np.testing.assert_allclose
    close(network.features(images), tf.concat(features, axis=1), rtol=1e-5, atol=1e-5)
    close(network.projections(images)[-1], tf.concat(projections, axis=1), rtol=1e-5, atol=1e-5)
    assert network.encoder.feature_dim == PLANES.feature_dim == 512
    assert network.logits(images).shape == (3, 3)


@pytest.mark.parametrize("architecture", [PLANES, THREE], ids=["two", "three"])
def test_variables_are_known_without_the_network(architecture):
    found = {p: tuple(v.shape) for p, v in restore.variable_paths(Network(architecture)).items()}
    expected = layout.network_variables(architecture)
    assert found == {v.path: v.shape for v in expected}
    for names in zip(*expected, strict=True):
        if isinstance(names[0], str):
            assert len(set(names)) == len(names)


def test_the_stem_keeps_its_width():
    """As the official narrow and wide forms; depth 50 is not built."""
    for width, blocks, feature_dim in ((0.5, 32, 2048), (1, 64, 4096), (2, 128, 8192)):
        wide = dataclasses.replace(PLANES, resnet_depth=50, view_width=width, cifar_stem=False)
        shapes = {v.path: v.shape for v in layout.network_variables(wide)}
        assert shapes["encoder/streams/0/stem/convolutions/0/kernel"] == (7, 7, 1, 64)
        assert shapes["encoder/streams/1/stem/convolutions/0/kernel"] == (7, 7, 2, 64)
        assert shapes["encoder/streams/0/groups/0/0/convolution1/kernel"] == (1, 1, 64, blocks)
        assert wide.feature_dim == feature_dim
        assert shapes["supervised_head/kernel"] == (feature_dim, 3)


def test_recomputing_and_freezing_reach_every_encoder(images):
    made = Network(PLANES, recompute=True)
    assert [stream.recompute for stream in made.encoder.streams] == [True, True]
    made.encoder.start_residuals_at_one()
    groups = [group for stream in made.encoder.streams for group in stream.groups]
    gammas = [block.last_norm.gamma for group in groups for block in group]
    assert len(gammas) == 2 and all(np.all(gamma == 1) for gamma in gammas)
    made.encoder.freeze(4)
    assert not made.encoder.trainable_variables
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(made(images, training=True)["logits"])
    assert tape.gradient(loss, made.encoder.variables) == [None] * len(made.encoder.variables)


def test_colours_are_converted_in_float32_whatever_the_activations(images):
    made = Network(PLANES, activations="bfloat16")
    shown = []
    made.encoder.views = lambda seen: (
        shown.append(seen.dtype) or LabEncoder.views(made.encoder, seen)
    )
    assert made.encoder(images).dtype == tf.bfloat16 and shown == [tf.float32]


def test_it_comes_back_from_json_and_from_its_configuration(network, images):
    for architecture in (PLANES, THREE):
        values = json.loads(json.dumps(architecture.to_json()))
        assert Architecture.from_json(values, "a file") == architecture
    assert not {"encoder", "view_width", "plane_groups"} & Architecture().to_json().keys()
    copy = Network.from_config(network.get_config())
    copy.set_weights(network.get_weights())
    np.testing.assert_array_equal(copy.features(images), network.features(images))
    assert type(network.encoder).from_config(network.encoder.get_config()).feature_dim == 512
    head = network.projection_head
    assert type(head).from_config(head.get_config()).widths(512) == [512, 512, 12]


@pytest.mark.parametrize(
    "change",
    [{"encoder": "vit"}, {"color_space": "hsv"}, {"plane_groups": [[0], [3]]}]
    + [{"plane_groups": [[0], []]}, {"plane_groups": "0-12"}, {"view_width": "wide"}],
)
def test_damaged_descriptions_are_refused(change):
    with pytest.raises(DamagedFileError, match="damaged or of another version"):
        Architecture.from_json(PLANES.to_json() | change, "a file")


def test_what_does_not_go_together_is_refused(network):
    with pytest.raises(UserError, match="a mean and a deviation of its own"):
        Network(dataclasses.replace(PLANES, input_mean=(0, 0, 0), input_deviation=(1, 1, 1)))
    with pytest.raises(UserError, match=r"\(batch, height, width, 3\).*\(2, 8, 8, 1\)"):
        network.features(np.zeros((2, 8, 8, 1), np.float32))
    with pytest.raises(UserError, match="a channel at least"):
        ResNet(18, block_width=0.01)


def test_contradictions_are_said_in_words():
    assert contradictions(PLANES, PLANES) == []
    plain = Architecture(18, cifar_stem=True)
    (said,) = contradictions(PLANES, plain)
    assert said == "an encoder of colour planes, but the checkpoint has one of RGB images"
    wide = dataclasses.replace(THREE, view_width=1.0)
    assert contradictions(PLANES, wide) == [
        "--color_space=lab, but the checkpoint has ydbdr",
        "--planes=0-12, but the checkpoint has 0-1-2",
        "--view_width=0.5, but the checkpoint has 1.0",
    ]
    assert "2 encoders of planes 0-12 of lab, each ResNet-18 1x with blocks 0.5x" in describe(
        PLANES
    )


@pytest.mark.parametrize(
    ("to", "name"), [("torch", "n.safetensors"), ("keras", "n.weights.h5"), ("simclr_tf", "n")]
)
def test_conversion_there_and_back_is_exact(to, name, network, tmp_path):
    if to == "torch":
        pytest.importorskip("safetensors")
    convert(network, to, str(tmp_path / name), Description(PLANES))
    stored = checkpoints.read(tmp_path / name)
    assert stored.architecture == PLANES and not stored.missing() and not stored.unused
    for path, variable in restore.variable_paths(network).items():
        np.testing.assert_array_equal(stored.arrays[path], variable)


def test_pytorch_weights_without_their_description_are_refused(network, tmp_path):
    pytest.importorskip("safetensors")
    path = tmp_path / "n.safetensors"
    convert(network, "torch", str(path), Description(PLANES))
    (tmp_path / "n.json").unlink()
    with pytest.raises(UserError, match=r"n.safetensors: There are several encoders.* JSON file"):
        checkpoints.read(path)


def test_names_in_pytorch(network):
    """Each encoder and its head have the names of an ordinary network, under `streams.I.`."""
    from simclr_tf.checkpoints.torch_names import from_torch, to_torch

    arrays = {path: v.numpy() for path, v in restore.variable_paths(network).items()}
    state = to_torch(arrays, PLANES)
    assert state["streams.0.conv1.weight"].shape == (64, 1, 3, 3)
    assert state["streams.1.layer4.0.conv1.weight"].shape == (256, 64, 3, 3)
    assert state["streams.1.projection_head.1.linear.bias"].shape == (6,)
    assert state["fc.weight"].shape == (3, 512)
    alone = {n.removeprefix("streams.1."): a for n, a in state.items() if "streams.1." in n}
    found, unknown = from_torch(alone)
    kernel = arrays["encoder/streams/1/groups/3/0/convolution1/kernel"]
    np.testing.assert_array_equal(found["encoder/groups/3/0/convolution1/kernel"], kernel)
    assert not unknown


ELSEWHERE = """
import sys
sys.modules["simclr_tf"] = None  # as where it is not installed
import numpy, tensorflow as tf
served = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
jpeg = tf.io.read_file(sys.argv[2])
numpy.save(sys.argv[3], served(image_bytes=jpeg[tf.newaxis])["embedding"].numpy())
"""


@pytest.mark.slow
def test_an_exported_network_takes_a_jpeg_where_the_project_is_not_importable(tmp_path):
    made = Network(dataclasses.replace(PLANES, num_classes=None))
    arrays = recorded.random_arrays(layout.network_variables(made.architecture))
    restore.assign(made, arrays)
    export_saved_model(made, tmp_path / "1", image_size=8)
    pixels = tf.cast(255 * recorded.random_images()[0, :8, :8], tf.uint8)
    jpeg = tf.io.encode_jpeg(pixels, quality=100)
    tf.io.write_file(str(tmp_path / "a.jpg"), jpeg)
    paths = [str(tmp_path / name) for name in ("1", "a.jpg", "found.npy")]
    command = [sys.executable, "-I", "-c", ELSEWHERE, *paths]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    shown = tf.cast(tf.io.decode_jpeg(jpeg), tf.float32)[tf.newaxis] / 255
    found = np.load(tmp_path / "found.npy")
    np.testing.assert_allclose(found, made.features(shown), rtol=1e-4, atol=1e-5)
    again = simclr_tf.load(tmp_path / "1")
    np.testing.assert_allclose(again.features(shown), found, rtol=1e-4, atol=1e-5)
