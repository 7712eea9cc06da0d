"""From one decoded image to what the encoder sees, as a recipe says.

An image comes in as (height, width, 3), uint8 or float in [0, 1], of any size; a
grey one may have a single channel, which is repeated. A view goes out as float32
(size, size, 3) in [0, 1]. No mean or standard deviation is subtracted.

The order in SimCLR's views is: crop, flip, colour jitter, greyscale, clip, blur, clip. So the
jitter sees what bicubic resizing shot over, as in the original.
Cropping works on one image of any size, what follows (`distort`) on several of one size.
Reading and batching images is not done here: see `pipeline`.
"""

from collections.abc import Sequence

import tensorflow as tf

from simclr_tf.data import augment, crop_boxes, distort, strong_plan, studied
from simclr_tf.data.recipe import Recipe, View

MAX_UNCROPPED_SIZE = 32  # evaluation crops only larger images
Draws = tuple[tf.Tensor, tf.Tensor]


def make_views(image: tf.Tensor, seed: tf.Tensor, recipe: Recipe) -> tuple[tf.Tensor, ...]:
    """Make the views of one image.

    Args:
      image: (height, width, 3 or 1), uint8 or float in [0, 1].
      seed: int tensor (2,).
      recipe: the views.

    Returns:
      A tensor for each view, float32 (size, size, 3) in [0, 1].
    """
    boxes, draws = draw_views(tf.shape(image)[:2], seed, recipe)
    crops = resized_crops(image, boxes, recipe)
    crops, draws = tf.nest.map_structure(lambda tensor: tensor[tf.newaxis], (crops, draws))
    views = finish_views(crops, draws, recipe, augment.white(image.dtype))
    return tuple(view[0] for view in views)


def draw_views(image_shape: tf.Tensor, seed: tf.Tensor, recipe: Recipe) -> tuple[tf.Tensor, Draws]:
    """Draw all that is random about the views of one image.

    Args:
      image_shape: int tensor (2,), height and width of the image.
      seed: int tensor (2,).
      recipe: the views.

    Returns:
      The boxes of the crops, int32 (views, 4), and the numbers that `finish_views` wants: float32
      (views, distort.NUM_DRAWS) and (views, distort.NUM_FURTHER or more).
    """
    number = len(recipe)
    seeds = tf.unstack(tf.random.split(seed, 1 + number))
    if recipe[0].crop_drawn_first:
        *crop_seeds, draws_seed = seeds
    else:
        draws_seed, *crop_seeds = seeds
    boxes = [_box(view, image_shape, crop_seed) for view, crop_seed in zip(recipe, crop_seeds)]
    boxes = [boxes[0] if view.shared_crop else box for view, box in zip(recipe, boxes)]
    further = tf.zeros((number, distort.NUM_FURTHER))
    if distort.needs_further(recipe):
        further = distort.draw_further(
            draws_seed, number, strong_plan.number_of_draws(recipe), studied.any_in(recipe)
        )
    return tf.stack(boxes), (distort.draw(draws_seed, number), further)


def _box(view: View, image_shape: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    if view.area is None:
        return _evaluation_box(image_shape, view.size)
    if view.fit == "sampler":
        return crop_boxes.random_crop_box(image_shape, seed, view.area, view.covered, view.aspect)
    draw = crop_boxes.clamped_crop_box if view.fit == "clamp" else crop_boxes.tried_crop_box
    return draw(image_shape, seed, view.area, view.aspect)


def share_sigmas(draws: Draws, seed: tf.Tensor, recipe: Recipe) -> Draws:
    """Replace the draws of the blurs' sigmas, where a view has one for each batch.

    With one seed for all images of a batch, a batch has one sigma for each view, as in the
    original's code; without, every image has its own, as in the paper.

    Args:
      draws: of one image, see `draw_views`.
      seed: int tensor (2,), of the batch.
      recipe: the views.
    """
    own, further = draws
    of_batch = distort.draw(seed, len(recipe))[:, distort.SIGMA]
    chosen = tf.constant([view.blur_sigma_per == "batch" for view in recipe])
    columns = tf.unstack(own, axis=1)
    columns[distort.SIGMA] = tf.where(chosen, of_batch, columns[distort.SIGMA])
    return tf.stack(columns, axis=1), further


def resized_crops(image: tf.Tensor, boxes: tf.Tensor, recipe: Recipe) -> tuple[tf.Tensor, ...]:
    """Cut out boxes and resize them.

    Args:
      image: (height, width, 3 or 1), of any number type.
      boxes: int tensor (views, 4).
      recipe: the views.

    Returns:
      A tensor for each view, float32 (size, size, 3), in the units of `image`, not clipped.
    """
    return tuple(
        _rgb(
            augment.resized_crop(
                image, box, (view.size, view.size), view.interpolation, view.antialias
            ),
            view.size,
        )
        for view, box in zip(recipe, tf.unstack(boxes), strict=True)
    )


def finish_views(
    crops: Sequence[tf.Tensor], draws: Draws, recipe: Recipe, white: float = 255.0
) -> tuple[tf.Tensor, ...]:
    """Make views of the resized crops of several images.

    Args:
      crops: a tensor for each view, float32 (images, size, size, 3).
      draws: of all images, see `draw_views`: float32 (images, views, ...) each.
      recipe: the views.
      white: the value of white in `crops`.

    Returns:
      A tensor for each view, float32 (images, size, size, 3) in [0, 1].
    """
    return distort.distort(crops, *draws, recipe, float(white))


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
    box = _evaluation_box(tf.shape(image)[:2], image_size)
    crop = augment.crop_and_resize(image, box, (image_size, image_size))
    return augment.clip(_rgb(crop, image_size))


def _evaluation_box(image_shape: tf.Tensor, image_size: int) -> tf.Tensor:
    if image_size > MAX_UNCROPPED_SIZE:
        return crop_boxes.central_crop_box(image_shape, (image_size, image_size))
    return tf.concat([[0, 0], image_shape], axis=0)


def _rgb(crop, image_size):
    if crop.shape[-1] == 1:
        crop = tf.image.grayscale_to_rgb(crop)
    return tf.ensure_shape(crop, (image_size, image_size, 3))
