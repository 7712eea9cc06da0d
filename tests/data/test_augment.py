"""The operations equal the original's recorded outputs; the draws have the right distribution."""

import itertools
import pathlib

import numpy as np
import pytest
import reference
import tensorflow as tf

from simclr_tf.data import augment
from simclr_tf.errors import UserError

# Some rows of the original's outputs: every fourth, say; the keys name operation and arguments.
GOLDEN = dict(np.load(pathlib.Path(__file__).parents[1] / "golden" / "augment.npz"))
COLOR_IMAGE = GOLDEN["color/in"].astype(np.float32) / 255
JITTER = (1.4, 0.5, 1.6, 0.13)  # the factors of the recorded jitters


def assert_golden(actual, key, atol=1e-6, axis=0):
    expected = GOLDEN[key]
    rows = np.arange(0, actual.shape[axis], actual.shape[axis] // expected.shape[axis])
    np.testing.assert_allclose(np.take(actual, rows, axis), expected, rtol=0, atol=atol)


def over_seeds(function, number=2000):
    """Stack function(seed) for `number` seeds, run inside Dataset.map."""
    seeds = tf.data.Dataset.range(number).map(lambda index: tf.stack([index, 7]))
    return next(iter(seeds.map(function).batch(number))).numpy()


@pytest.mark.parametrize("box_index", [0, 1, 4])
@pytest.mark.parametrize("size", [32, 96])
def test_crop_and_resize_is_golden(box_index, size):
    image_index, *box = GOLDEN["resize/boxes"][box_index]
    image = GOLDEN[f"eval/in{image_index}"]
    resized = augment.crop_and_resize(image, tf.constant(box), (size, size))
    assert_golden(resized, f"resize/box{box_index}_to{size}")


def test_central_crop_box_is_golden():
    rows = GOLDEN["crop_shape/rows"]  # H W h w, crop height and width, offset y and x
    assert len(rows) == 48
    for image_height, image_width, height, width, *expected in rows.tolist():
        box = augment.central_crop_box([image_height, image_width], (height, width))
        assert box.numpy().tolist() == expected[2:] + expected[:2]


def test_grayscale_is_golden():
    assert_golden(augment.to_grayscale(COLOR_IMAGE), "color/to_grayscale")


@pytest.mark.parametrize(
    "key, operation",
    [
        ("brightness_v2_{}", augment.adjust_brightness),
        ("brightness_v1_{}", lambda image, x: augment.adjust_brightness(image, x, "add")),
        ("contrast_{}", augment.adjust_contrast),
        ("saturation_{}", augment.adjust_saturation),
        ("hue_{}", augment.adjust_hue),
    ],
)
def test_color_operations_are_golden(key, operation):
    prefix = "color/" + key.format("")
    keys = [key for key in GOLDEN if key.startswith(prefix)]
    assert len(keys) >= 2
    for key in keys:
        assert_golden(operation(COLOR_IMAGE, float(key.removeprefix(prefix))), key)


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))), ids=str)
def test_color_jitter_is_golden_in_every_order(order):
    key = "color/jitter_perm_{}{}{}{}".format(*order)
    assert_golden(augment.color_jitter(COLOR_IMAGE, JITTER, order), key)
    np.testing.assert_allclose(
        reference.color_jitter(COLOR_IMAGE, JITTER, order)[::4], GOLDEN[key], rtol=0, atol=1e-5
    )


def test_color_jitter_takes_its_order_at_run_time():
    orders = list(itertools.permutations(range(4)))
    dataset = tf.data.Dataset.from_tensor_slices(orders).map(
        lambda order: augment.color_jitter(COLOR_IMAGE, JITTER, order)
    )
    for order, jittered in zip(orders, dataset.as_numpy_iterator(), strict=True):
        assert_golden(jittered, "color/jitter_perm_{}{}{}{}".format(*order))


def test_color_jitter_clips_after_each_operation():
    image = np.full((2, 2, 3), 0.8, np.float32)
    half_after_double = augment.color_jitter(image, (2.0, 1.0, 1.0, 0.0), (0, 1, 2, 3)) * 0.5
    np.testing.assert_allclose(half_after_double, 0.5, atol=1e-6)
    order = (0, 1, 2, 3)
    ramp = np.linspace(0, 1, 12, dtype=np.float32).reshape(2, 2, 3)
    for mode, amount in (("multiply", 1.8), ("add", -0.6)):
        factors = (amount, 1.7, 0.4, -0.1)
        np.testing.assert_allclose(
            augment.color_jitter(ramp, factors, order, mode),
            reference.color_jitter(ramp, factors, order, mode),
            atol=1e-5,
        )


@pytest.mark.parametrize("key", [key for key in GOLDEN if key.startswith("blur/k")])
def test_gaussian_blur_is_golden(key):
    kernel_size, sigma = key.removeprefix("blur/k").split("_s")
    image = GOLDEN["blur/in"]
    assert_golden(augment.gaussian_blur(tf.constant(image), int(kernel_size), float(sigma)), key)
    np.testing.assert_allclose(
        reference.gaussian_blur(image, int(kernel_size), float(sigma))[::4], GOLDEN[key], atol=1e-5
    )


def test_gaussian_blur_of_a_batch_is_golden():
    image = GOLDEN["blur/in"]
    blurred = augment.gaussian_blur(tf.stack([image, image[::-1]]), 22, 1.5)
    assert_golden(blurred, "blur/batch_k22_s1.5", axis=1)


def test_crop_boxes_follow_the_original_sampler():
    boxes = over_seeds(lambda seed: augment.random_crop_box([224, 224], seed))
    y, x, height, width = boxes.T
    assert boxes.dtype == np.int32
    assert min(y.min(), x.min()) == 0 and (y + height).max() == (x + width).max() == 224
    area = height * width / 224**2
    assert area.mean() == pytest.approx(0.42, abs=0.015)
    assert 0.10 <= area.min() < 0.12 and area.max() > 0.95
    aspect = width / height
    assert aspect.mean() == pytest.approx(1.04, abs=0.015)
    assert aspect.min() == pytest.approx(3 / 4, abs=0.01)
    assert aspect.max() == pytest.approx(4 / 3, abs=0.02)


def test_a_crop_that_cannot_be_drawn_is_the_whole_image():
    box = augment.random_crop_box([4, 400], tf.constant([1, 2]))
    assert box.numpy().tolist() == [0, 0, 4, 400]


def test_flip_is_drawn_half_of_the_time():
    image = tf.reshape(tf.range(12, dtype=tf.float32), (2, 2, 3))
    flips = over_seeds(lambda seed: augment.random_flip(image, seed))
    mirrored = (flips == image.numpy()[:, ::-1]).all((1, 2, 3))
    same = (flips == image.numpy()).all((1, 2, 3))
    assert (mirrored ^ same).all()
    assert mirrored.mean() == pytest.approx(0.5, abs=0.035)


@pytest.mark.parametrize("strength", [0.5, 1.0])
@pytest.mark.parametrize("mode, center", [("multiply", 1.0), ("add", 0.0)])
def test_jitter_factors_are_uniform_in_their_ranges(strength, mode, center):
    factors = over_seeds(lambda seed: augment.random_jitter_factors(seed, strength, mode))
    extents = strength * np.array([0.8, 0.8, 0.8, 0.2])
    scaled = (factors - [center, 1, 1, 0]) / extents
    assert np.abs(scaled).max() <= 1 + 1e-5
    assert np.abs(scaled).max(0).min() > 0.99
    np.testing.assert_allclose(scaled.mean(0), 0, atol=0.05)
    np.testing.assert_allclose(scaled.var(0), 1 / 3, atol=0.03)
    np.testing.assert_allclose(np.corrcoef(scaled.T), np.eye(4), atol=0.08)


def test_jitter_and_grayscale_are_drawn_independently():
    image = tf.constant(np.tile(np.float32([0.5, 0.35, 0.2]), (2, 2, 1)))
    results = over_seeds(lambda seed: augment.random_color_jitter(image, seed))[:, 0, 0]
    gray = np.ptp(results, axis=-1) == 0
    luma = image.numpy()[0, 0] @ [0.2989, 0.5870, 0.1140]
    unchanged = np.where(
        gray, np.abs(results[:, 0] - luma) < 1e-6, (results == image[0, 0].numpy()).all(-1)
    )
    assert gray.mean() == pytest.approx(0.2, abs=0.03)
    assert 1 - unchanged.mean() == pytest.approx(0.8, abs=0.03)
    assert 1 - unchanged[gray].mean() == pytest.approx(0.8, abs=0.07)


def test_random_color_jitter_uses_every_order(monkeypatch):
    monkeypatch.setattr(
        augment, "color_jitter", lambda image, factors, order, mode: tf.cast(order, tf.float32)
    )
    monkeypatch.setattr(augment, "to_grayscale", lambda image: image)
    never = -tf.ones(4)
    orders = over_seeds(lambda seed: augment.random_color_jitter(never, seed)).astype(int)
    jittered = orders[orders[:, 0] >= 0]
    found, counts = np.unique(jittered, axis=0, return_counts=True)
    assert len(jittered) / len(orders) == pytest.approx(0.8, abs=0.03)
    assert [tuple(order) for order in found] == list(itertools.permutations(range(4)))
    assert counts.min() > 40 and counts.max() < 100  # 67 expected


@pytest.mark.parametrize("brightness, lowest", [("multiply", 0.2), ("add", 0.0)])
def test_random_color_jitter_in_both_brightness_modes(brightness, lowest):
    image = tf.fill((2, 2, 3), 0.5)  # only brightness changes it
    results = over_seeds(lambda seed: augment.random_color_jitter(image, seed, 1.0, brightness))
    expected = 0.5 * lowest
    assert results.min() == pytest.approx(expected, abs=0.005)
    assert results.max() == pytest.approx(0.9 if brightness == "multiply" else 1.0, abs=0.005)
    assert (results == 0).any() == (brightness == "add")


def test_blur_is_drawn_half_of_the_time_with_sigma_per_image():
    image = np.zeros((9, 9, 3), np.float32)
    image[4, 4] = 1.0
    blurred = over_seeds(lambda seed: augment.random_blur(tf.constant(image), seed, 6))
    sharp = (blurred == image).all((1, 2, 3))
    assert sharp.mean() == pytest.approx(0.52, abs=0.035)  # the narrowest kernels change nothing
    centers = blurred[~sharp, 4, 4, 0]
    assert len(np.unique(centers)) > 0.9 * len(centers)
    widest = reference.gaussian_blur(image, 6, 2.0)[4, 4, 0]
    assert widest <= centers.min() + 1e-6 and centers.min() < 1.02 * widest


def test_blur_sigma_is_uniform():
    sigma = over_seeds(augment.random_blur_sigma)
    assert 0.1 <= sigma.min() < 0.11 and 1.99 < sigma.max() <= 2.0
    assert sigma.mean() == pytest.approx(1.05, abs=0.04)
    assert sigma.var() == pytest.approx(1.9**2 / 12, abs=0.02)


def test_random_blur_clips_its_result():
    outside = tf.constant(np.linspace(-1, 2, 75, dtype=np.float32).reshape(5, 5, 3))
    results = over_seeds(lambda seed: augment.random_blur(outside, seed, 2), 50)
    assert results.min() == 0 and results.max() == 1


@pytest.mark.parametrize("strength", [-0.1, 1.3])
def test_a_strength_with_negative_factors_is_refused(strength):
    with pytest.raises(UserError, match=r"color_jitter_strength must lie in \[0, 1.25\]"):
        augment.random_color_jitter(COLOR_IMAGE, tf.constant([1, 2]), strength)


def test_an_unknown_brightness_is_refused():
    with pytest.raises(UserError, match="brightness must be one of .* Received: 'divide'"):
        augment.adjust_brightness(COLOR_IMAGE, 1.0, "divide")
