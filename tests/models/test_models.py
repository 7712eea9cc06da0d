"""Layers and networks: formulas against NumPy, configs, freezing, errors."""

import dataclasses
import inspect
import json

import numpy as np
import pytest
import tensorflow as tf
import toy

from simclr_tf.errors import UserError
from simclr_tf.models import (
    Architecture,
    Dense,
    Head,
    Network,
    ResNet,
    SupervisedHead,
    blocks,
    resnet,
    simclr_projector,
)
from simclr_tf.models.batch_norm import BatchNormalization, batch_norm_variables

TINY = Architecture(
    resnet_depth=18, cifar_stem=True, projector=simclr_projector(num_layers=2), num_classes=10
)
NORM = {"momentum": 0.9, "synchronized": True}
RNG = np.random.RandomState(0)


def images(count=4, size=32):
    return np.random.RandomState(1).uniform(size=(count, size, size, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def network():
    return Network(TINY)


@pytest.mark.parametrize("shape", [(6, 5, 4, 3), (8, 3)])
@pytest.mark.parametrize("center", [True, False])
def test_batch_norm_is_its_formula(shape, center):
    inputs = RNG.normal(2, 3, shape).astype(np.float32)
    layer = BatchNormalization(momentum=0.8, epsilon=1e-3, center=center)
    layer.build((None, *shape[1:]))
    gamma, beta = RNG.uniform(0.5, 1.5, (2, 3)).astype(np.float32)
    layer.gamma.assign(gamma)
    if center:
        layer.beta.assign(beta)
    else:
        beta = np.zeros(3)
        assert layer.beta is None
    assert len(layer.weights) == 3 + center
    axes = tuple(range(len(shape) - 1))
    mean, variance = inputs.mean(axes), inputs.var(axes)  # biased
    outputs = layer(inputs, training=True)
    expected = gamma * (inputs - mean) / np.sqrt(variance + 1e-3) + beta
    np.testing.assert_allclose(outputs, expected, atol=1e-5)
    moving_mean, moving_variance = 0.2 * mean, 0.8 + 0.2 * variance
    np.testing.assert_allclose(layer.moving_mean, moving_mean, rtol=1e-5)
    np.testing.assert_allclose(layer.moving_variance, moving_variance, rtol=1e-5)

    expected = gamma * (inputs - moving_mean) / np.sqrt(moving_variance + 1e-3) + beta
    np.testing.assert_allclose(layer(inputs), expected, atol=1e-5)
    layer.trainable = False
    np.testing.assert_array_equal(layer(inputs, training=True), layer(inputs, training=False))
    np.testing.assert_allclose(layer.moving_mean, moving_mean, rtol=1e-5)


def convolve(inputs, kernel, stride, before, after):
    """Cross-correlation of (height, width, c) by loops, with zeros before and after."""
    padded = np.pad(inputs, [(before, after), (before, after), (0, 0)])
    size = kernel.shape[0]
    steps = range(0, padded.shape[0] - size + 1, stride)
    return np.array(
        [
            [np.einsum("ijc,ijco->o", padded[y : y + size, x : x + size], kernel) for x in steps]
            for y in steps
        ]
    )


@pytest.mark.parametrize(
    ("size", "stride", "image", "before", "after"),
    [(3, 1, 7, 1, 1), (3, 2, 8, 1, 1), (3, 2, 7, 1, 1), (7, 2, 8, 3, 3), (1, 2, 8, 0, 0)],
)
def test_convolution_pads_symmetrically(size, stride, image, before, after):
    layer = blocks.Convolution(4, size, stride)
    inputs = RNG.normal(size=(1, image, image, 3)).astype(np.float32)
    outputs = layer(inputs)
    expected = convolve(inputs[0], layer.kernel.numpy(), stride, before, after)
    np.testing.assert_allclose(outputs[0], expected, atol=1e-5)


def test_padding_of_even_kernels_puts_the_rest_after():
    padded = blocks.pad(tf.ones([1, 2, 2, 1]), 2)
    np.testing.assert_array_equal(padded[0, :, :, 0], [[1, 1, 0], [1, 1, 0], [0, 0, 0]])


def test_kernels_start_as_truncated_normals_with_variance_1_over_fan_in():
    layer = blocks.Convolution(256, 3)
    layer.build((None, None, None, 64))
    kernel = layer.kernel.numpy() * np.sqrt(9 * 64)
    assert np.std(kernel) == pytest.approx(1, abs=0.01)
    assert np.abs(kernel).max() < 2 / 0.879  # cut at two standard deviations


@pytest.mark.parametrize("stride", [1, 2])
def test_pooled_shortcut_averages_with_the_zeros_around(stride):
    layer = blocks.Shortcut(1, stride, pooled=True, norm=NORM)
    inputs = RNG.normal(size=(1, 4, 4, 1)).astype(np.float32)
    layer(inputs)
    layer.convolution.kernel.assign(tf.ones([1, 1, 1, 1]))
    outputs = layer(inputs)[0, :, :, 0] * np.sqrt(1 + 1e-5)
    image = inputs[0, :, :, 0]
    if stride == 2:
        expected = image.reshape(2, 2, 2, 2).mean((1, 3))
    else:  # SAME leaves out of the mean what lies outside
        edge = np.pad(image, [(0, 1), (0, 1)], mode="edge")
        expected = (edge[:-1, :-1] + edge[1:, :-1] + edge[:-1, 1:] + edge[1:, 1:]) / 4
    np.testing.assert_allclose(outputs, expected, atol=1e-6)


@pytest.mark.parametrize(("filters", "ratio", "width"), [(64, 0.0625, 32), (1024, 0.0625, 64)])
def test_selective_kernel_mixes_streams_by_softmax(filters, ratio, width):
    layer = blocks.SelectiveKernel(filters, 1, ratio, NORM)
    inputs = RNG.normal(size=(2, 3, 3, 4)).astype(np.float32)
    outputs = layer(inputs).numpy()
    assert layer.squeeze.filters == width
    both = np.maximum(layer.norm(layer.convolution(inputs)), 0)
    first, second = both[..., :filters], both[..., filters:]
    context = layer.squeeze_norm(layer.squeeze((first + second).mean((1, 2), keepdims=True)))
    logits = layer.excite(np.maximum(context, 0)).numpy()
    weight = 1 / (1 + np.exp(logits[..., filters:] - logits[..., :filters]))
    np.testing.assert_allclose(outputs, weight * first + (1 - weight) * second, atol=1e-5)


def test_squeeze_and_excitation_is_narrow_by_nominal_filters():
    layer = blocks.SqueezeExcitation(64, 0.25, 256)
    inputs = RNG.normal(size=(2, 3, 3, 256)).astype(np.float32)
    outputs = layer(inputs)
    assert [tuple(v.shape) for v in layer.weights] == [
        (1, 1, 256, 16),
        (16,),
        (1, 1, 16, 256),
        (256,),
    ]
    squeeze, _, excite, _ = (v.numpy() for v in layer.weights)
    hidden = np.maximum(inputs.mean((1, 2)) @ squeeze[0, 0], 0)
    gate = 1 / (1 + np.exp(-(hidden @ excite[0, 0])))
    np.testing.assert_allclose(outputs, inputs * gate[:, None, None], atol=1e-5)
    assert blocks.SqueezeExcitation(3, 0.1, 3).squeeze.filters == 1


@pytest.mark.parametrize("depth", [18, pytest.param(50, marks=pytest.mark.slow)])
def test_residual_branches_start_at_zero(depth):
    """A block without projection is the identity (behind its ReLU) at the start."""
    encoder = resnet(depth)
    last = "norm2" if depth == 18 else "norm3"
    first = []
    for block in (b for group in encoder.groups for b in group):
        assert not np.any(getattr(block, last).gamma)
        first.append(block.norm1.gamma.numpy())
    assert all(np.all(gamma == 1) for gamma in first)
    assert np.all(encoder.groups[0][0].shortcut.norm.gamma == 1)
    block = encoder.groups[1][1]
    inputs = RNG.uniform(size=(1, 4, 4, block.weights[0].shape[2])).astype(np.float32)
    np.testing.assert_array_equal(block(inputs), inputs)


@pytest.mark.parametrize(
    ("arguments", "size", "strides", "channels"),
    [
        ({"depth": 18, "cifar_stem": True}, 32, (1, 1, 1, 2, 4, 8), (64, 64, 64, 128, 256, 512)),
        ({"depth": 18}, 64, (2, 4, 4, 8, 16, 32), (64, 64, 64, 128, 256, 512)),
        pytest.param(
            *({"depth": 18, "sk_ratio": 0.1}, 64, (2, 4, 4, 8, 16, 32)),
            (64, 64, 64, 128, 256, 512),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *({"width_multiplier": 2}, 64, (2, 4, 4, 8, 16, 32)),
            (128, 128, 512, 1024, 2048, 4096),
            marks=pytest.mark.thorough,
        ),
    ],
)
def test_endpoints_have_the_original_s_names_and_shapes(arguments, size, strides, channels):
    with tf.Graph().as_default():
        encoder = resnet(**arguments)
        endpoints = encoder.endpoints(tf.zeros([2, size, size, 3]))
    shapes = {name: tuple(value.shape) for name, value in endpoints.items()}
    names = ["initial_conv", "initial_max_pool", *(f"block_group{g}" for g in range(1, 5))]
    expected = {
        name: (2, size // stride, size // stride, c)
        for name, stride, c in zip(names, strides, channels, strict=True)
    }
    assert shapes == expected | {"final_avg_pool": (2, channels[-1])}
    assert encoder.feature_dim == channels[-1]


def test_initial_conv_is_taken_before_batch_norm_and_h_is_the_mean(network):
    endpoints = network.encoder.endpoints(images())
    first = network.encoder.stem.convolutions[0](images())
    np.testing.assert_array_equal(endpoints["initial_conv"], first)
    mean = endpoints["block_group4"].numpy().mean((1, 2))
    np.testing.assert_allclose(endpoints["final_avg_pool"], mean, rtol=1e-5)


@pytest.mark.parametrize("size", [16, 18])
@pytest.mark.parametrize("padding", ["same", "symmetric"])
def test_max_pooling_is_padded_after_the_image_or_on_each_side(padding, size):
    stem = blocks.Stem(4, False, False, NORM, padding)
    inputs = RNG.uniform(size=(1, size, size, 3)).astype(np.float32)
    before_norm, outputs = stem(inputs)
    shown = np.maximum(before_norm[0] / np.sqrt(1 + 1e-5), 0)
    odd = len(shown) % 2
    before = 1 if padding == "symmetric" or odd else 0
    padded = np.pad(shown, [(before, 1), (before, 1), (0, 0)], constant_values=-np.inf)
    places = range((len(padded) - 3) // 2 + 1)
    expected = [
        [padded[2 * i : 2 * i + 3, 2 * j : 2 * j + 3].max((0, 1)) for j in places] for i in places
    ]
    np.testing.assert_allclose(outputs[0], expected, atol=1e-5)


@pytest.mark.thorough
@pytest.mark.parametrize(("activations", "tolerance"), [("float32", 1e-6), ("bfloat16", 1e-2)])
def test_an_encoder_subtracts_and_divides_before_it_pads(activations, tolerance):
    """As one that is given images that were standardized before, in float32 in any case."""
    mean, deviation = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    values = {"input_mean": mean, "input_deviation": deviation}
    with toy.in_place_of_resnet_18():
        made = Network(dataclasses.replace(TINY, **values), activations)
        plain = Network(TINY, activations)
    for of_made, of_plain in zip(made.weights, plain.weights, strict=True):
        of_plain.assign(of_made)
    before = (images(2) - np.float32(mean)) / np.float32(deviation)
    for called in (lambda n, x: n(x)["final_avg_pool"], lambda n, x: n.projections(x)[-1]):
        found, expected = (
            tf.cast(called(*of), tf.float32) for of in ((made, images(2)), (plain, before))
        )
        np.testing.assert_allclose(found, expected, atol=tolerance * np.abs(expected).max())
    assert np.abs(made.features(images(2)) - plain.features(images(2))).max() > 1e-2


def test_supervised_head_can_be_set_to_zero():
    head = SupervisedHead(5)
    inputs = RNG.normal(size=(3, 100)).astype(np.float32)
    assert np.any(head(inputs) != 0)
    assert np.std(head.kernel) == pytest.approx(0.01, rel=0.2)
    assert not np.any(head.bias)
    head.set_to_zero()
    np.testing.assert_array_equal(head(inputs), np.zeros((3, 5)))


# Values that are no defaults.
ENCODER = {
    "depth": 18,
    "width_multiplier": 2,
    "sk_ratio": 0.1,
    "se_ratio": 0.2,
    "cifar_stem": True,
    "batch_norm_decay": 0.8,
    "global_bn": False,
    "input_mean": (0.4, 0.5, 0.6),
    "input_deviation": (0.1, 0.2, 0.3),
    "pool_padding": "symmetric",
}
HEAD = {
    "name": "mine",
    "structure": (
        Dense(24, bias=True, norm=False, relu=False, start="uniform"),
        Dense(scale=False, center=False),
    ),
    "batch_norm_decay": 0.8,
    "global_bn": False,
}
NORMALIZATION = {
    "name": "mine",
    "momentum": 0.7,
    "epsilon": 0.1,
    "center": False,
    "scale": False,
    "gamma_initializer": "zeros",
    "synchronized": False,
}
ARCHITECTURE = Architecture(
    resnet_depth=18,
    width_multiplier=2,
    sk_ratio=0.1,
    se_ratio=0.2,
    cifar_stem=True,
    projector=HEAD["structure"],
    kept_proj_layers=1,
    ft_proj_selector=1,
    num_classes=7,
    batch_norm_decay=0.8,
    global_bn=False,
    input_mean=(0.4, 0.5, 0.6),
    input_deviation=(0.1, 0.2, 0.3),
    pool_padding="symmetric",
)


def rebuilt(layer):
    """What the configuration of a layer makes, by way of JSON."""
    return type(layer).from_config(json.loads(json.dumps(layer.get_config())))


def as_json(values):
    return json.loads(json.dumps(values, default=dataclasses.asdict))


def is_no_default(function, values):
    """Whether all arguments with a default are among the values, none of them with its default."""
    parameters = inspect.signature(function).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
    return all(values[name] != default for name, default in defaults.items())


@pytest.mark.parametrize(("kind", "values"), [(BatchNormalization, NORMALIZATION), (Head, HEAD)])
def test_layers_come_back_from_their_configuration(kind, values):
    assert is_no_default(kind, values)
    layer = kind(dtype="mixed_bfloat16", trainable=False, **values)
    again = rebuilt(layer)
    assert again.compute_dtype == "bfloat16" and not again.trainable
    for made in (layer, again):
        config = json.loads(json.dumps(made.get_config()))
        assert {name: config[name] for name in values} == as_json(values)
        assert {name: getattr(made, name) for name in values} == values


@pytest.mark.parametrize(
    "layer",
    [
        BatchNormalization(**NORMALIZATION),
        Head(**HEAD),
        Head(simclr_projector("nonlinear", 4, 24)[:2]),
        SupervisedHead(7, name="mine"),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_layers_from_a_configuration_compute_the_same(layer):
    """With the weights of the first, and its way to use and to update batch statistics."""
    inputs = RNG.normal(1, 2, size=(16, 12)).astype(np.float32)
    again = rebuilt(layer)
    assert again.name == layer.name
    for made in (layer, again):
        made(inputs)
    assert [v.shape for v in again.weights] == [v.shape for v in layer.weights]
    for variable, other in zip(layer.weights, again.weights, strict=True):
        variable.assign(RNG.uniform(0.5, 1.5, variable.shape))
        other.assign(variable)
    with_training = [] if isinstance(layer, SupervisedHead) else [{"training": True}]
    for options in (*with_training, {}):
        found, expected = again(inputs, **options), layer(inputs, **options)
        tf.nest.map_structure(np.testing.assert_array_equal, found, expected)
    for variable, other in zip(layer.weights, again.weights, strict=True):
        np.testing.assert_array_equal(other, variable)


def norms_of(module):
    """How the batch norms of a network use and update statistics."""
    norms = [layer for layer in module.submodules if isinstance(layer, BatchNormalization)]
    return {(norm.momentum, norm.synchronized) for norm in norms}


def test_an_encoder_comes_back_from_its_configuration():
    of_planes = ENCODER | {"channels": 2, "block_width": 0.5}
    assert is_no_default(ResNet, of_planes)
    encoder = ResNet(**of_planes)
    for made in (encoder, rebuilt(encoder)):
        assert made.get_config() == made.architecture == of_planes
        assert norms_of(made) == {(0.8, False)}
        assert made.stem.convolutions[0].filters == 128
        assert made.groups[0][0].shortcut.pool_strides == 1


@pytest.mark.slow
def test_a_network_comes_back_from_its_configuration():
    values = dataclasses.asdict(ARCHITECTURE)
    of_planes = dict.fromkeys(("color_space", "plane_groups", "view_width"))  # see test_lab
    of_others = {"encoder": None, "keras_model": "{}", "keras_features": 1}  # and test_own_encoder
    assert is_no_default(Architecture, values | of_planes | of_others)
    with tf.Graph().as_default():
        network = Network(ARCHITECTURE, activations="bfloat16", recompute=True)
        again = rebuilt(network)
    for made in (network, again):
        assert made.architecture == ARCHITECTURE
        assert made.activations == "bfloat16" and made.encoder.recompute
        assert made.encoder.compute_dtype == "bfloat16"
        assert made.encoder.architecture == ENCODER | {"channels": 3, "block_width": 1.0}
        assert made.projection_head.structure == HEAD["structure"][:1]
        assert norms_of(made) == {(0.8, False)}
        assert made.supervised_head.kernel.shape == (24, 7)
    assert [v.shape for v in again.weights] == [v.shape for v in network.weights]
    # 21 convolutions with batch norm, squeeze and excitation in 8 blocks, and both heads.
    assert len(again.weights) == 5 * 21 + 4 * 8 + 2 + 2


@pytest.mark.thorough
def test_a_network_from_a_configuration_computes_the_same(network):
    again = rebuilt(network)
    for variable, other in zip(network.weights, again.weights, strict=True):
        other.assign(variable)
    found, expected = again(images()), network(images())
    assert found.keys() == expected.keys()
    tf.nest.map_structure(np.testing.assert_array_equal, found, expected)


# Trainable tensors of ResNet-18: stem 3; group 1: 2 blocks of 6 and a shortcut of 3; and so on.
@pytest.mark.parametrize(
    ("groups", "trainable"),
    [
        (2, 30),
        *(pytest.param(*c, marks=pytest.mark.thorough) for c in ((-1, 63), (0, 60), (4, 0))),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in ((1, 45), (3, 15))),
    ],
)
def test_frozen_layers_do_not_change(groups, trainable):
    encoder = resnet(18, cifar_stem=True)
    encoder.freeze(groups)
    assert len(encoder.trainable_weights) == trainable
    parts = [encoder.stem, *(b for group in encoder.groups for b in group)]
    frozen = parts[: 1 + 2 * groups] if groups >= 0 else []
    before = [v.numpy() for part in frozen for v in part.weights]
    with tf.GradientTape() as tape:
        tape.watch(encoder.variables)
        loss = tf.reduce_sum(encoder(images(), training=True) ** 2)
    gradients = tape.gradient(loss, encoder.trainable_weights)
    assert all(gradient is not None for gradient in gradients)
    for old, variable in zip(before, (v for p in frozen for v in p.weights), strict=True):
        np.testing.assert_array_equal(old, variable)
    moving = [v for p in parts[len(frozen) :] for v in p.weights if "moving_mean" in v.name]
    assert all(np.any(variable.numpy()) for variable in moving)


@pytest.mark.thorough
def test_no_gradient_goes_below_the_frozen_groups():
    encoder = resnet(18, cifar_stem=True)
    encoder.freeze(2)
    inputs = tf.constant(images())
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        loss = tf.reduce_sum(encoder(inputs))
    assert tape.gradient(loss, inputs) is None


def test_frozen_batch_norm_uses_moving_averages():
    encoder = resnet(18, cifar_stem=True)
    encoder.freeze(4)
    inference = encoder(images(), training=False)
    np.testing.assert_array_equal(encoder(images(), training=True), inference)
    encoder.freeze(-1)
    assert np.any(encoder(images(), training=True) != inference)


@pytest.mark.parametrize("selector", [0, 1, 2, -1, -3])
def test_supervised_head_stands_on_the_selected_layer(selector):
    architecture = Architecture(
        resnet_depth=18,
        cifar_stem=True,
        projector=simclr_projector(num_layers=2, out_dim=16),
        num_classes=4,
        ft_proj_selector=selector,
    )
    network = Network(architecture)
    outputs = network(images(2))
    selected = outputs["projections"][selector].numpy()
    expected = selected @ network.supervised_head.kernel.numpy()
    np.testing.assert_allclose(outputs["logits"], expected, atol=1e-5)


def test_network_outputs(network):
    outputs = network(images())
    np.testing.assert_allclose(network.features(images()), outputs["final_avg_pool"], atol=1e-5)
    np.testing.assert_allclose(network.logits(images()), outputs["logits"], atol=1e-5)
    for public, internal in zip(network.projections(images()), outputs["projections"], strict=True):
        np.testing.assert_allclose(public, internal, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("training", [False, True])
def test_bfloat16_activations_are_those_of_float32_rounded(training):
    """Each of 21 layers rounds by up to 2^-9: 1e-2 was seen, with batch statistics 4e-2."""
    plain, rounded = Network(TINY), Network(TINY, activations="bfloat16")
    assert {v.dtype for v in rounded.weights} == {tf.float32}
    for variable, other in zip(plain.weights, rounded.weights, strict=True):
        if "gamma" in variable.name:  # residual branches that start at 0 would hide theirs
            variable.assign(tf.ones_like(variable))
        other.assign(variable)
    expected, found = (made(images(16), training=training) for made in (plain, rounded))
    assert found.pop("logits").dtype == tf.float32
    expected_logits = expected.pop("logits")
    assert found.keys() == expected.keys() and len(found) == 8
    for dtype, outputs in (("bfloat16", found), ("float32", expected)):
        assert {t.dtype.name for t in tf.nest.flatten(outputs)} == {dtype}
    for one, other in zip(tf.nest.flatten(found), tf.nest.flatten(expected), strict=True):
        error = tf.norm(tf.cast(one, tf.float32) - other) / tf.norm(other)
        assert 1e-4 < error < (0.1 if training else 3e-2)
    if not training:
        assert rounded.features(images(2)).dtype == tf.float32
        np.testing.assert_allclose(rounded.logits(images(16)), expected_logits, atol=3e-2)


def test_batch_norm_variables_are_found_by_type(network):
    found = {id(v) for v in batch_norm_variables(network)}
    named = {
        id(v) for v in network.trainable_weights if v.name.split("/")[-1][:4] in ("gamm", "beta")
    }
    assert found == named
    assert len(found) == 2 * 20 + 2 + 1 + 2


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: resnet(20), r"depth of a ResNet is one of \[18, .*Received: 20"),
        (lambda: resnet(18, width_multiplier=0), "whole number from 1. Received: 0"),
        (lambda: resnet(18, input_mean=(0, 0, 0)), "or neither.*deviation None"),
        (lambda: resnet(18, pool_padding="none"), "one of same, symmetric. Received: none"),
        (lambda: simclr_projector("mlp"), "one of none, linear, nonlinear. Received: mlp"),
        (lambda: simclr_projector(num_layers=0), "at least one layer. Received: 0"),
        (lambda: Dense(0), "at least one unit. Received: 0"),
        (lambda: Dense(start="zeros"), "normal, uniform, truncated. Received: zeros"),
        (
            lambda: Network(Architecture(resnet_depth=18, ft_proj_selector=4)),
            r"ft_proj_selector counts the 4 outputs .* to 3, .*Received: 4",
        ),
        (lambda: resnet(18).freeze(5), "fine_tune_after_block is -1 .* Received: 5"),
    ],
)
def test_errors_say_what_is_allowed(build, message):
    with pytest.raises(UserError, match=message):
        build()


def test_what_a_model_lacks_is_said():
    network = Network(Architecture(resnet_depth=18, cifar_stem=True, projector=()))
    with pytest.raises(UserError, match="no projection head"):
        network.projections(images(1))
    with pytest.raises(UserError, match="no supervised head"):
        network.logits(images(1))
