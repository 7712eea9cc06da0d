"""A study from its command line to its table: planned, killed and gone on with, shared, refused."""

import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import time
import types

import numpy as np
import pytest
import tensorflow as tf
import toy
import training
from commands import ROOT, parsed

from simclr_tf import study as program
from simclr_tf.data import datasets, sources, subsets
from simclr_tf.errors import NonFiniteLossError, UserError
from simclr_tf.evaluation.features import NonFiniteFeaturesError
from simclr_tf.experiment import probing, train
from simclr_tf.flag import to_dict
from simclr_tf.methods import METHODS
from simclr_tf.studies import sharing
from simclr_tf.studies.grid import REDUCED, cells_of
from simclr_tf.studies.paper import STUDIES
from simclr_tf.studies.program import StudyFlags, listing, study
from simclr_tf.studies.sweep import Sweep

pytestmark = pytest.mark.usefixtures("toy_encoder")

CELLS = "temperature=0.1,temperature=1"
FLAGS = training.SMALL | {"train_steps": 4, "checkpoint_steps": 2}


def run(study_dir, *, cells=CELLS, dry_run=False, lines=None, **flags):
    """The study of two temperatures with the smallest runs there are; what it says."""
    said = [] if lines is None else lines
    given = StudyFlags(study_dir=str(study_dir), cells=cells, axes=REDUCED, dry_run=dry_run)
    with training._exporting(False), training._picturing(False):
        status = study("temperature", given, FLAGS | flags, report=said.append)
    return status, said


def results(study_dir):
    """The results by cell, without what is of the machine."""
    found = {}
    for file in sorted(pathlib.Path(study_dir).glob("cells/*/result.json")):
        values = json.loads(file.read_text())
        values["metrics"].pop("images_per_second", None)
        found[file.parent.name] = {
            k: v for k, v in values.items() if k not in ("seconds", "steps_made")
        }
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The study as one process makes it."""
    path = tmp_path_factory.mktemp("studies") / "whole"
    status, said = run(path)
    assert status == 0
    return path, said


@pytest.fixture
def trained(monkeypatch):
    """The names of the cells that are trained in this process, in order."""
    names, run_of_train = [], train.run

    def counted(config, given):
        names.append(pathlib.Path(config.run.model_dir).parent.name)
        return run_of_train(config, given)

    monkeypatch.setattr(train, "run", counted)
    return names


def test_a_study_of_two_cells(whole):
    path, said = whole
    found = results(path)
    assert list(found) == ["temperature_0.1", "temperature_1"]
    for name, values in found.items():
        assert values["steps"] == values["metrics"]["step"] == 4
        assert values["labels"] == {"temperature": name.removeprefix("temperature_")}
        assert values["linear_probe_top_1_accuracy"] > 0.5  # random features do well, chance is 0.1
        assert json.loads((path / "cells" / name / "run" / "run.json").read_text())[
            "temperature"
        ] == float(values["labels"]["temperature"])
    values = found["temperature_0.1"]
    shown = f"{values['linear_probe_top_1_accuracy']:.1%}, kNN {values['knn_top_1_accuracy']:.1%}"
    assert said[0].startswith(f"[1/2] temperature_0.1: linear probe {shown} (")
    assert said[1].startswith("[2/2] temperature_1: ") and said[1].endswith("time left: 0.0 s")
    lines = said[2].splitlines()
    assert lines[0] == (
        "| temperature | linear probe, % | kNN, % | entropy | contrastive accuracy, % |"
    )
    assert len(lines) == 8 and lines[2] == "| 0.05 | (59.7) |  | (1.0) | (90.5) |"
    numbers = [100 * values["linear_probe_top_1_accuracy"], 100 * values["knn_top_1_accuracy"]]
    numbers += [values["metrics"]["contrast_entropy"], 100 * values["metrics"]["contrast_acc"]]
    assert lines[3] == "| 0.1 | {:.1f} (64.4) | {:.1f} | {:.1f} (4.5) | {:.1f} (87.8) |".format(
        *numbers
    )
    assert (path / "table.md").read_text() == said[2]
    assert {"table.csv", "table.png"} <= {file.name for file in path.iterdir()}


def start(study_dir):
    """Start the program."""
    given = [f"--{name}={value}" for name, value in FLAGS.items()]
    words = ["temperature", f"--study_dir={study_dir}", "--axes=reduced", f"--cells={CELLS}"]
    return subprocess.Popen(
        [*toy.command("simclr_tf/study.py"), *words, *given],
        cwd=ROOT,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.slow
def test_two_processes_are_killed_and_two_go_on(whole, tmp_path):
    path, said = whole
    both = [start(tmp_path) for _ in range(2)]
    while not list(tmp_path.glob("cells/*/run/ckpt-2.index")):
        assert all(process.poll() is None for process in both)
        time.sleep(0.02)
    for process in both:
        process.kill()
        process.communicate()
    kept = results(tmp_path)
    assert len(kept) < 2, "killed too late to show anything"
    both = [start(tmp_path) for _ in range(2)]
    outputs = [process.communicate(timeout=600)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    made = [
        line.split()[1] for text in outputs for line in text.splitlines() if line.startswith("[")
    ]
    assert len(made) == len(set(made)) == 2 - len(kept)  # no cell twice
    found, expected = results(tmp_path), results(path)
    table = (tmp_path / "table.md").read_text()
    accuracies = ("linear_probe_top_1_accuracy", "knn_top_1_accuracy")
    for name, values in expected.items():
        # The graphs of programs are rewritten, see graphs.py: rounding may move an image or two.
        shown = [f"{100 * found[name][key]:.1f}" for key in accuracies]
        row = next(line for line in table.splitlines() if f"| {name.split('_')[1]} |" in line)
        assert [cell.split(" ")[1] for cell in row.split("|")[2:4]] == shown
        for key in accuracies:
            assert found[name].pop(key) == pytest.approx(values.pop(key), abs=2.1 / 359)
        assert found[name].pop("metrics") == pytest.approx(values.pop("metrics"), rel=1e-5)
    assert found == expected
    assert table.splitlines()[:3] == said[-1].splitlines()[:3]


@pytest.mark.slow
def test_a_study_goes_on_beside_another_process(whole, tmp_path, trained, monkeypatch):
    """It was killed after the training of the first cell, and another process is at the second.

    More is measured of each cell than before.
    """
    path, said = whole
    shutil.copytree(path, tmp_path, dirs_exist_ok=True)
    (tmp_path / "cells/temperature_0.1/result.json").unlink()
    shutil.rmtree(tmp_path / "cells/temperature_1")
    held, lines = Sweep(tmp_path).claim("cells/temperature_1/result"), []
    assert held.__enter__()

    def other_ends(_):
        assert trained == ["temperature_0.1"] and len(lines) == 1
        held.__exit__(None, None, None)  # without a result

    monkeypatch.setattr(sharing, "time", types.SimpleNamespace(sleep=other_ends))

    def further(config, network, bank, queries, folder):
        assert folder == tmp_path / "cells" / f"temperature_{config.method.temperature:g}"
        assert (bank.num_examples, queries.num_examples) == (1_438, 359)
        return {"width": network.features(tf.zeros((1, 8, 8, 3))).shape[1]}

    changed = dataclasses.replace(STUDIES["temperature"], further=further)
    monkeypatch.setitem(STUDIES, "temperature", changed)
    assert run(tmp_path, lines=lines) == (0, lines)
    assert trained == ["temperature_0.1", "temperature_1"]
    made = [json.loads(f.read_text()) for f in sorted(tmp_path.glob("cells/*/result.json"))]
    assert [result["steps_made"] for result in made] == [0, 4]
    assert results(tmp_path) == {k: v | {"width": 512} for k, v in results(path).items()}
    assert lines[-1] == said[-1]


def test_a_finished_study_trains_nothing(whole, trained):
    path, said = whole
    assert run(path) == (0, said[-1:])
    assert trained == []


@pytest.mark.parametrize("error", [NonFiniteLossError, NonFiniteFeaturesError])
def test_more_cells_of_the_same_study(error, whole, trained, monkeypatch):
    """The paper's temperature of 0.5 diverges here, and is not made again."""
    path, said = whole

    def diverges(config, given):
        raise error("the loss is NaN at step 3")

    monkeypatch.setattr(train, "run", diverges)
    status, lines = run(path, cells="temperature=0.5")
    assert status == 0
    assert lines[0].startswith("[1/1] temperature_0.5: diverged (the loss is NaN at step 3) (")
    expected = said[-1].replace(
        "| 0.5 | (60.7) |  | (8.2) | (68.2) |",
        "| 0.5 | diverged (60.7) | diverged | diverged (8.2) | diverged (68.2) |",
    )
    assert lines[-1] == expected != said[-1]
    (path / "cells" / "temperature_0.5" / "result.json").unlink()


@pytest.mark.thorough
def test_the_range_of_probe_images_is_checked_before_anything_is_done(tmp_path):
    words = ["tsne", f"--study_dir={tmp_path}/new", "--probe_images=-5", "--dataset=digits"]
    done = subprocess.run(
        [*toy.command("simclr_tf/study.py"), *words],
        cwd=ROOT,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and "--probe_images" in done.stderr and "-5" in done.stderr
    assert not (tmp_path / "new").exists()


def test_too_few_images_are_refused_before_anything_is_trained(tmp_path, trained):
    flags = StudyFlags(str(tmp_path), REDUCED, "predicted=rotate", probe_images=10)
    with pytest.raises(UserError, match="of 10 images .* are too few"):
        study("invariance", flags, FLAGS, report=print)
    assert trained == []


def test_a_probe_of_fewer_images():
    bank = datasets.load("digits", "train")
    few = probing.limit_images(bank, 50)
    assert few.num_examples == 50
    np.testing.assert_array_equal(np.bincount(subsets.labels_of(few)), [5] * 10)
    assert probing.limit_images(bank, 1_438) is bank
    partly = subsets.hide_other_labels(bank, np.arange(300))
    assert probing.limit_images(partly, 400) is partly
    labels = subsets.labels_of(probing.limit_images(partly, 100))
    np.testing.assert_array_equal(np.bincount(labels), [10] * 10)


def test_a_plan_reads_no_images_to_choose_some(tmp_path, monkeypatch):
    monkeypatch.setattr(probing, "limit_images", None)
    flags = StudyFlags(str(tmp_path), REDUCED, CELLS, probe_images=100, dry_run=True)
    said = []
    assert study("temperature", flags, FLAGS, report=said.append) == 0
    # 4 steps of 2 views, forwards and backwards, and the images of the probe.
    images = 3 * 4 * 2 * FLAGS["train_batch_size"] + 100 + 359
    assert f"{2 * images:,} images shown in all" in said[0]


def test_flags_of_pretraining_alone_are_not_of_rows_with_labels(tmp_path):
    given = FLAGS | {"micro_batch_size": 8, "recompute": True, "train_steps": 100}
    cells = "strength=0.5,training=supervised"
    said = []
    flags = StudyFlags(str(tmp_path), REDUCED, cells, dry_run=True)
    assert study("color_strength", flags, given, report=said.append) == 0
    assert "training_supervised-strength_0.5" in said[0]


def test_what_compares_h_with_z_is_refused_without_a_head(tmp_path, trained):
    flags = StudyFlags(study_dir=str(tmp_path), axes=REDUCED)
    known = {name: value for name, value in FLAGS.items() if name != "num_proj_layers"}
    with pytest.raises(UserError, match="cell training_simclr .* needs a pretraining with a head"):
        study("tsne", flags, known | {"proj_head_mode": "none"})
    assert trained == [] and not list(tmp_path.iterdir())


def test_other_settings_are_refused(whole, trained):
    path, _ = whole
    with pytest.raises(UserError, match="other settings: learning_rate was 1.0, now 2.0. Give the"):
        run(path, learning_rate=2.0)
    with pytest.raises(UserError, match="other settings: seed was 0, now 1"):
        run(path, seed=1, dry_run=True)
    with pytest.raises(UserError, match="other settings: study was 'temperature', now 'head'"):
        study("head", StudyFlags(study_dir=str(path), axes=REDUCED), FLAGS)
    with pytest.raises(UserError, match="other settings: probe_images was None, now 99"):
        given = StudyFlags(study_dir=str(path), axes=REDUCED, probe_images=99)
        study("temperature", given, FLAGS)
    with pytest.raises(UserError, match="other settings: .*images was .*, now "):
        run(path, train_split="test")
    with pytest.raises(UserError, match="other settings: .*given was .*, now .*'weight_decay'"):
        run(path, weight_decay=1e-6)  # which is the default of the flag
    assert trained == []


@pytest.mark.thorough
def test_recipes_that_changed_are_refused(tmp_path, monkeypatch):
    """So are those of methods whose cells are not made yet."""
    monkeypatch.setattr(train, "run", lambda config, given: train.TERMINATED)
    flags = StudyFlags(str(tmp_path), cells="method=simclr", method_recipes="configs/digits")
    values = {"byol": {"weight_decay": 0.5}}

    def recipe(prefix, method):
        return values.get(method, {})

    assert study("methods", flags, FLAGS, recipe) == train.TERMINATED
    (finished := tmp_path / "cells" / "method_swav").mkdir(parents=True)
    (finished / "result.json").write_text("{}")  # without any, other settings are welcome
    assert study("methods", flags, FLAGS, recipe) == train.TERMINATED
    values["byol"] = {"weight_decay": 0.25}
    with pytest.raises(UserError, match="other settings: .*recipes was .*, now "):
        study("methods", flags, FLAGS, recipe)


def test_a_schedule_that_some_cells_cannot_have_is_refused_at_once(tmp_path, trained):
    flags = StudyFlags(str(tmp_path), REDUCED, "temperature=1")
    with pytest.raises(UserError, match="The cell temperature_1 cannot be made. .*leaves nothing"):
        study("temperature", flags, FLAGS | {"image_size": 12, "image_size_schedule": "8:9"})
    assert trained == []


def test_flags_that_do_not_fit_the_method_of_some_cells_are_refused_at_once(tmp_path, trained):
    flags = StudyFlags(str(tmp_path), REDUCED, "loss=nt_xent,loss=margin")
    with pytest.raises(UserError, match="The cell loss_margin.* cannot be made. .*of cosines"):
        study("loss", flags, FLAGS | {"hidden_norm": False})
    assert trained == []


def test_a_cluster_is_refused(tmp_path, trained, monkeypatch):
    workers = {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(workers))
    with pytest.raises(UserError, match="on one host, and TF_CONFIG names several. Unset it"):
        run(tmp_path)
    assert trained == [] and not list(tmp_path.iterdir())


@pytest.mark.thorough
def test_settings_of_a_later_version_are_no_others(whole, trained):
    """A flag that an earlier version did not have counts as having its default."""
    path, said = whole
    stored = (path / "sweep.json").read_text()
    values = json.loads(stored)
    del values["warmup_start"]
    (path / "sweep.json").write_text(json.dumps(values))
    assert run(path) == (0, said[-1:])
    (path / "sweep.json").write_text(stored)


def test_sigterm_ends_the_study(tmp_path, monkeypatch):
    monkeypatch.setattr(train, "run", lambda config, given: train.TERMINATED)
    assert run(tmp_path) == (143, [])
    assert results(tmp_path) == {}


def test_the_time_that_is_left_follows_what_is_finished(whole):
    path, _ = whole
    files = [path / "cells" / f"temperature_{t}" / "result.json" for t in ("0.1", "1")]
    before = [file.read_text() for file in files]
    for file, seconds in zip(files, (100.0, 140.0)):
        file.write_text(json.dumps(json.loads(file.read_text()) | {"seconds": seconds}))
    _, (text,) = run(path, cells=None, dry_run=True)
    for file, content in zip(files, before):
        file.write_text(content)
    lines = text.splitlines()
    # Three times 4 steps of two views of 16 images, and all 1,797 digits once.
    assert lines[1].split() == ["temperature_0.05", "4", "16", "2,181", "2", "min"]
    assert lines[2].split() == ["temperature_0.1", "4", "16", "2,181", "finished"]
    assert lines[-1] == "6 cells, 2 finished, 13,086 images shown in all; time left: 8 min."


def cost_on_digits(steps, views=2, batch=64):
    """Images shown in so many steps, each for three times its batch; 1,797 more for the probe."""
    return 3 * steps * batch * views + 1_797


VIEWS = {name: 1 for name in ("instdisc", "cmc", "predictive")}
VIEWS |= {name: 3 for name in ("infomin", "clsa", "clsa_simclr", "clsa_byol")}
WHOLE = cost_on_digits(250)
DIGITS = {
    "augmentations": (16, 16 * cost_on_digits(80)),
    "batch_epochs": (
        8,
        sum(
            cost_on_digits(1_438 * epochs // batch + 1, batch=batch)
            for epochs in (5, 10)
            for batch in (64, 128, 256, 512)
        ),
    ),
    "color_strength": (10, 5 * cost_on_digits(200) + 5 * cost_on_digits(200, 1)),
    "head": (7, 7 * cost_on_digits(200)),
    "invariance": (4, 4 * WHOLE),
    "loss": (10, 10 * cost_on_digits(150)),
    "methods": (len(METHODS), sum(cost_on_digits(75, VIEWS.get(name, 2)) for name in METHODS)),
    "model_size": (8, 4 * cost_on_digits(50) + 4 * cost_on_digits(50, 1)),
    "temperature": (6, 6 * WHOLE),
    "tsne": (1, WHOLE),
}


def cost_on_cifar10(epochs, batch, views=2):
    """Images shown in so many epochs, and the 60,000 for the probe."""
    return 3 * (50_000 * epochs // batch + 1) * batch * views + 60_000


LONG = cost_on_cifar10(100, 512)
SUPERVISED = cost_on_cifar10(100, 512, 1)
CIFAR10 = {
    "augmentations": (16, 16 * (3 * 200 * 128 * 2 + 20_000)),
    "batch_epochs": (12, sum(cost_on_cifar10(e, 2**b) for e in (5, 10, 20) for b in (6, 7, 8, 9))),
    "color_strength": (10, 5 * LONG + 5 * SUPERVISED),
    "head": (7, 7 * LONG),
    "invariance": (4, 4 * LONG),
    "loss": (10, 10 * LONG),
    "methods": (
        len(METHODS),
        sum(cost_on_cifar10(200, 256, VIEWS.get(name, 2)) for name in METHODS),
    ),
    "model_size": (8, 4 * LONG + 4 * SUPERVISED),
    "temperature": (6, 6 * LONG),
    "tsne": (1, LONG),
}


def cifar10(config):
    """What `open_splits` gives, without images."""
    return [
        sources.ImageDataset(
            "cifar10", "x", number, 10, None, sources.indexed([""] * number, [0] * number)
        )
        for number in (50_000, 10_000)
    ]


@pytest.mark.parametrize("name", STUDIES)
def test_the_dry_run_of_the_recipe_on_cifar10(name, tmp_path, monkeypatch):
    monkeypatch.setattr(probing, "open_splits", cifar10)
    labels = np.arange(50_000) % 10
    monkeypatch.setattr(subsets, "labels_of", lambda dataset: labels)
    text, _ = dry_run(name, "cifar10", tmp_path, monkeypatch)
    cells, images = CIFAR10[name]
    assert text.splitlines()[-1].startswith(f"{cells} cells, 0 finished, {images:,} images shown")


@pytest.mark.parametrize("name", STUDIES)
def test_the_dry_run_of_the_recipe_on_digits(name, tmp_path, monkeypatch):
    text, chosen = dry_run(name, "digits", tmp_path, monkeypatch)
    cells, images = DIGITS[name]
    assert text.splitlines()[-1] == (
        f"{cells} cells, 0 finished, {images:,} images shown in all; time left: not known yet."
    )
    assert chosen.axes == REDUCED
    assert [line.split()[0] for line in text.splitlines()[1:-1]] == [
        cell.name for cell in cells_of(STUDIES[name], REDUCED, chosen.cells)
    ]


def dry_run(name, dataset, tmp_path, monkeypatch):
    """What the dry run of a study's recipe says, and the flags of the study in it."""
    monkeypatch.chdir(ROOT)
    words = [f"--flagfile=configs/studies/{name}_{dataset}.cfg", f"--study_dir={tmp_path}/new"]
    config, given = parsed(*words, "--dry_run", config_class=program.StudyConfig)
    values = to_dict(config)
    chosen = {flag: values[flag] for flag in given - vars(config.study).keys()}
    said = []
    assert study(name, config.study, chosen, program._recipe, said.append) == 0
    assert not (tmp_path / "new").exists()
    (text,) = said
    return text, config.study


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"model_dir": "x"}, "--model_dir is not for a study"),
        ({"train_batch_size": 2000}, "The cell temperature_0.1 cannot be made. The batch is larg"),
        ({"train_batch_size": 1}, "The cell temperature_0.1 cannot be made. --train_batch_size is"),
        ({"method": "byol"}, "The cell temperature_0.1 has --.*, which --method=byol does not"),
    ],
)
def test_what_cannot_work_is_found_before_the_first_cell(tmp_path, trained, changed, message):
    with pytest.raises(UserError, match=message):
        run(tmp_path / "new", **changed)
    assert trained == [] and not (tmp_path / "new").exists()


def test_a_study_needs_a_name_and_a_directory():
    with pytest.raises(UserError, match="Unknown study 'los'; it is one of .* Did you mean: loss"):
        study("los", StudyFlags(study_dir="x"), {})
    with pytest.raises(UserError, match="--study_dir is missing"):
        study("loss", StudyFlags(), {})


def test_the_list():
    text = listing()
    assert "loss (table 4, appendix B.10): " in text
    assert "    85 cells with --axes=paper\n        loss: margin, nt_logistic, margin_semi" in text
    assert "    10 cells with --axes=reduced\n" in text and "        margin: 0.4, 0.8\n" in text
    assert "| nt_xent | (63.9) |" in text and "kNN" not in text  # of which no paper has values
    one = listing("temperature")
    assert "| 0.1 | (64.4) | (4.5) | (87.8) |" in one and one.partition("\n\n--axes")[0] in text
    assert "    temperature_10_raw: --temperature=10.0 --hidden_norm=False" in one


def test_a_recipe_that_is_none_is_one_clear_line(tmp_path):
    with pytest.raises(UserError, match="x_byol.cfg cannot be read"):
        program._recipe(str(tmp_path / "x"), "byol")
    (tmp_path / "x.cfg").write_text("--queue_size=12\n")
    with pytest.raises(UserError, match="x.cfg is no recipe: Unknown command line flag"):
        program._recipe(str(tmp_path / "x"), "simclr")
    (tmp_path / "x.cfg").write_text("--temperature=0.25\n--seed=3\n")
    assert program._recipe(str(tmp_path / "x"), "simclr") == {"temperature": 0.25, "seed": 3}
