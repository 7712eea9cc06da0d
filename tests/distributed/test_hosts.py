"""Two real processes on this machine, started through run.py as two hosts would be."""

import json
import signal
import socket
import time

import numpy as np
import pytest
import training

from simclr_tf import checkpoints
from simclr_tf.checkpoints.restore import variable_paths

pytestmark = pytest.mark.usefixtures("toy_encoder")

# Offsets of batch norm start at 0; with this temperature few errors are amplified.
FLAGS = {"strategy": "multi_worker", "temperature": 0.5, "learning_rate": 0.32}


def start_hosts(model_dir, **flags):
    """The chief and another worker of one job."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    workers = [f"127.0.0.1:{s.getsockname()[1]}" for s in sockets]
    for s in sockets:
        s.close()
    processes = []
    for index in range(2):
        task = {"type": "worker", "index": index}
        tf_config = json.dumps({"cluster": {"worker": workers}, "task": task})
        processes.append(
            training.start(
                model_dir,
                environment={
                    "TF_CONFIG": tf_config,
                    "TMPDIR": str(model_dir.parent / f"temporary{index}"),
                },
                **FLAGS | flags,
            )
        )
        (model_dir.parent / f"temporary{index}").mkdir(exist_ok=True)
    return processes


def finish(processes, timeout=240):
    """Exit statuses and outputs of both."""
    outputs = [process.communicate(timeout=timeout)[0] for process in processes]
    return [process.returncode for process in processes], outputs


def wait_for(path, processes):
    while not path.exists():
        assert all(process.poll() is None for process in processes), finish(processes)[1]
        time.sleep(0.02)


def weights(path):
    return {name: v.numpy() for name, v in variable_paths(checkpoints.load(path)).items()}


@pytest.fixture(scope="module")
def run_of_two(tmp_path_factory):
    model_dir = tmp_path_factory.mktemp("hosts") / "run"
    statuses, outputs = finish(
        start_hosts(model_dir, mode="train_then_eval", knn_every_epochs=1, train_steps=5)
    )
    assert statuses == [0, 0], "\n".join(outputs)
    return model_dir, outputs


@pytest.mark.thorough
def test_weights_equal_those_of_one_process(run_of_two, tmp_path):
    """To 1e-5, as on devices of one process; see test_equality."""
    flags = FLAGS | {"strategy": "one", "train_steps": 5}
    assert training.run(tmp_path / "one", knn_every_epochs=1, mode="train_then_eval", **flags) == 0
    expected, found = weights(tmp_path / "one"), weights(run_of_two[0])
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-5, err_msg=name)
    one, two = (training.rows(path) for path in (tmp_path / "one", run_of_two[0]))
    assert [row["step"] for row in two] == [row["step"] for row in one]
    one, two = ([row for row in rows if "contrast_loss" in row] for rows in (one, two))
    for key in ("contrast_loss", "supervised_loss", "learning_rate"):
        assert two[-1][key] == pytest.approx(one[-1][key], rel=1e-4)
    results = [
        json.loads((p / "result.json").read_text()) for p in (tmp_path / "one", run_of_two[0])
    ]
    assert results[1] == pytest.approx(results[0], abs=0.01)


@pytest.mark.slow
def test_only_the_chief_writes_and_talks(run_of_two):
    model_dir, (chief, other) = run_of_two
    names = {path.name for path in model_dir.iterdir()}
    assert {"run.json", "model.json", "views.png", "metrics.jsonl", "result.json"} <= names
    assert {"ckpt-3.index", "ckpt-5.index", "checkpoint", "eval"} <= names
    assert (model_dir / "saved_model" / "5" / "saved_model.pb").is_file()
    assert len([name for name in names if name.startswith("events")]) == 2  # views, metrics
    assert not [name for name in names if "temp" in name or "part" in name]
    assert not list(model_dir.parent.glob("temporary*/simclr_tf-*")), "left behind"
    assert "chance level" in chief and "training:" in chief and "label_top_1_accuracy" in chief
    for said in ("chance level", "training:", "label_top_1_accuracy", "Collective"):
        assert said not in other


@pytest.mark.slow
def test_evaluation_alone_with_two_hosts(run_of_two):
    model_dir, _ = run_of_two
    first = json.loads((model_dir / "result.json").read_text())
    processes = start_hosts(model_dir, mode="eval", eval_name="again", train_steps=5)
    statuses, outputs = finish(processes)
    assert statuses == [0, 0], "\n".join(outputs)
    again = json.loads((model_dir / "eval_again" / "result.json").read_text())
    assert again["eval/label_top_1_accuracy"] == first["eval/label_top_1_accuracy"]


@pytest.mark.slow
def test_stopped_and_killed_and_started_again(tmp_path):
    """SIGTERM, and later SIGKILL, of either; then the weights of an uninterrupted run."""
    flags = {"train_steps": 40, "checkpoint_steps": 5, "train_summary_steps": 5}
    statuses, outputs = finish(start_hosts(tmp_path / "whole", **flags))
    assert statuses == [0, 0], "\n".join(outputs)

    run = tmp_path / "run"
    processes = start_hosts(run, **flags)
    wait_for(run / "ckpt-5.index", processes)
    processes[1].send_signal(signal.SIGTERM)
    statuses, outputs = finish(processes)
    assert statuses == [143, 143], "\n".join(outputs)
    assert "Stopped by SIGTERM at step" in outputs[0]
    stopped_at = max(int(path.stem.split("-")[1]) for path in run.glob("ckpt-*.index"))
    assert 5 <= stopped_at < 15

    for victim, step in ((1, 15), (0, 20)):
        processes = start_hosts(run, **flags)
        wait_for(run / f"ckpt-{step}.index", processes)
        processes[victim].kill()
        statuses, outputs = finish(processes, timeout=120)
        print(step, statuses, outputs[1 - victim][-1000:])
        assert statuses[victim] == -signal.SIGKILL
        if victim == 1:
            assert statuses[0] == 75, outputs[0]
            assert "error: Another host of the job is gone" in outputs[0].splitlines()[-1]
        else:  # without the coordinator TensorFlow may abort by itself
            assert statuses[1] in (75, -signal.SIGABRT), outputs[1]
        assert not (run / "ckpt-40.index").exists(), "killed too late to show anything"

    statuses, outputs = finish(start_hosts(run, **flags))
    assert statuses == [0, 0], "\n".join(outputs)
    expected, found = weights(tmp_path / "whole"), weights(run)
    assert all(np.array_equal(expected[name], found[name]) for name in expected)
    steps = [row["step"] for row in training.rows(run)]
    assert steps == [5, 10, 15, 20, 25, 30, 35, 40]
