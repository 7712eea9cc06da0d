"""Making fits: shared with other processes, with supervised checkpoints, and what is said of it."""

import itertools
import json
import types

import numpy as np
import official_archives
import pytest
import training

from simclr_tf import checkpoints
from simclr_tf.experiment import train
from simclr_tf.studies import sharing
from simclr_tf.studies.sweep import Sweep
from simclr_tf.transfer import linear, plan, runner
from simclr_tf.transfer.program import Transfer, transfer
from simclr_tf.transfer.runner import Runner, Settings
from simclr_tf.transfer.tasks import Task

pytestmark = pytest.mark.usefixtures("toy_encoder")


@pytest.fixture
def dtd(tmp_path):
    official_archives.dtd(tmp_path)
    return Task("dtd", str(tmp_path), check=False)


@pytest.mark.slow
@pytest.mark.parametrize("it_finishes", [True, False])
def test_a_fit_that_another_process_makes_is_waited_for(
    checkpoint, dtd, tmp_path, monkeypatch, it_finishes
):
    sweep, other = Sweep(tmp_path / "sweep"), Sweep(tmp_path / "sweep")
    point, last = plan.make_plan(["dtd"], ["linear"], {"linear": {"l2": [1.0]}})
    theirs = {"validation": 0.5, "l2": 1.0, "seconds": 1.0}
    claim, lines = other.claim(point.id), []

    def other_ends(_):
        assert not lines and sweep.result(point.id) is None
        if it_finishes:
            other.finish(point.id, theirs)
        claim.__exit__(None, None, None)

    monkeypatch.setattr(sharing, "time", types.SimpleNamespace(sleep=other_ends))
    assert claim.__enter__()
    Runner(sweep, Settings(checkpoint, image_size=8), {"dtd": dtd}).run([point, last], lines.append)
    assert (sweep.result(point.id) == theirs) == it_finishes
    assert [line.split()[1] for line in lines] == [
        f"{fit.id}:" for fit in ([last] if it_finishes else [point, last])
    ]


@pytest.mark.slow
def test_what_is_said_of_a_fit(checkpoint, dtd, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(linear, "_PROGRESS_BAR_AFTER", 0)
    clock = types.SimpleNamespace(monotonic=itertools.count(step=200).__next__)
    monkeypatch.setattr(runner, "time", clock)
    fits = plan.make_plan(["dtd"], ["linear"], {"linear": {"l2": [1.0, 10.0]}})
    lines = []
    maker = Runner(Sweep(tmp_path / "sweep"), Settings(checkpoint, image_size=8), {"dtd": dtd})
    maker.run(fits, lines.append)
    results = [maker.sweep.result(fit.id) for fit in fits]
    # Every look at the clock is 200 s after the one before it. Between those of a fit are the
    # two for each split whose features it needs first, and the time between these is not its.
    assert [result["seconds"] for result in results] == [600, 200, 400]
    assert lines[0] == (
        f"[1/3] {fits[0].id}: validation {results[0]['validation']:.4f} (10 min); time left: 20 min"
    )
    assert lines[1].endswith("(3 min); time left: 7 min")
    assert lines[2].startswith("[3/3]") and lines[2].endswith("time left: 0.0 s")
    shown = capsys.readouterr().err
    assert "Features of transfer/dtd, train: 100%" in shown and "2/2" in shown


def test_the_plan_has_the_time_that_is_left(checkpoint, dtd, tmp_path):
    sweep = Sweep(tmp_path / "sweep")
    fits = plan.make_plan(["dtd"], ["linear"], {})
    for fit in fits[:4]:
        sweep.finish(fit.id, {"validation": 0.5, **fit.point, "seconds": 100.0})
    flags = Transfer(datasets="dtd,flowers", dry_run=True)
    text = transfer(str(sweep.path), flags).splitlines()
    assert text[1].split() == ["linear", "dtd", "46", "4", "5,640", "70", "min"]
    of_flowers = 46 * 100 * (1020 * 102) / (1880 * 47)  # 90 minutes
    minutes = f"{of_flowers / 60:.0f}"
    assert text[2].split() == ["linear", "flowers", "46", "0", "8,189", minutes, "min"]
    hours = (of_flowers + 4200) / 3600
    assert text[3] == f"92 fits, 13,829 images shown in all; time left: {hours:.1f} h."


@pytest.fixture(scope="module")
def supervised(tmp_path_factory):
    """A run of finetune.py --protocol=supervised on digits."""
    model_dir = tmp_path_factory.mktemp("runs") / "supervised"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "export", lambda *_: None)  # takes long
        status = training.finetune(
            model_dir, protocol="supervised", resnet_depth=18, warmup_epochs=0.0
        )
    assert status == 0
    return str(model_dir)


@pytest.mark.slow
def test_a_supervised_checkpoint_is_transferred(supervised, tmp_path):
    """Its encoder, that is; the head for its own classes plays no part."""
    official_archives.pets(tmp_path)
    flags = {
        "checkpoint": supervised,
        "data_dir": str(tmp_path),
        "datasets": "pets",
        "l2": "1",
        "learning_rate": "0.1",
        "weight_decay": "0",
        "finetune_steps": 2,
        "batch_size": 4,
        "image_size": 8,
        "allow_other_sizes": True,
    }
    text = transfer(str(tmp_path / "sweep"), Transfer(**flags, protocols="linear,finetune"))
    assert len(text.splitlines()) == 4
    finals = [json.loads(f.read_text()) for f in (tmp_path / "sweep").glob("pets/*/final*.json")]
    assert {final["protocol"] for final in finals} == {"linear", "finetune"}
    network = checkpoints.load(supervised)
    assert network.architecture.num_classes == 10
    with np.load(next((tmp_path / "sweep/features").glob("pets-test-*.npz"))) as stored:
        task = Task("pets", str(tmp_path), check=False)
        again = linear.read_or_compute(
            tmp_path / "again.npz", network, task.open("test"), image_size=8, batch_size=4
        )
        np.testing.assert_allclose(stored["features"], again[0], rtol=1e-5)
