"""Views: recorded evaluation preprocessing, order of operations, seeds, shapes."""

import pathlib

import numpy as np
import pytest
import recipes
import reference
import tensorflow as tf

from simclr_tf.data import augment, crop_boxes, distort, views
from simclr_tf.data.recipe import View

GOLDEN = dict(np.load(pathlib.Path(__file__).parents[1] / "golden" / "augment.npz"))
IMAGE = GOLDEN["eval/in3"]  # uint8 (108, 86, 3), with black and white edges
SEED = tf.constant([3, 14])
SIMCLR = recipes.simclr(32)


@pytest.mark.parametrize("index", [0, 3])
def test_evaluation_view_is_golden(index):
    image = GOLDEN[f"eval/in{index}"]
    small = views.evaluation_view(image, 64)[::4]
    np.testing.assert_allclose(small, GOLDEN[f"eval/out64_{index}"], rtol=0, atol=1e-6)
    large = views.evaluation_view(image, 224)[::16]
    np.testing.assert_allclose(large, GOLDEN[f"eval/out224_{index}_u16"] / 65535, rtol=0, atol=1e-5)


def test_evaluation_view_crops_only_above_32_pixels():
    for index, image in enumerate(GOLDEN["eval/cifar_in"]):
        view = views.evaluation_view(image, 32)[::4]
        np.testing.assert_allclose(view, GOLDEN["eval/cifar_out32_nocrop"][index], atol=1e-6)
        box = crop_boxes.central_crop_box([32, 32], (32, 32))
        cropped = augment.clip(augment.crop_and_resize(image, box, (32, 32)))[::4]
        np.testing.assert_allclose(cropped, GOLDEN["eval/cifar_out32_crop"][index], atol=1e-6)
        assert np.abs(cropped - view).max() > 0.1


@pytest.mark.parametrize("image_size", [8, pytest.param(32, marks=pytest.mark.slow), 40])
@pytest.mark.parametrize(
    "shape",
    [
        (20, 50, 3),
        *(pytest.param(s, marks=pytest.mark.thorough) for s in ((20, 50, 1), (8, 8, 3), (1, 1, 3))),
    ],
)
def test_views_of_odd_images_have_the_right_shape(shape, image_size):
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    for view in (
        views.evaluation_view(image, image_size),
        *views.make_views(image, SEED, recipes.finetuning(image_size)),
        *views.make_views(image, SEED, recipes.simclr(image_size)),
    ):
        assert view.shape == (image_size, image_size, 3) and view.dtype == tf.float32
        assert 0 <= view.numpy().min() and view.numpy().max() <= 1
    if shape[-1] == 1:
        view = views.evaluation_view(image, image_size).numpy()
        np.testing.assert_array_equal(view, view[..., :1].repeat(3, -1))


@pytest.mark.thorough
def test_float_and_integer_images_give_the_same_views():
    as_float = IMAGE.astype(np.float32) / 255
    for one, other in zip(
        views.make_views(as_float, SEED, SIMCLR), views.make_views(IMAGE, SEED, SIMCLR)
    ):
        np.testing.assert_allclose(one, other, atol=1e-5)


def transcribed_view(image, seed, image_size, strength, use_blur, brightness):
    """The first view with the same draws, in NumPy (bicubic resizing alone is TensorFlow's)."""
    draws_seed, crop_seed, _ = tf.unstack(tf.random.split(seed, 3))
    row = distort.draw(draws_seed, 2)[0].numpy()
    y, x, height, width = crop_boxes.random_crop_box(image.shape[:2], crop_seed).numpy()
    crop = np.float32(image[y : y + height, x : x + width]) / 255
    view = tf.image.resize(crop, (image_size, image_size), "bicubic").numpy()
    if row[distort.FLIP] < 0.5:
        view = view[:, ::-1]
    if strength and row[distort.JITTER] < 0.8:
        (view_data,) = recipes.simclr(
            image_size, 1, color_jitter_strength=strength, brightness=brightness
        )
        factors = distort.jitter_factors(tf.constant(row), view_data)
        order = distort.jitter_order(tf.constant(row)).numpy()
        view = reference.color_jitter(view, factors, order, brightness)
    if strength and row[distort.GRAYSCALE] < 0.2:
        view = reference.to_grayscale(view)
    view = view.clip(0, 1)
    if use_blur and row[distort.BLUR] < 0.5:
        sigma = distort.blur_sigma(tf.constant(row), View(image_size)).numpy()
        view = reference.gaussian_blur(view, image_size // 10, sigma)
    return view


def edges():
    """Random black and white blocks, which bicubic resizing overshoots."""
    blocks = np.random.default_rng(0).integers(0, 2, (8, 8, 1), np.uint8) * np.uint8(255)
    return blocks.repeat(8, 0).repeat(8, 1).repeat(3, 2)


@pytest.mark.thorough
def test_the_jitter_sees_what_resizing_shot_over():
    for index in range(12):
        seed = tf.constant([index, 4])
        view, _ = views.make_views(edges(), seed, recipes.simclr(48))
        expected = transcribed_view(edges(), seed, 48, 1.0, True, "multiply")
        np.testing.assert_allclose(view, expected, rtol=0, atol=2e-5)


def test_strength_zero_leaves_out_jitter_and_grayscale():
    for index in range(20):
        seed = tf.constant([index, 5])
        recipe = recipes.simclr(32, color_jitter_strength=0, use_blur=False)
        view, _ = views.make_views(IMAGE, seed, recipe)
        assert np.ptp(view.numpy(), axis=-1).max() > 0.05
        np.testing.assert_allclose(
            view, transcribed_view(IMAGE, seed, 32, 0, False, "multiply"), atol=1e-6
        )


def test_finetuning_view_is_crop_flip_and_clip():
    for index in range(8):
        seed = tf.constant([index, 2])
        crop_seed, flip_seed = tf.unstack(tf.random.split(seed, 2))
        y, x, height, width = crop_boxes.random_crop_box([64, 64], crop_seed).numpy()
        crop = np.float32(edges()[y : y + height, x : x + width]) / 255
        expected = tf.image.resize(crop, (48, 48), "bicubic").numpy()
        if tf.random.stateless_uniform((), flip_seed) < 0.5:
            expected = expected[:, ::-1]
        assert expected.max() > 1.01
        (view,) = views.make_views(edges(), seed, recipes.finetuning(48))
        np.testing.assert_allclose(view, expected.clip(0, 1), atol=1e-6)


def test_same_seed_same_views_eagerly_and_in_a_data_set():
    eager = views.make_views(IMAGE, SEED, SIMCLR)
    again = views.make_views(IMAGE, SEED, SIMCLR)
    dataset = tf.data.Dataset.from_tensors(IMAGE).map(
        lambda image: views.make_views(image, SEED, SIMCLR)
    )
    mapped = next(dataset.as_numpy_iterator())
    for first, second, third in zip(eager, again, mapped, strict=True):
        np.testing.assert_array_equal(first, second)
        np.testing.assert_array_equal(first, third)
    assert all(spec.shape == (32, 32, 3) for spec in dataset.element_spec)


def test_views_and_seeds_are_independent():
    four = views.make_views(IMAGE, SEED, recipes.simclr(32, number=4))
    other = views.make_views(IMAGE, SEED + 1, recipes.simclr(32, number=4))
    distinct = {view.numpy().tobytes() for view in (*four, *other)}
    assert len(four) == 4 and len(distinct) == 8


def test_draws_of_views_and_of_their_boxes_are_independent():
    solarized = (View(32, solarize_probability=0.2),) * 2  # which needs all of the numbers

    def numbers(index):
        boxes, draws = views.draw_views([224, 224], tf.stack([index, 3]), solarized)
        return tf.concat([tf.cast(boxes, tf.float32), *draws], axis=1)

    dataset = tf.data.Dataset.range(1000).map(numbers).batch(1000)
    drawn = next(dataset.as_numpy_iterator()).reshape(1000, -1)
    correlation = np.abs(np.corrcoef(drawn.T))
    for box in (slice(0, 4), slice(18, 22)):
        correlation[box, box] = 0  # corner and size of a box do depend on each other
    assert (correlation - np.eye(36) * correlation).max() < 0.13


def test_shared_sigmas_replace_those_of_the_images():
    recipe = recipes.simclr(32, blur_sigma="batch")
    draws, further = distort.draw(SEED, 2), distort.draw_further(SEED, 2)
    shared, same = views.share_sigmas((draws, further), SEED + 1, recipe)
    shared = shared.numpy()
    np.testing.assert_array_equal(same, further)
    assert (shared[:, distort.SIGMA] != draws.numpy()[:, distort.SIGMA]).all()
    assert shared[0, distort.SIGMA] != shared[1, distort.SIGMA]
    others = np.delete(shared, distort.SIGMA, axis=1)
    np.testing.assert_array_equal(others, np.delete(draws.numpy(), distort.SIGMA, axis=1))
    again, _ = views.share_sigmas((distort.draw(SEED + 2, 2), further), SEED + 1, recipe)
    np.testing.assert_array_equal(again.numpy()[:, distort.SIGMA], shared[:, distort.SIGMA])
    own, _ = views.share_sigmas((draws, further), SEED + 1, SIMCLR)
    np.testing.assert_array_equal(own, draws)
