"""The report of a run directory: of one that is whole, goes on, lacks data or labels, is broken."""

import dataclasses
import json
import pathlib
import shutil
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf
from report_parts import ROWS, checked, made_up, write_run

from simclr_tf import checkpoints
from simclr_tf import report as program
from simclr_tf.data.own_images import own_images
from simclr_tf.data.recipe import cropped
from simclr_tf.errors import UserError
from simclr_tf.evaluation.trained import open_trained
from simclr_tf.experiment import config as configuration
from simclr_tf.experiment import parts, pretraining, train
from simclr_tf.flag import to_dict
from simclr_tf.methods import METHODS
from simclr_tf.reports import page as page_module
from simclr_tf.reports.measured import Splits, measure, open_splits
from simclr_tf.reports.page import report
from simclr_tf.reports.record import PRETRAINED, read_record

pytestmark = pytest.mark.usefixtures("toy_encoder")
TITLES = [
    "What the features are worth",
    "Curves",
    "The image and its views",
    "Nearest neighbours",
    "Map of the test images",
    "Confusions",
    "The run",
]


def silent(line):
    """Takes what the report tells, and does nothing."""


@pytest.fixture(scope="module")
def run(tmp_path_factory, toy_encoder):
    return write_run(tmp_path_factory.mktemp("runs") / "digits", machine="1 abacus")


@pytest.fixture(scope="module")
def measured(run):
    record = read_record(str(run))
    trained = open_trained(record.checkpoint)
    return measure(record, trained.network, open_splits(record, trained), 40)


@pytest.mark.thorough
def test_no_image_of_sharded_data_is_in_both_samples(run):
    """Their order depends on the buffer, which is smaller than the data set here."""
    record = read_record(str(run))
    record = dataclasses.replace(record, flags=record.flags | {"train_batch_size": 1})
    greys = np.arange(200, dtype=np.uint8)[:, np.newaxis, np.newaxis, np.newaxis]
    images = own_images(tf.data.Dataset.from_tensor_slices(np.tile(greys, (1, 8, 8, 3))))
    network = open_trained(record.checkpoint).network
    found = measure(record, network, Splits(images, images, start=160), 40)
    bank, queries = (set(shown.thumbnails[:, 0, 0, 0]) for shown in (found.bank, found.queries))
    assert len(bank) == len(queries) == 40 and not bank & queries


@pytest.fixture(scope="module")
def page(run):
    """With embeddings of few dimensions, whose probe is fitted at once."""
    asked, embedded = [], made_up([0, 1, 2] * 6, [0, 1, 2] * 4)

    def measure(record, network, splits, images):
        asked.append((record.checkpoint, splits.queries.split, images))
        return embedded

    with mock.patch.object(page_module, "measure", measure):
        text = report([str(run)], 60, silent)
    assert asked == [(f"{run}/ckpt-4", "test", 60)]
    return text


def test_the_page_holds_all_it_shows(page):
    parsed = checked(page)
    assert parsed.titles == TITLES
    assert len(page) < 1_000_000
    assert '<html lang="en">' in page and 'name="viewport" content="width=device-width' in page
    assert "digits: simclr on digits" in parsed.words
    assert "a linear probe on the features finds the class of 100.0%" in parsed.words


def test_the_page_tells_what_was_run(page):
    words = checked(page).words
    assert "1 abacus" in words and "python run.py \\\n  --a \\\n  --b" in words
    # 2 steps of 16 images at 16 a second, and 2 at 8.
    assert "10.7 images a second" in words and "6 s" in words
    assert "4 steps (0.0445 epochs)" in words and "not finished" not in words


@pytest.mark.thorough
def test_the_features_are_those_of_images_of_both_splits(run, measured):
    config = configuration.from_dict(read_record(str(run)).flags)
    trained = checkpoints.load(run)
    encoder = measured.encoders[PRETRAINED]
    for shown, layers, split in (
        (measured.bank, encoder.bank, "train"),
        (measured.queries, encoder.queries, "test"),
    ):
        batches = parts.evaluation_batches(config, parts.open_dataset(config, split))
        label_of = {
            np.rint(image.numpy() * 255).astype(np.uint8).tobytes(): label.numpy()
            for images, labels, _ in batches
            for image, label in zip(images, labels, strict=True)
        }
        found = [label_of[image.tobytes()] for image in shown.thumbnails]
        assert len(found) == 40 and np.array_equal(found, shown.labels)
        assert len(set(map(bytes, shown.thumbnails))) == 40 and len(set(found)) == 10
        images = tf.constant(shown.thumbnails, tf.float32) / 255  # 8 bits is all that digits have
        h, *_, z = trained.projections(images)
        np.testing.assert_allclose(layers["h"], h, atol=1e-4)
        np.testing.assert_allclose(layers["z"], z, atol=1e-4)
    assert [len(views["h"]) for views in encoder.views] == [40, 40]


@pytest.mark.slow
def test_the_views_are_those_of_the_first_step(run, measured):
    config = configuration.from_dict(read_record(str(run)).flags)
    dataset = parts.open_dataset(config, "train")
    recipe = pretraining.recipe_of(config)
    expected = train.first_views(config, dataset, recipe, config.train.train_batch_size)
    assert list(measured.rows) == list(expected)
    for name, images in measured.rows.items():
        np.testing.assert_allclose(images, expected[name][:6], atol=1e-5)


def test_a_run_without_checkpoint_shows_what_there_is(run, tmp_path):
    path = tmp_path / "begun"
    path.mkdir()
    for name in ("run.json", "model.json"):
        (path / name).write_bytes((run / name).read_bytes())
    (path / "metrics.jsonl").write_text(json.dumps(ROWS[0]) + "\n" + '{"step": 4, "contr')
    (path / "views.png").write_bytes(tf.io.encode_png(np.zeros((4, 4, 3), np.uint8)).numpy())
    told = []
    parsed = checked(report([str(path)], 60, told.append))
    assert parsed.titles == ["Curves", "The image and its views", "The run"]
    assert "no checkpoint yet" in parsed.words and "no checkpoint yet" in " ".join(told)
    assert "2 steps (0.0223 epochs) of 4: the run is not finished" in parsed.words
    (path / "views.png").unlink()
    (path / "metrics.jsonl").unlink()
    words = checked(report([str(path)], 60, silent)).words
    assert "no row of metrics yet" in words and "no views.png" in words


def test_data_that_are_gone_are_told_of(tmp_path):
    path = write_run(tmp_path / "run", dataset="image_folder", data_dir=str(tmp_path / "gone"))
    parsed = checked(report([str(path)], 60, silent))
    assert parsed.titles == ["Curves", "The image and its views", "The run"]
    assert "The images cannot be opened" in parsed.words and "gone" in parsed.words


@pytest.mark.parametrize("count, kept", [(2, 1), (4, 3), (9, 8), (10, 8)])
def test_of_few_training_images_one_is_a_test_image(run, tmp_path, count, kept):
    _write_images(tmp_path, count)
    flags = read_record(str(run)).flags | {"dataset": "image_folder", "data_dir": str(tmp_path)}
    record = dataclasses.replace(read_record(str(run)), flags=flags)
    splits = open_splits(record, open_trained(record.checkpoint))
    assert splits.bank is splits.queries and (splits.bank.num_examples, splits.start) == (
        count,
        kept,
    )


@pytest.mark.thorough
def test_images_that_cannot_be_shown_are_left_out_of_one_run_alone(run, tmp_path):
    embedded = made_up([0, 1, 2] * 6, [0, 1, 2] * 4)
    other = tmp_path / "other"
    shutil.copytree(run, other)

    def measure(record, *arguments):
        if record.name == "other":
            raise UserError("1.png could be read when the run began.")
        return embedded

    with mock.patch.object(page_module, "measure", measure):
        parsed = checked(report([str(other), str(run)], 60, silent))
    assert parsed.rows[1][5:] == ["-"] * 5 and parsed.rows[2][5].startswith("100.0%")
    reason = "What the encoder makes of images is left out: 1.png could be read"
    assert f"other: {reason}" in parsed.words


def _write_images(folder, count):
    images = np.random.default_rng(0).integers(0, 256, (count, 10, 9, 3), np.uint8)
    for i, image in enumerate(images):
        (folder / f"{i}.png").write_bytes(tf.io.encode_png(image).numpy())


@pytest.mark.slow
def test_images_without_labels_or_test_split_and_no_projection_head(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    _write_images(folder, 60)
    values = {"dataset": "image_folder", "data_dir": str(folder), "eval_split": "validation"}
    path = write_run(tmp_path / "run", None, "none", num_examples=60, **values)
    parsed = checked(report([str(path)], 12, silent))
    assert parsed.titles == [title for title in TITLES if title != "Confusions"]
    assert "A fifth of the training images takes the place of test images" in parsed.words
    assert "no labels" in parsed.words and "12 test images" in parsed.words
    assert "12 training images" in parsed.words
    alts = [image["alt"] for image in parsed.images]
    assert "t-SNE of h." in alts and "t-SNE of z." not in alts


@pytest.mark.slow
def test_several_runs_are_compared(run, tmp_path):
    other, begun = tmp_path / "digits", tmp_path / "begun"
    embedded = made_up([0, 1, 2] * 6, [0, 1, 2] * 4)
    for path in (other, begun):
        path.mkdir()
        for file in run.iterdir():
            if path == other or file.name in ("run.json", "model.json"):
                (path / file.name).write_bytes(file.read_bytes())
    numbers = {"linear_probe_top_1_accuracy": 0.5, "knn_top_1_accuracy": 0.25}
    probe = {"step": 4, "pretrained": numbers, "random weights": numbers}
    (other / "probe.json").write_text(json.dumps(probe))
    with mock.patch.object(page_module, "measure", lambda *arguments: embedded):
        parsed = checked(report([str(run), str(other), str(begun)], 40, silent))
    assert parsed.titles == ["The runs", "Curves", str(run), str(other), str(begun)]
    header, first, second, third = parsed.rows[:4]
    assert header[0] == "run" and header[5:7] == ["linear probe", "kNN"]
    assert [first[0], second[0], third[0]] == [str(run), str(other), str(begun)]
    assert first[5:] == second[5:] and "-" not in first[5:]  # of the sample, not of probe.json
    assert third[5:] == ["-"] * 5
    assert f"{begun}: The run has no checkpoint yet" in parsed.words


@pytest.mark.parametrize(
    "about, shown",
    [
        ({"step": 3}, False),
        ({"step": 4}, True),
        ({"step": 4, "settings": {"data_dir": None, "eval_split": "test", "knn_k": 1}}, True),
        ({"step": 4, "settings": {"data_dir": None, "eval_split": "train"}}, False),
        ({"step": 4, "settings": {"data_dir": "elsewhere", "eval_split": "test"}}, False),
    ],
)
def test_probe_json_of_another_checkpoint_or_other_data_is_not_shown(run, about, shown):
    written = about | {"pretrained": {}, "random weights": {}}
    (run / "probe.json").write_text(json.dumps(written))
    assert read_record(str(run)).probe == (written if shown else None)
    (run / "probe.json").unlink()


def test_probe_json_of_one_encoder_alone_is_damaged(run):
    (run / "probe.json").write_text(json.dumps({"step": 4, "pretrained": {}}))
    with pytest.raises(UserError, match="probe.json is damaged .* has no 'random weights'"):
        read_record(str(run))
    (run / "probe.json").unlink()


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_its_views_and_metrics(name, run, tmp_path):
    config = configuration.from_dict({"method": name, "image_size": 12, "use_blur": False})
    stored = json.loads((run / "run.json").read_text()) | to_dict(config)
    (tmp_path / "run.json").write_text(json.dumps(stored))
    (tmp_path / "model.json").write_bytes((run / "model.json").read_bytes())
    record = read_record(str(tmp_path))
    assert record.recipe() == pretraining.recipe_of(config)
    assert record.metrics_of == METHODS[name].metrics_of and record.method == name


def test_a_finetuned_run_has_its_own_views(run):
    record = read_record(str(run))
    flags = record.flags | {"train_mode": "finetune"}
    record = dataclasses.replace(record, flags=flags)
    assert record.recipe() == cropped(8) and record.method == "fine-tuning"


def test_what_is_no_run_is_refused(run, tmp_path):
    with pytest.raises(UserError, match="is not a run directory: it has no run.json"):
        report([str(tmp_path)], 60, silent)
    for name in ("model.json", "run.json"):
        (tmp_path / name).write_bytes((run / name).read_bytes())
    stored = json.loads((run / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps(stored | {"method": "telepathy"}))
    with pytest.raises(UserError, match="--method=telepathy, which this version does not know"):
        report([str(tmp_path)], 60, silent)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(UserError, match=r"run.json is damaged"):
        report([str(tmp_path)], 60, silent)


def test_a_damaged_checkpoint_is_an_error(tmp_path):
    path = write_run(tmp_path / "run")
    data = next(path.glob("ckpt-4.data*"))
    data.write_bytes(data.read_bytes()[:1000])
    with pytest.raises(UserError, match="ckpt-4"):
        report([str(path)], 60, silent)


def test_the_program_writes_the_file_into_the_run(run, tmp_path, monkeypatch):
    calls = []

    def fake(paths, images, tell):
        calls.append((paths, images))
        return "<p>é</p>"

    monkeypatch.setattr(program, "report", fake)
    told = program.write_report([str(run)], program.Report(images=50))
    assert calls == [([str(run)], 50)] and f"Wrote {run}/report.html (0.0 MB)" in told
    assert (run / "report.html").read_bytes() == "<p>é</p>".encode()
    monkeypatch.chdir(tmp_path)
    program.write_report([str(run), str(run)], program.Report())
    assert pathlib.Path("report.html").is_file()
    program.write_report([str(run)], program.Report(output=str(tmp_path / "other.html")))
    assert (tmp_path / "other.html").is_file()
    with pytest.raises(UserError, match="no run directory"):
        program.write_report([str(tmp_path / "none")], program.Report())
    with pytest.raises(UserError, match="--images"):
        program.write_report([str(run)], program.Report(images=1))
    with pytest.raises(UserError, match="cannot be written"):
        program.write_report([str(run)], program.Report(output=str(run)))
