"""A run directory: its own files and nobody else's, one process, damage, lengths."""

import errno
import fcntl
import json
import os
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf import flag
from simclr_tf.backend import keras
from simclr_tf.checkpoints import run_files
from simclr_tf.checkpoints.plain_path import without_patterns
from simclr_tf.checkpoints.run_directory import RunDirectory
from simclr_tf.checkpoints.saver import Saver
from simclr_tf.errors import NonFiniteLossError, UserError
from simclr_tf.experiment import config as configuration
from simclr_tf.flag import to_dict
from simclr_tf.models import Architecture
from simclr_tf.paths import as_path

VALUE = "a/.ATTRIBUTES/VARIABLE_VALUE"
FACTS = {
    "num_examples": 300,
    "num_classes": 3,
    "class_names": ["ant", "bee", "cow"],
    "skipped_files": [],
    "planned_steps": 6,
}


def flags(**values):
    return to_dict(configuration.from_dict(values))


def identity(**values):
    return flag.identity(configuration.from_dict(values))


def claimed(path, **values):
    """A run directory with these flags."""
    directory = RunDirectory(path)
    directory.claim(flags(**values) | FACTS, Architecture(), overwrite=False)
    return directory


def add_checkpoint(path, step):
    for ending in ("index", "data-00000-of-00001"):
        (path / f"ckpt-{step}.{ending}").write_bytes(b"x")


def names(path):
    return {p.relative_to(path).as_posix() for p in path.rglob("*")}


@pytest.mark.parametrize("name", ["lr=[0.1,0.2]", "x[12]", "a*b?", "{1,2}", "!x", "back\\slash"])
def test_no_character_of_a_path_is_a_pattern(tmp_path, name):
    other = tmp_path / "x1"
    other.mkdir()
    add_checkpoint(other, 7)
    (tmp_path / name).mkdir()
    variable = tf.Variable(3.0)
    directory = claimed(tmp_path / name)
    for step in (1, 2, 3):
        tf.train.Checkpoint(a=variable).write(directory.checkpoint(step))
        directory.keep_checkpoints(2)
    assert sorted(directory.checkpoints()) == ["ckpt-2", "ckpt-3"]
    assert directory.latest_step == 3 and directory.latest_checkpoint.endswith("/ckpt-3")
    with without_patterns(directory.latest_checkpoint) as plain:
        read = tf.train.Checkpoint(a=tf.Variable(0.0))
        read.read(plain).assert_consumed()
        assert tf.train.load_checkpoint(plain).get_tensor(VALUE) == read.a.numpy() == 3.0
    directory.claim(flags() | FACTS, Architecture(), overwrite=True)
    assert directory.checkpoints() == []
    assert names(other) == {"ckpt-7.index", "ckpt-7.data-00000-of-00001"}


def test_old_checkpoints_go_and_what_kills_left(tmp_path):
    directory = claimed(tmp_path)
    for step in (3, 5, 20, 100):
        add_checkpoint(tmp_path, step)
    (tmp_path / "ckpt-120.data-00000-of-00001").write_bytes(b"its index was never written")
    (tmp_path / "ckpt-120_temp").mkdir()
    (tmp_path / "ckpt-120_temp" / "part-00000-of-00001.index").write_bytes(b"x")
    (tmp_path / "ckpt-notes.md").write_text("mine")
    (tmp_path / "ckpt-7.txt").write_text("mine")
    directory.keep_checkpoints(2)
    left = {name for name in names(tmp_path) if name.startswith("ckpt")}
    assert left == {
        *(f"ckpt-{step}.{end}" for step in (20, 100) for end in ("index", "data-00000-of-00001")),
        "ckpt-notes.md",
        "ckpt-7.txt",
    }
    assert tf.train.latest_checkpoint(str(tmp_path)) == f"{tmp_path}/ckpt-100"  # for others
    directory.keep_checkpoints(0)
    assert len(directory.checkpoints()) == 2


@pytest.mark.parametrize("place", ["local", "ram://"])
def test_overwriting_removes_exactly_what_a_run_writes(tmp_path, place):
    own = [
        "model.json", "label_subset.json", "checkpoint", "metrics.jsonl", "views.png",
        "images.txt.gz", "features-0123456789abcdef.npz", "ckpt-12.index",
        "ckpt-12.data-00000-of-00001", "ckpt-14_temp/part-00000-of-00001.index", "result.json",
        "result_12.json", "flags.json", "probe.json", "run.json.part", "metrics.jsonl.part",
        "report.html", "report.html.part", "run.json.0123abcd.part",
        "events.out.tfevents.1700000000.host.1.0.v2", "eval/events.out.tfevents.17.host.1.0.v2",
        "eval_again/result.json", "eval_again/result_12.json", "eval_again/flags.json",
        "saved_model/12/saved_model.pb", "saved_model/.export-abc/model/saved_model.pb",
    ]  # fmt: skip
    mine = [
        "eval_notes.md", "results_of_my_paper.json", "ckpt-notes.md", "result_of_12.json",
        "features-mine.npz", "eval_figures/plot.png", "saved_model/notes.txt", "checkpoint.bak",
        "model.json.backup", "metrics.jsonl.old", "ckpt-12.index.bak", "events.txt",
        "notes/result.json", "views.png.txt", "evaluation.csv", "eval_again/why.md",
    ]  # fmt: skip
    folder = as_path(tmp_path if place == "local" else f"ram://overwritten/{tmp_path.name}")
    directory = claimed(folder)
    for name in own + mine:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    run_files.remove_run(folder)
    assert {name for name in own + mine if (folder / name).is_file()} == set(mine)
    assert not directory.holds_run()
    if place == "local":  # ram:// takes eval_notes.md for a part of it
        assert not (folder / "eval").exists()


def test_what_a_removal_leaves_that_was_interrupted_is_no_checkpoint(tmp_path, monkeypatch):
    directory = claimed(tmp_path)
    for name in ("ckpt-9.data-00000-of-00001", "ckpt-9.index", "metrics.jsonl"):
        (tmp_path / name).write_text("x")
    removed, unlink = [], pathlib.Path.unlink

    def interrupted(path, missing_ok=False):
        if len(removed) == 2:
            raise KeyboardInterrupt
        removed.append(path.name)
        unlink(path, missing_ok)

    monkeypatch.setattr(pathlib.Path, "unlink", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_files.remove_run(as_path(tmp_path))
    assert removed[0] == "ckpt-9.index" and directory.holds_run()
    assert directory.latest_checkpoint is None


def test_one_process_trains_in_a_directory(tmp_path):
    directory = claimed(tmp_path)
    again = rf"Another process trains.*process {os.getpid()} on "
    with directory.locked(), pytest.raises(UserError, match=again), directory.locked():
        pass
    with directory.locked():
        pass  # the lock ends with its context
    with open(tmp_path / run_files.LOCK, "a+") as file:  # as another process would hold it
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="Another process trains"), directory.locked():
            pass


def test_the_split_seed_of_earlier_runs_is_their_seed(tmp_path):
    directory = claimed(tmp_path, seed=3)
    stored = json.loads((tmp_path / "run.json").read_text())
    for name in ("split_seed", "label_seed", "upright", "cifar_stem"):
        del stored[name]
    (tmp_path / "run.json").write_text(json.dumps(stored))
    config = directory.config()
    assert config["split_seed"] == 3 and config["label_seed"] is None
    assert config["upright"] is False and config["cifar_stem"] == "auto"


def stored_by_an_earlier_version(directory, path, names):
    """What run.json says without flags that came later; another value of one is refused."""
    stored = json.loads((path / "run.json").read_text())
    given = identity()
    for name in names:
        del stored[name]
    (path / "run.json").write_text(json.dumps(stored))
    directory.check({name: given[name] for name in names}, resume=True, overwrite=False)
    for name in names:
        with pytest.raises(UserError, match=f"--{name} was "):
            directory.check({name: "another"}, resume=True, overwrite=False)
    return stored


def test_earlier_runs_had_one_schedule(tmp_path):
    """Their run.json does not say so; to go on with another is refused all the same."""
    names = ("schedule", "schedule_by", "schedule_milestones", "schedule_gamma")
    names += ("warmup_start", "final_rate", "lars_rate_outside")
    stored_by_an_earlier_version(claimed(tmp_path), tmp_path, names)


def test_earlier_runs_had_the_views_of_the_paper(tmp_path):
    """What is refused for the views of a run that says so is refused for one that does not."""
    directory = claimed(tmp_path)
    names = ("blur_sigma", "reduced_decoding", "image_size_schedule")
    names += ("transforms", "added_transform")
    stored = stored_by_an_earlier_version(directory, tmp_path, names)
    (tmp_path / "run.json").write_text(json.dumps(stored | {"method": "moco"}))
    assert directory.config()["infomin"] is False and "transforms" not in directory.config()


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "null",
        lambda text: "[]",
        lambda text: '"run"',
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: text.replace('"num_examples"', '"number"'),
        lambda text: text.replace('"planned_steps": 6', '"planned_steps": "six"'),
        lambda text: text.replace('"skipped_files": []', '"skipped_files": [1]'),
        lambda text: text.replace('"image_size": 224', '"image_size": {}'),
        lambda text: text.replace('"class_names": [', '"class_names": [4, '),
    ],
)
def test_a_damaged_run_json_is_one_line_for_everybody(tmp_path, damage):
    directory = claimed(tmp_path)
    file = tmp_path / "run.json"
    file.write_text(damage(file.read_text()))
    for use in (directory.config, lambda: directory.check(identity(), True, False)):
        with pytest.raises(UserError, match=r"run\.json (is damaged|should)"):
            use()
    file.write_bytes(b"\xff\x00")
    with pytest.raises(UserError, match=r"run\.json is damaged"):
        directory.config()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"lab_views": ["l", "ab"], "method": "cmc"}, "it has lab_views, method"),
        ({"resnet_depth": "50"}, "'resnet_depth' is \"50\""),
        ({"num_classes": 2.5}, "'num_classes' is 2.5"),
        ({"cifar_stem": 1}, "'cifar_stem' is 1"),
    ],
)
def test_a_model_json_of_another_version_is_one_line(tmp_path, change, said):
    directory = claimed(tmp_path)
    values = Architecture().to_json() | change
    (tmp_path / "model.json").write_text(json.dumps(values))
    with pytest.raises(UserError, match=f"model.json.*{said}"):
        directory.architecture()


def test_a_model_json_of_an_earlier_version_has_defaults(tmp_path):
    directory = claimed(tmp_path)
    (tmp_path / "model.json").write_text('{"resnet_depth": 18, "sk_ratio": 0}')
    assert directory.architecture() == Architecture(resnet_depth=18)


def test_only_a_finished_run_can_be_made_longer_and_only_longer(tmp_path):
    directory = claimed(tmp_path, train_epochs=2)
    assert not directory.check_length(identity(train_epochs=2), 6)
    directory.check(identity(train_epochs=4), True, False)
    with pytest.raises(UserError, match="train_epochs was 2, now 4. It is at step 0 of 6"):
        directory.check_length(identity(train_epochs=4), 12)
    add_checkpoint(tmp_path, 6)
    assert directory.check_length(identity(train_epochs=4), 12)
    assert directory.check_length(identity(train_epochs=2, train_steps=9), 9)
    for shorter in ({"train_epochs": 1}, {"train_epochs": 2, "train_steps": 6}):
        with pytest.raises(UserError, match="can only be made longer"):
            directory.check_length(identity(**shorter), 3 * shorter["train_epochs"])


def test_another_length_is_refused_where_the_run_is_not_finished(tmp_path):
    directory = claimed(tmp_path, train_steps=10, train_epochs=100)
    add_checkpoint(tmp_path, 4)
    identity = {"train_steps": 10, "train_epochs": 100}
    assert directory.check_length(identity, planned_steps=10) is False
    with pytest.raises(UserError, match="another length: --train_steps was 10, now 12"):
        directory.check_length(identity | {"train_steps": 12}, 12)


def test_another_batch_is_refused_with_what_to_do_instead(tmp_path):
    directory = claimed(tmp_path)
    with pytest.raises(UserError, match="--train_batch_size was 512, now 64.*give --checkpoint"):
        directory.check(identity(train_batch_size=64), True, False)


def test_paths_that_cannot_be_directories_are_one_line(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "file").write_text("x")
    for path in ("loop", "loop/run", "file", "file/run", "n" * 300):
        with pytest.raises(UserError, match="--model_dir"):
            RunDirectory(tmp_path / path).check(identity(), True, False)
    with pytest.raises(UserError, match=r"has to be UTF-8 text. Received: .*caf\\xe9"):
        RunDirectory(os.fsdecode(b"caf\xe9"))


def test_checkpoints_of_another_program_are_left_alone(tmp_path):
    for name in ("checkpoint", "model.ckpt-7.index"):
        folder = tmp_path / name.replace(".", "_")
        folder.mkdir()
        (folder / name).write_text("")
        with pytest.raises(UserError, match="holds checkpoints of another program"):
            RunDirectory(folder).check(identity(), True, False)


def test_a_bucket_s_checkpoint_with_a_pattern_in_its_path_is_refused():
    patterned = without_patterns("gs://bucket/x[1]/ckpt-3")
    with pytest.raises(UserError, match="Copy it to another place"), patterned:
        pass


class Counter(tf.Module):
    """What a checkpoint may hold of a method."""

    def __init__(self):
        super().__init__()
        self.network = keras.Sequential([keras.layers.Dense(1)])
        self.network.build((None, 2))
        self.predictor = tf.Variable([1.0, 2.0])  # trained, but no part of the network
        self.trained_variables = [*self.network.weights, self.predictor]


def test_nothing_is_saved_of_a_method_that_is_not_finite(tmp_path):
    method = Counter()
    method.predictor.assign([1.0, np.nan])
    with pytest.raises(NonFiniteLossError, match="by step 3"):
        Saver(method, tmp_path, keep=2).save(3)
    assert names(tmp_path) == set()


def test_a_checkpoint_is_there_when_all_of_it_is(tmp_path, monkeypatch):
    saver = Saver(Counter(), tmp_path, keep=2)
    saver.save(3)
    whole = {"ckpt-3.index", "ckpt-3.data-00000-of-00001", "checkpoint"}
    assert names(tmp_path) == whole
    write = saver._checkpoint.write

    def full(prefix):
        write(prefix)
        pathlib.Path(f"{prefix}.index").write_bytes(b"")  # as a full disk leaves it
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(saver._checkpoint, "write", full)
    with pytest.raises(OSError, match="No space"):
        saver.save(5)
    directory = RunDirectory(tmp_path)
    assert directory.latest_step == 3
    monkeypatch.undo()
    saver.save(7)
    assert directory.checkpoints() == ["ckpt-3", "ckpt-7"]
    assert not list(tmp_path.glob("*_temp"))
    tf.train.load_checkpoint(directory.checkpoint(7))
