"""Gradient caching against the same slices on one tape."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
import training

from simclr_tf.backend import keras
from simclr_tf.errors import UserError
from simclr_tf.experiment import checks, pretraining
from simclr_tf.experiment import config as configuration
from simclr_tf.methods import SimCLR
from simclr_tf.models import Architecture, Network, simclr_projector
from simclr_tf.models.batch_norm import batch_norm_variables, statistics

pytestmark = pytest.mark.usefixtures("toy_encoder", "rewritten_graphs")

IMAGES, SIZE = 8, 8
LABELS = tf.constant([0, 1, 2, 0, 1, 2, 0, 1], tf.int64)


def views():
    pixels = np.random.default_rng(0).uniform(size=(2, IMAGES, SIZE, SIZE, 3))
    return tuple(tf.constant(view, tf.float32) for view in pixels)


def method(recompute=False, activations="float32", **options):
    keras.utils.set_random_seed(0)
    architecture = Architecture(
        resnet_depth=18,
        cifar_stem=True,
        projector=simclr_projector(num_layers=2, out_dim=16),
        num_classes=3,
    )
    network = Network(architecture, activations, recompute)
    for gamma in batch_norm_variables(network):  # so that nothing is multiplied by 0
        gamma.assign(gamma + 0.1 * tf.random.normal(gamma.shape))
    return SimCLR(network, SimCLR.Flags(temperature=0.5), weight_decay=1e-3, **options)


def computed(method, function):
    """Values and gradients of `function`, and the moving statistics after it."""
    _, values, gradients = tf.function(function)()
    moving = [v.numpy() for v in method.network.non_trainable_variables]
    return {k: float(v) for k, v in values.items()}, [g.numpy() for g in gradients], moving


def of_slices_on_one_tape(method, size):
    """What gradient caching must equal, in the memory of the whole batch."""
    with tf.GradientTape() as tape, statistics(local=True):
        slices = [
            method.embed(tuple(view[i : i + size] for view in views()))
            for i in range(0, IMAGES, size)
        ]
        embeddings = {
            name: tf.concat([part[name] for part in slices], axis=0) for name in slices[0]
        }
        share, values = method.share(embeddings, LABELS)
    return embeddings, values, tape.gradient(share, method.trained_variables)


def assert_equal(found, expected, tolerance):
    assert found[0].keys() == expected[0].keys()
    for name, value in expected[0].items():
        assert found[0][name] == pytest.approx(value, rel=tolerance, abs=1e-7), name
    for gradient, reference in zip(found[1], expected[1], strict=True):
        scale = max(np.abs(reference).max(), 1e-3)
        np.testing.assert_allclose(gradient, reference, rtol=0, atol=tolerance * scale)
    for moving, reference in zip(found[2], expected[2], strict=True):
        np.testing.assert_allclose(moving, reference, rtol=1e-6, atol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 8])
def test_equals_the_same_slices_on_one_tape(size):
    """Moving averages too: they follow each slice once, though it is computed twice."""
    sliced, plain = method(micro_batch_size=size), method()
    found = computed(sliced, lambda: sliced.values_and_gradients(views(), LABELS))
    expected = computed(plain, lambda: of_slices_on_one_tape(plain, size))
    assert_equal(found, expected, 1e-5)


@pytest.mark.slow
def test_one_slice_equals_the_plain_step():
    sliced, plain = method(micro_batch_size=IMAGES), method()
    found = computed(sliced, lambda: sliced.values_and_gradients(views(), LABELS))
    expected = computed(plain, lambda: plain.values_and_gradients(views(), LABELS))
    assert_equal(found, expected, 1e-5)


def test_slices_must_divide_the_batch():
    with pytest.raises(UserError, match="divides the images .* 8. Received: 3"):
        method(micro_batch_size=3).values_and_gradients(views(), LABELS)


def test_the_flags_are_checked_and_reach_the_method():
    def build(**flags):
        config = configuration.from_dict(training.SMALL | {"model_dir": "unused"} | flags)
        checks.check_flags(config)
        return pretraining.build(config, pretraining.architecture_of(config, 10), plan=None)

    built = build(micro_batch_size=4, recompute=True)
    assert built.micro_batch_size == 4 and built.network.encoder.recompute
    built = build()
    assert built.micro_batch_size == 0 and not built.network.encoder.recompute
    with pytest.raises(UserError, match="--micro_batch_size=5 does not divide the 16 images"):
        build(micro_batch_size=5)
    with pytest.raises(UserError, match="--micro_batch_size is at least -1"):
        build(micro_batch_size=-2)
    assert build(micro_batch_size=-1, train_batch_size=128).micro_batch_size == 64
    assert build(micro_batch_size=-1).micro_batch_size == 0  # 16 images are one slice
    with pytest.raises(UserError, match="--micro_batch_size=-1, which takes 64, does not divide"):
        build(micro_batch_size=-1, train_batch_size=100)
    assert build(micro_batch_size=1).micro_batch_size == 1  # of which both views are normalised
    for method in ("byol", "simsiam", "barlow_twins", "vicreg"):
        with pytest.raises(UserError, match=f"{method} embeds one view .* 2 images or more"):
            build(method=method, micro_batch_size=1)
    for flag in ({"micro_batch_size": 4}, {"recompute": True}):
        with pytest.raises(UserError, match="for pretraining only"):
            build(train_mode="finetune", **flag)


def on_replicas(directory, replicas, *modes):
    """Values and gradients that micro_batch_replicas.py writes, by mode."""
    output = directory / f"{replicas}.npz"
    script = pathlib.Path(__file__).with_name("micro_batch_replicas.py")
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, script, output, str(replicas), *modes]
    result = subprocess.run(command, env=environment, capture_output=True)
    assert result.returncode == 0, result.stderr.decode()
    with np.load(output) as arrays:
        return {
            mode: {k.split("/")[1]: v for k, v in arrays.items() if k.startswith(f"{mode}/")}
            for mode in modes
        }


def assert_equal_arrays(found, expected, tolerance):
    assert sum(np.abs(expected[name]).max() > 1e-3 for name in expected) > 25  # gradients
    for name in expected:
        atol = tolerance * max(np.abs(expected[name]).max(), 1e-3)
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=atol, err_msg=name)


@pytest.mark.slow
def test_replicas_compute_what_one_computes(tmp_path):
    """Slices of 2 images: two on each of two replicas are the same as four on one.

    Of the labels 3 are on one replica and 1 on the other: the probe's mean is that of the 4.
    """
    two, one = (on_replicas(tmp_path, count, "slices")["slices"] for count in (2, 1))
    assert_equal_arrays(two, one, 1e-5)
    assert one["supervised_loss"] > 0 and one["supervised_acc"] * 8 in range(9)


@pytest.mark.slow
def test_recomputed_blocks_change_nothing_on_replicas(tmp_path):
    """Statistics of both replicas are exchanged again in the backward pass."""
    found = on_replicas(tmp_path, 2, "plain", "recompute")
    assert_equal_arrays(found["recompute"], found["plain"], 1e-6)


@pytest.mark.thorough
@pytest.mark.parametrize(
    "options", [pytest.param({}, marks=pytest.mark.slow), {"micro_batch_size": 4}]
)
def test_recomputed_blocks_change_nothing(options):
    """Not even the moving averages, which must not follow what is computed again."""
    plain, again = method(**options), method(recompute=True, **options)
    expected = computed(plain, lambda: plain.values_and_gradients(views(), LABELS))
    found = computed(again, lambda: again.values_and_gradients(views(), LABELS))
    assert_equal(found, expected, 1e-6)


def test_recomputing_is_part_of_the_configuration():
    network = method(recompute=True).network
    assert Network.from_config(network.get_config()).encoder.recompute
    assert not method().network.encoder.recompute
