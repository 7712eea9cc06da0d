"""python -m simclr_tf.export."""

import json

import numpy as np
import pytest
import tensorflow as tf
import training

from simclr_tf.checkpoints.restore import variable_paths
from simclr_tf.export.__main__ import main
from simclr_tf.models import Architecture, Network, simclr_projector

pytestmark = pytest.mark.usefixtures("toy_encoder")

ARCHITECTURE = Architecture(
    18, cifar_stem=True, projector=simclr_projector("linear"), num_classes=2
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run directory with a checkpoint at step 5, and the network in it."""
    path = tmp_path_factory.mktemp("run")
    network = Network(ARCHITECTURE)
    training.write_run(path, network, 5, image_size=28)
    return path, network


def assert_refused(capsys, arguments, *parts):
    assert main([str(argument) for argument in arguments]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: ") and printed.count("\n") == 1
    for part in parts:
        assert part in printed


@pytest.mark.thorough
def test_a_run_directory_is_exported(run, tmp_path, capsys):
    path, network = run
    directory = tmp_path / "out" / "3"
    assert main([str(path), str(directory)]) == 0
    assert "run directory" in capsys.readouterr().out

    card = json.loads((directory / "assets/model_card.json").read_text())
    assert (card["step"], card["image_size"]) == (5, 28)
    assert str(path) in card["source"]
    assert (directory / "assets/labels.txt").read_text() == "0\n1\n"
    stored = tf.train.load_checkpoint(str(directory / "variables/variables"))
    for i, variable in enumerate(variable_paths(network).values()):
        value = stored.get_tensor(f"variables/{i}/.ATTRIBUTES/VARIABLE_VALUE")
        np.testing.assert_array_equal(value, variable)


@pytest.mark.thorough
def test_labels_of_a_file_name_the_classes_of_a_checkpoint(run, tmp_path, monkeypatch):
    exported = {}
    monkeypatch.setattr(
        "simclr_tf.export.__main__.export_saved_model",
        lambda network, directory, **rest: exported.update(rest, directory=directory),
    )
    path, _ = run
    (tmp_path / "names").write_text("hot dog\nno hot dog\n")
    assert main([f"{path}/ckpt-5", f"{tmp_path}/1", f"--labels={tmp_path}/names"]) == 0
    assert exported["class_names"] == ["hot dog", "no hot dog"]
    assert (exported["image_size"], exported["card"]["step"]) == (28, 5)
    assert exported["upright"] is True

    training.write_run(tmp_path / "run", Network(ARCHITECTURE), 5, upright=False)
    assert main([f"{tmp_path}/run", f"{tmp_path}/1"]) == 0
    assert exported["upright"] is False
    assert exported["directory"] == f"{tmp_path}/1"


def test_what_cannot_work_is_said_in_one_line(run, tmp_path, capsys):
    path, _ = run
    out = tmp_path / "1"
    assert_refused(capsys, [path, tmp_path / "latest"], "whole number", "latest")
    assert_refused(capsys, [tmp_path / "absent", out], "absent")
    assert_refused(capsys, [tmp_path, out], str(tmp_path))
    assert_refused(capsys, [path, out, "--image_size=32"], "--image_size=32", "28")
    assert_refused(capsys, [path, out, "--image_size=0"], "from 1", "0")
    assert_refused(capsys, [path, out, f"--labels={out}"], "--labels", "cannot be read")
    (tmp_path / "names").write_text("only one\n")
    assert_refused(capsys, [path, out, f"--labels={tmp_path}/names"], "2 classes", "1 names")
    (tmp_path / "file").touch()
    assert_refused(capsys, [path, tmp_path / "file" / "1"], "cannot be written")
    out.mkdir()
    assert_refused(capsys, [path, out], "exists already")
