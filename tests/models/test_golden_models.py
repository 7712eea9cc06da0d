"""Our networks against the original's: parameter counts, and outputs with the same weights.

Tolerances are relative to the largest value of each array. In inference mode both run the
same kernels, and only another CPU's rounding is allowed for. With batch statistics the
original computes a variance as E[x^2] - E[x]^2 in float32; ours takes two passes. The
difference grows with depth: 3e-5 was seen at the end of ResNet-18, 1e-3 after ResNet-50
with random weights.
"""

import json

import numpy as np
import pytest
import recorded
import tensorflow as tf

from simclr_tf.checkpoints import layout, originals, restore
from simclr_tf.models import Architecture, Network

COUNTS = json.loads((recorded.GOLDEN / "parameter_counts.json").read_text())
EVAL_TOLERANCE = 1e-5
TRAIN_TOLERANCE = 1e-4
SALIENT = ["initial_conv", "initial_max_pool"] + [f"block_group{g}" for g in range(1, 5)]


def assert_near(actual, expected, tolerance):
    scale = np.abs(expected).max()
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * scale)


def architecture_of(row):
    return Architecture(
        resnet_depth=row["depth"],
        width_multiplier=row["width"],
        sk_ratio=row["sk_ratio"],
        se_ratio=row["se_ratio"],
        cifar_stem=row["image_size"] <= 32,
        num_classes=1000,
    )


def rows(slow=lambda row: row["width"] >= 8, thorough=lambda row: False):
    """Networks that the original has built; some are slow, or thorough."""
    for values in COUNTS["rows"]:
        row = dict(zip(COUNTS["columns"], values, strict=True))
        marks = [pytest.mark.slow] if slow(row) else []
        marks += [pytest.mark.thorough] if thorough(row) else []
        yield pytest.param(row, id="-".join(map(str, values[:5])), marks=marks)


@pytest.mark.parametrize("row", rows())
def test_parameter_counts(row):
    sizes = {v.path: int(np.prod(v.shape)) for v in layout.network_variables(architecture_of(row))}
    encoder = {p: n for p, n in sizes.items() if p.startswith("encoder/")}
    head = {p: n for p, n in sizes.items() if p.startswith("projection_head/")}
    assert len(encoder) == row["resnet_n_tensors"]
    assert sum(encoder.values()) == row["resnet_total"]
    assert sum(n for p, n in encoder.items() if "/moving_" not in p) == row["resnet_trainable"]
    assert sum(head.values()) == row["proj_head_total"]
    assert (
        sum(sizes.values()) - sum(encoder.values()) - sum(head.values())
        == (row["supervised_head_1000"])
    )


def is_large(row):
    """All but ResNet-18, and the ResNet-50 that has everything."""
    everything = row["width"] == 1 and row["sk_ratio"] and row["se_ratio"]
    return row["depth"] > 18 and not (row["depth"] == 50 and everything and row["image_size"] > 32)


@pytest.mark.parametrize("row", rows(slow=is_large, thorough=lambda row: row["depth"] > 18))
def test_networks_have_these_variables(row):
    """Built in a graph, where variables take no memory."""
    architecture = architecture_of(row)
    with tf.Graph().as_default():
        network = Network(architecture)
    shapes = {path: tuple(v.shape) for path, v in restore.variable_paths(network).items()}
    assert shapes == {v.path: v.shape for v in layout.network_variables(architecture)}
    assert len(network.encoder.trainable_weights) == row["resnet_n_trainable_tensors"]
    trainable = sum(np.prod(v.shape) for v in network.encoder.trainable_weights)
    assert trainable == row["resnet_trainable"]
    head = sum(np.prod(v.shape) for v in network.projection_head.trainable_weights)
    assert head == row["proj_head_trainable"]


@pytest.fixture(scope="module", params=["tf1", "tf2"])
def original(request, tmp_path_factory):
    """(network with the recorded weights, their checkpoint, recorded outputs)."""
    name = f"original_{request.param}_r18"
    found = originals.read(recorded.unpack(name, tmp_path_factory.mktemp(name)))
    network = Network(found.architecture)
    restore.assign(network, found.arrays, require_projection_head=True)
    with np.load(recorded.GOLDEN / f"{name}.npz") as outputs:
        return network, found, dict(outputs)


def images_of(outputs):
    return outputs["x_uint8"].astype(np.float32) / 255


def test_inference_mode(original):
    network, found, outputs = original
    images = images_of(outputs)
    projections = network.projections(images)
    assert len(projections) == 4
    for i, projection in enumerate(projections):
        assert_near(projection, outputs[f"eval/proj{i}"], EVAL_TOLERANCE)
    assert_near(network.features(images), outputs["eval/proj0"], EVAL_TOLERANCE)
    if found.architecture.num_classes:
        assert_near(network.logits(images), outputs["eval/logits"], EVAL_TOLERANCE)
    after = restore.variable_paths(network)
    for path, array in found.arrays.items():
        np.testing.assert_array_equal(after[path].numpy(), array)


def test_endpoints(original):
    network, _, outputs = original
    endpoints = network(images_of(outputs))
    for name in SALIENT:
        endpoint = endpoints[name].numpy()
        assert endpoint.shape == tuple(outputs[f"eval/salient/{name}/shape"])
        for statistic in ("mean", "std"):
            actual = getattr(endpoint[:4], statistic)(axis=(1, 2))
            assert_near(actual, outputs[f"eval/salient/{name}/{statistic}"], EVAL_TOLERANCE)


def test_training_mode(original):
    network, found, outputs = original
    try:
        actual = network(images_of(outputs), training=True)
        variables = restore.variable_paths(network)
        moving = {p: v.numpy() for p, v in variables.items() if "/moving_" in p}
    finally:
        restore.assign(network, found.arrays)
    for i, projection in enumerate(actual["projections"]):
        assert_near(projection, outputs[f"train/proj{i}"], TRAIN_TOLERANCE)
    if found.architecture.num_classes is None:
        assert any(np.any(moving[path] != found.arrays[path]) for path in moving)
        return  # moving statistics were recorded for the TF2 code alone
    assert_near(actual["logits"], outputs["train/logits"], TRAIN_TOLERANCE)
    names = {v.path: v.tf2 for v in layout.network_variables(found.architecture)}
    for path, value in moving.items():
        assert_near(value, outputs[f"train/moving_after/{names[path]}"], 1e-5)
        # The update is seen, not only the old value, which makes up nine tenths.
        assert np.abs(value - found.arrays[path]).max() > 1e-3 * np.abs(value).max()


@pytest.mark.parametrize("name", [pytest.param("r50_sk_se", marks=pytest.mark.slow), "r18_sk"])
def test_attention_and_deep_stems(name):
    """Selective kernels, squeeze and excitation and ResNet-D, with weights made from names."""
    architecture = Architecture(**recorded.ATTENTION_NETWORKS[name])
    network = Network(architecture)
    restore.assign(network, recorded.random_arrays(layout.network_variables(architecture)))
    images = recorded.random_images()
    with np.load(recorded.GOLDEN / "original_attention.npz") as outputs:
        projections = network.projections(images[:4])
        assert_near(projections[0], outputs[f"{name}/eval/h"], EVAL_TOLERANCE)
        assert_near(projections[-1], outputs[f"{name}/eval/z"], EVAL_TOLERANCE)
        projections = network(images, training=True)["projections"]
        assert_near(projections[0][:4], outputs[f"{name}/train/h"], 1e-3)
        assert_near(projections[-1][:4], outputs[f"{name}/train/z"], 3e-3)
