"""Conversions and exports that are killed, refused, or find the disk full, of a toy network."""

import contextlib
import json
import resource

import numpy as np
import pytest
import recorded
import training

from simclr_tf import checkpoints
from simclr_tf.checkpoints import layout, restore
from simclr_tf.checkpoints.__main__ import main
from simclr_tf.exit_status import INTERRUPTED
from simclr_tf.export.__main__ import main as export_main
from simclr_tf.models import Architecture, Network, simclr_projector

pytestmark = pytest.mark.usefixtures("wide_toy_encoder")

SMALL = Architecture(
    18, cifar_stem=True, projector=simclr_projector(num_layers=2, out_dim=16), num_classes=3
)


@pytest.fixture(scope="module")
def network():
    network = Network(SMALL)
    restore.assign(network, recorded.random_arrays(layout.network_variables(SMALL)))
    return network


@pytest.fixture(scope="module")
def run(network, tmp_path_factory):
    """A run directory with the network."""
    directory = tmp_path_factory.mktemp("runs") / "run"
    training.write_run(directory, network, 7)
    return str(directory)


def assert_holds(file, network):
    found = restore.variable_paths(checkpoints.load(file))
    expected = restore.variable_paths(network)
    assert found.keys() == expected.keys()
    for path, variable in expected.items():
        np.testing.assert_array_equal(found[path], variable, err_msg=path)


@pytest.mark.slow
def test_run_py_refuses_a_flag_against_the_file_with_status_2(run, tmp_path):
    process = training.start(tmp_path / "run", checkpoint=run, resnet_depth=34, proj_out_dim=16)
    output = process.communicate(timeout=300)[0]
    assert process.returncode == 2
    last = output.strip().splitlines()[-1]
    assert last.startswith("error: ") and "--resnet_depth=34, but the checkpoint has 18" in last
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "to, name",
    [
        ("torch", "n.safetensors"),
        pytest.param("keras", "n.weights.h5", marks=pytest.mark.slow),
    ],
)
def test_a_conversion_that_was_killed_before_its_weights_goes_on(
    run, network, tmp_path, to, name, monkeypatch, capsys
):
    pytest.importorskip("safetensors")
    command = [run, "--to", to, str(tmp_path / name)]

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("simclr_tf.checkpoints.convert.publish", killed)
        assert main(command) == INTERRUPTED
    assert [path.name for path in tmp_path.iterdir()] == ["n.json"]
    other = json.loads((tmp_path / "n.json").read_text())
    assert main(command) == 0
    assert_holds(tmp_path / name, network)
    # A description of other weights, or anything else of that name, is left alone.
    (tmp_path / name).unlink()
    for content in (json.dumps(other | {"step": 8}), "[1]", "mine"):
        (tmp_path / "n.json").write_text(content)
        assert main(command) == 2
        assert "describes something else" in capsys.readouterr().err
        assert (tmp_path / "n.json").read_text() == content and not (tmp_path / name).exists()


@pytest.mark.slow
def test_what_killed_processes_left_is_removed(run, tmp_path):
    for name in (".convert-0123abcd", ".export-0123abcd"):
        (tmp_path / name / "model").mkdir(parents=True)
    (tmp_path / ".convert-of-mine").mkdir()
    assert main([run, "--to", "simclr_tf", str(tmp_path / "own")]) == 0
    assert export_main([run, str(tmp_path / "5")]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {".convert-of-mine", "own", "5"}


@contextlib.contextmanager
def limited(size):
    """Files of this process cannot become larger than this, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(
    "program, name",
    [
        (lambda run, to: main([run, "--to", "simclr_tf", to]), "own"),
        (lambda run, to: main([run, "--to", "torch", to]), "t.safetensors"),
        (lambda run, to: main([run, "--to", "keras", to]), "k.weights.h5"),
        pytest.param(lambda run, to: export_main([run, to]), "7", marks=pytest.mark.slow),
    ],
    ids=["simclr_tf", "torch", "keras", "export"],
)
def test_a_full_disk_is_one_line_and_the_command_starts_again(
    run, network, tmp_path, capsys, program, name
):
    pytest.importorskip("safetensors")
    with limited(2**20):
        assert program(run, str(tmp_path / name)) == 2
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1 and "File too large" in printed and "unharmed" in printed
    assert list(tmp_path.iterdir()) == []
    assert program(run, str(tmp_path / name)) == 0
    assert_holds(tmp_path / name, network)
