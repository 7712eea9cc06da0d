"""Runs from flags to results: steps, files, resumption, interruption, evaluation, errors."""

import json
import pathlib
import shutil
import signal
import time

import numpy as np
import pytest
import tensorflow as tf
import toy
import training

from simclr_tf import checkpoints
from simclr_tf.backend import keras
from simclr_tf.checkpoints.restore import variable_paths
from simclr_tf.data import datasets, distort, pipeline
from simclr_tf.data.recipe import View
from simclr_tf.errors import NonFiniteLossError, UserError
from simclr_tf.experiment import config as configuration
from simclr_tf.experiment import evaluate, parts, train

pytestmark = pytest.mark.usefixtures("toy_encoder")


def weights(path):
    return {name: v.numpy() for name, v in variable_paths(checkpoints.load(path)).items()}


def first_digits(number):
    """The first test images as evaluation shows them, and their labels."""
    batches = pipeline.evaluation_dataset(
        datasets.load("digits", "test"), batch_size=number, image_size=8
    )
    images, labels, _ = next(iter(batches))
    return images, labels.numpy()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """An uninterrupted run of 6 steps, evaluated."""
    model_dir = tmp_path_factory.mktemp("runs") / "finished"
    assert (
        training.run(
            model_dir, exported=True, pictured=True, mode="train_then_eval", knn_every_epochs=1
        )
        == 0
    )
    return model_dir


def test_a_run_leaves_what_it_promises(finished):
    names = {path.name for path in finished.iterdir()}
    assert {"run.json", "model.json", "views.png", "metrics.jsonl", "checkpoint"} <= names
    assert {"ckpt-3.index", "ckpt-6.index", "result.json", "result_6.json", "flags.json"} <= names
    assert (finished / "saved_model" / "6" / "saved_model.pb").is_file()
    result = json.loads((finished / "result.json").read_text())
    assert result == json.loads((finished / "result_6.json").read_text())
    assert result["global_step"] == 6
    assert 0 <= result["eval/label_top_1_accuracy"] <= result["eval/label_top_5_accuracy"] <= 1
    assert 0 < result["eval/knn_top_1_accuracy"] <= 1


@pytest.mark.thorough
def test_the_program_of_the_picture_is_that_of_training():
    """Compiled once; and the picture shows no more images for it."""
    recipe = (View(16, jitter_probability=0.0, grayscale_probability=0.4, blur_probability=0.0),)
    config = configuration.from_dict({"dataset": "digits"})
    dataset = parts.open_training_dataset(config)
    rows = train.first_views(config, dataset, recipe, batch_size=48)
    ((views,), _) = next(iter(parts.training_batches(config, dataset, recipe, batch_size=48)))
    assert distort._program(recipe, 255.0).experimental_get_tracing_count() == 1
    assert [len(images) for images in rows.values()] == [8, 8]
    np.testing.assert_array_equal(list(rows.values())[1], views[:8])


def test_metrics_are_logged_every_two_steps_to_json_and_tensorboard(finished):
    rows = [row for row in training.rows(finished) if "contrast_loss" in row]
    assert [row["step"] for row in rows] == [2, 4, 6]
    names = "contrast_loss contrast_acc contrast_entropy supervised_loss supervised_acc"
    names = [*names.split(), "weight_decay", "total_loss"]
    for row in rows:
        assert row["total_loss"] == pytest.approx(
            row["contrast_loss"] + row["supervised_loss"] + row["weight_decay"], rel=1e-5
        )
    tags = {}
    for path in finished.glob("events.*"):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                tags.setdefault(value.tag, []).append(event.step)
    assert all(tags[f"train/{name}"] == [2, 4, 6] for name in names)
    assert tags["learning_rate"] == [2, 4, 6] and tags["views"] == [0]


def test_the_learning_rate_follows_the_schedule(finished):
    # Peak 1.0 * 16 / 256, no warm-up, cosine over 6 steps.
    rows = [row for row in training.rows(finished) if "learning_rate" in row]
    expected = [0.0625 * (1 + np.cos(np.pi * step / 6)) / 2 for step in (2, 4, 6)]
    assert [row["learning_rate"] for row in rows] == pytest.approx(expected, abs=1e-7)


def test_a_finished_run_says_so_and_does_nothing(finished, capsys):
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    assert training.run(finished, knn_every_epochs=1) == 0
    assert "Nothing to do: the run in" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*")} == before


def test_another_configuration_is_refused_by_each_difference(finished):
    before = (finished / "run.json").read_text()
    with pytest.raises(UserError) as error:
        training.run(finished, temperature=0.5, proj_out_dim=32)
    assert "--temperature was 0.1, now 0.5" in str(error.value)
    assert "--proj_out_dim was 16, now 32" in str(error.value)
    assert (finished / "run.json").read_text() == before
    with pytest.raises(UserError, match="--resume=False"):
        training.run(finished, resume=False)


def test_eval_mode_takes_the_run_s_flags_and_refuses_others(finished):
    given = {"model_dir": str(finished), "mode": "eval", "eval_name": "again"}
    assert train.run(configuration.from_dict(given), frozenset(given)) == 0
    first = json.loads((finished / "result.json").read_text())
    again = json.loads((finished / "eval_again" / "result.json").read_text())
    assert again == pytest.approx(first)
    given["resnet_depth"] = 50
    with pytest.raises(UserError, match="--resnet_depth=50, but the run has 18"):
        train.run(configuration.from_dict(given), frozenset(given))


@pytest.mark.slow
def test_what_a_kill_after_the_last_step_left_undone_is_made_up_for(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "saved_model")
    assert training.run(tmp_path / "run", exported=True, knn_every_epochs=1) == 0
    assert (tmp_path / "run" / "saved_model" / "6" / "saved_model.pb").is_file()


@pytest.mark.slow
def test_a_corrupt_checkpoint_is_named_and_can_be_removed(finished, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    stored = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(stored | {"train_steps": 8}))
    data = run / "ckpt-6.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"ckpt-6 cannot be restored.*Remove ckpt-6\.\*"):
        training.run(run, train_steps=8, knn_every_epochs=1)
    for path in run.glob("ckpt-6.*"):
        path.unlink()
    assert training.run(run, train_steps=8, knn_every_epochs=1) == 0
    assert [row["step"] for row in training.rows(run) if "epoch" in row] == [2, 4, 6, 8]


@pytest.mark.thorough
def test_sigterm_saves_and_ends_with_143(tmp_path):
    process = training.start(tmp_path, train_steps=100000, checkpoint_steps=100000)
    while not (tmp_path / "metrics.jsonl").exists():
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 143
    assert "Stopped by SIGTERM at step" in output
    assert len(list(tmp_path.glob("ckpt-*.index"))) == 1


@pytest.mark.slow
def test_exactly_the_planned_steps_when_several_run_at_once(tmp_path):
    assert training.run(tmp_path, train_steps=5, steps_per_execution=3, checkpoint_steps=2) == 0
    assert sorted(p.name for p in tmp_path.glob("ckpt-*.index")) == ["ckpt-3.index", "ckpt-5.index"]
    assert [row["step"] for row in training.rows(tmp_path)] == [3, 5]
    reader = tf.train.load_checkpoint(str(tmp_path))
    steps = [reader.get_tensor(k) for k in reader.get_variable_to_shape_map() if "iterations" in k]
    assert steps == [5]


@pytest.mark.thorough
def test_only_the_newest_checkpoints_are_kept(tmp_path):
    assert training.run(tmp_path, train_steps=4, checkpoint_steps=1, keep_checkpoint_max=2) == 0
    kept = sorted(path.name for path in tmp_path.glob("ckpt-*.index"))
    assert kept == ["ckpt-3.index", "ckpt-4.index"]


@pytest.mark.thorough
def test_eval_steps_evaluates_the_first_batches_alone(finished):
    given = {"model_dir": str(finished), "mode": "eval", "eval_name": "two_batches"}
    given |= {"eval_batch_size": 20, "eval_steps": 2}
    assert train.run(configuration.from_dict(given), frozenset(given)) == 0
    result = json.loads((finished / "eval_two_batches" / "result.json").read_text())
    images, labels = first_digits(40)
    logits = checkpoints.load(finished).logits(images).numpy()
    hits = logits.argmax(axis=1) == labels
    assert result["eval/label_top_1_accuracy"] == pytest.approx(hits.mean(), abs=1e-6)


@pytest.mark.slow
def test_eval_mode_waits_for_the_run_and_ends_with_its_last_checkpoint(tmp_path):
    waiting = training.start(tmp_path / "run", mode="eval", eval_name="beside")
    assert "Waiting for a run" in next(line for line in waiting.stdout if "Waiting" in line)
    assert training.run(tmp_path / "run") == 0
    output = waiting.communicate(timeout=120)[0]
    assert waiting.returncode == 0, output
    assert "step 6: " in output
    result = json.loads((tmp_path / "run" / "eval_beside" / "result.json").read_text())
    assert result["global_step"] == 6


@pytest.mark.parametrize("kind", ["file", "other directory", "empty directory"])
def test_eval_mode_does_not_wait_for_what_will_never_be_a_run(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(evaluate, "POLL_SECONDS", 0.01)
    path = tmp_path / "run"
    if kind == "file":
        path.write_text("x")
    else:
        path.mkdir()
    if kind == "other directory":
        (path / "notes.txt").write_text("x")
    given = {"model_dir": str(path), "mode": "eval"}
    with pytest.raises(UserError, match="--model_dir=.* is (a file|no run directory)"):
        train.run(configuration.from_dict(given), frozenset(given))


@pytest.mark.parametrize(
    "name", ["../../x", "/tmp/x", "a/b", ".", "..", "", "x" * 200, "-x", "a\nb"]
)
def test_the_name_of_an_evaluation_stays_in_the_run_directory(finished, name):
    given = {"model_dir": str(finished), "mode": "eval", "eval_name": name}
    with pytest.raises(UserError, match="--eval_name is a name of letters"):
        train.run(configuration.from_dict(given), frozenset(given))


@pytest.mark.slow
def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_checkpoint(tmp_path):
    with pytest.raises(NonFiniteLossError, match=r"step \d"):
        training.run(
            tmp_path,
            optimizer="momentum",
            learning_rate=1e30,
            train_steps=8,
            checkpoint_steps=1,
        )
    kept = list(tmp_path.glob("ckpt-*.index"))
    assert kept
    for path in kept:
        assert all(np.isfinite(v).all() for v in weights(str(path)).values())


@pytest.mark.slow
def test_images_without_labels_train_without_a_probe(tmp_path, capsys):
    images = tmp_path / "images"
    images.mkdir()
    for i in range(20):
        pixels = tf.cast(tf.random.stateless_uniform((12, 9, 3), [0, i]) * 255, tf.uint8)
        tf.io.write_file(str(images / f"{i}.png"), tf.io.encode_png(pixels))
    (images / "broken.png").write_bytes(b"no image")
    status = training.run(
        tmp_path / "run", dataset="image_folder", data_dir=str(images), train_steps=2
    )
    assert status == 0
    assert capsys.readouterr().out.count("no labels") == 1
    (row,) = training.rows(tmp_path / "run")
    assert "contrast_acc" in row and "supervised_acc" not in row
    model = checkpoints.load(tmp_path / "run")
    assert model.supervised_head is None
    stored = json.loads((tmp_path / "run" / "run.json").read_text())
    assert stored["skipped_files"] == ["broken.png"] and stored["num_examples"] == 20


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"dataset": "digit"}, "Did you mean: digits"),
        ({"train_split": "trian"}, "Did you mean: train"),
        ({"train_batch_size": 5000}, "--train_batch_size=5000.* 1438 images"),
        ({"warmup_epochs": 50.0}, "warm-up is longer than the training"),
        ({"image_size": 4}, r"--image_size lies in \[8, 8192\]"),
        ({"dataset": "image_folder", "data_dir": "/nowhere"}, "/nowhere"),
        ({"temperature": 0.0}, "--temperature is above 0"),
        ({"train_steps": -1}, "--train_steps is at least 0"),
        ({"learning_rate": -1.0}, "--learning_rate is above 0"),
        ({"batch_norm_decay": 1.0}, r"--batch_norm_decay lies in \[0, 1\)"),
        ({"knn_temperature": 0.0}, "--knn_temperature is above 0"),
        ({"train_batch_size": 1}, "at least 2 in pretraining"),
        ({"color_jitter_strength": 2.0}, "--color_jitter_strength lies in"),
        ({"fine_tune_after_block": 4}, "--train_mode=finetune"),
        ({"checkpoint": "/nowhere"}, "/nowhere"),
        ({"use_tpu": True, "strategy": "one"}, "--use_tpu=True contradicts"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(tmp_path, flags, message):
    with pytest.raises(UserError, match=message):
        training.run(tmp_path / "run", **flags)
    assert not (tmp_path / "run").exists()


def test_the_program_ends_with_one_line_and_status_2(tmp_path):
    process = training.start(tmp_path / "run", train_batch_size=5000)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 2
    assert output.strip().splitlines()[-1].startswith("error: The batch is larger than the data")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_overwriting_removes_the_run_and_nothing_else(tmp_path):
    training.run(tmp_path, train_steps=2)
    (tmp_path / "notes.txt").write_text("mine")
    first = weights(tmp_path)
    training.run(tmp_path, train_steps=1, seed=1, overwrite=True)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert not (tmp_path / "ckpt-2.index").exists() and (tmp_path / "ckpt-1.index").exists()
    assert not np.array_equal(
        first["projection_head/layers/0/dense/kernel"],
        weights(tmp_path)["projection_head/layers/0/dense/kernel"],
    )


class TestFinetune:
    @pytest.fixture(scope="class")
    def linear(self, finished, tmp_path_factory):
        """Linear evaluation of the finished run, as in the original's README."""
        model_dir = tmp_path_factory.mktemp("runs") / "linear"
        status = training.run(
            model_dir,
            mode="train_then_eval",
            train_mode="finetune",
            fine_tune_after_block=4,
            zero_init_logits_layer=True,
            variable_schema="(?!global_step|(?:.*/|^)Momentum|head)",
            optimizer="momentum",
            learning_rate=0.1,
            weight_decay=0.0,
            checkpoint=str(finished),
            train_summary_steps=1,
        )
        assert status == 0
        return model_dir

    @pytest.mark.slow
    def test_frozen_means_bit_identical(self, finished, linear):
        before, after = weights(finished), weights(linear)
        encoder = [name for name in after if name.startswith("encoder/")]
        assert len(encoder) == 5 * toy.CONVOLUTIONS  # each with the four of its batch norm
        assert all(np.array_equal(before[name], after[name]) for name in encoder)
        assert set(after) - set(encoder) == {"supervised_head/kernel", "supervised_head/bias"}

    def test_the_first_loss_of_a_zeroed_head_is_ln_classes(self, linear):
        first = training.rows(linear)[0]
        assert first["supervised_loss"] == pytest.approx(np.log(10), abs=1e-6)

    def test_the_result_is_that_of_the_loaded_model(self, linear):
        images, labels = first_digits(359)
        logits = checkpoints.load(linear).logits(images)
        accuracy = np.mean(logits.numpy().argmax(1) == labels)
        result = json.loads((linear / "result.json").read_text())
        assert result["eval/label_top_1_accuracy"] == pytest.approx(accuracy, abs=1e-6)

    @pytest.mark.slow
    def test_from_the_middle_of_the_head(self, finished, tmp_path):
        flags = {"train_mode": "finetune", "checkpoint": str(finished), "train_steps": 1}
        for selector, layers in ((1, 1), (-1, 2)):
            path = tmp_path / str(selector)
            assert training.run(path, ft_proj_selector=selector, **flags) == 0
            model = checkpoints.load(path)
            assert len(model.projection_head.layers) == layers
            assert model.supervised_head.kernel.shape[0] == (512, 16)[layers - 1]
        with pytest.raises(UserError, match="--ft_proj_selector=3 does not exist"):
            training.run(tmp_path / "3", ft_proj_selector=3, **flags)
        with pytest.raises(UserError, match="--num_proj_layers=3, but the checkpoint has 2"):
            training.run(tmp_path / "4", num_proj_layers=3, **flags)


@pytest.mark.slow
def test_bfloat16_trains_and_keeps_float32_weights(tmp_path):
    """Losses are those of float32 but for rounding, which is there: 4e-3 was seen."""
    flags = {"train_steps": 1, "train_summary_steps": 1, "temperature": 0.5}
    for dtype in ("float32", "bfloat16"):
        assert training.run(tmp_path / dtype, mixed_precision=dtype, **flags) == 0
    assert keras.mixed_precision.global_policy().name == "float32"
    model = checkpoints.load(tmp_path / "bfloat16")
    assert {v.dtype for v in model.weights} == {tf.float32}
    (plain,), (rounded,) = (training.rows(tmp_path / dtype) for dtype in ("float32", "bfloat16"))
    for name in ("contrast_loss", "supervised_loss", "total_loss"):
        assert rounded[name] == pytest.approx(plain[name], rel=1e-2)
    assert abs(rounded["contrast_loss"] - plain["contrast_loss"]) > 1e-5 * plain["contrast_loss"]


def test_the_package_is_importable_by_its_documented_names():
    import simclr_tf

    assert callable(simclr_tf.load) and callable(simclr_tf.models.resnet)
    assert callable(simclr_tf.losses.nt_xent) and callable(simclr_tf.optimizers.warmup_cosine)
    assert simclr_tf.optimizers.LARS(0.1).momentum == 0.9
    assert pathlib.Path(simclr_tf.__file__).parent == training.ROOT / "simclr_tf"
