"""The operations equal the original's recorded outputs and TensorFlow's own operations."""

import pathlib

import numpy as np
import pytest
import sklearn.datasets
import tensorflow as tf

from simclr_tf.data import augment, crop_boxes

# Some rows of the original's outputs: every fourth, say; the keys name operation and arguments.
GOLDEN = dict(np.load(pathlib.Path(__file__).parents[1] / "golden" / "augment.npz"))
COLOR_IMAGE = GOLDEN["color/in"].astype(np.float32) / 255


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
        box = crop_boxes.central_crop_box([image_height, image_width], (height, width))
        assert box.numpy().tolist() == expected[2:] + expected[:2]


def test_grayscale_is_golden():
    assert_golden(on_planes(augment.to_grayscale, COLOR_IMAGE), "color/to_grayscale")


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
        adjusted = on_planes(operation, COLOR_IMAGE, float(key.removeprefix(prefix)))
        assert_golden(adjusted, key)


def on_planes(operation, image, *arguments):
    """The operation on an image (height, width, 3)."""
    planes = operation(augment.to_planes(tf.constant(image)), *arguments)
    return augment.from_planes(planes).numpy()


@pytest.mark.parametrize("key", [key for key in GOLDEN if key.startswith("blur/k")])
def test_gaussian_blur_is_golden(key):
    kernel_size, sigma = key.removeprefix("blur/k").split("_s")
    image = GOLDEN["blur/in"]
    taps = augment.blur_taps(int(kernel_size) // 2, float(sigma))
    down = on_planes(augment.blur_down, image, taps)
    assert_golden(on_planes(augment.blur_across, down, taps), key)


REAL_IMAGES = [np.float32(image) / 255 for image in sklearn.datasets.load_sample_images().images]
OPERATIONS = {
    "contrast": (augment.adjust_contrast, tf.image.adjust_contrast, (0.2, 0.9, 1.8)),
    "saturation": (augment.adjust_saturation, tf.image.adjust_saturation, (0.0, 0.2, 1.1, 1.8)),
    "hue": (augment.adjust_hue, tf.image.adjust_hue, (-0.2, -0.03, 0.11, 0.2)),
}


@pytest.mark.parametrize("image", REAL_IMAGES, ids=["china", "flower"])
@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("compiled", [False, True])
def test_operations_equal_those_of_tensorflow_on_real_images(image, name, compiled):
    ours, theirs, arguments = OPERATIONS[name]
    # As bicubic resizing leaves them: enlarged, with values outside [0, 1].
    image = tf.image.resize(image[:150, :100], (224, 224), "bicubic")
    image = 1.1 * image / tf.reduce_max(image) - 0.05
    assert image.numpy().min() < 0 and image.numpy().max() > 1
    ours = tf.function(ours, jit_compile=compiled)
    for argument in arguments:
        found = on_planes(ours, image, tf.constant(argument))
        np.testing.assert_allclose(found, theirs(image, argument), rtol=0, atol=1e-5)


@pytest.mark.parametrize("image", REAL_IMAGES, ids=["china", "flower"])
def test_crops_of_integers_equal_crops_of_floats(image):
    box = tf.constant([31, 17, 190, 333])
    integers = np.uint8(np.round(image * 255))
    np.testing.assert_allclose(
        augment.crop_and_resize(integers, box, (224, 224)),
        tf.image.resize(image[31:221, 17:350], (224, 224), "bicubic"),
        rtol=0,
        atol=1e-5,
    )


def test_crop_boxes_follow_the_original_sampler():
    boxes = over_seeds(lambda seed: crop_boxes.random_crop_box([224, 224], seed))
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


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 1)])
def test_no_crop_is_empty(size):
    boxes = over_seeds(
        lambda seed: crop_boxes.clamped_crop_box(
            tf.constant(size), seed, (0.08, 1.0), (3 / 4, 4 / 3)
        )
    )
    assert boxes[:, 2:].min() == 1 and np.all(boxes[:, :2] + boxes[:, 2:] <= size)


def test_a_crop_that_cannot_be_drawn_is_the_whole_image():
    box = crop_boxes.random_crop_box([4, 400], tf.constant([1, 2]))
    assert box.numpy().tolist() == [0, 0, 4, 400]
