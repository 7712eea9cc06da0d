"""finetune.py: protocols, label subsets, the exact linear classifier, distillation, predictions."""

import csv
import functools
import json
import shlex
import shutil

import numpy as np
import pytest
import recipes
import tensorflow as tf
import training
from commands import config_of

from simclr_tf import checkpoints, predict
from simclr_tf.checkpoints.restore import variable_paths
from simclr_tf.data import datasets, pipeline
from simclr_tf.errors import UserError
from simclr_tf.evaluation.logistic_regression import fit_with_best_l2
from simclr_tf.exit_status import exit_status
from simclr_tf.experiment import config as configuration
from simclr_tf.experiment import finetuning, logistic, protocols, train
from simclr_tf.experiment.config import FinetuneConfig
from simclr_tf.flag import flag_fields, to_dict

pytestmark = pytest.mark.usefixtures("toy_encoder")

VALUE = ".ATTRIBUTES/VARIABLE_VALUE"


def weights(model):
    return {name: v.numpy() for name, v in variable_paths(model).items()}


def read(path):
    return json.loads(path.read_text())


def digits(split, batch_size=359):
    dataset = datasets.load("digits", split)
    return pipeline.evaluation_dataset(dataset, batch_size=batch_size, image_size=8)


@pytest.fixture(scope="module", autouse=True)
def no_export():
    """SavedModels are tested elsewhere, and take long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "export", lambda *_: None)
        patch.setattr(logistic, "export", lambda *_: None)
        yield


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """A short pretraining run on 8-pixel digits, with a projection head of two layers."""
    model_dir = tmp_path_factory.mktemp("runs") / "pretrained"
    assert training.run(model_dir) == 0
    return model_dir


@pytest.fixture(scope="module")
def exact(pretrained, tmp_path_factory):
    """Linear evaluation by logistic regression on a tenth of the labels, with three l2."""
    model_dir = tmp_path_factory.mktemp("runs") / "exact"
    flags = {
        "protocol": "linear",
        "classifier": "logistic_regression",
        "checkpoint": str(pretrained),
        "label_fraction": 0.1,
        "train_batch_size": None,
        "train_steps": None,
    }
    with pytest.MonkeyPatch.context() as patch:
        few = functools.partial(fit_with_best_l2, l2_values=(1.0, 0.1, 0.01))
        patch.setattr(logistic, "fit_with_best_l2", few)
        assert training.finetune(model_dir, **flags) == 0
        assert training.finetune(model_dir, **flags) == 0  # says that it is finished
    return model_dir


@pytest.mark.slow
def test_a_logistic_regression_killed_before_its_result_is_made_again(
    pretrained, tmp_path, monkeypatch, capsys
):
    """Whatever was written before: the result comes last, and says that the run is finished."""
    flags = {
        "protocol": "linear",
        "classifier": "logistic_regression",
        "checkpoint": str(pretrained),
        "label_fraction": 0.03,
        "train_batch_size": None,
        "train_steps": None,
    }
    few = functools.partial(fit_with_best_l2, l2_values=(1.0,))
    monkeypatch.setattr(logistic, "fit_with_best_l2", few)

    def kill(*given, **more):
        raise KeyboardInterrupt

    for place in ("export", "record_result"):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(logistic, place, kill)
            training.finetune(tmp_path, exported=True, **flags)
        assert (tmp_path / "ckpt-1.index").exists() and not (tmp_path / "result.json").exists()
    capsys.readouterr()
    (tmp_path / "saved_model" / "1").mkdir(parents=True, exist_ok=True)  # of the fit before
    assert training.finetune(tmp_path, **flags) == 0
    assert "Nothing to do" not in capsys.readouterr().out
    assert read(tmp_path / "result.json")["l2"] == 1.0
    assert not (tmp_path / "saved_model" / "1").exists()
    assert training.finetune(tmp_path, **flags) == 0
    assert "Nothing to do" in capsys.readouterr().out


def of_protocol(protocol, **flags):
    """The configuration of a protocol with these flags given."""
    given = {"protocol": protocol, "model_dir": "runs/test"} | flags
    return protocols.complete(configuration.from_dict(given, FinetuneConfig), frozenset(given))


SOURCES = {
    "linear": {"checkpoint": "runs/a"},
    "semi_supervised": {"checkpoint": "runs/a"},
    "full": {"checkpoint": "runs/a"},
    "supervised": {},
    "distill": {"teacher": "runs/b"},
}


class TestProtocols:
    # block, optimizer, rate, scaling, epochs, warm-up, decay; of the papers (SimCLR B.5 and B.6)
    EXPECTED = {
        "linear": (4, "momentum", 0.1, "linear", 90, 0.0, 0.0),
        "semi_supervised": (-1, "momentum", 0.05, "linear", 60, 0.0, 0.0),
        "full": (-1, "momentum", 0.05, "linear", 30, 0.0, 0.0),
        "supervised": (-1, "momentum", 0.1, "linear", 90, 5.0, 1e-4),
        "distill": (-1, "lars", 0.1, "sqrt", 400, 20.0, 1e-4),
    }

    @pytest.mark.parametrize("name", EXPECTED)
    def test_flags_that_are_not_given(self, name):
        found = to_dict(of_protocol(name, **SOURCES[name]))
        names = "fine_tune_after_block optimizer learning_rate learning_rate_scaling train_epochs"
        names = [*names.split(), "warmup_epochs", "weight_decay"]
        assert tuple(found[n] for n in names) == self.EXPECTED[name]
        assert (found["train_mode"], found["mode"]) == ("finetune", "train_then_eval")

    def test_flags_that_are_given_win(self):
        config = of_protocol(
            "semi_supervised", checkpoint="runs/a", optimizer="lars", fine_tune_after_block=2
        )
        assert (config.optimizer.optimizer, config.train.fine_tune_after_block) == ("lars", 2)
        assert config.optimizer.learning_rate == 0.05

    def test_flag_files_count_as_given(self, tmp_path):
        (tmp_path / "few.cfg").write_text("--train_epochs=7\n")
        config = config_of(
            "--protocol=linear", f"--flagfile={tmp_path}/few.cfg", config_class=FinetuneConfig
        )
        assert config.train.train_epochs == 7

    @pytest.mark.parametrize(
        ("flags", "message"),
        [
            ({"protocol": None}, "--protocol is missing. Give one of linear, semi_supervised"),
            ({"fine_tune_after_block": -1}, r"--fine_tune_after_block=-1 \(it is 4\)"),
            ({"train_mode": "pretrain"}, "--train_mode=pretrain"),
            ({"checkpoint": None}, "--protocol=linear needs --checkpoint"),
            ({"teacher": "runs/b"}, "--teacher=runs/b"),
            ({"protocol": "full", "label_fraction": 0.1}, "--label_fraction=0.1"),
            ({"protocol": "supervised"}, "--checkpoint=runs/a"),
            ({"protocol": "distill"}, "--protocol=distill needs --teacher"),
            (
                {"classifier": "logistic_regression", "optimizer": "lars"},
                "--optimizer have no effect with --classifier=logistic_regression",
            ),
            (
                {"classifier": "logistic_regression", "schedule": "constant", "final_rate": 0.1},
                "--schedule, --final_rate have no effect",
            ),
            (
                {"classifier": "logistic_regression", "eval_steps": 2, "knn_every_epochs": 1},
                "--eval_steps, --knn_every_epochs have no effect",
            ),
            (
                {"protocol": "full", "classifier": "logistic_regression"},
                "--classifier=logistic_regression",
            ),
        ],
    )
    def test_contradictions(self, flags, message):
        with pytest.raises(UserError, match=message):
            of_protocol(**({"protocol": "linear", "checkpoint": "runs/a"} | flags))

    @pytest.mark.parametrize(
        ("flags", "message"),
        [
            ({"label_fraction": 0.5}, "--label_fraction is for fine-tuning only"),
            ({"teacher": "runs/b"}, "--teacher is for fine-tuning only"),
            ({"distillation_alpha": 0.5}, "--distillation_alpha=0.5 changes nothing without"),
            (
                {"train_mode": "finetune", "distillation_temperature": 2.0},
                "--distillation_temperature=2 changes nothing without --teacher",
            ),
            (
                {"train_mode": "finetune", "teacher": "runs/b", "finetune_augmentation": "none"},
                "--finetune_augmentation=none changes nothing with --teacher",
            ),
            ({"distillation_alpha": 0.0}, r"--distillation_alpha lies in \(0, 1\]"),
            ({"distillation_temperature": 0.0}, "--distillation_temperature is above 0"),
        ],
    )
    def test_what_pretraining_has_no_use_for(self, tmp_path, flags, message):
        with pytest.raises(UserError, match=message):
            training.run(tmp_path / "run", **flags)


def build(pretrained, num_classes=10, **flags):
    """Architecture and method of a fine-tuning with these flags, without training."""
    given = {"image_size": 8, "checkpoint": str(pretrained), "protocol": "semi_supervised"} | flags
    config = of_protocol(given.pop("protocol"), **given)
    source = checkpoints.read(config.train.checkpoint, config.train.variable_schema)
    architecture = finetuning.architecture_of(config, num_classes, frozenset(given), source)
    return finetuning.build(config, architecture, source=source)


class TestBuild:
    def test_another_number_of_classes_leaves_the_head_new(self, pretrained):
        before = weights(checkpoints.load(pretrained))
        after = weights(build(pretrained, num_classes=4).network)
        assert before["supervised_head/kernel"].shape == (512, 10)
        assert after["supervised_head/kernel"].shape == (512, 4)
        assert not after["supervised_head/kernel"].any()
        encoder = [name for name in after if name.startswith("encoder/")]
        assert all(np.array_equal(before[name], after[name]) for name in encoder)

    @pytest.mark.parametrize("selector", [0, 1, 2, -1])
    def test_from_every_layer_of_the_head(self, pretrained, selector):
        before = checkpoints.load(pretrained)
        network = build(pretrained, ft_proj_selector=selector).network
        layers = selector % 3
        assert len(network.projection_head.layers) == layers
        images, *_ = next(iter(digits("test", 4)))
        assert network.supervised_head.kernel.shape[0] == (512, 512, 16)[layers]
        expected = before.projections(images)[selector]
        found = network(images)["projections"][-1]
        np.testing.assert_allclose(found, expected, atol=1e-6)
        trained = {id(v) for v in network.trainable_variables}
        head = [v for layer in network.projection_head.layers for v in layer.trainable_weights]
        assert {id(v) for v in head} <= trained and len(head) == (0, 3, 5)[layers]

    @pytest.mark.parametrize("selector", [0, 2])
    def test_linear_trains_the_classifier_alone(self, pretrained, selector):
        method = build(pretrained, protocol="linear", ft_proj_selector=selector)
        assert [v.name.split("/")[-1] for v in method.trainable_variables] == ["kernel:0", "bias:0"]

    @pytest.mark.slow
    @pytest.mark.parametrize(("flag", "views"), [("crop_flip", 1), ("pretrain", 1), ("none", 1)])
    def test_augmentation_of_the_probe(self, pretrained, flag, views):
        values = {"finetune_augmentation": flag, "image_size": 8, "use_blur": False}
        recipe = finetuning.recipe_of(configuration.from_dict(values, FinetuneConfig))
        (as_pretraining,) = recipes.simclr(8, 1, use_blur=False)
        assert (recipe == (as_pretraining,)) == (flag == "pretrain")
        dataset = datasets.load("digits", "train")
        batches = pipeline.training_dataset(dataset, recipe, batch_size=16, seed=3)
        (shown, labels) = next(iter(batches))
        assert len(shown) == views and shown[0].shape == (16, 8, 8, 3)
        grey = np.allclose(shown[0][..., 0], shown[0][..., 1], atol=1e-6)
        assert grey  # digits have no colour
        unseen = {image.numpy().tobytes() for batch in digits("train") for image in batch[0]}
        untouched = [image.numpy().tobytes() in unseen for image in shown[0]]
        assert all(untouched) if flag == "none" else not all(untouched)


def test_linear_evaluation_of_a_part_of_the_labels(pretrained, tmp_path):
    flags = dict(protocol="linear", checkpoint=str(pretrained), labels_per_class=3, train_steps=2)
    flags |= dict(weight_decay=1e-3, optimizer="momentum")
    assert training.finetune(tmp_path, **flags) == 0
    subset = read(tmp_path / "label_subset.json")
    labels = datasets.load("digits", "train").source.labels
    assert (subset["images"], subset["of"]) == (30, len(labels))
    assert np.bincount(labels[subset["indices"]]).tolist() == [3] * 10
    run, result = read(tmp_path / "run.json"), read(tmp_path / "result.json")
    assert run["num_examples"] == 30 and run["fine_tune_after_block"] == 4
    assert result["protocol"] == "linear" and result["dataset"] == "digits"
    assert result["fraction"] == pytest.approx(30 / len(labels))
    assert result["checkpoint"] == str(pretrained)
    words = shlex.split(result["command"])
    assert words[:2] == ["python", "finetune.py"]
    config = config_of(*words[2:], config_class=FinetuneConfig)
    assert (config.data.labels_per_class, config.protocol.protocol) == (3, "linear")
    assert 0 <= result["eval/label_top_1_accuracy"] <= 1 and result["global_step"] == 2
    # The l2 term is that of the classifier alone, which was trained.
    head = checkpoints.load(tmp_path).supervised_head
    decay = 1e-3 * sum(float(tf.nn.l2_loss(variable)) for variable in head.weights)
    assert result["eval/regularization_loss"] == pytest.approx(decay, rel=1e-5) and decay > 0


class TestLogisticRegression:
    @pytest.mark.slow
    def test_the_result_is_that_of_the_loaded_model(self, exact):
        result = read(exact / "result.json")
        images, labels, _ = next(iter(digits("test")))
        logits = checkpoints.load(exact).logits(images).numpy()
        assert result["eval/label_top_1_accuracy"] == pytest.approx(
            np.mean(logits.argmax(axis=1) == labels), abs=1e-9
        )
        assert result["eval/label_top_1_accuracy"] > 0.3

    def test_the_result_tells_l2_and_the_path(self, exact):
        result = read(exact / "result.json")
        assert [entry["l2"] for entry in result["l2_path"]] == [1.0, 0.1, 0.01]
        best = max(result["l2_path"], key=lambda entry: entry["held_out_accuracy"])
        assert result["l2"] == best["l2"]
        assert result["fraction"] == pytest.approx(144 / 1438)

    def test_the_encoder_is_left_as_it_was(self, pretrained, exact):
        before, after = weights(checkpoints.load(pretrained)), weights(checkpoints.load(exact))
        assert all(np.array_equal(before[name], after[name]) for name in after if "encoder" in name)

    @pytest.mark.thorough
    def test_features_are_kept(self, pretrained, exact, monkeypatch):
        files = sorted(exact.glob("features-*.npz"))
        assert sorted(len(np.load(file)["labels"]) for file in files) == [144, 359]
        monkeypatch.setattr(logistic.parts, "extract_features", None)  # nothing is computed again
        config = of_protocol("linear", checkpoint=str(pretrained), image_size=8, dataset="digits")
        network = checkpoints.load(exact)
        test = datasets.load("digits", "test")
        directory = logistic.RunDirectory(exact)
        features, _ = logistic.cached_features(
            config, tf.distribute.get_strategy(), network, test, directory
        )
        images, *_ = next(iter(digits("test")))
        np.testing.assert_allclose(features, network.features(images), atol=1e-5)

    @pytest.mark.thorough
    def test_another_split_is_measured_as_well(self, pretrained, exact, tmp_path, monkeypatch):
        shutil.copytree(exact, tmp_path / "run")
        few = functools.partial(fit_with_best_l2, l2_values=(1.0, 0.1, 0.01))
        monkeypatch.setattr(logistic, "fit_with_best_l2", few)
        flags = {"protocol": "linear", "classifier": "logistic_regression", "label_fraction": 0.1}
        flags |= {"checkpoint": str(pretrained), "train_batch_size": None, "train_steps": None}
        assert training.finetune(tmp_path / "run", **flags, eval_split="train") == 0
        of_test, of_train = (read(path / "result.json") for path in (exact, tmp_path / "run"))
        assert of_train["l2_path"] == of_test["l2_path"]
        assert read(tmp_path / "run" / "flags.json")["eval_split"] == "train"


class TestDistillation:
    @pytest.fixture(scope="class")
    def flags(self, exact):
        return {
            "protocol": "distill",
            "teacher": str(exact),
            "distillation_alpha": 0.5,
            "labels_per_class": 5,
            "resnet_depth": 18,
            "train_steps": 4,
            "checkpoint_steps": 2,
            "train_summary_steps": 1,
            "mode": "train",
        }

    @pytest.fixture(scope="class")
    def student(self, flags, tmp_path_factory):
        model_dir = tmp_path_factory.mktemp("runs") / "student"
        assert training.finetune(model_dir, **flags) == 0
        return model_dir

    @pytest.mark.slow
    def test_all_images_are_used_and_few_labels(self, student):
        run = read(student / "run.json")
        assert run["num_examples"] == 1438 and run["fraction"] == pytest.approx(50 / 1438)
        rows = training.rows(student)
        assert len(rows) == 4 and {"distillation_loss", "supervised_loss"} <= rows[0].keys()

    @pytest.mark.thorough
    def test_the_teacher_is_not_in_the_checkpoint(self, student):
        names = [name for name, _ in tf.train.list_variables(str(student))]
        assert len([name for name in names if name.endswith("supervised_head/bias/" + VALUE)]) == 1
        assert not [name for name in names if "teacher/" in name]

    @pytest.mark.slow
    def test_a_run_goes_on_in_the_middle_to_the_same_weights(self, flags, student, tmp_path):
        again = tmp_path / "again"
        shutil.copytree(student, again)
        for path in again.glob("ckpt-4*"):
            path.unlink()
        (again / "checkpoint").write_text('model_checkpoint_path: "ckpt-2"\n')
        assert training.finetune(again, **flags) == 0
        expected, found = weights(checkpoints.load(student)), weights(checkpoints.load(again))
        assert all(np.array_equal(expected[name], found[name]) for name in expected)

    @pytest.mark.slow
    def test_a_teacher_that_does_not_fit(self, flags, pretrained, tmp_path):
        without_head = {"lineareval_while_pretraining": False, "train_steps": 1}
        training.run(tmp_path / "without_head", **without_head)
        folder = tmp_path / "images"
        for name in ("0", "1", "II"):
            (folder / name).mkdir(parents=True)
            png = tf.io.encode_png(tf.zeros((8, 8, 3), tf.uint8)).numpy()
            for i in range(4):
                (folder / name / f"{i}.png").write_bytes(png)
        given = {k: v for k, v in flags.items() if k != "labels_per_class"}
        for change, message in (
            ({"teacher": "/nowhere"}, "/nowhere"),
            ({"teacher": str(tmp_path / "without_head")}, "has no supervised head"),
            (
                {"dataset": "image_folder", "data_dir": str(folder)},
                "not those of the --teacher. Only the data have 'II'",
            ),
        ):
            with pytest.raises(UserError, match=message):
                training.finetune(tmp_path / "student", **given | change)
            assert not (tmp_path / "student").exists()

    @pytest.mark.slow
    def test_without_labels_accuracy_is_not_reported_as_0(self, exact, tmp_path, capsys):
        folder = tmp_path / "images"
        folder.mkdir()
        for i in range(8):
            png = tf.io.encode_png(tf.fill((8, 8, 3), tf.constant(30 * i, tf.uint8))).numpy()
            (folder / f"{i}.png").write_bytes(png)
        flags = {"protocol": "distill", "teacher": str(exact), "resnet_depth": 18}
        flags |= {"dataset": "image_folder", "data_dir": str(folder), "eval_split": "train"}
        flags |= {"train_batch_size": 4, "train_steps": 1, "warmup_epochs": 0.0}
        assert training.finetune(tmp_path / "student", **flags) == 0
        assert "accuracy is not measured" in capsys.readouterr().out
        result = read(tmp_path / "student" / "result.json")
        assert not [name for name in result if "accuracy" in name]
        assert read(tmp_path / "student" / "run.json")["num_classes"] == 10


class TestPredict:
    def predictions(self, source, path, **flags):
        flags = predict.Predictions(output=str(path), **flags)
        count = predict.predict(str(source), flags)
        if path.suffix == ".csv":
            return count, list(csv.DictReader(path.open()))
        return count, [json.loads(line) for line in path.read_text().splitlines()]

    @pytest.mark.slow
    def test_csv_in_the_order_of_the_data(self, exact, tmp_path):
        count, rows = self.predictions(
            exact, tmp_path / "p.csv", dataset="digits", split="test", batch_size=100, top_k=2
        )
        images, *_ = next(iter(digits("test")))
        p = tf.nn.softmax(checkpoints.load(exact).logits(images)).numpy()
        assert count == len(rows) == 359
        assert [int(row["index"]) for row in rows] == list(range(359))
        assert [int(row["class_1"]) for row in rows] == p.argmax(axis=1).tolist()
        np.testing.assert_allclose(
            [float(row["probability_2"]) for row in rows], np.sort(p)[:, -2], atol=2e-6
        )

    @pytest.mark.slow
    def test_json_lines_of_a_folder_tell_the_paths(self, exact, tmp_path):
        images, labels, _ = next(iter(digits("test", 5)))
        for i, (image, label) in enumerate(zip(images.numpy(), labels.numpy())):
            folder = tmp_path / "images" / str(label)
            folder.mkdir(parents=True, exist_ok=True)
            png = tf.io.encode_png(tf.cast(np.rint(image * 255), tf.uint8))
            (folder / f"{i}.png").write_bytes(png.numpy())
        (tmp_path / "images" / str(labels.numpy()[0]) / "broken.png").write_bytes(b"no image")
        count, rows = self.predictions(
            exact, tmp_path / "p.jsonl", data_dir=str(tmp_path / "images"), split="all", top_k=99
        )
        paths = [row["path"] for row in rows]
        assert count == len(rows) == 5 and paths == sorted(paths)
        logits = checkpoints.load(exact).logits(images).numpy()
        for row in rows:
            number = int(row["path"].split("/")[1].removesuffix(".png"))
            assert len(row["classes"]) == 10 and sum(row["probabilities"]) == pytest.approx(1, 1e-4)
            assert row["classes"][0] == str(logits[number].argmax())

    @pytest.mark.parametrize(
        ("flags", "message"),
        [
            ({"output": "p.txt"}, "--output is FILE.csv or FILE.jsonl. Received: p.txt"),
            ({"output": "/nowhere/p.csv", "dataset": "digits"}, "cannot be written"),
            ({"output": "p.csv", "top_k": 0}, "--top_k is at least 1"),
        ],
    )
    def test_bad_input(self, exact, flags, message):
        with pytest.raises(UserError, match=message):
            predict.predict(str(exact), predict.Predictions(**flags))


@pytest.mark.slow
def test_sgd_and_logistic_regression_agree_on_the_same_features(pretrained, tmp_path, monkeypatch):
    """The same objective: the same views of the images, and the same l2."""
    l2 = 0.01
    monkeypatch.setattr(
        logistic, "fit_with_best_l2", functools.partial(fit_with_best_l2, l2_values=(l2,))
    )
    given = {"protocol": "linear", "checkpoint": str(pretrained), "mode": None}
    exact = given | {"train_steps": None, "train_batch_size": None}
    classifier = "logistic_regression"
    assert training.finetune(tmp_path / "exact", classifier=classifier, **exact) == 0
    sgd = given | {"finetune_augmentation": "none", "weight_decay": l2}
    sgd |= {"train_batch_size": 64, "train_steps": 1500, "learning_rate": 0.2}
    assert training.finetune(tmp_path / "sgd", **sgd) == 0
    accuracies = [
        read(tmp_path / name / "result.json")["eval/label_top_1_accuracy"]
        for name in ("exact", "sgd")
    ]
    assert accuracies[1] == pytest.approx(accuracies[0], abs=0.015)


def test_the_flags_of_finetune_py_are_those_of_run_py_and_its_own():
    of_run = {field.name for _, field in flag_fields(configuration.ExperimentConfig)}
    own = {field.name for _, field in flag_fields(FinetuneConfig)} - of_run
    assert own == {"protocol", "classifier"}
    assert exit_status(lambda: protocols.run(FinetuneConfig(), frozenset())) == 2


def test_logistic_regression_refuses_single_images_of_classes_at_once(pretrained, tmp_path):
    flags = {"protocol": "linear", "classifier": "logistic_regression", "labels_per_class": 1}
    flags |= {"checkpoint": str(pretrained), "train_batch_size": None, "train_steps": None}
    with pytest.raises(UserError, match="No class has two images"):
        training.finetune(tmp_path / "fit", **flags)
    assert not (tmp_path / "fit").exists()


def test_the_command_of_a_fine_tuning_evaluates_it(pretrained, tmp_path):
    flags = {"protocol": "linear", "checkpoint": str(pretrained), "labels_per_class": 3}
    assert training.finetune(tmp_path / "fine", **flags, train_steps=1, mode="train") == 0
    assert not (tmp_path / "fine" / "result.json").exists()
    assert training.finetune(tmp_path / "fine", **flags, train_steps=1, mode="eval") == 0
    assert "eval/label_top_1_accuracy" in read(tmp_path / "fine" / "result.json")
