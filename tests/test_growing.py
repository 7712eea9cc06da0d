"""Views that grow during training: the sizes of every step, and a run that has two of them."""

import re
import shutil

import numpy as np
import pytest
import tensorflow as tf
import test_plan
import training

from simclr_tf.data.recipe import View, scaled
from simclr_tf.errors import UserError
from simclr_tf.experiment import config as configuration
from simclr_tf.experiment.inputs import open_inputs
from simclr_tf.methods import SimCLR
from simclr_tf.training.growing import Phase, in_words, phases, require_views
from simclr_tf.training.plan import make_plan

PLAN = make_plan(
    **test_plan.CIFAR
    | {"num_examples": 1000, "batch_size": 10, "train_epochs": 10, "warmup_epochs": 1}
)


def test_sizes_of_all_steps():
    assert phases("", 32, PLAN) == (Phase(32, 1001),)
    sizes = phases("16:4, 24:7.5", 32, PLAN)
    assert sizes == (Phase(16, 400), Phase(24, 750), Phase(32, 1001))
    assert in_words(sizes) == "16 px to step 400, 24 px to step 750, then 32 px"
    assert in_words(phases("", 32, PLAN)) == "32 px"


def test_epochs_of_few_steps_are_those_of_the_training():
    few = {"num_examples": 800, "batch_size": 512, "train_epochs": 100, "warmup_epochs": 0}
    sizes = phases("16:60,24:80", 32, make_plan(**test_plan.CIFAR | few))
    assert [phase.end for phase in sizes] == [94, 125, 157]


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ("16", "such as 16:60,24:80. Received: 16."),
        ("16:4,", "such as 16:60,24:80"),
        ("16:-4", "such as 16:60,24:80"),
        ("4:4", "8 to 8192 pixels. Received: 4"),
        ("8193:4", "8 to 8192 pixels. Received: 8193"),
        ("16:" + "9" * 400, "such as 16:60,24:80"),
        ("16:10", "leaves nothing"),  # but the step beyond the epochs
        ("24:4,16:8", "sizes .* grow up to --image_size=32"),
        ("16:4,16:8", "sizes .* grow"),
        ("160:6", "sizes .* grow"),
        ("32:6", "sizes .* grow"),
        ("16:4,24:4", "epochs .* grow"),
        ("16:4,24:2", "epochs .* grow"),
        ("16:0", "epochs .* grow"),
        ("16:4,24:4.001", "A step lies between any two epochs"),
        ("16:10.1", "leaves nothing for --image_size=32: the training has 1,001 steps"),
    ],
)
def test_schedules_that_cannot_be(schedule, message):
    with pytest.raises(UserError, match=message):
        phases(schedule, 32, PLAN)


def test_views_of_other_sizes_shrink_in_proportion():
    large, small = View(224, area=(0.14, 1.0)), View(96, blur_radius=3)
    halves = scaled((large, small), 112, 224)
    assert [view.size for view in halves] == [112, 48]
    assert (halves[0].area, halves[1].blur_radius) == ((0.14, 1.0), 3)
    assert scaled((large, small), 224, 224) == (large, small)


def test_small_views_do_not_shrink_too_far():
    recipe = View(32), View(16)
    require_views(recipe, "16:5", 32)
    with pytest.raises(UserError, match="epochs .* grow"):  # before images are looked at
        require_views(recipe, "16:5,24:4", 32)
    require_views((View(32), View(4)), "", 32)  # its method has to say what is too small
    with pytest.raises(UserError, match="would show views of 7 pixels up to epoch 5, and 8 is"):
        require_views(recipe, "14:5", 32)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"image_size_schedule": "16"}, "such as 16:60,24:80"),
        ({"method": "swav", "small_crops": 4}, "--small_crop_size=96"),
        ({"method": "clsa", "crop_sizes": "32,a"}, "--crop_sizes"),
    ],
)
def test_views_are_refused_before_all_images_are_looked_at(tmp_path, flags, said):
    folder = {"dataset": "image_folder", "data_dir": str(tmp_path / "nowhere"), "image_size": 32}
    config = configuration.from_dict(folder | {"model_dir": str(tmp_path / "run")} | flags)
    with pytest.raises(UserError, match=said):
        open_inputs(config, frozenset())


def test_fine_tuning_has_one_size(tmp_path):
    with pytest.raises(UserError, match="--image_size_schedule is for pretraining only"):
        training.run(tmp_path / "run", train_mode="finetune", image_size_schedule="8:0.05")


# Of 1,437 digits in batches of 16 an epoch has 90 steps: 0.04 of one are 4 steps.
GROWING = {"image_size": 12, "image_size_schedule": "8:0.04", "checkpoint_steps": 2}


@pytest.fixture(scope="module")
def grown(toy_encoder, tmp_path_factory):
    """A run that grows after 4 of its 6 steps; the sizes and sums of the views of each step."""
    shown = []
    train_step = SimCLR.train_step

    def spy(self, data):
        first = data[0][0]

        def note(total):
            shown.append((first.shape[1], float(total)))

        tf.py_function(note, [tf.reduce_sum(first)], [])
        return train_step(self, data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SimCLR, "train_step", spy)
        directory = tmp_path_factory.mktemp("growing")
        assert training.run(directory / "run", **GROWING) == 0
        grown, shown = shown, []
        others = {}
        for size in (8, 12):
            training.run(directory / str(size), image_size=size)
            others[size], shown = shown, []
    return directory, grown, others


@pytest.mark.thorough
def test_views_are_those_of_runs_with_either_size(grown):
    _, shown, others = grown
    assert [size for size, _ in shown] == [8] * 4 + [12] * 2
    assert shown == others[8][:4] + others[12][4:]


@pytest.mark.thorough
def test_nothing_changes_before_the_first_switch(grown):
    directory, _, _ = grown
    rows = [training.rows(directory / run) for run in ("run", "8")]
    assert [row["step"] for row in rows[0]] == [2, 4, 6]
    for grown_row, other in zip(*rows, strict=True):
        same = grown_row["step"] <= 4
        assert (grown_row["total_loss"] == other["total_loss"]) == same
        assert grown_row["learning_rate"] == other["learning_rate"]


@pytest.mark.slow
@pytest.mark.parametrize("step", [2, 4])
def test_a_run_that_was_stopped_in_either_size_ends_with_the_same_weights(grown, tmp_path, step):
    directory, _, _ = grown
    run = shutil.copytree(directory / "run", tmp_path / "run")
    for file in run.glob("ckpt-*"):
        if int(re.match(r"ckpt-(\d+)", file.name)[1]) > step:
            file.unlink()
    assert training.run(run, **GROWING) == 0
    readers = [tf.train.load_checkpoint(str(d / "ckpt-6")) for d in (directory / "run", run)]
    names = [n for n in readers[0].get_variable_to_shape_map() if "VARIABLE_VALUE" in n]
    assert len(names) > 20
    for name in names:
        pair = (reader.get_tensor(name) for reader in readers)
        np.testing.assert_allclose(*pair, rtol=1e-3, atol=1e-6)
