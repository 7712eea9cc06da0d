"""Everything at URLs: a run and all that is made of it, in a file system that TensorFlow serves."""

import csv
import io
import itertools
import json
import os

import numpy as np
import pytest
import tensorflow as tf
import training

from simclr_tf import checkpoints, features, predict, probe
from simclr_tf.checkpoints.__main__ import main as checkpoints_main
from simclr_tf.checkpoints.restore import variable_paths
from simclr_tf.evaluation import embeddings
from simclr_tf.evaluation.summary import row_of
from simclr_tf.exit_status import INTERRUPTED, exit_status
from simclr_tf.experiment import train
from simclr_tf.export.__main__ import main as export_main
from simclr_tf.paths import as_path

pytestmark = pytest.mark.usefixtures("toy_encoder")

FINETUNED = training.SMALL | {"train_mode": "finetune", "learning_rate": 0.01}


@pytest.fixture(scope="module", autouse=True)
def empty(tmp_path_factory):
    """An empty working directory, which stays so: nothing that is meant for a URL lands in it."""
    before, directory = os.getcwd(), tmp_path_factory.mktemp("empty")
    os.chdir(directory)
    yield directory
    os.chdir(before)
    assert not list(directory.iterdir())


@pytest.fixture(scope="module")
def run(empty):
    """A fine-tuning that was stopped at step 3, resumed, evaluated and exported."""
    url = "ram://bucket/runs/a"
    flags = FINETUNED | {"knn_every_epochs": 0}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "export", lambda *_: None)
        patch.setattr(train.callbacks.StopOnSignal, "on_step", stop_at_3)
        assert training.run(url, pictured=True, **flags) == train.TERMINATED
    assert training.run(url, exported=True, **flags) == 0
    assert training.run(url, **flags, mode="eval") == 0
    return url


def stop_at_3(self, before, step, logs):
    if step == 3:
        self.save(step)
        self.model.stop_training = True


def names(url):
    return {path.name for path in as_path(url).iterdir()}


def same_network(found, url):
    expected = variable_paths(checkpoints.load(url))
    for path, variable in variable_paths(found).items():
        np.testing.assert_array_equal(variable, expected[path], err_msg=path)


@pytest.mark.thorough
def test_a_run_is_written_resumed_evaluated_and_exported(run):
    found = names(run)
    kinds = {"ckpt-3.index", "ckpt-6.index", "checkpoint", "run.json", "model.json", "views.png"}
    assert kinds | {"metrics.jsonl", "result.json", "flags.json", "eval", "saved_model"} <= found
    assert any(name.startswith("events.out.tfevents") for name in found)
    rows = [json.loads(line) for line in as_path(f"{run}/metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [2, 4, 6]
    result = json.loads(as_path(f"{run}/result.json").read_text())
    assert result["global_step"] == 6 and row_of(run)["top-1"]
    assert names(f"{run}/saved_model") == {"6"}


@pytest.mark.slow
def test_a_finished_run_has_nothing_to_do_and_is_overwritten(run, capsys):
    assert training.run(run, **FINETUNED) == 0
    assert "Nothing to do" in capsys.readouterr().out
    url = "ram://bucket/runs/b"
    assert training.run(url, **(FINETUNED | {"train_steps": 3})) == 0
    as_path(f"{url}/eval_notes.md").write_text("mine")
    assert training.run(url, **(FINETUNED | {"train_steps": 2}), overwrite=True) == 0
    assert "ckpt-3.index" not in names(url) and "ckpt-2.index" in names(url)
    assert as_path(f"{url}/eval_notes.md").read_text() == "mine"


@pytest.mark.slow
def test_what_is_exported_is_loaded(run, capsys):
    assert export_main([run, "ram://bucket/exported/3"]) == 0
    for url in ("ram://bucket/exported/3", f"{run}/saved_model/6"):
        found = {"saved_model.pb", "fingerprint.pb", "variables", "assets", "assets.extra"}
        assert names(url) == found
        assert as_path(f"{url}/assets/labels.txt").read_bytes() == b"".join(
            b"%d\n" % i for i in range(10)
        )
        requests = f"{url}/assets.extra/tf_serving_warmup_requests"
        assert len(list(tf.data.TFRecordDataset(requests))) >= 4
        same_network(checkpoints.load(url), run)
    loaded = tf.saved_model.load("ram://bucket/exported/3")
    images = tf.zeros([1, 8, 8, 3], tf.uint8)
    assert loaded.signatures["images"](images=images)["probabilities"].shape == (1, 10)
    assert export_main([run, "ram://bucket/exported/3"]) == 2
    assert "exists already" in capsys.readouterr().err


@pytest.mark.slow
def test_an_interrupted_upload_is_repeated(run, monkeypatch):
    url, copy, calls = "ram://bucket/interrupted/3", tf.io.gfile.copy, itertools.count()

    def killed(*arguments, **options):
        if next(calls) == 3:
            raise KeyboardInterrupt
        copy(*arguments, **options)

    monkeypatch.setattr(tf.io.gfile, "copy", killed)
    assert export_main([run, url]) == INTERRUPTED
    assert as_path(url).exists() and "saved_model.pb" not in names(url)
    calls = itertools.count()
    command = [run, "--to", "simclr_tf", "ram://bucket/interrupted/own"]
    assert checkpoints_main(command) == INTERRUPTED
    monkeypatch.setattr(tf.io.gfile, "copy", copy)
    assert "model.json" not in names("ram://bucket/interrupted/own")
    assert export_main([run, url]) == 0
    same_network(checkpoints.load(url), run)
    assert checkpoints_main(command) == 0
    same_network(checkpoints.load("ram://bucket/interrupted/own"), run)
    as_path("ram://bucket/interrupted/4").mkdir()
    as_path("ram://bucket/interrupted/4/notes.txt").write_text("mine")
    assert export_main([run, "ram://bucket/interrupted/4"]) == 2
    assert names("ram://bucket/interrupted/4") == {"notes.txt"}


@pytest.mark.thorough
@pytest.mark.parametrize(
    "to, name",
    [
        ("simclr_tf", "own"),
        ("torch", "t.safetensors"),
        ("torch", "t2.pt"),
        ("keras", "k.weights.h5"),
    ],
)
def test_what_is_converted_is_loaded(run, to, name):
    pytest.importorskip("safetensors")
    if name.endswith(".pt"):
        pytest.importorskip("torch")
    url = f"ram://bucket/converted/{name}"
    assert checkpoints_main([run, "--to", to, url]) == 0
    same_network(checkpoints.load(url), run)
    assert checkpoints_main([url]) == 0


@pytest.mark.slow
def test_predictions(run):
    for name in ("p.csv", "p.jsonl"):
        flags = {"dataset": "digits", "split": "test", "top_k": 1}
        count = predict.predict(run, predict.Predictions(output=f"ram://predicted/{name}", **flags))
        assert count == 359
    assert names("ram://predicted") == {"p.csv", "p.jsonl"}
    rows = list(csv.DictReader(io.StringIO(as_path("ram://predicted/p.csv").read_text())))
    lines = [
        json.loads(line) for line in as_path("ram://predicted/p.jsonl").read_text().splitlines()
    ]
    assert [row["class_1"] for row in rows] == [line["classes"][0] for line in lines]
    assert len(rows) == 359


@pytest.mark.slow
def test_embeddings_go_on(run, monkeypatch):
    for name in ("e.npz", "records"):
        flags = features.Features(dataset="digits", split="test", output=f"ram://embedded/{name}")
        part_of = {"e.npz": "_join", "records": "_write_tfrecord"}[name]
        with monkeypatch.context() as patch:
            patch.setattr(embeddings, part_of, interrupt)
            with pytest.raises(KeyboardInterrupt):
                features.extract(run, flags)
        assert not as_path(flags.output).is_file()
        assert "359" in features.extract(run, flags)
        assert "Nothing to do" in features.extract(run, flags)
    assert names("ram://embedded") == {"e.npz", "records"}
    with as_path("ram://embedded/e.npz").open("rb") as file, np.load(file) as stored:
        extracted = stored["features"]
    (file,) = (path for path in as_path("ram://embedded/records").iterdir() if "-of-" in path.name)
    records = [
        tf.train.Example.FromString(r.numpy()).features.feature["features"].float_list.value
        for r in tf.data.TFRecordDataset(str(file))
    ]
    np.testing.assert_array_equal(extracted, np.array(records, np.float32))


def interrupt(*_):
    raise KeyboardInterrupt


@pytest.mark.slow
def test_a_probe(run):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            probe,
            "probe",
            lambda *_: {"linear_probe_top_1_accuracy": 0.5, "knn_top_1_accuracy": 0.5},
        )
        config = train.configuration.from_dict({})
        assert f"SavedModel      {run}/saved_model/6" in probe.compare(run, config, frozenset())
    assert json.loads(as_path(f"{run}/probe.json").read_text())["step"] == 6


UNKNOWN = "nothing://bucket/x"


@pytest.mark.thorough
@pytest.mark.parametrize(
    "program",
    [
        lambda run: training.run(UNKNOWN),
        lambda run: training.run(UNKNOWN, mode="eval"),
        lambda run: export_main([run, f"{UNKNOWN}/1"]),
        lambda run: export_main([UNKNOWN, "1"]),
        lambda run: export_main([run, "1", f"--labels={UNKNOWN}"]),
        lambda run: checkpoints_main([run, "--to", "simclr_tf", UNKNOWN]),
        lambda run: checkpoints_main([UNKNOWN]),
        lambda run: predict.predict(run, predict.Predictions(output=f"{UNKNOWN}.csv")),
        lambda run: predict.predict(UNKNOWN, predict.Predictions(output="p.csv")),
        lambda run: features.extract(run, features.Features(output=UNKNOWN)),
        lambda run: features.extract(UNKNOWN, features.Features(output="f.npz")),
        lambda run: row_of(UNKNOWN),
    ],
)
def test_an_unknown_scheme_is_named_in_one_line(run, capsys, program):
    assert exit_status(lambda: program(run)) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: Nothing opens nothing:// here") and "gs://" in printed
    assert printed.count("\n") == 1
