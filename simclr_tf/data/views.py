"""Recipes that turn one decoded image into what the encoder sees.

An image comes in as (height, width, 3), uint8 or float in [0, 1], of any size; a
grey one may have a single channel, which is repeated. A view goes out as float32
(image_size, image_size, 3) in [0, 1]. No mean or standard deviation is subtracted.

The order in a pretraining view is: crop, flip, colour jitter, greyscale, clip,
blur, clip. So the jitter sees what bicubic resizing shot over, as in the original.
Reading and batching images is not done here: see `pipeline`.
"""

import tensorflow as tf

from simclr_tf.data import augment
from simclr_tf.errors import UserError

MAX_UNCROPPED_SIZE = 32  # evaluation crops only larger images
BLUR_SIGMAS_PER = ("image", "batch")


def pretraining_view(
    image: tf.Tensor,
    seed: tf.Tensor,
    image_size: int,
    color_jitter_strength: float = 1.0,
    use_blur: bool = True,
    blur_sigma: str = "image",
    brightness: str = "multiply",
) -> tf.Tensor:
    """Make one random view for contrastive learning.

    Args:
      image: (height, width, 3 or 1), uint8 or float in [0, 1].
      seed: int tensor (2,); split into those of crop, flip, colour and blur.
      image_size: height and width of the view.
      color_jitter_strength: in [0, 1.25]; 0 switches jitter and greyscale off.
      use_blur: whether views are blurred, with probability 0.5.
      blur_sigma: "image" blurs here, with a sigma for each image (the paper);
        "batch" leaves it to `blur_batch` (the original's code).
      brightness: "multiply" (SimCLRv2) or "add" (SimCLRv1).

    Returns:
      float32 (image_size, image_size, 3) in [0, 1].

    Raises:
      UserError: if the strength, `blur_sigma` or `brightness` is not one of those above.
    """
    if blur_sigma not in BLUR_SIGMAS_PER:
        raise UserError(f"blur_sigma must be one of {BLUR_SIGMAS_PER}. Received: {blur_sigma!r}.")
    crop_seed, flip_seed, color_seed, blur_seed = tf.unstack(tf.random.split(seed, 4))
    view = _random_crop_and_flip(image, crop_seed, flip_seed, image_size)
    if color_jitter_strength != 0:
        view = augment.random_color_jitter(view, color_seed, color_jitter_strength, brightness)
    view = augment.clip(view)
    if use_blur and blur_sigma == "image":
        view = augment.random_blur(view, blur_seed, blur_kernel_size(image_size))
    return view


def pretraining_views(
    image: tf.Tensor, seed: tf.Tensor, image_size: int, number: int = 2, **recipe
) -> tuple[tf.Tensor, ...]:
    """Make independent random views of one image.

    Args:
      image: (height, width, 3 or 1), uint8 or float in [0, 1].
      seed: int tensor (2,); split into one for each view.
      image_size: height and width of the views.
      number: of views.
      **recipe: the other arguments of `pretraining_view`.

    Returns:
      `number` tensors, float32 (image_size, image_size, 3) in [0, 1].
    """
    seeds = tf.unstack(tf.random.split(seed, number))
    return tuple(pretraining_view(image, view_seed, image_size, **recipe) for view_seed in seeds)


def blur_batch(
    views: tuple[tf.Tensor, ...],
    seed: tf.Tensor,
    image_size: int,
    batch_size: int | None = None,
    offset: int = 0,
) -> tuple[tf.Tensor, ...]:
    """Blur batches of views, each with one sigma and each image with probability 0.5.

    Args:
      views: float32 tensors (batch, image_size, image_size, 3) in [0, 1].
      seed: int tensor (2,), another one for every batch.
      image_size: height and width of the views.
      batch_size: when these are a part of a batch, the images of the whole batch, so that
        all parts together are blurred as the whole would be.
      offset: where in the whole batch the part begins.

    Returns:
      Tensors of the same shapes, in [0, 1].
    """
    batch_size = batch_size or views[0].shape[0]
    seeds = tf.unstack(tf.random.split(seed, len(views)))
    return tuple(
        _blur_view(view, view_seed, image_size, batch_size, offset)
        for view, view_seed in zip(views, seeds, strict=True)
    )


def finetuning_view(image: tf.Tensor, seed: tf.Tensor, image_size: int) -> tf.Tensor:
    """Make one random view for training with labels: crop, flip and clip alone.

    Args and result are those of `pretraining_view`.
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
    return augment.clip(_resized_crop(image, box, image_size))


def blur_kernel_size(image_size: int) -> int:
    """Return the nominal side of the blur's kernel: a tenth of the view."""
    return image_size // 10


def _random_crop_and_flip(image, crop_seed, flip_seed, image_size):
    box = augment.random_crop_box(tf.shape(image)[:2], crop_seed)
    return augment.random_flip(_resized_crop(image, box, image_size), flip_seed)


def _resized_crop(image, box, image_size):
    image = augment.crop_and_resize(image, box, (image_size, image_size))
    if image.shape[-1] == 1:
        image = tf.image.grayscale_to_rgb(image)
    return tf.ensure_shape(image, (image_size, image_size, 3))


def _blur_view(images, seed, image_size, batch_size, offset):
    draw_seed, sigma_seed = tf.unstack(tf.random.split(seed, 2))
    draws = tf.random.stateless_uniform((batch_size, 1, 1, 1), draw_seed)
    draws = draws[offset : offset + images.shape[0]]
    sigma = augment.random_blur_sigma(sigma_seed)
    blurred = augment.gaussian_blur(images, blur_kernel_size(image_size), sigma)
    return augment.clip(tf.where(draws < augment.BLUR_PROBABILITY, blurred, images))
