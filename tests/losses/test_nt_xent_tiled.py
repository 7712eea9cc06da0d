"""Tiled NT-Xent against the dense one, which test_nt_xent.py compares with the original."""

import importlib
import itertools
import os
import pathlib
import subprocess
import sys
import unittest.mock

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf.losses import chance_level, nt_xent_with_metrics
from simclr_tf.losses.nt_xent_tiled import tiled_loss_and_metrics

REPLICAS = pathlib.Path(__file__).with_name("nt_xent_replicas.py")


def embeddings(n, width=16, length=1.0, seed=0):
    """Projections (2n, width), second views near the first; half are longer than `length`."""
    rng = np.random.default_rng(seed)
    first = rng.normal(size=(n, width))
    second = 0.8 * first + 0.6 * rng.normal(size=(n, width))
    return tf.constant(np.concatenate([first, second]) * length / width**0.5, tf.float32)


def with_gradient(function, hidden, compiled=True):
    """Loss, accuracy and entropy of a function, and the gradient of 3 times the loss."""

    def compute(hidden):
        with tf.GradientTape() as tape:
            tape.watch(hidden)
            values = function(hidden)
            loss = 3.0 * values[0]
        return *values, tape.gradient(loss, hidden)

    run = tf.function(compute) if compiled else compute
    return [value.numpy() for value in run(hidden)]


def tiled(hidden, temperature, hidden_norm, block_rows):
    if hidden_norm:
        hidden = tf.math.l2_normalize(hidden, axis=1)
    return tiled_loss_and_metrics(hidden, temperature, hidden_norm, block_rows)


def assert_equal(found, expected, temperature):
    """Equal to 1e-6 of the logits and of the terms that sum up to the gradient.

    Rows have about length 1, so logits grow to 1 / t and terms to 3 / (t n), in which the
    rounding of the logits grows with them.
    """
    terms = 3 / (temperature * len(expected[3]) / 2) * max(1, 0.2 / temperature)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-6, atol=1e-6 / temperature)
    assert found[1] == pytest.approx(expected[1], rel=1e-6)
    np.testing.assert_allclose(found[2], expected[2], rtol=1e-5, atol=2e-6)
    np.testing.assert_allclose(found[3], expected[3], rtol=0, atol=1e-6 * terms)


@pytest.mark.parametrize("hidden_norm", [True, False])
@pytest.mark.parametrize(
    "temperature", [0.05, 1.0, *(pytest.param(t, marks=pytest.mark.slow) for t in (0.1, 0.5))]
)
@pytest.mark.parametrize(
    "n, block_rows", [pytest.param(37, 8, marks=pytest.mark.thorough), (5, 8), (4, 1)]
)
def test_equals_dense(n, block_rows, temperature, hidden_norm):
    """Eagerly: tracing takes longer than so small a loss."""
    hidden = embeddings(n)
    dense = (temperature, hidden_norm, "dense")
    expected = with_gradient(lambda h: nt_xent_with_metrics(h, *dense), hidden, False)
    found = with_gradient(lambda h: tiled(h, temperature, hidden_norm, block_rows), hidden, False)
    assert_equal(found, expected, temperature)


@pytest.mark.thorough
@pytest.mark.parametrize(
    "n, block_rows, hidden_norm",
    [pytest.param(19, 8, True, marks=pytest.mark.slow), (5, 8, False)],
)
def test_compiled_it_equals_dense(n, block_rows, hidden_norm):
    hidden = embeddings(n)
    expected = with_gradient(lambda h: nt_xent_with_metrics(h, 0.1, hidden_norm, "dense"), hidden)
    found = with_gradient(lambda h: tiled(h, 0.1, hidden_norm, block_rows), hidden)
    assert_equal(found, expected, 0.1)


@pytest.mark.thorough
def test_blocks_of_the_default_size_equal_dense():
    """1030 images are two blocks of each view."""
    hidden = embeddings(1030)
    expected = with_gradient(lambda h: nt_xent_with_metrics(h, 0.1, True, "dense"), hidden)
    found = with_gradient(lambda h: nt_xent_with_metrics(h, 0.1, True, "tiled"), hidden)
    assert_equal(found, expected, 0.1)


@pytest.mark.parametrize("hidden_norm, temperature", [(False, 0.05), (True, 0.001)])
def test_large_logits_do_not_overflow(hidden_norm, temperature):
    """Second views are near the first of another image, so that the loss is large too."""
    first, second = tf.split(embeddings(11, length=20.0), 2)
    hidden = tf.concat([first, tf.roll(second, 1, axis=0)], axis=0)
    dense = (temperature, hidden_norm, "dense")
    expected = with_gradient(lambda h: nt_xent_with_metrics(h, *dense), hidden, False)
    found = with_gradient(lambda h: tiled(h, temperature, hidden_norm, 4), hidden, False)
    assert expected[0] > 1
    for value, reference in zip(found, expected, strict=True):
        np.testing.assert_allclose(value, reference, rtol=1e-3, atol=1e-3 * np.abs(reference).max())


def test_rows_of_zeros_are_finite():
    hidden = tf.zeros([6, 4])
    values = with_gradient(lambda h: nt_xent_with_metrics(h, 0.1, True, "tiled"), hidden, False)
    assert values[0] == pytest.approx(chance_level(3), rel=1e-6)
    assert np.isfinite(values[3]).all()


def test_half_precision_is_computed_in_float32():
    hidden = tf.cast(embeddings(6), tf.bfloat16)
    found, in_float32 = (
        with_gradient(lambda h: nt_xent_with_metrics(h, 0.1, True, "tiled"), rows, False)
        for rows in (hidden, tf.cast(hidden, tf.float32))
    )
    assert found[0] == pytest.approx(float(in_float32[0]), rel=1e-7)
    assert found[3].dtype == tf.bfloat16.as_numpy_dtype
    assert np.abs(in_float32[3]).max() > 1e-3
    np.testing.assert_allclose(found[3].astype(np.float32), in_float32[3], rtol=2**-8, atol=1e-6)


def run_script(*arguments):
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    result = subprocess.run(
        [sys.executable, *map(str, arguments)], env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def with_equal_images(n, *groups):
    """Embeddings of which the images of each group are equal, first views and second views."""
    views = np.stack(np.split(embeddings(n).numpy(), 2))
    for group in groups:
        views[:, group] = views[:, group[:1]]
    return tf.constant(views.reshape(2 * n, -1))


def collapsed(n, width=16, seed=0):
    """All projections are the same one."""
    row = np.random.default_rng(seed).normal(size=width)
    return tf.constant(np.tile(row, [2 * n, 1]), tf.float32)


def shares_found(hidden, hidden_norm):
    """Of each image 1 / (1 + c) if its positive ties with c others of the second views and none
    of them is larger, else 0; in float64."""
    hidden = hidden.numpy().astype(np.float64)
    lengths = np.linalg.norm(hidden, axis=1, keepdims=True)
    a, b = np.split(hidden / lengths if hidden_norm else hidden, 2)
    logits = a @ b.T
    above = logits - np.diag(logits)[:, None]
    tied = (np.abs(above) < 1e-9).sum(axis=1)
    return np.where((above < 1e-9).all(axis=1), 1 / tied, 0)


@pytest.mark.slow
def test_two_replicas_equal_dense(tmp_path):
    """Of 75 images each: 2 blocks of a view or 1. Dense on replicas is compared elsewhere.

    Equal images are on one replica and on both, and in one block and in several.
    """
    ties = with_equal_images(150, [0, 70, 149], [80, 81])
    cases = embeddings(150), ties, collapsed(150)
    np.save(tmp_path / "hidden.npy", np.stack([np.split(case.numpy(), 2) for case in cases]))
    run_script(REPLICAS, tmp_path / "hidden.npy", tmp_path / "output.npz", 40, 1024)
    arrays = np.load(tmp_path / "output.npz")
    for case, hidden_norm, replica in itertools.product(range(3), (True, False), (0, 1)):
        dense, *tiled = (
            [*arrays[f"{case}/{rows}/{hidden_norm}/values"][replica]]
            + [arrays[f"{case}/{rows}/{hidden_norm}/gradient"][replica]]
            for rows in (0, 40, 1024)
        )
        if case == 0:
            for blocks in tiled:
                assert_equal(blocks, dense, 0.1)
        expected = np.split(shares_found(cases[case], hidden_norm), 2)[replica]
        for kind in (dense, *tiled):
            assert kind[1] == pytest.approx(expected.mean(), rel=1e-6)


@pytest.mark.parametrize("implementation", ["dense", "tiled"])
@pytest.mark.parametrize("hidden_norm", [True, False])
@pytest.mark.parametrize("n, width", [(7, 128), (64, 128), (1000, 64), (2048, 32)])
def test_in_collapse_the_accuracy_is_that_of_chance(n, width, hidden_norm, implementation):
    """Rounding makes some of the logits of equal projections larger by an ulp or two."""
    hidden = 3.0 * collapsed(n, width)
    _, found, _ = nt_xent_with_metrics(hidden, 0.1, hidden_norm, implementation)
    assert float(found) == pytest.approx(1 / n, rel=1e-5)


@pytest.mark.parametrize("temperature", [0.001, 0.1, 1.0])  # unbounded logits, and bounded
@pytest.mark.parametrize("hidden_norm", [True, False])
def test_equal_images_share_what_is_found(hidden_norm, temperature):
    """Three equal images and two others, some in one block of 8 rows; 37 in all."""
    hidden = with_equal_images(37, [1, 5, 30], [9, 20])
    expected = shares_found(hidden, hidden_norm).mean()
    assert expected < 1 - (2 + 1) / 37 + 1e-9
    _, found, _ = tiled(hidden, temperature, hidden_norm, 8)
    assert float(found) == pytest.approx(expected, rel=1e-6)
    _, found, _ = nt_xent_with_metrics(hidden, temperature, hidden_norm, "dense")
    assert float(found) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("implementation", ["dense", "tiled"])
def test_a_tie_ends_where_rounding_does(implementation):
    """Of images 0 and 1, whose logits are 1, the second view of 1 comes nearer to the first of 0
    than its own: by 1e-7 that is a tie, by 1e-5 it is lost."""
    for difference, expected in ((1e-7, 0.75), (1e-5, 0.5)):
        hidden = np.array([[1, 0], [0, 1], [1, 0], [1 + difference, 2]])
        _, found, _ = nt_xent_with_metrics(
            tf.constant(hidden, tf.float32), 1.0, False, implementation
        )
        assert float(found) == pytest.approx(expected)


@pytest.mark.parametrize("implementation", ["dense", "tiled"])
def test_nothing_is_found_among_logits_that_are_no_numbers(implementation):
    hidden = tf.fill([8, 4], np.nan)
    assert nt_xent_with_metrics(hidden, 0.1, True, implementation)[1] == 0


MEMORY = """
import sys
import tensorflow as tf
sys.path.insert(0, "{root}")
from simclr_tf.losses import nt_xent_with_metrics

@tf.function
def gradient(hidden, implementation):
    return tf.gradients(nt_xent_with_metrics(hidden, 0.1, True, implementation)[0], hidden)

def peak():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024

hidden = tf.random.normal([2 * 4096, 32])
for implementation in ("tiled", "dense"):  # in this order: the peak never falls
    gradient(tf.random.normal([64, 32]), implementation)
    before = peak()
    gradient(hidden, implementation)
    print(peak() - before)
"""


@pytest.mark.thorough
def test_no_matrix_of_similarities_is_held():
    """One matrix of 4096 by 4096 similarities has 64 MB, and dense holds several."""
    root = pathlib.Path(__file__).parents[2]
    tiled, dense = map(float, run_script("-c", MEMORY.format(root=root)).split())
    assert dense > 400
    assert tiled < 200


def test_auto_takes_tiles_for_many_images_but_on_tpus(monkeypatch):
    module = importlib.import_module("simclr_tf.losses.nt_xent")
    tiled = unittest.mock.Mock(return_value="tiled")
    monkeypatch.setattr(module, "tiled_loss_and_metrics", tiled)
    assert nt_xent_with_metrics(embeddings(1024, 2)) == "tiled"
    assert nt_xent_with_metrics(embeddings(1023, 2)) != "tiled"
    monkeypatch.setattr(tf.distribute, "TPUStrategy", type(tf.distribute.get_strategy()))
    assert nt_xent_with_metrics(embeddings(1024, 2)) != "tiled"
