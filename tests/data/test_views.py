"""Views: recorded evaluation preprocessing, order of operations, seeds, shapes."""

import pathlib

import numpy as np
import pytest
import reference
import tensorflow as tf

from simclr_tf.data import augment, views
from simclr_tf.errors import UserError

GOLDEN = dict(np.load(pathlib.Path(__file__).parents[1] / "golden" / "augment.npz"))
IMAGE = GOLDEN["eval/in3"]  # uint8 (108, 86, 3), with black and white edges
SEED = tf.constant([3, 14])


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
        box = augment.central_crop_box([32, 32], (32, 32))
        cropped = augment.clip(augment.crop_and_resize(image, box, (32, 32)))[::4]
        np.testing.assert_allclose(cropped, GOLDEN["eval/cifar_out32_crop"][index], atol=1e-6)
        assert np.abs(cropped - view).max() > 0.1


@pytest.mark.parametrize("image_size", [8, 32, 40])
@pytest.mark.parametrize("shape", [(20, 50, 3), (20, 50, 1), (8, 8, 3), (1, 1, 3)])
def test_views_of_odd_images_have_the_right_shape(shape, image_size):
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    for view in (
        views.evaluation_view(image, image_size),
        views.finetuning_view(image, SEED, image_size),
        views.pretraining_view(image, SEED, image_size),
    ):
        assert view.shape == (image_size, image_size, 3) and view.dtype == tf.float32
        assert 0 <= view.numpy().min() and view.numpy().max() <= 1
    if shape[-1] == 1:
        view = views.evaluation_view(image, image_size).numpy()
        np.testing.assert_array_equal(view, view[..., :1].repeat(3, -1))


def test_float_and_integer_images_give_the_same_views():
    as_float = IMAGE.astype(np.float32) / 255
    np.testing.assert_allclose(
        views.pretraining_view(as_float, SEED, 32),
        views.pretraining_view(IMAGE, SEED, 32),
        atol=1e-5,
    )


def transcribed_view(image, seed, image_size, strength, use_blur, brightness):
    """The view with the same draws, composed in NumPy (bicubic resizing alone is TensorFlow's)."""
    crop_seed, flip_seed, color_seed, blur_seed = tf.unstack(tf.random.split(seed, 4))
    y, x, height, width = augment.random_crop_box(image.shape[:2], crop_seed).numpy()
    crop = np.float32(image[y : y + height, x : x + width]) / 255
    view = tf.image.resize(crop, (image_size, image_size), "bicubic").numpy()
    if tf.random.stateless_uniform((), flip_seed) < 0.5:
        view = view[:, ::-1]
    draws_seed, factors_seed, order_seed = tf.unstack(tf.random.split(color_seed, 3))
    jitter_draw, gray_draw = tf.random.stateless_uniform((2,), draws_seed).numpy()
    if strength and jitter_draw < 0.8:
        factors = augment.random_jitter_factors(factors_seed, strength, brightness)
        order = tf.random.experimental.stateless_shuffle(tf.range(4), order_seed).numpy()
        view = reference.color_jitter(view, factors, order, brightness)
    if strength and gray_draw < 0.2:
        view = reference.to_grayscale(view)
    view = view.clip(0, 1)
    blur_draw_seed, sigma_seed = tf.unstack(tf.random.split(blur_seed, 2))
    if use_blur and tf.random.stateless_uniform((), blur_draw_seed) < 0.5:
        sigma = augment.random_blur_sigma(sigma_seed).numpy()
        view = reference.gaussian_blur(view, image_size // 10, sigma)
    return view


@pytest.mark.parametrize(
    "strength, use_blur, brightness",
    [(1.0, True, "multiply"), (0.5, True, "add"), (0.0, True, "multiply"), (1.0, False, "add")],
)
def test_pretraining_view_equals_its_transcription(strength, use_blur, brightness):
    for index in range(12):
        seed = tf.constant([index, 1])
        view = views.pretraining_view(
            IMAGE, seed, 40, strength, use_blur=use_blur, brightness=brightness
        )
        expected = transcribed_view(IMAGE, seed, 40, strength, use_blur, brightness)
        np.testing.assert_allclose(view, expected, rtol=0, atol=2e-5)


def edges():
    """Random black and white blocks, which bicubic resizing overshoots."""
    blocks = np.random.default_rng(0).integers(0, 2, (8, 8, 1), np.uint8) * np.uint8(255)
    return blocks.repeat(8, 0).repeat(8, 1).repeat(3, 2)


def test_the_view_is_clipped_after_the_jitter_and_not_before(monkeypatch):
    seen = []

    def double(image, *_):
        seen.append(image.numpy())
        return 2 * image

    monkeypatch.setattr(augment, "random_color_jitter", double)
    view = views.pretraining_view(edges(), SEED, 48, use_blur=False).numpy()
    assert seen[0].min() < -0.01 and seen[0].max() > 1.01
    np.testing.assert_array_equal(view, (2 * seen[0]).clip(0, 1))


def test_the_blur_comes_last_and_sees_a_clipped_view(monkeypatch):
    seen = []
    monkeypatch.setattr(augment, "random_blur", lambda image, *_: seen.append(image) or image)
    view = views.pretraining_view(edges(), SEED, 48, color_jitter_strength=0)
    assert seen[0].numpy().min() == 0 and seen[0].numpy().max() == 1
    np.testing.assert_array_equal(view, seen[0])


def test_strength_zero_leaves_out_jitter_and_grayscale():
    for index in range(20):
        seed = tf.constant([index, 5])
        view = views.pretraining_view(IMAGE, seed, 32, color_jitter_strength=0, use_blur=False)
        assert np.ptp(view.numpy(), axis=-1).max() > 0.05
        np.testing.assert_allclose(
            view, transcribed_view(IMAGE, seed, 32, 0, False, "multiply"), atol=1e-6
        )


def test_finetuning_view_is_crop_flip_and_clip():
    for index in range(8):
        seed = tf.constant([index, 2])
        crop_seed, flip_seed = tf.unstack(tf.random.split(seed, 2))
        y, x, height, width = augment.random_crop_box([64, 64], crop_seed).numpy()
        crop = np.float32(edges()[y : y + height, x : x + width]) / 255
        expected = tf.image.resize(crop, (48, 48), "bicubic").numpy()
        if tf.random.stateless_uniform((), flip_seed) < 0.5:
            expected = expected[:, ::-1]
        assert expected.max() > 1.01
        view = views.finetuning_view(edges(), seed, 48)
        np.testing.assert_allclose(view, expected.clip(0, 1), atol=1e-6)


def test_same_seed_same_views_eagerly_and_in_a_data_set():
    eager = views.pretraining_views(IMAGE, SEED, 32)
    again = views.pretraining_views(IMAGE, SEED, 32)
    dataset = tf.data.Dataset.from_tensors(IMAGE).map(
        lambda image: views.pretraining_views(image, SEED, 32)
    )
    mapped = next(dataset.as_numpy_iterator())
    for first, second, third in zip(eager, again, mapped, strict=True):
        np.testing.assert_array_equal(first, second)
        np.testing.assert_array_equal(first, third)
    assert all(spec.shape == (32, 32, 3) for spec in dataset.element_spec)


def test_views_and_seeds_are_independent():
    four = views.pretraining_views(IMAGE, SEED, 32, number=4)
    other = views.pretraining_views(IMAGE, SEED + 1, 32, number=4)
    distinct = {view.numpy().tobytes() for view in (*four, *other)}
    assert len(four) == 4 and len(distinct) == 8


def test_recipe_reaches_every_view(monkeypatch):
    monkeypatch.setattr(augment, "random_color_jitter", lambda image, seed, *given: given)
    monkeypatch.setattr(augment, "clip", lambda given: given)
    recipe = {"color_jitter_strength": 0.5, "use_blur": False, "brightness": "add"}
    assert views.pretraining_views(IMAGE, SEED, 32, **recipe) == ((0.5, "add"), (0.5, "add"))


def test_blur_for_the_batch_leaves_views_sharp():
    recipe = {"blur_sigma": "batch", "use_blur": True}
    for index in range(8):
        seed = tf.constant([index, 9])
        view = views.pretraining_view(IMAGE, seed, 40, **recipe)
        sharp = views.pretraining_view(IMAGE, seed, 40, use_blur=False)
        np.testing.assert_array_equal(view, sharp)


def test_blur_batch_has_one_sigma_for_each_view():
    image = views.evaluation_view(IMAGE, 40).numpy()
    batch = tf.constant(np.tile(image, (200, 1, 1, 1)))
    blurred = views.blur_batch((batch, batch), SEED, 40)
    seeds = tf.random.split(SEED, 2)
    sigmas = [augment.random_blur_sigma(tf.random.split(seed, 2)[1]).numpy() for seed in seeds]
    assert abs(sigmas[0] - sigmas[1]) > 0.05
    drawn = []
    for view, sigma in zip(blurred, sigmas, strict=True):
        sharp = (view.numpy() == image).all((1, 2, 3))
        expected = reference.gaussian_blur(image, 4, sigma)
        np.testing.assert_allclose(
            view.numpy()[~sharp], np.tile(expected, ((~sharp).sum(), 1, 1, 1)), atol=1e-5
        )
        assert sharp.mean() == pytest.approx(0.5, abs=0.12)
        drawn.append(sharp)
    assert (drawn[0] != drawn[1]).mean() == pytest.approx(0.5, abs=0.12)
    for first, second in zip(blurred, views.blur_batch((batch, batch), SEED, 40), strict=True):
        np.testing.assert_array_equal(first, second)


def test_blur_kernel_is_a_tenth_of_the_view():
    impulse = np.zeros((1, 224, 224, 3), np.float32)
    impulse[0, 112, 112] = 1
    for image_size, taps in ((32, 3), (224, 23), (96, 9)):
        kernel_size = views.blur_kernel_size(image_size)
        blurred = augment.gaussian_blur(tf.constant(impulse), kernel_size, 2.0).numpy()
        assert (blurred[0, 112, :, 0] > 0).sum() == taps


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"blur_sigma": "never"}, "blur_sigma must be one of .* Received: 'never'"),
        ({"brightness": "divide"}, "brightness must be one of .* Received: 'divide'"),
        ({"color_jitter_strength": 2.0}, "color_jitter_strength must lie in"),
    ],
)
def test_wrong_recipes_are_refused(wrong, message):
    with pytest.raises(UserError, match=message):
        views.pretraining_view(IMAGE, SEED, 32, **wrong)
