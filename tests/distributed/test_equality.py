"""The same global batch on 1, 2 and 4 replicas: the same loss, gradients, statistics, weights.

`replicas.py` trains and writes down; here is compared, with tolerances relative to the norm
of each array. The devices are logical CPU devices, each number of them in its own process.
"""

import itertools
import math
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
import toy

from simclr_tf.devices import replicas
from simclr_tf.losses import nt_xent

# Rounding errors of float32 are 6e-8. A step forward adds few of them up. Going back through
# batch norm subtracts nearly equal sums, and in every further step the errors of the weights
# come on top. Slots, which are sums of gradients, show besides when rounding decides the sign of a
# ReLU's input: that alone changes one by 3e-4 on a single replica whose weights are changed by an
# ulp, and by 6e-4 was seen here; others were within 3e-5. All else was within a fifth of these
# numbers. A wrong gather, factor or statistic is off by 1e-2 and more.
TOLERANCES = {
    "metric": 1e-5,
    "statistic": 1e-5,
    "gradient": 5e-5,
    "slot": 1e-3,
    "weight": 1e-5,
}
TINY = [f"tiny-{name}-global" for name in ("gradient", "lars", "adam")]
if tf.__version__.startswith("2.15."):  # tensorflow-addons
    TINY.append("tiny-lamb-global")
TOY = ["toy-gradient-global", "toy-lars-global"]
SLOW = ["resnet-gradient-global", "resnet-lars-global", "tiny-momentum-global"]
HALVES = ["tiny-gradient-halves", "tiny-lars-halves"]
LOCAL = ["tiny-gradient-local", "tiny-lars-local"]


def train(directory, replicas, *cases):
    """The arrays of some cases, trained by so many replicas."""
    output = directory / f"{replicas}.npz"
    script = pathlib.Path(__file__).with_name("replicas.py")
    done = subprocess.run(
        [sys.executable, str(script), str(output), str(replicas), *cases],
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    with np.load(output) as arrays:
        loaded = dict(arrays)
    output.unlink()
    return loaded


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    return train(tmp_path_factory.mktemp("one"), 1, *TOY, *TINY, *HALVES, "contrast")


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    return train(tmp_path_factory.mktemp("two"), 2, *TOY, *TINY, *LOCAL, "contrast")


@pytest.fixture(scope="module")
def four(tmp_path_factory):
    return train(tmp_path_factory.mktemp("four"), 4, *TINY[:2], "contrast")


def parts(arrays, case):
    """The arrays of a case, by quantity/step/name."""
    found = {k.removeprefix(f"{case}/"): v for k, v in arrays.items() if k.startswith(f"{case}/")}
    assert found
    return found


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        quantity = name.split("/")[0]
        if quantity == "weight":
            # Offsets start at 0 and have hardly moved, so it is the values that are compared.
            error = np.abs(found[name] - array).max()
        else:
            error = np.linalg.norm(found[name] - array) / (np.linalg.norm(array) or 1)
        assert error <= TOLERANCES[quantity], f"{name}: {error:.1e}"


@pytest.mark.slow
@pytest.mark.parametrize("case", [*TOY, *TINY])
def test_two_replicas_equal_one(one, two, case):
    assert_equal(parts(two, case), parts(one, case))


@pytest.mark.slow
@pytest.mark.parametrize("case", TINY[:2])
def test_four_replicas_equal_one(one, four, case):
    assert_equal(parts(four, case), parts(one, case))


@pytest.mark.slow
def test_a_resnet_and_momentum_on_several_replicas_equal_one(tmp_path):
    one, *several = (train(tmp_path, count, *SLOW) for count in (1, 2, 4))
    for found, case in itertools.product(several, SLOW):
        assert_equal(parts(found, case), parts(one, case))


@pytest.mark.slow
def test_every_variable_is_compared(one):
    """4 convolutions, each with batch norm; two layers of the head, the last without offset;
    the probe."""
    names = [name.split("/")[0] for name in parts(one, "toy-lars-global")]
    assert names.count("weight") == toy.CONVOLUTIONS * 3 + 3 + 2 + 2
    assert names.count("slot") == names.count("weight")
    assert names.count("statistic") == 5 * 2 * (toy.CONVOLUTIONS + 2)
    assert names.count("metric") == 5 * 7
    gradients = parts(one, "toy-gradient-global")
    assert len(gradients) == names.count("weight")
    # Gamma starts at 0 at the end of the residual branch, so nothing reaches its two convolutions
    # and its first batch norm in the first step.
    assert sum(not np.any(gradient) for gradient in gradients.values()) == 4


@pytest.mark.slow
def test_without_global_bn_batch_norm_differs(one, two):
    for case, name in (
        ("tiny-gradient", "gradient/1/encoder/layer_with_weights-0/kernel"),
        ("tiny-lars", "metric/1/contrast_loss"),
    ):
        local, whole = two[f"{case}-local/{name}"], one[f"{case}-global/{name}"]
        assert np.linalg.norm(local - whole) / np.linalg.norm(whole) > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("quantity", ["gradient", "lars"])
def test_without_global_bn_nothing_else_differs(one, two, quantity):
    """One replica that normalises each half of its batch by itself computes the same."""
    assert_equal(parts(two, f"tiny-{quantity}-local"), parts(one, f"tiny-{quantity}-halves"))


@pytest.mark.slow
@pytest.mark.parametrize("replicas", [2, 4])
def test_the_contrastive_loss_and_its_gradient_alone(request, one, replicas):
    found = parts(request.getfixturevalue({2: "two", 4: "four"}[replicas]), "contrast")
    expected = parts(one, "contrast")
    for name in ("loss", "gradient", "logits"):
        error = np.linalg.norm(found[name] - expected[name]) / np.linalg.norm(expected[name])
        assert error <= 1e-6, name
    np.testing.assert_array_equal(found["labels"], expected["labels"])


def test_the_positives_of_the_second_replica_by_hand(monkeypatch):
    """Two replicas with one image each; this is replica 1.

    Replica 0 has the views a0 = b0 = (1, 0), replica 1 has a1 = (0, 1) and b1 = (1, 0).
    Row a1 sees b0, b1 | a0 with similarities 0, 0 | 0, its positive being b1; row b1 sees
    a0, a1 | b0 with 1, 0 | 1, its positive being a1.
    """
    everyone = tf.constant([[1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 1.0, 0.0]])  # (a0, b0), (a1, b1)
    monkeypatch.setattr(replicas, "replica_id", lambda: 1)
    monkeypatch.setattr(replicas, "gather", lambda own: everyone)
    loss, logits, labels = nt_xent(tf.constant([[0.0, 1.0], [1.0, 0.0]]), temperature=1.0)
    expected = math.log(3) + math.log(2 * math.e + 1)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    np.testing.assert_array_equal(logits, [[0, 0]])
    np.testing.assert_array_equal(labels, [[0, 1, 0, 0]])
