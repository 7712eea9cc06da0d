"""Heads as data: shapes, formulas, initial weights, the recorded head of SimSiam."""

import dataclasses

import numpy as np
import pytest
import recorded
import tensorflow as tf

from simclr_tf.backend import keras
from simclr_tf.models import Dense, Head, blocks, simclr_projector
from simclr_tf.models.batch_norm import BatchNormalization
from simclr_tf.models.heads import ProjectionLayer, in_words, simclr_flags

RNG = np.random.RandomState(0)
TORCH = {"start": "uniform"}
# What PyTorch calls them.
LAYER = {"weight": "kernel", "bias": "bias"}
NORM = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}
# The projection heads of the methods' official code.
HEADS = {
    "moco_v1": (Dense(8, bias=True, norm=False, relu=False, **TORCH),),
    "moco_v2": (
        Dense(bias=True, norm=False, **TORCH),
        Dense(8, bias=True, norm=False, relu=False, **TORCH),
    ),
    "byol": (
        Dense(40, bias=True, start="truncated"),
        Dense(8, norm=False, relu=False, start="truncated"),
    ),
    "barlow": (Dense(40, **TORCH), Dense(40, **TORCH), Dense(40, norm=False, relu=False, **TORCH)),
    "vicreg": (
        Dense(40, bias=True, **TORCH),
        Dense(40, bias=True, **TORCH),
        Dense(40, norm=False, relu=False, **TORCH),
    ),
    "simsiam": (
        Dense(**TORCH),
        Dense(**TORCH),
        Dense(24, bias=True, center=False, scale=False, relu=False, **TORCH),
    ),
    "swav": (
        Dense(40, bias=True, **TORCH),
        Dense(8, bias=True, norm=False, relu=False, **TORCH),
    ),
}


@pytest.mark.parametrize(
    ("mode", "layers", "widths"),
    [
        ("none", 3, [32]),
        ("linear", 3, [32, 8]),
        ("nonlinear", 1, [32, 8]),
        ("nonlinear", 3, [32, 32, 32, 8]),
    ],
)
def test_simclr_projector(mode, layers, widths):
    head = Head(simclr_projector(mode, layers, out_dim=8))
    h = RNG.normal(size=(16, 32)).astype(np.float32)
    outputs = head(h)
    assert [tuple(o.shape) for o in outputs] == [(16, width) for width in widths]
    np.testing.assert_array_equal(outputs[0], h)
    for i, layer in enumerate(head.layers):
        last = i == len(head.layers) - 1
        assert (layer.norm.beta is None) == last
        assert not layer.dense.use_bias
        plain = outputs[i].numpy() @ layer.dense.kernel.numpy() / np.sqrt(1 + 1e-5)
        expected = plain if last else np.maximum(plain, 0)
        np.testing.assert_allclose(outputs[i + 1], expected, atol=1e-5)
        assert np.std(layer.dense.kernel) == pytest.approx(0.01, rel=0.2)


@pytest.mark.parametrize("name", HEADS)
def test_a_head_computes_what_its_layers_say(name):
    structure = HEADS[name]
    head = Head(structure)
    h = RNG.normal(size=(16, 32)).astype(np.float32)
    head(h)
    for variable in head.weights:
        variable.assign(RNG.normal(size=variable.shape))
    outputs = head(h, training=True)
    expected = h
    for layer, data, output in zip(head.layers, structure, outputs[1:], strict=True):
        values = {v.name.split("/")[-1].split(":")[0]: v.numpy() for v in layer.weights}
        made = {"kernel", *(["bias"] if data.bias else [])}
        if data.norm:
            made |= {"moving_mean", "moving_variance"}
            made |= {n for n, has in (("gamma", data.scale), ("beta", data.center)) if has}
        assert values.keys() == made
        expected = expected @ values["kernel"] + values.get("bias", 0)
        assert expected.shape[1] == (data.units or 32)
        if data.norm:
            deviation = np.sqrt(expected.var(0) + 1e-5)
            expected = (expected - expected.mean(0)) / deviation * values.get("gamma", 1)
            expected += values.get("beta", 0)
        expected = np.maximum(expected, 0) if data.relu else expected
        np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-4)


def test_weights_start_as_those_of_simclr_pytorch_and_haiku():
    keras.utils.set_random_seed(0)
    starts = ("normal", "uniform", "truncated")
    inputs, layers = 400, {}
    for start in starts:
        head = Head((Dense(500, bias=True, norm=False, start=start),))
        head.build((None, inputs))
        layers[start] = head.layers[0].dense
    kernels = {start: layer.kernel.numpy() * inputs**0.5 for start, layer in layers.items()}
    biases = {start: layer.bias.numpy() for start, layer in layers.items()}
    assert np.std(kernels["normal"]) == pytest.approx(0.01 * 20, rel=0.01)
    for values in (kernels["uniform"], biases["uniform"] * inputs**0.5):
        assert 0.98 < np.abs(values).max() <= 1
        assert np.std(values) == pytest.approx(3**-0.5, rel=0.1)
    assert 1.9 < np.abs(kernels["truncated"]).max() <= 2
    assert np.std(kernels["truncated"]) == pytest.approx(0.8796, rel=0.01)
    assert not np.any(biases["normal"]) and not np.any(biases["truncated"])


def test_three_steps_of_simsiam_are_those_of_its_official_code():
    """Its projector and predictor on a dense layer with tanh; PyTorch's SGD, cosine by epoch.

    5e-6 was seen, of the largest value; the recording in float32 is 2e-6 off that in float64.
    """
    golden = np.load(recorded.GOLDEN / "simsiam_steps.npz")
    body = keras.layers.Dense(6, activation="tanh")
    last = Dense(5, bias=True, center=False, scale=False, relu=False)
    projector = Head((Dense(), Dense(), last))
    predictor = Head((Dense(4), Dense(bias=True, norm=False, relu=False)))
    for part, width in ((body, 6), (projector, 6), (predictor, 5)):
        part.build((None, width))
    names = {f"encoder.fc.{3 * i}": layer.dense for i, layer in enumerate(projector.layers)}
    names |= {f"encoder.fc.{3 * i + 1}": layer.norm for i, layer in enumerate(projector.layers)}
    names |= {"encoder.body": body, "predictor.0": predictor.layers[0].dense}
    names |= {"predictor.1": predictor.layers[0].norm, "predictor.3": predictor.layers[1].dense}
    places = {
        f"{name}.{there}": getattr(layer, here)
        for name, layer in names.items()
        for there, here in (NORM if isinstance(layer, BatchNormalization) else LAYER).items()
        if getattr(layer, here) is not None
    }
    for name, variable in places.items():
        variable.assign(golden[f"initial/{name}"].T)
    frozen = projector.layers[2].dense.bias  # its batch norm takes it away again
    trained = [v for v in places.values() if v.trainable and v is not frozen]
    slots = [np.zeros(v.shape, np.float32) for v in trained]
    rate, momentum, weight_decay = golden["lr_momentum_weightdecay"]

    for step, views in enumerate(golden["x"]):
        with tf.GradientTape() as tape:
            z = [projector(body(view), training=True)[-1] for view in views]
            p = [predictor(one, training=True)[-1] for one in z]
            loss = -(cosine(p[0], z[1]) + cosine(p[1], z[0])) / 2
        gradients = tape.gradient(loss, trained)
        for i, (variable, gradient) in enumerate(zip(trained, gradients, strict=True)):
            slots[i] = momentum * slots[i] + gradient + weight_decay * variable
            variable.assign_sub(rate * (1 + np.cos(np.pi * step / 3)) / 2 * slots[i])
        for name, variable in places.items():
            if f"after/{name}" in golden:  # all but those that are 0 but for rounding
                found = variable.numpy().T
                if name.endswith("running_var"):  # PyTorch's is that of n - 1 of n = 8 rows
                    start = 0.9 ** (2 * step + 2)
                    found = start + (found - start) * 8 / 7
                expected = golden[f"after/{name}"][step]
                scale = np.abs(expected).max()
                np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * scale, err_msg=name)


def cosine(predictions, targets):
    """Mean cosine of rows, without gradient into the targets."""
    targets = tf.stop_gradient(targets)
    rows = [v / tf.norm(v, axis=1, keepdims=True) for v in (predictions, targets)]
    return tf.reduce_mean(tf.reduce_sum(rows[0] * rows[1], axis=1))


def test_flags_of_a_head_of_simclr():
    for mode, layers in (("linear", 1), ("nonlinear", 2), ("nonlinear", 3)):
        assert simclr_flags(simclr_projector(mode, layers, 16)) == {
            "proj_head_mode": mode,
            "num_proj_layers": layers,
            "proj_out_dim": 16,
        }
    assert simclr_flags(simclr_projector("none")) == {"proj_head_mode": "none"}
    assert [name for name, structure in HEADS.items() if simclr_flags(structure)] == []
    assert simclr_flags((Dense(),)) is None
    started = tuple(dataclasses.replace(d, start="uniform") for d in simclr_projector())
    assert simclr_flags(started)["num_proj_layers"] == 3


def test_heads_in_words():
    assert in_words(HEADS["simsiam"][1:]) == (
        "dense as wide as the input, batch norm, ReLU; "
        "dense to 24 with bias, batch norm without scale and offset"
    )
    assert in_words(()) == "no layers"


def test_sums_in_bfloat16_do_not_stop_to_grow():
    """Means over pixels, and the gradient of a bias, which is a sum over the batch."""
    rows = tf.cast(tf.random.stateless_uniform((2, 56, 56, 4), (1, 2)), tf.bfloat16)
    exact = tf.reduce_mean(tf.cast(rows, tf.float64), axis=[1, 2])
    mean = blocks.spatial_mean(rows)
    assert mean.dtype == tf.bfloat16
    np.testing.assert_allclose(tf.cast(mean, tf.float64), exact, rtol=2**-8)
    dense = Dense(3, bias=True, norm=False, relu=False)
    layer = ProjectionLayer(dense, 3, 0.9, False, dtype="mixed_bfloat16")
    inputs = tf.ones((4096, 2), tf.bfloat16)
    with tf.GradientTape() as tape:
        outputs = layer(inputs)
        loss = tf.reduce_sum(tf.cast(outputs, tf.float32))
    assert outputs.dtype == tf.bfloat16
    gradient = tape.gradient(loss, layer.dense.bias)
    np.testing.assert_allclose(tf.cast(gradient, tf.float32), [4096.0] * 3, rtol=1e-6)
