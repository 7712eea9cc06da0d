"""Recipes that turn one decoded image into what the encoder sees.

An image comes in as (height, width, 3), uint8 or float in [0, 1], of any size; a
grey one may have a single channel, which is repeated. A view goes out as float32
(image_size, image_size, 3) in [0, 1]. No mean or standard deviation is subtracted.

The order in a pretraining view is: crop, flip, colour jitter, greyscale, clip,
blur, clip. So the jitter sees what bicubic resizing shot over, as in the original.
Cropping works on one image of any size, what follows (`distort`) on several of one size.
Reading and batching images is not done here: see `pipeline`.
"""

from collections.abc import Sequence

import tensorflow as tf

from simclr_tf.data import augment, distort

MAX_UNCROPPED_SIZE = 32  # evaluation crops only larger images


def pretraining_views(
    image: tf.Tensor, seed: tf.Tensor, image_size: int, number: int = 2, **recipe
) -> tuple[tf.Tensor, ...]:
    """Make independent random views of one image for contrastive learning.

    Args:
      image: (height, width, 3 or 1), uint8 or float in [0, 1].
      seed: int tensor (2,).
      image_size: height and width of the views.
      number: of views.
      **recipe: see `finish_pretraining_views`.

    Returns:
      `number` tensors, float32 (image_size, image_size, 3) in [0, 1].

    Raises:
      UserError: if the recipe is not one of those allowed.
    """
    boxes, draws = draw_views(tf.shape(image)[:2], seed, number)
    crops = resized_crops(image, boxes, image_size)
    crops, draws = tf.nest.map_structure(lambda tensor: tensor[tf.newaxis], (crops, draws))
    views = finish_pretraining_views(crops, draws, white=augment.white(image.dtype), **recipe)
    return tuple(view[0] for view in views)


def draw_views(image_shape: tf.Tensor, seed: tf.Tensor, number: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Draw all that is random about the views of one image.

    Args:
      image_shape: int tensor (2,), height and width of the image.
      seed: int tensor (2,).
      number: of views.

    Returns:
      The boxes of the crops, int32 (number, 4), and the numbers that
      `finish_pretraining_views` wants, float32 (number, distort.NUM_DRAWS).
    """
    draws_seed, *crop_seeds = tf.unstack(tf.random.split(seed, 1 + number))
    boxes = [augment.random_crop_box(image_shape, crop_seed) for crop_seed in crop_seeds]
    return tf.stack(boxes), distort.draw(draws_seed, number)


def share_sigmas(draws: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Replace the draws of the blurs' sigmas by those of `seed`, one for each view.

    With one seed for all images of a batch, a batch has one sigma for each view, as in the
    original's code; without, every image has its own, as in the paper.

    Args:
      draws: float32 (number, distort.NUM_DRAWS).
      seed: int tensor (2,).
    """
    number = draws.shape[0]
    shared = distort.draw(seed, number)[:, distort.SIGMA]
    columns = tf.unstack(draws, axis=1)
    columns[distort.SIGMA] = shared
    return tf.stack(columns, axis=1)


def resized_crops(image: tf.Tensor, boxes: tf.Tensor, image_size: int) -> tuple[tf.Tensor, ...]:
    """Cut out boxes and resize them.

    Args:
      image: (height, width, 3 or 1), of any number type.
      boxes: int tensor (number, 4).
      image_size: height and width of the crops.

    Returns:
      `number` tensors, float32 (image_size, image_size, 3), in the units of `image`, not clipped.
    """
    size = (image_size, image_size)
    crops = [augment.resized_crop(image, box, size) for box in tf.unstack(boxes)]
    return tuple(_rgb(crop, image_size) for crop in crops)


def finish_pretraining_views(
    crops: Sequence[tf.Tensor],
    draws: tf.Tensor,
    color_jitter_strength: float = 1.0,
    use_blur: bool = True,
    brightness: str = "multiply",
    white: float = 255.0,
) -> tuple[tf.Tensor, ...]:
    """Make views of the resized crops of several images.

    Args:
      crops: `number` tensors, float32 (images, image_size, image_size, 3).
      draws: float32 (images, number, distort.NUM_DRAWS).
      color_jitter_strength: in [0, 1.25]; 0 switches jitter and greyscale off.
      use_blur: whether views are blurred, with probability 0.5.
      brightness: "multiply" (SimCLRv2) or "add" (SimCLRv1).
      white: the value of white in `crops`.

    Returns:
      `number` tensors, float32 (images, image_size, image_size, 3) in [0, 1].

    Raises:
      UserError: if the strength or `brightness` is not one of those above.
    """
    recipe = (float(color_jitter_strength), bool(use_blur), brightness, float(white))
    return distort.distort(tuple(crops), draws, *recipe)


def finetuning_view(image: tf.Tensor, seed: tf.Tensor, image_size: int) -> tf.Tensor:
    """Make one random view for training with labels: crop, flip and clip alone.

    Args:
      image: (height, width, 3 or 1), uint8 or float in [0, 1].
      seed: int tensor (2,).
      image_size: height and width of the view.

    Returns:
      float32 (image_size, image_size, 3) in [0, 1].
    """
    crop_seed, flip_seed = tf.unstack(tf.random.split(seed, 2))
    return augment.clip(_random_crop_and_flip(image, crop_seed, flip_seed, image_size))


def evaluation_view(image: tf.Tensor, image_size: int) -> tf.Tensor:
    """Make the one view that evaluation and serving use.

    Above 32 pixels it is the central 87.5% of the largest square; at 32 and below it
    is the whole image, whatever its aspect.

    Args:
      image: (height, width, 3 or 1), uint8 or float in [0, 1].
      image_size: height and width of the view.

    Returns:
      float32 (image_size, image_size, 3) in [0, 1].
    """
    size = tf.shape(image)[:2]
    if image_size > MAX_UNCROPPED_SIZE:
        box = augment.central_crop_box(size, (image_size, image_size))
    else:
        box = tf.concat([[0, 0], size], axis=0)
    return augment.clip(_crop(image, box, image_size))


def _random_crop_and_flip(image, crop_seed, flip_seed, image_size):
    box = augment.random_crop_box(tf.shape(image)[:2], crop_seed)
    view = _crop(image, box, image_size)
    drawn = tf.random.stateless_uniform((), flip_seed) < 0.5
    return tf.cond(drawn, lambda: tf.reverse(view, axis=[1]), lambda: view)


def _crop(image, box, image_size):
    return _rgb(augment.crop_and_resize(image, box, (image_size, image_size)), image_size)


def _rgb(crop, image_size):
    if crop.shape[-1] == 1:
        crop = tf.image.grayscale_to_rgb(crop)
    return tf.ensure_shape(crop, (image_size, image_size, 3))
