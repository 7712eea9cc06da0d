"""Images of the caller's own: what becomes of them, and what is refused."""

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf.data import pipeline
from simclr_tf.data.own_images import own_images
from simclr_tf.data.recipe import unchanged
from simclr_tf.errors import UserError

DRAWS = np.random.default_rng(0)
PIXELS = DRAWS.integers(0, 256, (10, 8, 8, 3)).astype(np.uint8)
LABELS = np.arange(10) % 4


def shown(dataset, image_size=8):
    """Every image and label as evaluation shows them."""
    batches = pipeline.evaluation_dataset(dataset, batch_size=4, image_size=image_size)
    images, labels, weights = (np.concatenate(parts) for parts in zip(*batches))
    return images[weights > 0], labels[weights > 0]


def stream(*parts):
    return tf.data.Dataset.from_tensor_slices(parts if len(parts) > 1 else parts[0])


@pytest.mark.parametrize("as_stream", [False, True])
@pytest.mark.parametrize("as_float", [False, True])
def test_pixels_and_labels_come_back(as_float, as_stream):
    images = PIXELS / np.float32(255) if as_float else PIXELS
    dataset = own_images(stream(images, LABELS) if as_stream else (images, LABELS))
    assert (dataset.num_examples, dataset.num_classes, dataset.split) == (10, 4, "train")
    found, labels = shown(dataset)
    np.testing.assert_allclose(found, PIXELS / 255, atol=1e-6)
    np.testing.assert_array_equal(labels, LABELS)


@pytest.mark.thorough
@pytest.mark.parametrize("as_stream", [False, True])
def test_training_is_a_function_of_seed_and_step(as_stream):
    """Every epoch has each image once, with its number; the second begins in another order."""
    dataset = own_images(stream(PIXELS) if as_stream else PIXELS)

    def batches(start, count):
        made = pipeline.training_dataset(
            dataset, unchanged(8), batch_size=5, seed=3, start_step=start, numbers=True
        )
        return [(views[0].numpy(), numbers.numpy()) for views, _, numbers in made.take(count)]

    first = batches(0, 4)
    for images, numbers in first:
        np.testing.assert_allclose(images, PIXELS[numbers] / 255, atol=1e-6)
    numbers = np.concatenate([numbers for _, numbers in first])
    assert set(numbers[:10]) == set(numbers[10:]) == set(range(10))
    assert list(numbers[:10]) != list(numbers[10:])
    for (images, _), (again, _) in zip(first[1:], batches(1, 3), strict=True):
        np.testing.assert_array_equal(images, again)


def test_images_of_several_sizes_and_grey_ones():
    sizes = [(8, 8), (12, 10), (9, 30)]

    def images():
        for i, size in enumerate(sizes):
            yield {"image": np.full((*size, 1), 0.2 * i, np.float64), "label": i, "other": "x"}

    spec = {
        "image": tf.TensorSpec((None, None, 1), tf.float64),
        "label": tf.TensorSpec((), tf.int8),
        "other": tf.TensorSpec((), tf.string),
    }
    data = tf.data.Dataset.from_generator(images, output_signature=spec)
    dataset = own_images(data, class_names=["a", "b", "c", "d"], split="mine")
    assert (dataset.num_classes, dataset.class_names[3], dataset.split) == (4, "d", "mine")
    found, labels = shown(dataset)
    for i, image in enumerate(found):
        np.testing.assert_allclose(image, np.full((8, 8, 3), 0.2 * i), atol=1e-6)
    assert list(labels) == [0, 1, 2]


def test_without_labels_there_are_no_classes():
    for data in (PIXELS, stream(PIXELS), stream(PIXELS).map(lambda image: {"image": image})):
        assert own_images(data).num_classes is None
    assert list(shown(own_images(PIXELS))[1]) == [-1] * 10
    some = np.array([-1, 0, 1] + [-1] * 7)
    assert own_images((PIXELS, some)).num_classes == 2


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (lambda: PIXELS[0], r"\(n, height, width, 3 or 1\) as an array. Received: \(8, 8, 3\)"),
        (lambda: PIXELS[..., :2], r"Received: \(10, 8, 8, 2\)"),
        (lambda: PIXELS.astype(np.int64), "Received: int64. Give values of 0 to 255 as tf.cast"),
        (lambda: PIXELS.astype(np.float32), "Received: values from 0 to 255"),
        (lambda: PIXELS / -1000, "Received: values from -0.255 to"),
        (lambda: np.full((1, 8, 8, 3), np.nan), "Received: values from nan"),
        (lambda: PIXELS[:0], "the array is empty"),
        (lambda: PIXELS[:, :0], "the array is empty"),
        (lambda: [PIXELS[0], PIXELS[0, :4]], "as an array. Received: "),
        (lambda: "photos", "as an array. Received: "),
        (lambda: (PIXELS, LABELS[:9]), r"for each of the 10 images. Received: int64 \(9,\)"),
        (lambda: (PIXELS, LABELS / 2), r"Received: float64 \(10,\)"),
        (lambda: (PIXELS, LABELS - 3), "or -1 where there is none. Received: labels from -3 to 0"),
        (lambda: stream(PIXELS).batch(2), r"Give single images: .unbatch\(\)"),
        (lambda: stream(PIXELS).repeat(), r"has no end. Leave out its repeat\(\)"),
        (lambda: stream(PIXELS).take(0), "the tf.data.Dataset is empty"),
        (lambda: stream(PIXELS.astype(np.float32)), "Received: values from 0 to 255"),
        (lambda: stream(PIXELS, LABELS / 2), "A label is one integer of an image"),
        (lambda: stream(PIXELS, {"class": LABELS}), "A label is one integer of an image"),
        (lambda: stream(PIXELS, LABELS, LABELS), "has images, or pairs"),
        (
            lambda: stream(PIXELS).map(
                lambda image: tf.numpy_function(lambda x: x, [image], tf.uint8)
            ),
            r"tf.ensure_shape\(image, \(None, None, 3\)\)",
        ),
    ],
)
def test_what_is_no_image_is_said_in_one_line(data, message):
    with pytest.raises(UserError, match=message) as error:
        own_images(data())
    assert "\n" not in str(error.value)


def test_more_labels_than_names():
    with pytest.raises(UserError, match="from 0 to 1, or -1 .* Received: labels from 0 to 3"):
        own_images((PIXELS, LABELS), class_names=["a", "b"])
