"""Images of the caller's own, which are no files: arrays, or a tf.data.Dataset."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from simclr_tf.data.sources import ImageDataset, indexed
from simclr_tf.data.tfds_source import ShardedSource
from simclr_tf.errors import UserError

NAME = "own images"
_AT_ONCE = 1024
_FORMS = "images, or pairs (image, label), or dictionaries with `image` and, perhaps, `label`"


def own_images(
    data: Any, *, class_names: Sequence[str] | None = None, split: str = "train"
) -> ImageDataset:
    """The caller's own images as a data set, from which views, evaluation and banks are made.

    Images are uint8, or of a float type in [0, 1], which is rounded to 256 levels; grey ones, of
    one channel, become RGB. They are held or passed on as PNG files.

    Args:
      data: an array of images (n, height, width, 3 or 1), or (images, labels) with labels (n,); or
        a tf.data.Dataset of single images (height, width, 3 or 1), each of any size, of pairs
        (image, label), or of dictionaries with `image` and `label`. Labels are integers from 0.
        A tf.data.Dataset is read once now, to count and check its images, and then in every epoch,
        through a buffer that shuffles it; so it ends, and gives the same images in the same order
        each time.
      class_names: of the labels. By default there are as many classes as the largest label says.
      split: what these images are called.

    Returns:
      The data set, without classes where there are no labels.

    Raises:
      UserError: the images have another rank, number of channels, type or range, or labels are
        no such integers.
    """
    if isinstance(data, tf.data.Dataset):
        source, labels = _streamed(data)
    else:
        source, labels = _held(data)
    num_classes = None if labels is None else _number_of_classes(labels, class_names)
    return ImageDataset(
        name=NAME,
        split=split,
        num_examples=source.num_examples,
        num_classes=num_classes,
        class_names=None if num_classes is None or class_names is None else tuple(class_names),
        source=source,
    )


def _held(data):
    images, labels = data if isinstance(data, tuple) and len(data) == 2 else (data, None)
    try:
        images = np.asarray(images)
    except ValueError:
        images = np.empty(0, object)
    shape = tf.TensorShape(images.shape)
    image = tf.TensorSpec(shape[1:], _dtype(images))
    _check_kind(image, shape, "(n, height, width, 3 or 1) as an array")
    if not images.size:
        raise UserError("There are no images: the array is empty.")
    _check_range(float(images.min()), float(images.max()), images.dtype)
    if labels is not None:
        labels = np.asarray(labels)
        if labels.shape not in ((len(images),), (len(images), 1)) or labels.dtype.kind not in "iu":
            raise UserError(
                f"Labels are integers, one for each of the {len(images)} images. Received: "
                f"{labels.dtype} {labels.shape}."
            )
        labels = labels.reshape(-1).astype(np.int64)
    encoded = tf.data.Dataset.from_tensor_slices(images).map(
        _encoded, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
    return indexed(encoded.batch(len(images)).get_single_element(), labels), labels


def _dtype(array):
    try:
        return tf.as_dtype(array.dtype)
    except TypeError:
        return tf.variant  # which is none of images


def _streamed(data):
    image, label = _parts(data.element_spec)
    if not isinstance(image, tf.TensorSpec):
        raise UserError(f"A tf.data.Dataset of images has {_FORMS}. Received: {image}.")
    _check_kind(image, image, "(height, width, 3 or 1) in a tf.data.Dataset", _hint(image.shape))
    is_integer = isinstance(label, tf.TensorSpec) and label.dtype.is_integer
    if label is not None and not (is_integer and label.shape.rank == 0):
        raise UserError(f"A label is one integer of an image. Received: {label}.")
    if data.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise UserError("This tf.data.Dataset has no end. Leave out its repeat().")

    def looked_at(*element):
        image, label = _parts(_whole(element))
        label = tf.constant(-1, tf.int64) if label is None else tf.cast(label, tf.int64)
        ends = tf.reduce_min(image), tf.reduce_max(image)
        return *(tf.cast(end, tf.float32) for end in ends), label

    def parse(element):
        image, label = _parts(element)
        found = {"image": _encoded(image)}
        return found if label is None else found | {"label": tf.cast(label, tf.int64)}

    seen = data.map(looked_at, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    batches = [[part.numpy() for part in batch] for batch in seen.batch(_AT_ONCE)]
    if not batches:
        raise UserError("There are no images: the tf.data.Dataset is empty.")
    low, high, labels = (np.concatenate(parts) for parts in zip(*batches))
    _check_range(low.min(), high.max(), image.dtype.as_numpy_dtype)
    # Several components would be several arguments; a source hands on a record as one.
    records = data.map(lambda *element: {"of": _whole(element)})
    source = ShardedSource(
        read_shard=lambda i: records,
        starts=np.zeros(1, np.int64),
        num_examples=len(labels),
        parse=lambda record: parse(record["of"]),
    )
    return source, None if label is None else labels


def _whole(element):
    """What tf.data gives to a function as one argument or, of a tuple, as several."""
    return element[0] if len(element) == 1 else element


def _parts(element):
    """(image, label or None) of an element of a tf.data.Dataset, or of its specification."""
    if isinstance(element, Mapping) and "image" in element:
        return element["image"], element.get("label")
    if isinstance(element, tuple) and len(element) in (1, 2):
        return element if len(element) == 2 else (*element, None)
    if isinstance(element, tuple | Mapping):
        raise UserError(f"A tf.data.Dataset of images has {_FORMS}. Received: {element}.")
    return element, None


def _hint(shape):
    """What to do where the shape of an image is not one."""
    if shape.rank == 4:
        return " Give single images: .unbatch()."
    if shape.rank is None or (shape.rank == 3 and shape[-1] is None):
        return " Say it with .map(lambda image: tf.ensure_shape(image, (None, None, 3)))."
    return ""


def _check_kind(image, given, form, hint=""):
    """Refuse images of another rank, number of channels, or type than networks are made for.

    Args:
      image: the specification of one of them.
      given: the shape or specification of all, for messages.
      form: what their shape should be, in words.
      hint: what to do where it is another.
    """
    if image.shape.rank != 3 or image.shape[-1] not in (1, 3):
        raise UserError(f"Images have the shape {form}. Received: {given}.{hint}")
    if image.dtype != tf.uint8 and not image.dtype.is_floating:
        raise UserError(
            f"Images are uint8, or float in [0, 1]. Received: {image.dtype.name}. Give values of 0 "
            "to 255 as tf.cast(images, tf.uint8)."
        )


def _check_range(low, high, dtype):
    if dtype != np.uint8 and not (low >= 0 and high <= 1):
        raise UserError(
            f"Float images lie in [0, 1]. Received: values from {low:g} to {high:g}. Give values "
            "of 0 to 255 as tf.cast(images, tf.uint8)."
        )


def _encoded(image: tf.Tensor) -> tf.Tensor:
    """An image as a PNG file."""
    if image.dtype != tf.uint8:
        image = tf.cast(tf.round(tf.cast(image, tf.float32) * 255), tf.uint8)
    return tf.io.encode_png(image, compression=1)


def _number_of_classes(labels, class_names):
    low, high = int(labels.min()), int(labels.max())
    number = high + 1 if class_names is None else len(class_names)
    if low < -1 or high >= number or number < 1:
        upwards = f"from 0 to {number - 1}" if class_names else "from 0"
        raise UserError(
            f"Labels are integers {upwards}, or -1 where there is none. Received: labels from "
            f"{low} to {high}."
        )
    return number
