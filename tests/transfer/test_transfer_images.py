"""Images that cannot be decoded: found before the first fit, left out of training, not of tests."""

import dataclasses
import json

import numpy as np
import official_archives
import pytest

from simclr_tf.errors import UserError
from simclr_tf.studies.sweep import Sweep
from simclr_tf.transfer import images, plan
from simclr_tf.transfer.runner import Runner, Settings
from simclr_tf.transfer.tasks import Task

pytestmark = pytest.mark.usefixtures("toy_encoder")


def damage(folder, name):
    """Cut off the end of an image that was unpacked."""
    (path,) = (folder / "unpacked").glob(f"**/{name}")
    path.write_bytes(path.read_bytes()[:200])
    return str(path.relative_to(folder))


@pytest.fixture
def pets(tmp_path):
    """22 images, of which 2 are for testing, and the folder of the archives."""
    official_archives.pets(tmp_path)
    task = Task("pets", str(tmp_path), check=False)
    task.open("train")
    return task, tmp_path


def choose(task, limit):
    lines = []
    return images.choose_left_out(task, limit, lines.append), lines


@pytest.mark.slow
def test_images_for_training_are_left_out_up_to_the_bound(pets):
    task, folder = pets
    assert choose(task, 0) == ((), [])
    bad = [damage(folder, name) for name in ("Abyssinian_4.jpg", "american_bulldog_7.jpg")]
    left_out, lines = choose(task, 2)
    assert sorted(left_out) == sorted(bad)
    assert lines == [
        "2 of the 20 images for train+validation of pets cannot be decoded and are left out: "
        f"{', '.join(left_out)}."
    ]
    with pytest.raises(UserError, match="2 of the 20 .*=1 lets no more, .* be left out: unp"):
        choose(task, 1)
    without = dataclasses.replace(task, left_out=left_out)
    parts = {split: without.open(split) for split in ("train", "validation", "train+validation")}
    for part in parts.values():
        assert not set(left_out) & set(part.file_names)
        assert len(list(part.examples())) == part.num_examples == len(part.file_names)
    assert parts["train+validation"].num_examples == 18
    assert {*parts["train"].file_names, *parts["validation"].file_names} == {
        *parts["train+validation"].file_names
    }
    validation = set(task.open("validation").file_names)
    assert set(parts["validation"].file_names) == validation - set(left_out)  # no other choice


@pytest.mark.slow
def test_images_for_testing_are_left_out_only_where_data_need_not_be_official(pets):
    task, folder = pets
    bad = damage(folder, "Abyssinian_61.jpg")
    left_out, lines = choose(task, 1)
    assert left_out == (bad,) and lines[0].startswith("1 of the 2 images for test of pets")
    assert dataclasses.replace(task, left_out=left_out).open("test").num_examples == 1
    with pytest.raises(UserError, match="--max_bad_images=0 lets no more, and never all, be left"):
        choose(task, 0)
    official = dataclasses.replace(task, check=True)
    object.__setattr__(official, "open", task.open)  # as if the numbers were the official ones
    with pytest.raises(UserError, match="1 of the 2 images for test .* not comparable"):
        choose(official, 1)


def test_a_banner_does_not_hide_a_bad_image(tmp_path):
    official_archives.aircraft(tmp_path)
    task = Task("aircraft", str(tmp_path), check=False)
    task.open("train")
    bad = damage(tmp_path, "1030.jpg")  # one of 5 for training and validation
    assert choose(task, 1)[0] == (bad,)


@pytest.mark.slow
def test_a_set_of_which_nothing_remains_is_an_error(tmp_path):
    official_archives.voc2007(tmp_path)
    task = Task("voc2007", str(tmp_path), check=False)
    task.open("train")
    for name in ("000040.jpg", "000041.jpg"):
        damage(tmp_path, name)
    with pytest.raises(
        UserError, match="2 of the 2 images for test .*=10 lets no more, and never all"
    ):
        choose(task, 10)


def test_a_folder_is_checked_here_and_not_at_every_opening(tmp_path, monkeypatch):
    for path in ("train/a/1.jpg", "train/a/2.jpg", "train/b/3.jpg", "test/a/4.jpg", "test/b/5.jpg"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(official_archives.jpeg(9))
    (tmp_path / "train/a/2.jpg").write_bytes(b"no image")
    monkeypatch.setattr("simclr_tf.data.image_folder.check_files_once", None)
    task = Task("image_folder", str(tmp_path))
    left_out, _ = choose(task, 1)
    assert left_out == ("train/a/2.jpg",)
    assert dataclasses.replace(task, left_out=left_out).open("train+validation").num_examples == 2


def test_a_folder_with_one_image_of_each_class_holds_out_none(tmp_path):
    for path in ("train/a/1.jpg", "train/b/2.jpg", "test/a/3.jpg", "test/b/4.jpg"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(official_archives.jpeg(9))
    task = Task("image_folder", str(tmp_path))
    assert task.open("train+validation").num_examples == 2
    for split in ("train", "validation"):
        with pytest.raises(UserError, match="one training image of each class, .* Give two or"):
            task.open(split)
    (tmp_path / "train/a/5.jpg").write_bytes(official_archives.jpeg(9))
    assert task.sizes() == {"train": 2, "validation": 1, "test": 2}


@pytest.mark.slow
def test_a_sweep_checks_once_and_goes_on_without_the_bad_images(checkpoint, pets, monkeypatch):
    task, folder = pets
    bad = damage(folder, "Abyssinian_4.jpg")
    sweep = Sweep(folder / "sweep")
    fits = plan.make_plan(["pets"], ["linear"], {"linear": {"l2": [1.0]}})
    settings = Settings(checkpoint, image_size=8, batch_size=4)
    lines = []
    Runner(sweep, settings, {"pets": task}, 1).run(fits, lines.append)
    assert lines[0].startswith("1 of the 20 images for train+validation of pets")
    assert [line.split()[0] for line in lines[1:]] == ["[1/2]", "[2/2]"]
    (checked,) = (sweep.path / "images").glob("*-*.json")
    assert json.loads(checked.read_text()) == {"left_out": [bad], "max_bad_images": 1}
    last = sweep.result(fits[-1].id)
    assert (last["left_out"], last["test_images"]) == ([bad], 2)
    with np.load(next((sweep.path / "features").glob("pets-train-*.npz"))) as stored:
        with_bad = task.open("train")
        assert len(stored["labels"]) == with_bad.num_examples - (bad in with_bad.file_names)

    with pytest.raises(UserError, match="--max_bad_images=0 lets no more"):
        Runner(sweep, settings, {"pets": task}, 0).run([dataclasses.replace(fits[0], name="new")])

    monkeypatch.setattr("simclr_tf.transfer.runner.choose_left_out", None)  # not called again
    more = plan.make_plan(["pets"], ["finetune"], {"finetune": dict(
        learning_rate=[0.1], weight_decay=[0.0])})  # fmt: skip
    short = dataclasses.replace(settings, steps={"finetune": 6, "random_init": 1})
    other = Sweep(folder / "other")
    (other.path / "images").mkdir(parents=True)
    (other.path / "images" / checked.name).write_text(checked.read_text())
    Runner(other, short, {"pets": task}, 1).run(more, lines.append)  # 24 images: every one is seen
    assert other.result(more[-1].id)["left_out"] == [bad]


@pytest.mark.slow
def test_too_many_bad_images_stop_a_sweep_before_its_first_fit(checkpoint, pets, tmp_path):
    task, folder = pets
    (folder / "dtd").mkdir()
    official_archives.dtd(folder / "dtd")
    damage(folder, "Abyssinian_4.jpg")
    sweep = Sweep(folder / "sweep")
    fits = plan.make_plan(["dtd", "pets"], ["linear"], {"linear": {"l2": [1.0]}})
    tasks = {"dtd": Task("dtd", str(folder), check=False), "pets": task}
    with pytest.raises(UserError, match="1 of the 20 images for train.validation of pets"):
        Runner(sweep, Settings(checkpoint, image_size=8), tasks).run(fits)
    assert not any(sweep.result(fit.id) for fit in fits)
    assert [path.name.split("-")[0] for path in sweep.path.glob("images/*-*.json")] == ["dtd"]


def test_images_that_are_no_files_cannot_be_left_out(pets):
    task, folder = pets
    damage(folder, "Abyssinian_4.jpg")
    position = task.open("train+validation").file_names.index(
        next(name for name in task.open("train+validation").file_names if "Abyssinian_4." in name)
    )
    no_files = dataclasses.replace(task)
    object.__setattr__(
        no_files, "open", lambda split: dataclasses.replace(task.open(split), file_names=None)
    )
    with pytest.raises(
        UserError, match=f"number {position}. They are no files .* prepare .* again"
    ):
        choose(no_files, 10)
