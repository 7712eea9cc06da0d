"""Images that are damaged or gone after they were checked are named, wherever they are read."""

import os

import numpy as np
import pytest
import recipes
import tensorflow as tf

from simclr_tf.data import datasets, pipeline
from simclr_tf.data.broken import naming_bad_images, unreadable
from simclr_tf.devices.hosts import LOST
from simclr_tf.errors import UserError


@pytest.fixture
def folder(tmp_path):
    """Two classes of three images."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(3):
            pixels = np.full((20, 20, 3), i, np.uint8)
            (tmp_path / name / f"{i}.jpg").write_bytes(tf.io.encode_jpeg(pixels).numpy())
    return tmp_path


def opened(folder, split="all", **options):
    return datasets.load("image_folder", split, data_dir=str(folder), **options)


def train(dataset, steps=4):
    for _ in pipeline.training_dataset(dataset, recipes.simclr(16), batch_size=3, seed=0).take(
        steps
    ):
        pass


def evaluate(dataset):
    for _ in pipeline.evaluation_dataset(dataset, batch_size=4, image_size=16):
        pass


def damage(path):
    path.write_bytes(path.read_bytes()[:300])


def replace_by_folder(path):
    path.unlink()
    path.mkdir()


HARM = {"damaged": damage, "deleted": lambda path: path.unlink(), "a folder": replace_by_folder}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("harm", "consume"), [*((harm, evaluate) for harm in HARM), ("damaged", train)]
)
def test_a_file_that_is_harmed_after_the_check_is_named(folder, harm, consume):
    dataset = opened(folder)
    HARM[harm](folder / "b" / "1.jpg")
    with pytest.raises(UserError) as error, naming_bad_images(dataset):
        consume(dataset)
    message = str(error.value)
    assert message.startswith(f"{folder}/b/1.jpg could be read when the run began and cannot be ")
    assert message.endswith("Put it back; the same command goes on.") and "\n" not in message
    reason = {"damaged": "JPEG", "deleted": "No such file", "a folder": "a directory"}[harm]
    assert reason in message


@pytest.mark.slow
def test_a_fifo_in_a_run_that_goes_on_is_named_and_does_not_hang(folder):
    (folder / "a" / "0.jpg").unlink()
    os.mkfifo(folder / "a" / "0.jpg")
    dataset = opened(folder, known_bad=())
    with (
        pytest.raises(UserError, match="a/0.jpg .* cannot be now: it is a FIFO"),
        naming_bad_images(dataset),
    ):
        train(dataset)


def test_a_file_that_cannot_be_held_in_memory_is_named(folder):
    (folder / "a" / "0.jpg").unlink()
    os.mkfifo(folder / "a" / "0.jpg")
    with pytest.raises(UserError, match="a/0.jpg .* cannot be now: it is a FIFO"):
        opened(folder, known_bad=(), cache=True)


@pytest.mark.slow
def test_several_files_and_several_data_sets(folder):
    validation, training = opened(folder, "test"), opened(folder)
    for i in range(3):
        damage(folder / "a" / f"{i}.jpg")
        (folder / "b" / f"{i}.jpg").unlink()
    with (
        pytest.raises(UserError, match="a/.* So it is with .* and 1 more. Put them back"),
        naming_bad_images(validation, training),
    ):
        train(training)


@pytest.mark.slow
def test_names_that_are_not_utf8(folder):
    path = os.fsencode(folder / "a") + b"/caf\xe9.jpg"
    os.rename(folder / "a" / "0.jpg", path)
    dataset = opened(folder)
    os.unlink(path)
    with (
        pytest.raises(UserError, match=r"a/caf\\xe9.jpg could be read"),
        naming_bad_images(dataset),
    ):
        evaluate(dataset)


@pytest.mark.slow
def test_an_error_of_another_kind_stays_what_it_is(folder):
    dataset = opened(folder)
    with pytest.raises(tf.errors.InvalidArgumentError, match="of mine"), naming_bad_images(dataset):
        raise tf.errors.InvalidArgumentError(None, None, "of mine")
    with pytest.raises(ZeroDivisionError), naming_bad_images(dataset):
        raise ZeroDivisionError
    damage(folder / "a" / "0.jpg")
    for error in (tf.errors.ResourceExhaustedError, *LOST):
        with pytest.raises(error), naming_bad_images(dataset):
            raise error(None, None, "of mine")


def test_data_that_are_no_files():
    digits = datasets.load("digits", "test")
    with pytest.raises(tf.errors.NotFoundError), naming_bad_images(digits):
        raise tf.errors.NotFoundError(None, None, "")
    with pytest.raises(UserError, match="is damaged: truncated. Copy"), naming_bad_images(digits):
        raise tf.errors.DataLossError(
            None, None, "Graph execution error:\n\ntruncated\n\t [[{{x}}]]"
        )
    assert unreadable(digits) == []


def test_numbers_of_files_that_cannot_be_read(folder):
    damage(folder / "b" / "2.jpg")
    os.unlink(folder / "a" / "1.jpg")
    os.mkfifo(folder / "a" / "1.jpg")
    assert unreadable(opened(folder, known_bad=())) == [1, 5]
