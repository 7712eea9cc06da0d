"""What a sweep is told before it is written, what it keeps, and what becomes of damaged files."""

import contextlib
import errno
import json
import os
import shutil

import numpy as np
import official_archives
import pytest
from damage import damaged

from simclr_tf import checkpoints
from simclr_tf.errors import UserError
from simclr_tf.models import Network
from simclr_tf.studies.sweep import Sweep, read_arrays
from simclr_tf.transfer import finetuning, linear, plan, runner, table
from simclr_tf.transfer.program import Transfer, transfer
from simclr_tf.transfer.runner import Runner, Settings
from simclr_tf.transfer.tasks import Task

pytestmark = pytest.mark.usefixtures("toy_encoder")

SETTINGS = {"checkpoint": "runs/x", "image_size": 8, "steps": {"finetune": 2}, "weights": "abc"}
NO_JSON_OBJECTS = [b"", b"null", b"[1]", b'{"validation": 0.', b'{"a": "\xff"}', b"[" * 100_000]


@pytest.fixture
def flags(checkpoint, tmp_path):
    """A sweep of one data set of few images and two values of l2."""
    official_archives.dtd(tmp_path)
    return {
        "checkpoint": checkpoint,
        "data_dir": str(tmp_path),
        "datasets": "dtd",
        "l2": "1,10",
        "image_size": 8,
        "batch_size": 64,
        "allow_other_sizes": True,
    }


@pytest.fixture
def quick(monkeypatch):
    """Fits without a network; gives the fits that were made."""
    made = []

    def result(self, fit):
        made.append(fit.id)
        path = self.sweep.arrays(fit.id)
        if fit.point is None:
            runner.write_arrays(path, shares=np.ones(2) / 2, labels=np.array([0, 1]))
            return {"validation": 0.5, "test": 0.5}
        runner.write_arrays(path, weights=np.ones((4, 2)), bias=np.ones(2))
        return {"validation": 0.5, **fit.point}

    monkeypatch.setattr(Runner, "_result", result)
    monkeypatch.setattr(Runner, "_encoder", lambda self: None)
    return made


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"datasets": "mars"}, "Unknown data set 'mars'"),
        ({"datasets": "dtd,pets"}, "transfer/pets needs annotations/trainval.txt"),
        ({"datasets": "dtd=/nowhere"}, "--data_dir=/nowhere of data set transfer/dtd is no dir"),
        ({"allow_other_sizes": False}, "is not the official file"),
        ({"datasets": ","}, "--datasets lists nothing"),
        ({"datasets": ""}, "--datasets lists nothing"),
        ({"datasets": "dtd="}, "cannot have 'dtd=' in it"),
        ({"datasets": "=data"}, "cannot have '=data' in it"),
        ({"datasets": "../../x"}, "cannot have '../../x' in it"),
        ({"datasets": "dtd,dtd"}, "--datasets names dtd twice"),
        ({"protocols": " , "}, "--protocols lists nothing"),
        ({"protocols": "linear,linear"}, "--protocols names linear twice"),
        ({"protocols": "linear,knn"}, "Unknown transfer protocol 'knn'"),
        ({"l2": ","}, "--l2 lists nothing"),
        ({"l2": ""}, "--l2 lists nothing"),
        ({"l2": "1,nan"}, "--l2=nan is not on the grid"),
        ({"l2": "inf"}, "--l2=inf is not on the grid"),
        ({"l2": "-1"}, "--l2=-1 is not on the grid"),
        ({"learning_rate": ","}, "--learning_rate lists nothing"),
        ({"checkpoint": "/nowhere/x"}, "no checkpoint /nowhere/x"),
        ({"compare": "/nowhere"}, "--compare=/nowhere is no sweep"),
    ],
)
def test_what_cannot_work_is_said_before_a_sweep_is_written(flags, tmp_path, changed, message):
    place = tmp_path / "sweeps/new"
    with pytest.raises(UserError, match=message) as caught:
        transfer(str(place), Transfer(**flags | changed))
    assert "\n" not in str(caught.value)
    assert not place.parent.exists()


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("file", "is a file. Give the directory"),
        ("file/below", "cannot be written"),
        ("n" * 300, "too long"),
        ("loop", "cannot be (read|written)"),
        ("gs://bucket/sweep", "needs a directory of this machine"),
    ],
)
def test_a_directory_that_cannot_be_is_one_line(flags, quick, tmp_path, path, message):
    (tmp_path / "file").write_text("no directory")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    place = path if "://" in path else str(tmp_path / path)
    with pytest.raises(UserError, match=message):
        transfer(place, Transfer(**flags))
    assert not quick


def test_a_sweep_of_other_data_sets_is_not_compared(flags, tmp_path):
    other = Sweep(tmp_path / "other")
    with other.take_part(SETTINGS):
        other.finish("pets/linear/final", {"test": 1.0})
    message = "--compare=.*other has none of the data sets dtd"
    with pytest.raises(UserError, match=message):
        transfer(str(tmp_path / "new"), Transfer(**flags, compare=str(other.path)))
    assert not (tmp_path / "new").exists()


@pytest.mark.thorough
def test_settings_may_change_until_a_fit_is_finished(flags, quick, tmp_path):
    """As after images that cannot be decoded, which are found when the sweep is there."""
    place = tmp_path / "sweep"
    Task("dtd", str(tmp_path), check=False).open("test")
    (image,) = (tmp_path / "unpacked").glob("*/dtd/images/*/*_0000.jpg")
    whole = image.read_bytes()
    image.write_bytes(whole[:100])
    with pytest.raises(UserError, match="=0 lets no more"):
        transfer(str(place), Transfer(**flags, max_bad_images=0))
    image.write_bytes(whole)
    transfer(str(place), Transfer(**flags | {"image_size": 16, "seed": 3}))
    assert json.loads((place / "sweep.json").read_text())["image_size"] == 16
    assert len(quick) == 3
    with pytest.raises(UserError, match="image_size was 16, now 8; seed was 3, now 0"):
        transfer(str(place), Transfer(**flags))
    assert len(quick) == 3


def test_settings_do_not_change_while_another_process_takes_part(tmp_path):
    first, second = Sweep(tmp_path / "sweep"), Sweep(tmp_path / "sweep")
    other = SETTINGS | {"image_size": 16}
    with first.take_part(SETTINGS), second.take_part(SETTINGS):
        with pytest.raises(UserError, match="Another process takes part"), second.take_part(other):
            pass
        assert second.settings() == SETTINGS
    with second.take_part(other) as settings:
        assert settings == second.settings() == other


def test_weights_are_compared_and_not_paths(tmp_path):
    sweep = Sweep(tmp_path / "sweep")
    with sweep.take_part(SETTINGS):
        sweep.finish("dtd/linear/l2_1", {"validation": 0.5})
    with sweep.take_part(SETTINGS | {"checkpoint": "runs/x/ckpt-500"}) as settings:
        assert settings == SETTINGS  # the first path goes on to name what was computed
    moved = SETTINGS | {"weights": "def"}
    message = "weights was 'abc', now 'def'; --checkpoint was 'runs/x'"
    with pytest.raises(UserError, match=message), sweep.take_part(moved):
        pass


@pytest.mark.thorough
def test_the_same_weights_at_another_path_go_on(flags, quick, checkpoint, tmp_path):
    place = tmp_path / "sweep"
    transfer(str(place), Transfer(**flags))
    shutil.copytree(checkpoint, tmp_path / "moved")
    moved = {"checkpoint": str(tmp_path / "moved/ckpt-3"), "l2": "1,10,100"}
    transfer(str(place), Transfer(**flags | moved))
    assert len(quick) == 3 + 2
    assert json.loads((place / "sweep.json").read_text())["checkpoint"] == checkpoint


def test_a_sweep_of_an_earlier_version_goes_on(flags, quick, checkpoint, tmp_path):
    """Its settings and results are what they were."""
    place = tmp_path / "sweep"
    made = Runner(Sweep(place), Settings(checkpoint, 8, 64), {})
    settings = {
        "checkpoint": checkpoint,
        "image_size": 8,
        "batch_size": 64,
        "steps": {"finetune": 20_000, "random_init": 40_000},
        "seed": 0,
        "rescale_v1_weights": False,
        "weights": made.weights,
    }
    (place / "dtd/linear").mkdir(parents=True)
    (place / "sweep.json").write_text(json.dumps(settings))
    (place / "dtd/linear/l2_10.json").write_text('{"validation": 0.5, "l2": 10, "seconds": 1.5}')
    transfer(str(place), Transfer(**flags))
    assert [name.split("/")[2][:5] for name in quick] == ["l2_1", "final"]
    assert json.loads((place / "sweep.json").read_text()) == settings


@pytest.mark.parametrize("contents", [*NO_JSON_OBJECTS, b'{"validation": NaN}', b"{}"])
def test_a_damaged_result_is_one_line(tmp_path, contents):
    sweep = Sweep(tmp_path)
    (tmp_path / "dtd").mkdir()
    (tmp_path / "dtd/x.json").write_bytes(contents)
    with pytest.raises(
        UserError, match="dtd/x.json is damaged: .*Remove it, and the fit"
    ) as caught:
        sweep.result("dtd/x", ["validation"])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("contents", NO_JSON_OBJECTS)
def test_damaged_settings_are_one_line(flags, quick, tmp_path, contents):
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep/sweep.json").write_bytes(contents)
    with pytest.raises(UserError, match="sweep.json is damaged: .* Remove it if this command"):
        transfer(str(tmp_path / "sweep"), Transfer(**flags))
    with pytest.raises(UserError, match="sweep.json is damaged: .* Remove it if this command"):
        transfer(str(tmp_path / "new"), Transfer(**flags, compare=str(tmp_path / "sweep")))
    assert not quick and not (tmp_path / "new").exists()


def test_settings_that_lack_something_are_one_line(tmp_path):
    sweep = Sweep(tmp_path)
    sweep.finish("dtd/linear/l2_1", {"validation": 0.5})
    (tmp_path / "sweep.json").write_text('{"weights": "abc"}')
    with pytest.raises(UserError, match="image_size was None, now 8"):
        sweep.compare(SETTINGS)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "sweep.json")
    with pytest.raises(UserError, match="sweep.json is no file"):
        Sweep(tmp_path).settings()


@pytest.mark.parametrize(
    "contents",
    [
        *NO_JSON_OBJECTS,
        b"{}",
        b'{"left_out": "a.jpg", "max_bad_images": 1}',
        b'{"left_out": [1], "max_bad_images": 1}',
        b'{"left_out": [], "max_bad_images": null}',
    ],
)
def test_a_damaged_note_of_images_is_made_anew(tmp_path, contents):
    sweep = Sweep(tmp_path)
    sweep.leave_out("dtd", ["gr\udcfcn.jpg"], 2)
    assert sweep.left_out("dtd", 2) == sweep.left_out("dtd", 3) == ("gr\udcfcn.jpg",)
    assert sweep.left_out("dtd", 1) is sweep.left_out("pets", 1) is None
    (tmp_path / "images/dtd.json").write_bytes(contents)
    assert sweep.left_out("dtd", 9) is None


def test_damaged_features_are_computed_again(tmp_path, monkeypatch):
    """Cut, and with bits turned, in 60 ways."""
    path = tmp_path / "features.npz"
    features, labels = np.arange(12, dtype=np.float32).reshape(3, 4), np.array([0, 1, 1])
    linear.write_arrays(path, features=features, labels=labels)
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    again = 0
    for copy in damaged(whole, 60, random):
        path.write_bytes(copy)
        stored = read_arrays(path, "features", "labels")
        again += stored is None
        if stored is not None:
            np.testing.assert_array_equal(stored[0], features)
            np.testing.assert_array_equal(stored[1], labels)
    assert again >= 40


def test_damaged_predictions_are_not_compared(tmp_path):
    fits = plan.make_plan(["dtd"], ["linear"], {"linear": {"l2": [1.0]}})
    sweeps = [Sweep(tmp_path / name) for name in "ab"]
    for sweep in sweeps:
        sweep.finish(fits[-1].id, {"test": 1.0})
        np.savez(sweep.arrays(fits[-1].id), shares=np.ones(2) / 2, labels=[0, 1])
    path = sweeps[1].arrays(fits[-1].id)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError, match=f"{path} is damaged"):
        table.p_values(*sweeps, fits)
    path.unlink()
    with pytest.raises(UserError, match=f"{path} is damaged"):
        table.p_values(*sweeps, fits)


def test_a_fit_is_marked_as_finished_when_all_else_is_done(flags, quick, tmp_path, monkeypatch):
    """Killed before the mark is written: what the fit begins at is there for the next process."""
    place = tmp_path / "sweep"
    finish = Sweep.finish

    def killed(self, fit_id, result):
        if fit_id.endswith("l2_1"):
            raise KeyboardInterrupt
        finish(self, fit_id, result)

    with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
        patch.setattr(Sweep, "finish", killed)
        transfer(str(place), Transfer(**flags))
    assert (place / "dtd/linear/l2_10.npz").exists()
    assert not (place / "dtd/linear/l2_1.json").exists()
    transfer(str(place), Transfer(**flags))
    assert not (place / "dtd/linear/l2_10.npz").exists()
    assert [name.split("/")[2][:5] for name in quick] == ["l2_10", "l2_1", "l2_1", "final"]


def test_a_full_disk_is_one_line_and_the_same_command_goes_on(flags, quick, tmp_path, monkeypatch):
    place = tmp_path / "sweep"
    finish = Sweep.finish

    def full(self, fit_id, result):
        if fit_id.endswith("l2_1"):
            raise OSError(errno.ENOSPC, "No space left on device")
        finish(self, fit_id, result)

    with monkeypatch.context() as patch:
        patch.setattr(Sweep, "finish", full)
        with pytest.raises(UserError, match="No space left on device. The fits that are finished"):
            transfer(str(place), Transfer(**flags))
    assert (place / "dtd/linear/l2_10.json").exists()
    transfer(str(place), Transfer(**flags))
    assert quick.count("dtd/linear/l2_10") == 1


def test_a_table_is_replaced_when_all_of_it_is_there(tmp_path, monkeypatch):
    rows = {("linear", table.OURS): {"dtd": 50.0}}
    text = table.write(tmp_path, rows, {})
    monkeypatch.setattr(table, "_draw", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        table.write(tmp_path, {("linear", table.OURS): {"dtd": 60.0}}, {})
    assert (tmp_path / "table.md").read_text() == text
    assert "50.0" in (tmp_path / "table.csv").read_text()
    assert (tmp_path / "table.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.thorough
def test_a_checkpoint_is_read_once(flags, checkpoint, tmp_path, monkeypatch):
    """A run that goes on meanwhile, or is gone, gives all fits the weights of the beginning."""
    run = tmp_path / "run"
    shutil.copytree(checkpoint, run)
    network = checkpoints.load(checkpoint)
    seen = []

    def train(architecture, stored, *_, source, **__):
        seen.append((dict(stored.arrays), source))
        shutil.rmtree(run, ignore_errors=True)

    monkeypatch.setattr(finetuning, "train", train)
    monkeypatch.setattr(finetuning, "predict", lambda *_: (np.eye(2), np.array([0, 1])))
    changed = {"checkpoint": str(run), "protocols": "finetune", "l2": None}
    chosen = {"learning_rate": "0.1", "weight_decay": "0,1e-6"}
    transfer(str(tmp_path / "sweep"), Transfer(**flags | changed | chosen))
    assert len(seen) == 3 and {source for _, source in seen} == {str(run)}
    for variables, _ in seen:
        same = Network(network.architecture)
        checkpoints.loading.load_stored_into(same, checkpoints.read(checkpoint), checkpoint)
        for path, variable in checkpoints.restore.variable_paths(same).items():
            np.testing.assert_array_equal(variables[path], variable.numpy())


def test_a_p_value_that_rounds_to_0_is_shown_as_small(tmp_path):
    differences = {("linear", "p against x"): {"dtd": 1e-5, "pets": 0.0012, "cars": 0.31}}
    rows = {("linear", table.OURS): {"dtd": 60.0, "pets": 60.0, "cars": 60.0}}
    text = table.write(tmp_path, rows, differences)
    assert "**<0.001**" in text and "**0.001**" in text and "| 0.310 |" in text
