"""What a run opens: labels, seeds of splits, classes by name, images that changed, longer runs."""

import dataclasses
import json
import pathlib
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf
import training

from simclr_tf import checkpoints
from simclr_tf.checkpoints.__main__ import main as convert
from simclr_tf.checkpoints.description import TrainingData, description_from
from simclr_tf.checkpoints.restore import variable_paths
from simclr_tf.checkpoints.run_directory import RunDirectory
from simclr_tf.checkpoints.stored_network import StoredNetwork
from simclr_tf.data import datasets
from simclr_tf.data.sources import ImageDataset
from simclr_tf.devices.machine import machine
from simclr_tf.errors import UserError
from simclr_tf.evaluation.overlap import require_apart, require_unseen
from simclr_tf.evaluation.trained import Trained
from simclr_tf.experiment import config as configuration
from simclr_tf.experiment import evaluate, inherited, inputs, parts, probing, train
from simclr_tf.experiment.evaluate import completed
from simclr_tf.features import Features, extract
from simclr_tf.flag import to_dict
from simclr_tf.models import Architecture
from simclr_tf.predict import Predictions, predict

pytestmark = pytest.mark.usefixtures("toy_encoder")

CLASSES = ("ant", "bee", "cow")


def make_folder(path, classes=CLASSES, each=10, seed=0):
    """Images of 9 x 9 pixels, one bright colour for each class."""
    for label, name in enumerate(classes):
        (path / name).mkdir(parents=True)
        for i in range(each):
            noise = np.random.default_rng([seed, label, i]).integers(0, 60, (9, 9, 3))
            noise[..., label % 3] += 180
            png = tf.io.encode_png(noise.astype(np.uint8)).numpy()
            (path / name / f"{i}.png").write_bytes(png)
    return path


@pytest.fixture(scope="module", autouse=True)
def no_export():
    """SavedModels take long, and only one test here needs one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "export", lambda *_: None)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("images") / "photos")


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory):
    """A run on an image folder of which other images than usual are held out."""
    model_dir = tmp_path_factory.mktemp("runs") / "run"
    flags = {"dataset": "image_folder", "data_dir": str(folder), "eval_split": "validation"}
    flags |= {"seed": 1, "split_seed": 7, "holdout_fraction": 0.3, "train_steps": 2}
    assert training.run(model_dir, checkpoint_steps=1, train_batch_size=4, **flags) == 0
    return model_dir


def predictions(source, data_dir, split, tmp_path):
    """The rows that predict.py writes about a split."""
    output = tmp_path / "predictions.jsonl"
    predict(str(source), Predictions(data_dir=str(data_dir), split=split, output=str(output)))
    return [json.loads(line) for line in output.read_text().splitlines()]


def stored_with(data=None, image_size=None, cifar_stem=True):
    architecture = Architecture(resnet_depth=18, cifar_stem=cifar_stem)
    return StoredNetwork("test", architecture, {}, image_size=image_size, data=data)


class TestLabels:
    """--labels: what is not given is as in the run, where the images are those of the run."""

    @pytest.fixture(scope="class")
    def labelled(self, folder, tmp_path_factory):
        """A run on the folder with two classes of a CSV file, and its flags."""
        at = tmp_path_factory.mktemp("labelled")
        lines = [
            f"{name}/{i}.png,{'even' if i % 2 == 0 else 'odd'}\n"
            for name in CLASSES
            for i in range(10)
        ]
        (at / "labels.csv").write_text("file,class\n" + "".join(lines))
        flags = {"dataset": "image_folder", "data_dir": str(folder), "train_batch_size": 4}
        flags |= {"train_steps": 1, "labels": str(at / "labels.csv"), "train_split": "all"}
        assert training.run(at / "run", **flags) == 0
        return at / "run", flags

    @pytest.mark.slow
    def test_a_run_learns_the_classes_of_the_file(self, labelled):
        model_dir, flags = labelled
        stored = RunDirectory(model_dir).config()
        assert stored["class_names"] == ["even", "odd"] and stored["num_examples"] == 30
        assert stored["labels"] == flags["labels"]

    @pytest.mark.thorough
    def test_a_run_goes_on_with_its_own_labels_alone(self, labelled):
        model_dir, flags = labelled

        def opened(**given):
            values = training.SMALL | flags | {"model_dir": str(model_dir)} | given
            values = {name: value for name, value in values.items() if value is not None}
            return inputs.open_inputs(configuration.from_dict(values), frozenset(values))

        assert opened(labels=None).class_names == ("even", "odd")
        with pytest.raises(UserError, match="classes of the training images are not those"):
            opened(labels="folders")
        with pytest.raises(UserError, match="began with 2 classes, and now .* have no labels"):
            opened(labels="none")

    @pytest.mark.thorough
    def test_other_classes_of_the_same_names_are_refused(self, labelled, tmp_path):
        model_dir, flags = labelled
        text = pathlib.Path(flags["labels"]).read_text()
        name = CLASSES[0]
        swapped = text.replace(f"{name}/0.png,even", f"{name}/0.png,odd")
        swapped = swapped.replace(f"{name}/1.png,odd", f"{name}/1.png,even")
        assert swapped != text
        (tmp_path / "swapped.csv").write_text(swapped)
        values = training.SMALL | flags | {"model_dir": str(model_dir)}
        values["labels"] = str(tmp_path / "swapped.csv")
        config = configuration.from_dict(values)
        with pytest.raises(UserError, match="have other labels than the run in .* began with"):
            inputs.open_inputs(config, frozenset(values))
        given = frozenset({"labels"})
        with pytest.raises(UserError, match="--labels=.*swapped.csv, but its run has .*labels.csv"):
            completed(config, RunDirectory(model_dir).config(), given)

    @pytest.mark.slow
    def test_programs_show_the_images_as_the_run_saw_them(self, labelled, folder, tmp_path):
        model_dir, flags = labelled
        rows = predictions(model_dir, folder, "validation", tmp_path)
        config = configuration.from_dict(flags)
        assert [row["path"] for row in rows] == list(
            parts.open_dataset(config, "validation").file_names
        )
        images = Features(data_dir=str(folder), split="all", output=f"{tmp_path}/h.npz")
        extract(str(model_dir), images)
        with np.load(images.output) as stored:
            assert stored["class_names"].tolist() == ["even", "odd"]
            assert stored["labels"].tolist() == [i % 2 for _ in CLASSES for i in range(10)]

    def test_fine_tuning_takes_over_labels_of_the_same_images(self, folder):
        flags = {"dataset": "image_folder", "data_dir": str(folder)}

        def found(labels_of_run, **given):
            data = TrainingData(**flags, labels=labels_of_run)
            given = flags | given
            config = configuration.from_dict(given)
            stored = [stored_with(data)]
            return inherited.with_values_of_checkpoints(
                config, stored, frozenset(given)
            ).data.labels

        assert found("a.csv") == "a.csv" == found("none", labels="a.csv")
        assert found("a.csv", data_dir="/other") == "folders" == found("none")
        assert found("folders", labels="none") == "none" == found("a.csv", labels="none")
        assert found("a.csv", labels="./a.csv") == "./a.csv"
        with pytest.raises(UserError, match="--labels=b.csv, but its run has a.csv"):
            found("a.csv", labels="b.csv")
        with pytest.raises(UserError, match="--labels=folders, but its run has a.csv"):
            found("a.csv", labels="folders")

    def test_images_of_an_unlabelled_run_are_opened_without_labels(self, folder, tmp_path):
        shutil.copytree(folder, tmp_path / "deep" / "er" / "photos")
        shutil.copy(folder / "ant" / "0.png", tmp_path / "deep" / "x.png")
        data = TrainingData("image_folder", str(tmp_path / "deep"), labels="none")
        trained = Trained("run", stored_with(data), None)
        assert trained.dataset("train").num_examples == 31
        other = trained.dataset("all", "image_folder", str(folder))
        assert other.class_names == CLASSES

    def test_a_network_of_no_known_run_asks_for_the_data(self):
        trained = Trained("model.safetensors", stored_with(None), None)
        with pytest.raises(UserError, match="model.safetensors does not say which data it saw"):
            trained.dataset("train")

    def test_descriptions_of_earlier_versions_have_labels_of_folders(self):
        values = {"architecture": Architecture(resnet_depth=18).to_json()}
        data = dataclasses.asdict(TrainingData("image_folder", "photos"))
        del data["labels"]
        assert description_from(values | {"data": data}, "x").data.labels == "folders"


class TestSplitSeed:
    def test_the_held_out_part_follows_the_split_seed_alone(self, folder):
        def held(**flags):
            config = configuration.from_dict(
                {"dataset": "image_folder", "data_dir": str(folder)} | flags
            )
            return parts.open_dataset(config, "validation").file_names

        assert held() == held(seed=5) == held(label_seed=5) != held(split_seed=5)

    def test_the_labels_follow_the_label_seed_inside_the_training_part(self, folder):
        def chosen(**flags):
            flags |= {"dataset": "image_folder", "data_dir": str(folder), "labels_per_class": 2}
            config = configuration.from_dict(flags | {"train_mode": "finetune"})
            held = parts.open_dataset(config, "validation").file_names
            names = parts.open_training_dataset(config).file_names
            assert not set(held) & set(names)
            return names

        assert chosen() == chosen(seed=5) == chosen(label_seed=0) != chosen(label_seed=5)
        assert chosen(split_seed=3) == chosen(split_seed=3, label_seed=3)

    @pytest.mark.slow
    def test_programs_open_the_images_that_the_run_held_out(self, run, folder, tmp_path):
        trained_on = datasets.load(
            "image_folder", "train", data_dir=str(folder), holdout_fraction=0.3, split_seed=7
        ).file_names
        predicted = [row["path"] for row in predictions(run, folder, "validation", tmp_path)]
        flags = {"data_dir": str(folder), "split": "validation", "output": f"{tmp_path}/h.npz"}
        extract(str(run), Features(**flags))
        with np.load(flags["output"]) as stored:
            assert stored["paths"].tolist() == predicted
        assert len(predicted) == 9 and not set(predicted) & set(trained_on)

    def test_images_that_were_trained_on_are_no_test(self, run, folder, tmp_path):
        """With some held-out files gone, the division holds out others."""
        copy = shutil.copytree(run, tmp_path / "run")
        moved = shutil.copytree(folder, tmp_path / "photos")
        stored = json.loads((copy / "run.json").read_text()) | {"data_dir": str(moved)}
        (copy / "run.json").write_text(json.dumps(stored))
        options = {"holdout_fraction": 0.3, "split_seed": 7}
        held = datasets.load("image_folder", "validation", data_dir=str(moved), **options)
        for name in held.file_names[::2]:
            (moved / name).unlink()
        with pytest.raises(UserError, match="trained on .* images of split validation, such as"):
            predict(
                str(copy), Predictions(data_dir=str(moved), split="validation", output="no.csv")
            )
        with pytest.raises(UserError, match="the folder has changed since"):
            config = configuration.from_dict({"model_dir": str(copy), "mode": "eval"})
            strategy = tf.distribute.get_strategy()
            evaluate.evaluate_run(config, strategy, frozenset({"model_dir", "mode"}))

    @pytest.mark.parametrize(
        ("split", "queries", "part"),
        [
            ("all", "validation", True),
            ("all", "all", False),
            ("train", "validation", False),
        ],
    )
    def test_no_part_of_the_training_images_is_a_test(self, folder, tmp_path, split, queries, part):
        flags = {"dataset": "image_folder", "data_dir": str(folder), "train_split": split}
        flags |= {"eval_split": queries, "model_dir": str(tmp_path / "run"), "mode": "eval"}
        config = configuration.from_dict(flags)
        found = inputs.open_inputs(config, frozenset(flags))
        for opened in (
            lambda: probing.open_splits(config),
            lambda: inputs.open_eval_dataset(found),
        ):
            if part:
                with pytest.raises(
                    UserError, match="'validation' of .* has images of 'all', which"
                ):
                    opened()
            else:
                opened()

    def test_a_classifier_is_not_tested_on_what_it_learned(self, run, folder, tmp_path):
        """Its run had all images; a linear evaluation of a fine-tuned network is no better."""
        copy = shutil.copytree(run, tmp_path / "run")
        stored = json.loads((copy / "run.json").read_text()) | {"train_split": "all"}
        (copy / "run.json").write_text(json.dumps(stored))
        data = {"holdout_fraction": 0.3, "split_seed": 7, "data_dir": str(folder)}
        everything = datasets.load("image_folder", "all", **data)
        RunDirectory(copy).write_image_names(everything.file_names)
        config = configuration.from_dict({"model_dir": str(copy), "mode": "eval"})
        with pytest.raises(UserError, match="has images of 'all', which is trained on"):
            strategy = tf.distribute.get_strategy()
            evaluate.evaluate_run(config, strategy, frozenset({"model_dir", "mode"}))
        held = datasets.load("image_folder", "validation", **data)
        flags = {"dataset": "image_folder", "data_dir": str(folder)}
        require_unseen(copy, held, flags)  # an encoder that saw them without their labels
        (copy / "run.json").write_text(json.dumps(stored | {"train_mode": "finetune"}))
        with pytest.raises(UserError, match="a part of its --train_split=all. Give another split"):
            require_unseen(copy, held, flags)
        require_unseen(copy, held, flags, tested=False)  # whose features may be wanted
        stored |= {"train_mode": "finetune", "train_split": "validation"}
        (copy / "run.json").write_text(json.dumps(stored))
        require_unseen(copy, held, flags)  # asked for

    @pytest.mark.parametrize(
        ("split", "other", "part"),
        [
            ("train+validation", "validation", True),
            ("train", "train[:10%]", True),
            ("train[10%:]", "train[:10%]", False),
            ("train[:50%]", "train", True),
            ("all", "test", True),
            ("train", "all", True),
            ("train+test[:5%]", "test[:5%]", True),
            ("train", "train2", False),
        ],
    )
    def test_parts_by_their_names(self, split, other, part):
        queries = ImageDataset("stl10", other, 3, None, None, None)
        if part:
            with pytest.raises(UserError, match=f"'{re.escape(other)}' of stl10 has images of"):
                require_apart(split, None, queries)
        else:
            require_apart(split, None, queries)

    def test_a_run_without_labels_has_trained_on_all_images(self, folder, tmp_path):
        """Its encoder is fine-tuned and tested with labels, which divide the images anew."""
        run = tmp_path / "run"
        flags = {"dataset": "image_folder", "data_dir": str(folder), "labels": "none"}
        stored = training.SMALL | flags | {"train_split": "train", "num_classes": None}
        stored |= {"class_names": None, "skipped_files": [], "planned_steps": 2}
        stored |= {"num_examples": 1, "train_epochs": 1}
        values = to_dict(configuration.from_dict(flags)) | stored
        run.mkdir()
        (run / "run.json").write_text(json.dumps(values))
        held = datasets.load("image_folder", "validation", data_dir=str(folder))
        RunDirectory(run).write_image_names(held.file_names)
        require_unseen(run, held, flags)
        (run / "run.json").write_text(json.dumps(values | {"labels": "folders"}))
        with pytest.raises(UserError, match="trained on .* of split validation"):
            require_unseen(run / "ckpt-2", held, flags)
        require_unseen(run, held, flags | {"data_dir": "elsewhere"})

    @pytest.mark.slow
    def test_programs_refuse_to_divide_the_run_s_images_otherwise(self, run, folder, tmp_path):
        flags = {"data_dir": str(folder), "split_seed": 0}
        with pytest.raises(UserError, match="--split_seed=0, but its run has 7"):
            predict(str(run), Predictions(output=f"{tmp_path}/p.csv", **flags))
        with pytest.raises(UserError, match="--split_seed=0, but its run has 7"):
            extract(str(run), Features(output=f"{tmp_path}/h.npz", **flags))
        shutil.copytree(folder, tmp_path / "others")
        flags = {"data_dir": str(tmp_path / "others"), "split_seed": 0, "split": "validation"}
        assert predict(str(run), Predictions(output=f"{tmp_path}/p.csv", **flags)) == 9

    def test_evaluation_refuses_another_split_seed_and_any_label_seed_is_free(self, run):
        def completed(**given):
            given |= {"model_dir": str(run)}
            config = configuration.from_dict(given)
            stored = RunDirectory(run).config()
            return evaluate.completed(config, stored, frozenset(given))

        assert completed().data.split_seed == 7
        assert completed(label_seed=4).data.label_seed == 4
        with pytest.raises(UserError, match="--split_seed=3, but the run has 7"):
            completed(split_seed=3)

    def test_fine_tuning_takes_over_how_the_data_were_divided(self, folder):
        data = TrainingData("image_folder", str(folder), 0.3, 7, False)
        flags = {"dataset": "image_folder", "data_dir": f"{folder}/../{folder.name}"}
        config = configuration.from_dict(flags)
        found = inherited.with_values_of_checkpoints(config, [stored_with(data)], frozenset(flags))
        assert (found.data.split_seed, found.data.holdout_fraction) == (7, 0.3)
        assert found.data.upright is False
        for name, value in (("split_seed", 0), ("holdout_fraction", 0.1)):
            given = configuration.from_dict(flags | {name: value})
            with pytest.raises(UserError, match=f"--{name}={value}, but its run has"):
                inherited.with_values_of_checkpoints(
                    given, [stored_with(data)], frozenset({*flags, name})
                )
        elsewhere = configuration.from_dict({"dataset": "image_folder", "data_dir": "/other"})
        given = configuration.from_dict(to_dict(elsewhere) | {"split_seed": 0})
        found = inherited.with_values_of_checkpoints(
            given, [stored_with(data)], frozenset({"split_seed"})
        )
        assert found.data.split_seed == 0

    def test_of_checkpoint_and_teacher_the_one_of_the_same_data_says_how_they_are_divided(
        self, folder, tmp_path
    ):
        flags = {"dataset": "image_folder", "data_dir": str(folder)}
        config, here = configuration.from_dict(flags), str(folder)

        def seed_of(*divided):
            sources = [
                stored_with(TrainingData("image_folder", place, 0.3, seed, True))
                for place, seed in divided
            ]
            found = inherited.with_values_of_checkpoints(config, sources, frozenset(flags))
            return found.data.split_seed

        assert seed_of((here, 3), ("/other", 7)) == seed_of(("/other", 7), (here, 3)) == 3
        assert seed_of((here, 3), (here, 3)) == 3
        with pytest.raises(UserError, match="of --checkpoint and --teacher divide the same"):
            seed_of((here, 3), (here, 7))
        digits = [stored_with(TrainingData("digits", None, 0.1, seed, True)) for seed in (3, 7)]
        config = configuration.from_dict({"dataset": "digits"})
        inherited.with_values_of_checkpoints(config, digits, frozenset())  # no seed divides them

    def test_what_is_known_of_a_run_reaches_every_format(self, run, folder, tmp_path):
        stored = checkpoints.read(str(run))
        expected = TrainingData("image_folder", str(folder), 0.3, 7, True)
        assert stored.data == expected and stored.class_names == CLASSES
        for to, name in (("simclr_tf", "converted"), ("keras", "net.weights.h5")):
            assert convert([str(run), "--to", to, f"{tmp_path}/{name}"]) == 0
            found = checkpoints.read(f"{tmp_path}/{name}")
            assert (found.data, found.class_names, found.image_size) == (expected, CLASSES, 8)


class TestImageSize:
    def test_the_size_is_that_of_the_checkpoint(self):
        def size(stored, *explicit):
            config = configuration.from_dict({"train_mode": "finetune"})
            return inherited.with_values_of_checkpoints(
                config, [stored], frozenset(explicit)
            ).view.image_size

        assert size(stored_with(image_size=96)) == 96
        assert size(stored_with(image_size=96), "image_size") == 224
        assert size(stored_with(cifar_stem=True)) == 32
        assert size(stored_with(cifar_stem=False)) == 224

    @pytest.mark.parametrize(
        ("stem", "size", "source", "expected"),
        [
            ("auto", 32, None, True),
            ("auto", 64, None, False),
            ("true", 64, None, True),
            ("false", 32, None, False),
            ("auto", 64, stored_with(cifar_stem=True), True),
            ("auto", 16, stored_with(cifar_stem=False), False),
        ],
    )
    def test_the_stem_is_not_tied_to_the_size(self, stem, size, source, expected):
        config = configuration.from_dict({"cifar_stem": stem, "image_size": size})
        for builder in train.BUILDERS.values():
            assert builder.architecture_of(config, 10, source=source).cifar_stem is expected

    def test_a_stem_that_contradicts_the_checkpoint_is_refused(self):
        config = configuration.from_dict({"cifar_stem": "false", "train_mode": "finetune"})
        with pytest.raises(UserError, match="--cifar_stem=false, but the checkpoint has the CIFAR"):
            train.BUILDERS["finetune"].architecture_of(
                config, 10, frozenset({"cifar_stem"}), stored_with()
            )


class TestClasses:
    def evaluated(self, run, data_dir, name, **flags):
        given = {"model_dir": str(run), "mode": "eval", "eval_split": "all", "eval_name": name}
        given |= {"data_dir": str(data_dir)} | flags
        train.run(configuration.from_dict(given), frozenset(given))
        return json.loads((run / f"eval_{name}" / "result.json").read_text())

    def test_other_names_are_refused_and_named(self, run, tmp_path):
        make_folder(tmp_path / "test", ("ant", "bee", "Cow"))
        with pytest.raises(UserError, match="Only the data have 'Cow'; only the model has 'cow'"):
            self.evaluated(run, tmp_path / "test", "other")

    @pytest.mark.slow
    def test_the_same_names_in_another_order_or_number_are_matched(self, run, tmp_path):
        """The accuracy is that of the predicted names, counted by hand."""
        make_folder(tmp_path / "test", ("bee", "cow"), each=7)
        found = self.evaluated(run, tmp_path / "test", "part", eval_batch_size=5)
        rows = predictions(run, tmp_path / "test", "all", tmp_path)
        hits = [row["classes"][0] == row["path"].partition("/")[0] for row in rows]
        assert found["eval/label_top_1_accuracy"] == pytest.approx(np.mean(hits), abs=1e-6)

    @pytest.mark.slow
    def test_predictions_are_named_as_the_model_s_classes(self, run, tmp_path):
        make_folder(tmp_path / "inbox", ("from_anna", "from_ben", "from_cleo"), each=2)
        rows = predictions(run, tmp_path / "inbox", "all", tmp_path)
        assert {name for row in rows for name in row["classes"]} == set(CLASSES)

    def test_names_that_are_not_known_are_numbers(self):
        network = type("Network", (), {"architecture": Architecture(num_classes=3)})()
        trained = Trained("a checkpoint", stored_with(), network)
        assert trained.class_names == ("0", "1", "2")

    def test_a_run_goes_on_with_the_classes_that_it_began_with(self, run, folder, tmp_path):
        shutil.copytree(folder, tmp_path / "photos")
        shutil.copytree(run, tmp_path / "run")
        (tmp_path / "photos" / "cow").rename(tmp_path / "photos" / "kuh")
        flags = {"model_dir": str(tmp_path / "run"), "data_dir": str(tmp_path / "photos")}
        stored = json.loads((run / "run.json").read_text())
        config = configuration.from_dict(stored | flags)
        with pytest.raises(UserError, match="gone: cow; new: kuh"):
            inputs.open_inputs(config, frozenset(to_dict(config)))


def test_images_that_are_gone_or_new_are_named_when_a_run_goes_on(run, folder, tmp_path):
    shutil.copytree(folder, tmp_path / "photos")
    stored = json.loads((run / "run.json").read_text())
    flags = {"data_dir": str(tmp_path / "photos"), "model_dir": str(run)}
    config = configuration.from_dict(stored | flags)
    given = frozenset(to_dict(config))
    opened = inputs.open_inputs(config, given)
    assert opened.saved and opened.source is None
    gone = opened.dataset.file_names[3]
    (tmp_path / "photos" / gone).unlink()
    with pytest.raises(UserError, match=f"there were 21, and are 20; gone: {gone}. Bring"):
        inputs.open_inputs(config, given)
    shutil.copy(tmp_path / "photos" / "ant" / "0.png", tmp_path / "photos" / "ant" / "nothing.png")
    with pytest.raises(UserError, match="new: |gone: "):
        inputs.open_inputs(config, given)


def test_the_warm_up_of_a_run_that_goes_on_is_a_share_of_its_own_epochs(run):
    stored = json.loads((run / "run.json").read_text()) | {"train_epochs": 200}

    def epochs(**given):
        config = configuration.from_dict(given)
        return inherited.with_values_of_run(config, stored, frozenset(given)).train.train_epochs

    assert epochs(train_steps=2) == epochs() == epochs(train_steps=2, train_epochs=50) == 200
    assert epochs(train_steps=4) == 100 and epochs(train_epochs=50) == 50


def test_a_run_of_a_method_that_is_not_known_is_refused_when_it_goes_on(run):
    stored = json.loads((run / "run.json").read_text())
    of_another = configuration.from_dict({"method": "cmc"})  # whose --negatives are of another type
    inherited.with_values_of_run(of_another, stored, frozenset({"method"}))
    stored["method"] = "foo"
    with pytest.raises(UserError, match="another version: it has 'foo' for --method"):
        inherited.with_values_of_run(configuration.from_dict({}), stored, frozenset())


def test_a_data_set_that_was_packed_otherwise_is_refused_when_a_run_goes_on(
    run, folder, tmp_path, monkeypatch
):
    stored = json.loads((run / "run.json").read_text())
    assert stored["content"] == ""  # files have names
    config = configuration.from_dict(stored | {"data_dir": str(folder), "model_dir": str(run)})
    opened = parts.open_training_dataset

    def packed(*arguments, **options):
        return dataclasses.replace(opened(*arguments, **options), content="b")

    monkeypatch.setattr(parts, "open_training_dataset", packed)
    with pytest.raises(UserError, match="packed or prepared in another way than when the run in"):
        inputs.open_inputs(config, frozenset(to_dict(config)))


@pytest.mark.thorough
class TestLongerRuns:
    @pytest.fixture(scope="class")
    def longer(self, tmp_path_factory):
        """Two epochs of 6 steps, then one more; batches of 240 of the 1438 digits."""
        model_dir = tmp_path_factory.mktemp("runs") / "longer"
        flags = {"train_steps": 0, "train_batch_size": 240, "checkpoint_steps": 0}
        assert training.run(model_dir, train_epochs=1, train_summary_steps=1, **flags) == 0
        first = json.loads((model_dir / "run.json").read_text())
        weights = values_of(model_dir)
        with pytest.raises(UserError, match="can only be made longer"):
            training.run(model_dir, train_epochs=1, **flags | {"train_steps": 3})
        assert training.run(model_dir, train_epochs=2, train_summary_steps=1, **flags) == 0
        return model_dir, first, weights, flags

    @pytest.mark.slow
    def test_it_goes_on_with_the_schedule_of_the_new_length(self, longer):
        model_dir, first, _, _ = longer
        assert first["planned_steps"] == 6
        rows = training.rows(model_dir)
        assert [row["step"] for row in rows] == list(range(1, 13))
        peak = 1.0 * 240 / 256

        def rate(step, steps):
            return peak * (1 + np.cos(np.pi * step / steps)) / 2

        expected = [rate(s, 6) for s in range(1, 7)] + [rate(s, 12) for s in range(7, 13)]
        assert [row["learning_rate"] for row in rows] == pytest.approx(expected, abs=1e-6)

    def test_run_json_records_every_length(self, longer):
        model_dir, _, _, _ = longer
        stored = json.loads((model_dir / "run.json").read_text())
        assert stored["train_epochs"] == 2 and stored["planned_steps"] == 12
        assert stored["machine"] == machine()
        assert stored["lengths"] == [
            {"train_epochs": 1, "train_steps": 0, "planned_steps": 6, "from_step": 0},
            {"train_epochs": 2, "train_steps": 0, "planned_steps": 12, "from_step": 6},
        ]

    def test_it_begins_with_the_weights_that_it_ended_with(self, longer):
        model_dir, _, weights, _ = longer
        assert sorted(p.name for p in model_dir.glob("ckpt-*.index")) == [
            "ckpt-12.index",
            "ckpt-6.index",
        ]
        again = values_of(model_dir / "ckpt-6")
        assert all(np.array_equal(weights[name], again[name]) for name in weights)
        last = values_of(model_dir)
        name = "projection_head/layers/0/dense/kernel"
        assert not np.array_equal(weights[name], last[name])

    def test_the_old_length_is_refused_from_then_on(self, longer):
        model_dir, _, _, flags = longer
        with pytest.raises(UserError, match="train_epochs was 2, now 1"):
            training.run(model_dir, train_epochs=1, **flags)


def values_of(path):
    return {name: v.numpy() for name, v in variable_paths(checkpoints.load(path)).items()}
