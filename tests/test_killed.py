"""A run that is killed, and goes on."""

import contextlib
import time

import numpy as np
import pytest
import toy
import training

from simclr_tf import checkpoints
from simclr_tf.checkpoints.restore import variable_paths

# Time enough, between two checkpoints, for a kill; the first comes in the middle of a row.
FLAGS = {"train_steps": 80, "checkpoint_steps": 31, "knn_every_epochs": 1}


def weights(path):
    return {name: v.numpy() for name, v in variable_paths(checkpoints.load(path)).items()}


@pytest.fixture(params=["toy", "resnet"])
def encoder(request):
    """The toy encoder, or ResNet-18 itself."""
    with toy.in_place_of_resnet_18() if request.param == "toy" else contextlib.nullcontext():
        yield


@pytest.mark.slow
@pytest.mark.usefixtures("rewritten_graphs", "encoder")
def test_a_run_killed_at_any_moment_goes_on_to_the_same_weights(tmp_path):
    whole, run = tmp_path / "whole", tmp_path / "run"
    assert training.run(whole, mode="train_then_eval", **FLAGS) == 0
    process = training.start(run, **FLAGS)
    while not (run / "ckpt-31.index").exists():
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert not (run / "ckpt-62.index").exists(), "killed too late to show anything"
    assert training.run(run, **FLAGS) == 0
    expected, found = weights(whole), weights(run)
    assert all(np.array_equal(expected[name], found[name]) for name in expected)
    # The row of steps 31 and 32 begins before the kill and ends after it.
    for row, again in zip(training.rows(whole), training.rows(run), strict=True):
        row.pop("images_per_second", None), again.pop("images_per_second", None)
        assert again == row
