"""What embeddings tell of a transform, by embeddings that tell everything and nothing."""

import types

import numpy as np
import pytest
import scipy.ndimage
import tensorflow as tf
import training

from simclr_tf.data import datasets, subsets
from simclr_tf.errors import UserError
from simclr_tf.experiment import config as configuration
from simclr_tf.studies import told

PIXELS = np.random.default_rng(0).uniform(size=(4, 8, 8, 3)).astype(np.float32)
NETWORK = types.SimpleNamespace(
    projections=lambda images: [
        tf.reshape(images, (len(images), -1)),  # all of the image
        tf.zeros((len(images), 2)),
        tf.zeros((len(images), 2)),  # and nothing of it
    ]
)


def changed(name, answers):
    numbers = np.arange(1, 1 + len(PIXELS), dtype=np.float32)
    question = told.QUESTIONS[name]
    return question.change(PIXELS, np.int32(answers), numbers).numpy()


def test_the_answer_is_what_is_done():
    for name, number in {"none": 2, "rotate": 4, "noise": 2, "sobel": 2}.items():
        assert len(told.QUESTIONS[name].shares) == number
        assert sum(told.QUESTIONS[name].shares) == pytest.approx(1)
        np.testing.assert_array_equal(changed(name, [0] * 4), PIXELS)
    for turned, image, quarters in zip(changed("rotate", [0, 3, 2, 1]), PIXELS, (0, 3, 2, 1)):
        np.testing.assert_array_equal(turned, np.rot90(image, quarters))
    grey = changed("none", [1, 0, 1, 1])
    luma = PIXELS @ np.float32([0.2989, 0.5870, 0.1140])
    np.testing.assert_allclose(grey[[0, 2, 3]], luma[[0, 2, 3], ..., None].repeat(3, -1), atol=1e-6)
    np.testing.assert_array_equal(grey[1], PIXELS[1])


def test_noise_and_edges():
    noisy = changed("noise", [1] * 4) - PIXELS
    inside = (PIXELS > 0.35) & (PIXELS < 0.65)  # where nothing is clipped
    assert noisy[inside].std() == pytest.approx(0.1, abs=0.015)
    assert abs(np.corrcoef(noisy[0].ravel(), noisy[1].ravel())[0, 1]) < 0.2  # each its own
    edges = changed("sobel", [1] * 4)
    red = PIXELS[2, ..., 0].astype(np.float64)
    slopes = [scipy.ndimage.sobel(red, axis, mode="mirror") for axis in (0, 1)]
    np.testing.assert_allclose(edges[2, ..., 0], np.minimum(np.hypot(*slopes), 1), atol=1e-5)


@pytest.mark.slow
def test_everything_tells_and_nothing_does_not(tmp_path):
    values = training.SMALL | {"added_transform": "rotate", "color_jitter_strength": 0.0}
    values |= {"min_crop_area": 0.9, "eval_batch_size": 100}
    config = configuration.from_dict(values)
    bank, queries = (datasets.load("digits", split) for split in ("train", "test"))
    bank = subsets.restrict(bank, np.arange(700))
    found, again = (told.tell(config, NETWORK, bank, queries, tmp_path) for _ in range(2))
    assert found == again
    assert found["told_by_h"] > 0.7
    assert found["told_by_z"] == pytest.approx(found["told_by_chance"])
    assert 0.19 < found["told_by_chance"] < 0.31  # of 359 images
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "name, too_few, enough", [("none", (1, 10), (14, 60)), ("rotate", (1, 10, 30), (31, 60))]
)
def test_images_that_classifiers_cannot_be_fitted_to_are_refused(name, too_few, enough):
    config = configuration.from_dict(training.SMALL | {"added_transform": name})
    shares, digits = told.QUESTIONS[name].shares, datasets.load("digits", "train")
    for count in too_few:
        with pytest.raises(UserError, match=f"of {count} images .* are too few .* --probe_images"):
            told.require_enough(config, subsets.restrict(digits, np.arange(count)))
    for count in enough:
        told.require_enough(config, subsets.restrict(digits, np.arange(count)))
        draws = np.random.default_rng([config.train.seed, count])
        answers = draws.choice(len(shares), count, p=shares)
        features = np.random.default_rng(1).normal(size=(count, 2))
        assert 0 <= told.classified(features, answers, features, answers) <= 1


@pytest.mark.thorough
def test_embeddings_that_are_not_finite_are_refused(tmp_path):
    def projections(images):
        h, *_, z = NETWORK.projections(images)
        return h, z / 0.0

    config = configuration.from_dict(training.SMALL)
    bank, queries = (
        subsets.restrict(datasets.load("digits", split), np.arange(60))
        for split in ("train", "test")
    )
    with pytest.raises(UserError, match="features of the checkpoint are not finite"):
        told.tell(config, types.SimpleNamespace(projections=projections), bank, queries, tmp_path)
