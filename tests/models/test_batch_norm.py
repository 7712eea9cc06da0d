"""Batch norm in numbers: gradients against float64, compiled by XLA, its epsilon, bfloat16.

A ReLU whose input is carried over 0 by rounding changes the gradient of a whole network by as much
as 1e-3, whatever computes it. So the network here has a smooth nonlinearity: its gradient tells
how exact batch norm is, and not on which side of 0 a few inputs fell.
"""

import numpy as np
import pytest
import recorded
import tensorflow as tf

from simclr_tf.devices import replicas, strategies
from simclr_tf.errors import UserError
from simclr_tf.models import blocks
from simclr_tf.models.batch_norm import BatchNormalization, statistics
from simclr_tf.models.recompute import recomputed

EPSILON = 1e-5


@pytest.fixture(params=[False, True], ids=["exactly", "in one kernel"])
def has_gpu(request, monkeypatch):
    """On a GPU the kernel for training does all; it runs here too."""
    monkeypatch.setattr(strategies, "has_gpu", lambda: request.param)


def in_float64(x, gamma, beta):
    """Batch norm by its formula; TensorFlow differentiates it."""
    axes = list(range(x.shape.rank - 1))
    mean = tf.reduce_mean(x, axes)
    variance = tf.reduce_mean((x - mean) ** 2, axes)
    return gamma * (x - mean) / tf.sqrt(variance + EPSILON) + beta


def in_inference(layer, x, gamma, beta):
    """Batch norm by its formula with moving statistics."""
    return gamma * (x - layer.moving_mean) / np.sqrt(layer.moving_variance + EPSILON) + beta


def error(found, expected):
    """The norm of the difference, relative to that of what is expected."""
    return np.linalg.norm(np.float64(found) - expected) / np.linalg.norm(expected)


def test_first_step_gradients_are_those_of_float64():
    """Two batch norms, a convolution between them, and 131,072 pixels of 4 channels.

    The gradient of the pixels had an error of 2e-7 at most with 1 and 2 threads, with oneDNN and
    without; by TensorFlow's kernels for training, of 6e-6 to 2e-5. Those of the weights are sums
    over all pixels, in which much cancels out.
    """
    random = np.random.RandomState(0)
    images = tf.constant(random.uniform(-1, 2, size=(32, 64, 64, 4)), tf.float32)
    direction = random.normal(size=images.shape).astype(np.float32)
    convolution = blocks.Convolution(4, 1)
    first, second = BatchNormalization(), BatchNormalization()

    with tf.GradientTape() as tape:
        tape.watch(images)
        hidden = convolution(tf.nn.softplus(first(images, training=True)))
        outputs = tf.nn.softplus(second(hidden, training=True))
        loss = tf.reduce_sum(outputs * direction)
    layers = (first, convolution, second)
    sources = [images, *(weight for layer in layers for weight in layer.trainable_weights)]
    found = tape.gradient(loss, sources)

    exact = [tf.constant(source.numpy(), tf.float64) for source in sources]
    with tf.GradientTape() as tape:
        tape.watch(exact)
        pixels, gamma1, beta1, kernel, gamma2, beta2 = exact
        hidden = tf.nn.softplus(in_float64(pixels, gamma1, beta1)) @ kernel[0, 0]
        outputs = tf.nn.softplus(in_float64(hidden, gamma2, beta2))
        loss = tf.reduce_sum(outputs * direction.astype(np.float64))
    expected = tape.gradient(loss, exact)

    assert error(found[0], expected[0]) < 1e-6
    for gradient, reference in zip(found[1:], expected[1:], strict=True):
        assert error(gradient, reference) < 1e-4


@pytest.mark.usefixtures("has_gpu")
@pytest.mark.parametrize("shape", [(16, 6, 5, 3), (64, 3)])
@pytest.mark.parametrize(("center", "scale"), [(True, True), (False, True), (False, False)])
def test_gradients_are_those_of_the_formula(shape, center, scale):
    random = np.random.RandomState(0)
    inputs, upstream = random.normal(2, 1, size=(2, *shape)).astype(np.float32)
    gamma, beta = random.uniform(0.5, 1.5, (2, 3)).astype(np.float32)
    layer = BatchNormalization(center=center, scale=scale)
    layer.build((None, *shape[1:]))
    if scale:
        layer.gamma.assign(gamma)
    else:
        gamma = np.ones(3, np.float32)
        assert layer.gamma is None
    if center:
        layer.beta.assign(beta)
    x = tf.constant(inputs)
    with tf.GradientTape() as tape:
        tape.watch(x)
        outputs = layer(x, training=True)
    found = tape.gradient(outputs, [x, *layer.trainable_weights], upstream)
    exact = [tf.constant(a, tf.float64) for a in (inputs, gamma, beta if center else 0 * beta)]
    with tf.GradientTape() as tape:
        tape.watch(exact)
        reference = in_float64(*exact)
    expected = tape.gradient(reference, exact, upstream.astype(np.float64))
    assert error(outputs, reference) < 1e-6
    assert len(found) == 1 + scale + center
    np.testing.assert_allclose(
        layer(inputs), in_inference(layer, inputs, gamma, beta * center), rtol=1e-5, atol=1e-5
    )
    assert error(found[0], expected[0]) < 2e-6
    for gradient, known in zip(found[1:], expected[1:], strict=False):
        assert error(gradient, known) < 5e-5  # sums in which much cancels out


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_large_mean_does_not_spoil_the_variance(jit_compile):
    """E[x^2] - E[x]^2, as XLA expands the kernel for training, would be 4% off."""
    inputs = np.random.RandomState(0).normal(100, 1, size=(64, 16, 16, 8)).astype(np.float32)
    layer = BatchNormalization(momentum=0.0)
    layer.build(inputs.shape)
    tf.function(lambda x: layer(x, training=True), jit_compile=jit_compile)(inputs)
    variance = inputs.astype(np.float64).var((0, 1, 2))
    np.testing.assert_allclose(layer.moving_variance, variance, rtol=1e-6)


@pytest.mark.usefixtures("has_gpu")
def test_epsilon_is_not_raised():
    """1.001e-5, which TensorFlow once made of 1e-5 for cuDNN, would be 2.5e-4 off."""
    inputs = np.random.RandomState(0).normal(0, EPSILON**0.5, size=(64, 4, 4, 2)).astype(np.float32)
    layer = BatchNormalization()
    expected = in_float64(tf.constant(inputs, tf.float64), 1.0, 0.0)
    assert error(layer(inputs, training=True), expected) < 2e-6
    layer.moving_mean.assign(inputs.mean((0, 1, 2)))
    layer.moving_variance.assign(inputs.var((0, 1, 2)))
    assert error(layer(inputs, training=False), expected) < 2e-6


def test_bfloat16_is_rounding_alone():
    """Inputs and outputs are rounded, by 2^-9 at most, and statistics are not."""
    random = np.random.RandomState(0)
    inputs, upstream = tf.cast(random.normal(1, 2, size=(2, 16, 4, 4, 3)), tf.bfloat16)
    layer = BatchNormalization(dtype="mixed_bfloat16", momentum=0.0)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = layer(inputs, training=True)
    gradient = tape.gradient(outputs, inputs, upstream)
    assert outputs.dtype == gradient.dtype == tf.bfloat16
    assert {v.dtype for v in layer.weights} == {tf.float32}
    exact = tf.cast(inputs, tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(exact)
        reference = in_float64(exact, 1.0, 0.0)
    expected = tape.gradient(reference, exact, tf.cast(upstream, tf.float64))
    np.testing.assert_allclose(tf.cast(outputs, tf.float64), reference, rtol=2**-8, atol=1e-3)
    assert error(tf.cast(gradient, tf.float64), expected) < 2**-8
    values = exact.numpy()
    np.testing.assert_allclose(layer.moving_mean, values.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(layer.moving_variance, values.var((0, 1, 2)), rtol=1e-5)


def run(layer, inputs, upstream, **options):
    """Outputs, and gradients of inputs and weights."""
    x = tf.constant(inputs)
    with tf.GradientTape() as tape:
        tape.watch(x)
        with statistics(**options):
            outputs = layer(x, training=True)
    return [outputs, *tape.gradient(outputs, [x, *layer.trainable_weights], upstream)]


@pytest.mark.usefixtures("has_gpu")
@pytest.mark.parametrize("shape", [(12, 5, 4, 3), (12, 3)])
def test_groups_are_devices_of_their_own(shape):
    """Image i is of group i mod 3. The moving averages follow the mean over groups."""
    random = np.random.RandomState(0)
    inputs, upstream = random.normal(2, 1, size=(2, *shape)).astype(np.float32)
    layer = BatchNormalization(momentum=0.75)
    layer.build(shape)
    outputs, of_inputs, *of_weights = run(layer, inputs, upstream, groups=3)
    moving = [layer.moving_mean.numpy(), layer.moving_variance.numpy()]
    sums, means, variances = [0, 0], 0, 0
    for group in range(3):
        alone = BatchNormalization()
        alone.build(shape)
        rows = slice(group, None, 3)
        expected = run(alone, inputs[rows], upstream[rows])
        np.testing.assert_array_equal(outputs[rows], expected[0])
        np.testing.assert_array_equal(of_inputs[rows], expected[1])
        sums = [a + b for a, b in zip(sums, expected[2:], strict=True)]
        axes = tuple(range(len(shape) - 1))
        means = means + inputs[rows].mean(axes) / 3
        variances = variances + inputs[rows].var(axes) / 3
    for found, expected in zip(of_weights, sums, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(moving[0], 0.25 * means, rtol=1e-5)
    np.testing.assert_allclose(moving[1], 0.75 + 0.25 * variances, rtol=1e-5)
    # In inference groups mean nothing.
    with statistics(groups=3):
        np.testing.assert_array_equal(layer(inputs), layer(inputs, training=False))


def test_groups_hold_in_what_is_compiled_and_computed_again():
    """For images of any size; recomputation, outside of the context, uses the same groups."""
    random = np.random.RandomState(0)
    inputs, upstream = random.normal(2, 1, size=(2, 8, 6, 6, 3)).astype(np.float32)
    layer = BatchNormalization()
    layer.build(inputs.shape)
    expected = run(layer, inputs, upstream, groups=4)
    moving = layer.moving_variance.numpy()
    layer.moving_variance.assign(tf.ones(3))
    signature = [tf.TensorSpec([None, None, None, 3]), tf.TensorSpec([None, None, None, 3])]

    @tf.function(input_signature=signature)
    def again(images, upstream):
        with tf.GradientTape() as tape:
            tape.watch(images)
            with statistics(groups=4), statistics(local=True):
                outputs = recomputed(layer)(images, training=True)
        sources = [images, *layer.trainable_weights]
        return [outputs, *tape.gradient(outputs, sources, upstream)]

    for found, known in zip(again(inputs, upstream), expected, strict=True):
        np.testing.assert_allclose(found, known, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(layer.moving_variance, moving, rtol=1e-6)


def test_what_is_computed_again_keeps_its_local_statistics(monkeypatch):
    """The backward pass of a slice runs outside of the context that made its statistics local."""
    monkeypatch.setattr(replicas, "num_replicas", lambda: 2)
    layer = BatchNormalization()
    monkeypatch.setattr(layer, "_normalize_globally", lambda inputs: pytest.fail("not local"))
    inputs = tf.constant(np.random.RandomState(0).normal(size=(8, 3)), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        with statistics(local=True):
            outputs = recomputed(layer)(inputs, training=True)
    assert tape.gradient(outputs, inputs).shape == (8, 3)


def test_groups_divide_the_batch():
    layer = BatchNormalization()
    with pytest.raises(UserError, match="in 3 groups need a batch .* Received: 8 images"):
        run(layer, np.zeros((8, 3), np.float32), np.zeros((8, 3), np.float32), groups=3)


def test_groups_are_those_of_the_official_split_batch_norm():
    """A step of MoCo's demo on CIFAR-10: loss, gradients and moving averages of both encoders."""
    golden = np.load(recorded.GOLDEN / "moco_split_batch_norm.npz")
    _, temperature, *_ = golden["settings"]
    groups, shuffle = int(golden["splits"]), golden["shuffle"]
    kernel, dense, bias = (
        tf.Variable(golden[f"before/{n}"]) for n in ("conv.weight", "fc.weight", "fc.bias")
    )
    query, key = BatchNormalization(), BatchNormalization()
    for layer in (query, key):
        layer.build((None, None, None, 8))
        layer.gamma.assign(golden["before/bn.weight"])
        layer.beta.assign(golden["before/bn.bias"])

    def embed(images, norm):
        with statistics(groups=groups):
            maps = tf.nn.relu(norm(tf.nn.conv2d(images, kernel, 1, "SAME"), training=True))
        return tf.math.l2_normalize(tf.reduce_mean(maps, axis=[1, 2]) @ dense + bias, axis=1)

    with tf.GradientTape() as tape:
        q = embed(golden["images_1"], query)
        keys = tf.stop_gradient(embed(golden["images_2"][shuffle], key))
        k = tf.gather(keys, np.argsort(shuffle))
        positive = tf.reduce_sum(q * k, axis=1, keepdims=True)
        negative = q @ tf.transpose(golden["queue_before"])
        logits = tf.concat([positive, negative], axis=1) / temperature
        loss = -tf.reduce_mean(tf.nn.log_softmax(logits)[:, 0])
    names = ["conv.weight", "fc.weight", "fc.bias", "bn.weight", "bn.bias"]
    found = tape.gradient(loss, [kernel, dense, bias, query.gamma, query.beta])
    np.testing.assert_allclose(loss, golden["loss"], rtol=1e-6)
    for name, gradient in zip(names, found, strict=True):
        expected = golden[f"gradient/{name}"]
        scale = np.abs(expected).max()
        np.testing.assert_allclose(gradient, expected, atol=1e-5 * scale, err_msg=name)
    pixels = 8 * 8 * len(shuffle) / groups
    for name, layer in (("q", query), ("k", key)):
        expected = golden[f"{name}_after/bn.running_mean"]
        np.testing.assert_allclose(layer.moving_mean, expected, rtol=1e-5, atol=1e-7)
        # PyTorch's variance is the unbiased one.
        unbiased = 0.9 + (layer.moving_variance - 0.9) * pixels / (pixels - 1)
        expected = golden[f"{name}_after/bn.running_var"]
        np.testing.assert_allclose(unbiased, expected, rtol=1e-5)


def test_portable_graphs_have_no_kernel_that_other_devices_read_otherwise():
    """Values and gradients stay; the fused gradient takes other statistics on a GPU."""
    random = np.random.default_rng(0)
    inputs, upstream = tf.constant(random.normal(2, 5, size=(2, 64, 3)), tf.float32)
    layer = BatchNormalization()
    layer.build(inputs.shape)

    def compute(portable):
        @tf.function(autograph=False)
        def differentiated(x, dy):
            with tf.GradientTape() as tape, statistics(portable=portable):
                tape.watch(x)
                y = layer(x, training=True)
            return y, tape.gradient(y, x, dy)

        graph = differentiated.get_concrete_function(inputs, upstream).graph.as_graph_def()
        nodes = [*graph.node, *(node for f in graph.library.function for node in f.node_def)]
        return differentiated(inputs, upstream), {node.op for node in nodes}

    (plain, fused), (portable, ops) = compute(False), compute(True)
    for found, expected in zip(portable, plain, strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    assert not any(op.startswith("FusedBatchNorm") for op in ops) and fused != ops
