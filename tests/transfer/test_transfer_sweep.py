"""A whole sweep: from checkpoint and data to the table; shared, killed and resumed."""

import csv
import dataclasses
import json
import os
import pathlib
import shutil
import signal
import subprocess
import time

import numpy as np
import official_archives
import pytest
import toy

from simclr_tf.data import subsets
from simclr_tf.errors import UserError
from simclr_tf.models import Architecture
from simclr_tf.studies.sweep import Sweep
from simclr_tf.transfer import paper, plan, table
from simclr_tf.transfer.program import Transfer, transfer
from simclr_tf.transfer.runner import Runner, Settings

pytestmark = pytest.mark.usefixtures("toy_encoder")

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    """A directory with a folder for each of two data sets."""
    root = tmp_path_factory.mktemp("transfer")
    for name in ("voc2007", "pets"):
        (root / name).mkdir()
        official_archives.MAKERS[name](root / name)
    return str(root)


@pytest.fixture
def flags(checkpoint, data_dir):
    """A sweep of two data sets, three values of l2 and images of 8 pixels."""
    return {
        "checkpoint": checkpoint,
        "data_dir": data_dir,
        "datasets": "pets,digits",
        "l2": "1,10,100",
        "image_size": 8,
        "batch_size": 64,
        "allow_other_sizes": True,
    }


def results(sweep_dir):
    """The results by id, without the time that they took."""
    files = sorted(pathlib.Path(sweep_dir).glob("*/*/*.json"))
    found = {
        str(f.relative_to(sweep_dir).with_suffix("")): json.loads(f.read_text()) for f in files
    }

    def timeless(value):
        if isinstance(value, dict):
            return {k: timeless(v) for k, v in value.items() if k != "seconds"}
        return [timeless(v) for v in value] if isinstance(value, list) else value

    return timeless(found)


@pytest.fixture(scope="module")
def alone(checkpoint, data_dir, tmp_path_factory):
    """The sweep as one process makes it."""
    path = tmp_path_factory.mktemp("alone")
    text = transfer(str(path), Transfer(**flags.__wrapped__(checkpoint, data_dir)))
    return path, text


def test_the_linear_protocol(alone):
    path, text = alone
    found = results(path)
    assert len(found) == 2 * 4
    last = next(r for name, r in found.items() if name.startswith("digits/linear/final_of_3_"))
    assert last["metric"] == "top_1"
    assert last["test_images"] == 359
    assert last["test"] > 0.5  # random features do well on digits, chance is 0.1
    points = {r["l2"]: r["validation"] for r in last["points"]}
    assert sorted(points) == [1, 10, 100]
    assert points[last["selected"]["l2"]] == max(points.values()) == last["validation"]
    titles = text.splitlines()[0]
    assert titles == "| protocol | what | Pets | digits |"
    assert f"{100 * last['test']:.1f} |" in text
    with open(path / "table.csv") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["protocol", "what", "pets", "digits"]
    assert rows[1][:2] == ["linear", "this sweep"]
    assert (path / "table.md").read_text() == text
    assert (path / "table.png").read_bytes().startswith(b"\x89PNG")


def test_a_finished_sweep_makes_no_fit_again(alone, flags, capsys):
    path, text = alone
    before = {f: f.stat().st_mtime_ns for f in path.glob("*/*/*.json")}
    assert transfer(str(path), Transfer(**flags)) == text
    assert {f: f.stat().st_mtime_ns for f in path.glob("*/*/*.json")} == before
    assert "validation" not in capsys.readouterr().out


def test_another_sweep_with_the_same_network_does_not_differ(alone, flags):
    path, _ = alone
    text = transfer(str(path), Transfer(**flags, compare=str(path)))
    assert text.splitlines()[-1] == f"| linear | p against {path.name} | 1.000 | 1.000 |"


def test_other_settings_are_an_error(alone, flags):
    path, _ = alone
    with pytest.raises(UserError, match="other settings: image_size was 8, now 16"):
        transfer(str(path), Transfer(**flags | {"image_size": 16}))


def test_moved_images_are_the_same_and_others_are_refused(alone, flags, tmp_path, monkeypatch):
    path, text = alone
    moved = {"data_dir": str(shutil.copytree(flags["data_dir"], tmp_path / "moved"))}
    assert transfer(str(path), Transfer(**flags | moved)) == text
    monkeypatch.setattr(subsets, "fingerprint", lambda dataset: "of others")
    assert transfer(str(path), Transfer(**flags)) == text  # where they were: not looked at again
    with pytest.raises(UserError, match="images of pets are not those .* sweep .* began with"):
        transfer(str(path), Transfer(**flags | moved))


def start(sweep_dir, flags):
    """Start the program."""
    given = [f"--{name}={value}" for name, value in flags.items()]
    return subprocess.Popen(
        [*toy.command("finetune.py"), "--protocol=transfer", f"--model_dir={sweep_dir}", *given],
        cwd=ROOT,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.slow
def test_killed_and_resumed_by_two_processes(alone, flags, tmp_path):
    path, _ = alone
    first = start(tmp_path, flags)
    while len(results(tmp_path)) < 3 and first.poll() is None:
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    kept = results(tmp_path)
    assert 3 <= len(kept) < 8
    both = [start(tmp_path, flags) for _ in range(2)]
    outputs = [process.communicate(timeout=300)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    made = [
        line.split()[1] for text in outputs for line in text.splitlines() if line.startswith("[")
    ]
    assert len(made) == len(set(made)) == 8 - len(kept)  # no fit twice
    found, expected = results(tmp_path), results(path)
    assert found.keys() == expected.keys()
    for name, result in expected.items():
        key = "test" if "test" in result else "validation"
        assert found[name][key] == pytest.approx(result[key], abs=0.01), name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("protocol", "dataset", "chosen"),
    [
        ("finetune", "pets", {"learning_rate": "0.1", "weight_decay": "0,1e-5"}),
        ("random_init", "voc2007", {"learning_rate": "1", "weight_decay": "1e-5"}),
    ],
)
def test_protocols_that_train(checkpoint, data_dir, tmp_path, protocol, dataset, chosen):
    flags = Transfer(
        checkpoint=checkpoint,
        data_dir=data_dir,
        datasets=dataset,
        protocols=protocol,
        finetune_steps=2,
        random_init_steps=3,
        batch_size=4,
        image_size=8,
        allow_other_sizes=True,
        **chosen,
    )
    text = transfer(str(tmp_path), flags)
    found = results(tmp_path)
    points = [r for r in found.values() if "test" not in r]
    (last,) = (r for r in found.values() if "test" in r)
    assert len(points) == len(chosen["weight_decay"].split(","))
    assert last["selected"] in [{k: r[k] for k in last["selected"]} for r in points]
    assert last["selected"].keys() == {"learning_rate", "weight_decay"}
    assert last["validation"] == max(r["validation"] for r in points)
    assert 0 <= last["test"] <= 1
    assert len(text.splitlines()) == 3


def test_the_plan_is_shown_and_nothing_done(flags, tmp_path):
    text = transfer(
        str(tmp_path / "new"), Transfer(**flags | {"dry_run": True, "protocols": "all"})
    )
    assert not (tmp_path / "new").exists()
    assert "linear      pets               4         0           7,349  not known yet" in text
    assert "finetune    pets              57" in text
    assert text.splitlines()[-1].startswith("236 fits, ")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"checkpoint": None}, "--checkpoint is missing"),
        ({"batch_size": 0}, "--batch_size is at least 1. Received: 0"),
        ({"max_bad_images": -1}, "--max_bad_images is at least 0. Received: -1"),
        ({"l2": "many"}, "--l2 is a list of numbers"),
        ({"protocols": "knn"}, "Unknown transfer protocol 'knn'"),
        ({"datasets": "digitz"}, "Unknown data set 'digitz'"),
    ],
)
def test_what_cannot_work_is_one_clear_line(flags, tmp_path, changed, message):
    with pytest.raises(UserError, match=message):
        transfer(str(tmp_path), Transfer(**flags | changed))


def test_a_claim_is_had_by_one(tmp_path):
    sweep, other = Sweep(tmp_path), Sweep(tmp_path)
    with sweep.claim("a/b") as mine, other.claim("a/b") as theirs, other.claim("a/c") as another:
        assert (mine, theirs, another) == (True, False, True)
    with other.claim("a/b") as theirs:
        assert theirs


def test_a_claim_changes_the_folder_so_that_clients_of_nfs_look_at_it_again(tmp_path):
    with Sweep(tmp_path).claim("a/b"):
        pass
    os.utime(tmp_path / "a", (0, 0))
    with Sweep(tmp_path).claim("a/b"):
        assert (tmp_path / "a").stat().st_mtime > 0


def test_a_sweep_lies_where_files_are_locked(tmp_path):
    assert Sweep(f"file://{tmp_path}").path == tmp_path
    with pytest.raises(UserError, match="needs a directory of this machine.* ram://bucket"):
        Sweep("ram://bucket/sweep")


def test_a_finished_fit_is_not_claimed_again(tmp_path, checkpoint):
    sweep = Sweep(tmp_path)
    (point, last) = plan.make_plan(["dtd"], ["linear"], {"linear": {"l2": [1.0]}})
    sweep.finish(point.id, {"validation": 0.5, "l2": 1.0, "seconds": 1.0})
    sweep.finish(last.id, {"test": 0.25, "seconds": 1.0})
    Runner(sweep, Settings(checkpoint), {}).run([point, last])  # needs no data
    assert sweep.result(last.id) == {"test": 0.25, "seconds": 1.0}


def test_the_numbers_of_the_paper():
    wide = Architecture(resnet_depth=50, width_multiplier=4)
    assert paper.reported(wide, "linear")["SimCLR"]["food101"] == 76.9
    assert paper.reported(wide, "linear")["supervised"]["birdsnap"] == 56.4
    assert paper.reported(Architecture(), "finetune")["SimCLR"]["flowers"] == 97.0
    assert paper.reported(Architecture(), "random_init")["random"]["voc2007"] == 67.3
    assert paper.reported(Architecture(resnet_depth=18), "linear") == {}
    assert paper.reported(dataclasses.replace(wide, encoder="keras"), "linear") == {}
    assert all(len(v) == 12 for v in paper.reported(wide, "finetune").values())


def test_the_table_beside_the_paper(tmp_path):
    sweep = Sweep(tmp_path)
    fits = plan.make_plan(["dtd", "cars"], ["linear"], {})
    for fit in fits:
        if fit.point is None:
            sweep.finish(fit.id, {"test": {"dtd": 0.75, "cars": 0.5}[fit.dataset]})
    rows = table.results(sweep, fits, Architecture())
    assert table.write(tmp_path, rows, {("linear", "p against x"): {"dtd": 0.049}}) == (
        "| protocol | what | Cars | DTD |\n"
        "| --- | --- | ---: | ---: |\n"
        "| linear | this sweep | 50.0 | 75.0 |\n"
        "| linear | paper, SimCLR | 50.3 | 74.5 |\n"
        "| linear | paper, supervised | 66.7 | 74.9 |\n"
        "| linear | p against x |  | **0.049** |\n"
    )


def test_the_table_has_what_earlier_calls_have_finished(tmp_path):
    sweep = Sweep(tmp_path)
    calls = [plan.make_plan(["dtd"], ["linear"], {}), plan.make_plan(["cars"], ["finetune"], {})]
    for fits, value in zip(calls, (0.75, 0.5), strict=True):
        sweep.finish(fits[-1].id, {"test": value})
    rows = table.results(sweep, calls[1], Architecture(resnet_depth=18))
    assert rows == {
        ("finetune", "this sweep"): {"cars": 50.0},
        ("linear", "this sweep"): {"dtd": 75.0},
    }


def test_sweeps_with_other_test_images_are_not_compared(tmp_path):
    fits = plan.make_plan(["dtd"], ["linear"], {"linear": {"l2": [1.0]}})
    sweeps = [Sweep(tmp_path / name) for name in "ab"]
    for labels, sweep in zip(([0, 1], [1, 1]), sweeps):
        sweep.finish(fits[-1].id, {"test": 1.0})
        np.savez(sweep.arrays(fits[-1].id), shares=np.ones(2) / 2, labels=labels)
    with pytest.raises(UserError, match="other test images of dtd"):
        table.p_values(*sweeps, fits)
