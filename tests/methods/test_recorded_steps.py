"""Training steps of methods, and losses of the global batch, against their official code."""

import functools
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from recorded_steps import CASES, PURE, RECORDED

pytestmark = pytest.mark.usefixtures("rewritten_graphs")
HERE = pathlib.Path(__file__).parent


REPLICAS = pytest.mark.parametrize("number", [1, pytest.param(2, marks=pytest.mark.thorough)])


@pytest.fixture(scope="module")
def of_two(tmp_path_factory):
    """What two replicas compute of a case, in one program, which starts when it is asked for."""

    @functools.cache
    def found():
        output = tmp_path_factory.mktemp("recorded") / "found.npz"
        cases = ["moco/v2_two_replicas", "byol", "sinkhorn", "clsa/multi_two_replicas", *PURE]
        command = [sys.executable, str(HERE / "recorded_steps.py"), str(output), "2", *cases]
        subprocess.run(command, env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}, check=True)
        return np.load(output)

    def of_case(case):
        prefix = f"{case} "
        return {k.removeprefix(prefix): found()[k] for k in found() if k.startswith(prefix)}

    return of_case


def close(found, expected, tolerance, name):
    """Within a share of the largest value."""
    scale = max(np.abs(expected).max(), 1e-12)
    np.testing.assert_allclose(
        found, np.reshape(expected, found.shape), rtol=0, atol=tolerance * scale, err_msg=name
    )


def unbiased(variance, updates, count):
    """PyTorch's moving variance from ours: both began at 1, theirs has n - 1 for n."""
    start = (0.9 ** np.asarray(updates))[:, np.newaxis]
    return start + (variance - start) * count / (count - 1)


def compare_moco(case, found):
    recorded = {k.removeprefix(f"{case}/"): v for k, v in RECORDED.items() if k.startswith(case)}
    loss = recorded["loss"]
    close(found["metric/contrast_loss"], loss.mean(0) if loss.ndim > 1 else loss, 1e-5, "loss")
    np.testing.assert_array_equal(found["pointer_after"], recorded["pointer_after"])
    close(found["queue_after"], recorded["queue_after"], 1e-5, "queue")
    steps, symmetric = len(found["queue_after"]), case.endswith("/symmetric")
    images = np.size(recorded["shuffle"][0]) // (2 if symmetric else 1)
    count = 64 * images // int(recorded.get("splits", 1))  # pixels of 8 x 8 for each statistic
    passes = np.arange(1, steps + 1) * (2 if symmetric else 1)
    compared = 0
    for name, expected in recorded.items():
        if name.startswith(("gradient/", "q_after/", "k_after/")):
            values = found[name]
            if name.endswith("running_var"):
                values = unbiased(values, passes, count)
            if name.startswith("k_after/") and "running" not in name:
                values, expected = values[:-1], expected[1:]  # ours moves a call earlier
            close(values, expected, 1e-4, name)
            compared += 1
    assert compared >= 15


@pytest.mark.parametrize("case", ["moco/v1", "moco_cifar/asymmetric", "moco_cifar/symmetric"])
def test_moco(case):
    compare_moco(case, CASES[case](tf.distribute.get_strategy()))


@pytest.mark.slow
def test_moco_on_two_replicas(of_two):
    found = of_two("moco/v2_two_replicas")
    # What was recorded of moving statistics is of one replica alone.
    compare_moco("moco/v2_two_replicas", found)


def compare_byol(found, devices):
    prefix = f"byol/steps/devices{devices}/"
    recorded = {k.removeprefix(prefix): v for k, v in RECORDED.items() if k.startswith(prefix)}
    close(found["metric/byol_loss"], recorded["log_repr_loss"], 1e-5, "loss")
    close(found["tau"], recorded["log_tau"], 1e-6, "tau")
    compared = 0
    for name, expected in recorded.items():
        if name.startswith(("online/classifier", "target/classifier", "target/predictor", "log_")):
            continue  # the probe is the house's; the target's predictor does nothing
        if "_state/" in name:
            name, leaf = name.removesuffix("_ema/average").split("/~/")
            if name not in {k.rpartition("/")[0] for k in found}:
                continue
            passes = 2 * np.arange(1, 5)[:, np.newaxis]
            values = found[f"{name}/{leaf}"]
            start = 0.9**passes
            values = (values - (start if leaf == "var" else 0)) / (1 - start)  # Haiku's averages
        else:
            values = found[name]
        close(values, expected, 1e-4, name)
        compared += 1
    assert compared == 31


def test_byol():
    compare_byol(CASES["byol"](tf.distribute.get_strategy()), devices=1)


@pytest.mark.thorough
def test_byol_on_two_replicas(of_two):
    compare_byol(of_two("byol"), devices=2)


@pytest.mark.parametrize("fixed", [0, 1])
def test_simsiam(fixed):
    found = CASES[f"simsiam/fixed{fixed}"](tf.distribute.get_strategy())
    prefix = f"simsiam/steps/fixed{fixed}/"
    passes = 2 * np.arange(1, 4)
    compared = 0
    for key in [key for key in RECORDED if key.startswith(prefix)]:
        name, expected = key.removeprefix(prefix), RECORDED[key]
        if name == "encoder.fc.6.bias":
            continue  # it does nothing but move the mean of the batch norm behind it
        values = found[name]
        if name == "encoder.fc.7.running_mean":
            bias = RECORDED["simsiam/steps/initial/encoder.fc.6.bias"]
            values = values + bias * (1 - 0.9**passes)[:, np.newaxis]
        if name.endswith("running_var"):
            values = unbiased(values, passes, 8)
        close(np.swapaxes(values, 1, -1), expected, 1e-4, name)
        compared += 1
    assert compared == 21


@pytest.mark.parametrize(
    "case",
    ["clsa/single", pytest.param("clsa/multi_two_replicas", marks=pytest.mark.thorough)],
)
def test_clsa(case, of_two):
    two = case.endswith("two_replicas")
    found = of_two(case) if two else CASES[case](tf.distribute.get_strategy())
    recorded = {k.removeprefix(f"{case}/"): v for k, v in RECORDED.items() if k.startswith(case)}
    for name, key in (
        ("contrast_loss", "contrastive_losses"),
        ("divergence_loss", "ddm_losses"),
        ("total_loss", "total_loss"),
    ):
        expected = recorded[key].reshape(*recorded[key].shape[:2], -1).sum(-1)
        close(found[f"metric/{name}"].T, expected, 1e-5, name)
    of_views = [
        recorded[f"grad_{kind}"][:, :, recorded[f"pick_{kind}"]] for kind in ("weak", "strong")
    ]
    expected = np.concatenate(of_views, axis=2)  # (replicas, steps, views, n, dim)
    close(np.swapaxes(found["gradients"], 0, 1), expected, 1e-5, "gradients")
    close(found["queue"], recorded["queue_after"], 1e-6, "queue")
    np.testing.assert_array_equal(found["pointer"], recorded["pointer_after"])


def test_swav():
    """Two sizes, a queue of two batches from the start, prototypes frozen for two steps."""
    found = CASES["swav"](tf.distribute.get_strategy())
    prefix = "swav/steps/after/"
    recorded = {k.removeprefix(prefix): v for k, v in RECORDED.items() if k.startswith(prefix)}
    close(found["metric/swav_loss"], recorded.pop("loss"), 1e-5, "loss")
    queues = recorded.pop("queue")
    for i in (0, 1):
        filled = 6  # after the first step
        close(found[f"queue{i}"][0, :filled], queues[0, i, :filled], 1e-5, "queue")
        close(found[f"queue{i}"][1:], queues[1:, i], 1e-5, "queue")
    prototypes = recorded.pop("prototypes.weight")
    prototypes /= np.linalg.norm(prototypes, axis=2, keepdims=True)  # ours are, after a step
    close(found["prototypes.weight"], prototypes, 1e-5, "prototypes")
    assert np.ptp(prototypes[:2], axis=0).max() < 1e-6 < np.ptp(prototypes[1:3], axis=0).max()
    updates = np.arange(1, 6)
    for name, expected in recorded.items():
        values = found[name]
        if name == "norm.running_var":
            continue  # of 12 rows and then of 18 in a step: theirs does not follow from ours
        if name == "projection_head.1.running_var":
            values = unbiased(values, updates, 30)
        close(np.swapaxes(values, 1, -1), expected, 1e-4, name)


@REPLICAS
@pytest.mark.parametrize(
    "case", ["eps0.05_iterations3", "eps0.03_iterations3", "eps0.05_iterations1"]
)
def test_sinkhorn(case, number, of_two):
    found = of_two("sinkhorn") if number == 2 else CASES["sinkhorn"](tf.distribute.get_strategy())
    close(found[case], RECORDED[f"swav/sinkhorn/{case}_ranks{number}"], 2e-6, case)
    np.testing.assert_allclose(found[case].sum(axis=1), 1, rtol=1e-6)


@REPLICAS
@pytest.mark.parametrize(
    ("name", "loss", "gradients"),
    [
        ("barlow", "ranks1_loss", ("ranks1_grad_z1", "ranks1_grad_z2")),
        ("vicreg", "total_loss", ("total_grad_x", "total_grad_y")),
    ],
)
def test_losses_of_the_global_batch(name, loss, gradients, number, of_two):
    """Two replicas have the loss and the gradients of one."""
    found = of_two(name) if number == 2 else CASES[name](tf.distribute.get_strategy())
    close(found["loss"], RECORDED[f"{name}/{loss}"], 2e-6, "loss")
    for key, gradient in zip(("first", "second"), gradients, strict=True):
        close(found[key], RECORDED[f"{name}/{gradient}"], 5e-5, key)


@pytest.mark.thorough
@pytest.mark.parametrize("name", PURE)
def test_two_replicas_have_the_loss_of_one(name, of_two):
    found, expected = of_two(name), CASES[name](tf.distribute.get_strategy())
    for key, array in expected.items():
        close(found[key], array, 2e-6 if key == "loss" else 1e-5, key)
