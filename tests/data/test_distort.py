"""What follows the crop: equal to plain TensorFlow operations, and drawn as it should be."""

import itertools
import pathlib

import numpy as np
import pytest
import recipes
import reference
import scipy.ndimage
import sklearn.datasets
import tensorflow as tf

from simclr_tf.data import distort
from simclr_tf.data.recipe import View

GOLDEN = dict(np.load(pathlib.Path(__file__).parents[1] / "golden" / "augment.npz"))
COLOR_IMAGE = GOLDEN["color/in"].astype(np.float32) / 255
JITTER = (1.4, 0.5, 1.6, 0.13)  # the factors of the recorded jitters
ORDERS = list(itertools.permutations(range(4)))
CHINA, FLOWER = sklearn.datasets.load_sample_images().images
NEVER, ALWAYS = 0.999, 0.0


def no_more(images):
    """No further operation in one view of so many images."""
    return tf.fill((images, 1, distort.NUM_FURTHER), NEVER)


def draws(flip=NEVER, jitter=NEVER, gray=NEVER, blur=NEVER, sigma=0.5, order=None, factors=None):
    """One row of draws. `factors` at strength 1, in mode "multiply"."""
    row = np.full(distort.NUM_DRAWS, 0.5, np.float32)
    row[:5] = flip, jitter, gray, blur, (sigma - 0.1) / 1.9
    if order is not None:
        row[distort.ORDER] = np.argsort(order) / 4
    if factors is not None:
        centered = (np.array(factors) - [1, 1, 1, 0]) / View(1).jitter
        row[distort.FACTORS] = (centered + 1) / 2
    return row


def distorted(image, rows, strength=1.0, use_blur=True, brightness="multiply", white=1.0):
    """The views of one image (size, size, 3) with each of the rows."""
    crops = tf.tile(tf.cast(image, tf.float32)[None], [len(rows), 1, 1, 1])
    rows = tf.constant(np.float32(rows)[:, None])
    recipe = recipes.simclr(
        image.shape[0],
        1,
        color_jitter_strength=strength,
        use_blur=use_blur,
        brightness=brightness,
    )
    return distort.distort((crops,), rows, no_more(len(rows)), recipe, white)[0].numpy()


def over_seeds(number=2000):
    """Draws with 2,000 seeds."""
    seeds = tf.data.Dataset.range(number).map(lambda index: tf.stack([index, 7]))
    return next(iter(seeds.map(lambda seed: distort.draw(seed, 1)[0]).batch(number)))


def plain_view(image, row, strength=1.0, use_blur=True, brightness="multiply"):
    """The same by operations of tf.image, one after the other."""
    row = tf.constant(row)
    if row[distort.FLIP] < 0.5:
        image = tf.image.flip_left_right(image)
    if strength and row[distort.JITTER] < 0.8:
        (view,) = recipes.simclr(8, 1, color_jitter_strength=strength, brightness=brightness)
        amounts = distort.jitter_factors(row, view).numpy()
        for index in distort.jitter_order(row).numpy():
            amount = amounts[index]
            if index == 0:
                image = image * amount if brightness == "multiply" else image + amount
            elif index == 1:
                image = tf.image.adjust_contrast(image, amount)
            elif index == 2:
                image = tf.image.adjust_saturation(image, amount)
            else:
                image = tf.image.adjust_hue(image, amount)
            image = tf.clip_by_value(image, 0.0, 1.0)
    if strength and row[distort.GRAYSCALE] < 0.2:
        image = tf.image.grayscale_to_rgb(tf.image.rgb_to_grayscale(image))
    image = tf.clip_by_value(image, 0.0, 1.0).numpy()
    if use_blur and row[distort.BLUR] < 0.5:
        sigma = distort.blur_sigma(row, View(8)).numpy()
        image = reference.gaussian_blur(image, image.shape[0] // 10, sigma)
    return np.clip(image, 0, 1)


def test_color_jitter_is_golden_in_every_order():
    rows = [draws(jitter=ALWAYS, order=order, factors=JITTER) for order in ORDERS]
    size = COLOR_IMAGE.shape[0]
    assert COLOR_IMAGE.shape == (size, size, 3)
    for order, view in zip(ORDERS, distorted(COLOR_IMAGE, rows), strict=True):
        expected = GOLDEN["color/jitter_perm_{}{}{}{}".format(*order)]
        np.testing.assert_allclose(view[::4], expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("image", [CHINA, FLOWER], ids=["china", "flower"])
@pytest.mark.parametrize("size", [32, 224])
@pytest.mark.parametrize(
    "strength, use_blur, brightness",
    [
        (1.0, True, "multiply"),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in ((0.5, True, "add"), (0.0, True, "multiply"), (1.0, False, "add"))
        ),
    ],
)
def test_views_equal_plain_operations_on_real_images(image, size, strength, use_blur, brightness):
    crop = tf.image.resize(image[40:290, 100:400], (size, size), "bicubic")
    rows = over_seeds(12).numpy()
    views = distorted(crop, rows, strength, use_blur, brightness, white=255.0)
    for row, view in zip(rows, views, strict=True):
        expected = plain_view(crop / 255, row, strength, use_blur, brightness)
        np.testing.assert_allclose(view, expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("sigma", [0.1, 0.79, 0.81, 1.39, 1.41, 2.0])
def test_blur_leaves_out_only_what_weighs_nothing(sigma):
    image = CHINA[100:324, 200:424] / np.float32(255)
    (view,) = distorted(image, [draws(blur=ALWAYS, sigma=sigma)])
    np.testing.assert_allclose(view, reference.gaussian_blur(image, 22, sigma), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("size", "side"),
    [
        *((32, 3), (64, 7), (199, 19)),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in ((96, 9), (110, 11), (128, 13), (160, 17))
        ),
    ],
)
def test_blur_is_a_tenth_of_the_view(size, side):
    """The original's int(size // 10 / 2) pixels to both sides of the middle."""
    image = np.random.default_rng(0).uniform(size=(size, size, 3)).astype(np.float32)
    for sigma in (1.3, 2.0):
        (view,) = distorted(image, [draws(blur=ALWAYS, sigma=sigma)])
        offsets = np.arange(side) - side // 2
        taps = np.exp(-(offsets**2) / (2 * sigma**2))
        expected = image
        for axis in (0, 1):
            expected = scipy.ndimage.correlate1d(expected, taps / taps.sum(), axis, mode="constant")
        np.testing.assert_allclose(view, expected, rtol=0, atol=1e-5)


@pytest.mark.thorough
def test_pixels_have_the_distribution_of_plain_operations():
    crop = tf.image.resize(CHINA[:300, :400], (32, 32), "bicubic") / 255
    ours = distorted(crop, over_seeds(2000))
    rng = np.random.default_rng(0)
    theirs = np.stack([_plain_random_view(crop, rng) for _ in range(2000)])
    for statistic in (
        lambda views: views.mean((1, 2)),
        lambda views: views.std((1, 2)),
        lambda views: np.stack([np.histogram(v, 8, (0, 1))[0] / v.size for v in views]),
    ):
        a, b = statistic(ours), statistic(theirs)
        error = np.sqrt((a.var(0) + b.var(0)) / 2000)
        assert (np.abs(a.mean(0) - b.mean(0)) < 4 * error + 1e-6).all()


def _plain_random_view(image, rng):
    row = np.float32(rng.random(distort.NUM_DRAWS))
    image = tf.image.flip_left_right(image) if rng.random() < 0.5 else image
    if rng.random() < 0.8:
        operations = [
            lambda image: image * rng.uniform(0.2, 1.8),
            lambda image: tf.image.adjust_contrast(image, rng.uniform(0.2, 1.8)),
            lambda image: tf.image.adjust_saturation(image, rng.uniform(0.2, 1.8)),
            lambda image: tf.image.adjust_hue(image, rng.uniform(-0.2, 0.2)),
        ]
        for index in rng.permutation(4):
            image = tf.clip_by_value(operations[index](image), 0.0, 1.0)
    if rng.random() < 0.2:
        image = tf.image.grayscale_to_rgb(tf.image.rgb_to_grayscale(image))
    image = np.clip(image, 0, 1)
    if rng.random() < 0.5:
        image = reference.gaussian_blur(image, 3, 0.1 + 1.9 * row[0])
    return image


@pytest.mark.parametrize("brightness, amount", [("multiply", 1.8), ("add", 0.8)])
def test_brightness_is_clipped_before_the_next_operation(brightness, amount):
    image = np.full((8, 8, 3), 0.9, np.float32)
    image[0] = 0.0
    rows = [draws(jitter=ALWAYS, order=(0, 1, 2, 3), factors=(1.8, 0.5, 1.0, 0.0))]
    (view,) = distorted(image, rows, brightness=brightness)
    bright = np.clip(image * amount if brightness == "multiply" else image + amount, 0, 1)
    np.testing.assert_allclose(view, bright.mean() + 0.5 * (bright - bright.mean()), atol=1e-5)


def test_views_depend_on_their_own_row_alone():
    rows = over_seeds(5).numpy()
    image = CHINA[:64, :64]
    together = distorted(image, rows)
    for row, view in zip(rows, together, strict=True):
        np.testing.assert_allclose(distorted(image, [row])[0], view, rtol=0, atol=1e-6)


@pytest.mark.thorough
def test_views_of_an_image_come_apart():
    rows = over_seeds(6).numpy().reshape(3, 2, -1)
    images = np.stack([CHINA[:32, i : i + 32] / np.float32(255) for i in (0, 200, 400)])
    crops = (tf.constant(images), tf.constant(images))
    further = tf.zeros((3, 2, distort.NUM_FURTHER))
    found = tf.stack(distort.distort(crops, tf.constant(rows), further, recipes.simclr(32), 1.0))
    assert found.shape == (2, 3, 32, 32, 3)
    for view, image in itertools.product(range(2), range(3)):
        expected = plain_view(tf.constant(images[image]), rows[image, view])
        np.testing.assert_allclose(found[view, image], expected, rtol=0, atol=2e-5)


def test_draws_are_uniform_and_independent():
    numbers = over_seeds().numpy()
    np.testing.assert_allclose(numbers.mean(0), 0.5, atol=0.03)
    np.testing.assert_allclose(numbers.var(0), 1 / 12, atol=0.01)
    correlation = np.corrcoef(numbers.T) - np.eye(distort.NUM_DRAWS)
    assert np.abs(correlation).max() < 0.09


def test_each_operation_is_drawn_as_often_as_it_should_be():
    image = CHINA[100:108, 100:108] / np.float32(255)
    for column, probability in ((distort.FLIP, 0.5), (distort.JITTER, 0.8)):
        never = np.tile(draws(order=(0, 1, 2, 3), factors=JITTER), (1000, 1))
        never[:, column] = np.arange(1000) / 1000
        changed = (distorted(image, never) != distorted(image, never[-1:])).any((1, 2, 3))
        assert changed.mean() == pytest.approx(probability, abs=0.002)
    rows = np.tile(draws(), (1000, 1))
    rows[:, distort.GRAYSCALE] = np.arange(1000) / 1000
    gray = np.ptp(distorted(image, rows), axis=-1).max((1, 2)) < 1e-6
    assert gray.mean() == pytest.approx(0.2, abs=0.002)
    rows = np.tile(draws(sigma=1.5), (1000, 1))
    rows[:, distort.BLUR] = np.arange(1000) / 1000
    image = CHINA[100:132, 100:132] / np.float32(255)
    blurred = (distorted(image, rows) != distorted(image, rows[-1:])).any((1, 2, 3))
    assert blurred.mean() == pytest.approx(0.5, abs=0.002)


@pytest.mark.parametrize("strength", [0.5, 1.0])
@pytest.mark.parametrize("mode, center", [("multiply", 1.0), ("add", 0.0)])
def test_jitter_factors_are_uniform_in_their_ranges(strength, mode, center):
    (view,) = recipes.simclr(8, 1, color_jitter_strength=strength, brightness=mode)
    factors = distort.jitter_factors(over_seeds(), view).numpy()
    scaled = (factors - [center, 1, 1, 0]) / (strength * np.array([0.8, 0.8, 0.8, 0.2]))
    assert np.abs(scaled).max() <= 1 + 1e-5
    assert np.abs(scaled).max(0).min() > 0.99
    np.testing.assert_allclose(scaled.mean(0), 0, atol=0.05)
    np.testing.assert_allclose(scaled.var(0), 1 / 3, atol=0.03)


def test_every_order_is_drawn():
    orders, counts = np.unique(distort.jitter_order(over_seeds()).numpy(), axis=0, return_counts=1)
    assert [tuple(order) for order in orders] == ORDERS
    assert counts.min() > 50 and counts.max() < 120  # 83 expected


def test_blur_sigma_is_uniform():
    sigma = distort.blur_sigma(over_seeds(), View(8)).numpy()
    assert 0.1 <= sigma.min() < 0.11 and 1.99 < sigma.max() <= 2.0
    assert sigma.mean() == pytest.approx(1.05, abs=0.04)
    assert sigma.var() == pytest.approx(1.9**2 / 12, abs=0.02)


@pytest.mark.slow
def test_equal_views_that_are_compiled_as_one_are_those_of_each_alone():
    """Three equal ones among others, in any place."""
    seldom = View(12, blur_probability=0.0, grayscale_probability=0.5)
    other, draws = View(8, blur_probability=0.0), np.random.default_rng(0)
    recipe = (seldom, other, seldom, other, seldom)
    crops = [np.float32(draws.uniform(0, 255, (3, v.size, v.size, 3))) for v in recipe]
    own, further = (
        np.float32(draws.uniform(size=(3, 5, number)))
        for number in (distort.NUM_DRAWS, distort.NUM_FURTHER)
    )
    together = distort.distort(crops, own, further, recipe)
    for i, view in enumerate(recipe):
        (alone,) = distort.distort([crops[i]], own[:, i : i + 1], further[:, i : i + 1], (view,))
        np.testing.assert_array_equal(together[i], alone)
