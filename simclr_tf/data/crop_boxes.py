"""Where a crop is cut out of an image: boxes, drawn or central.

A box is an int32 tensor (y, x, height, width) in pixels.
"""

import math

import tensorflow as tf


def random_crop_box(
    image_size: tf.Tensor,
    seed: tf.Tensor,
    area: tuple[float, float] = (0.08, 1.0),
    covered: float = 0.1,
    aspect: tuple[float, float] = (3 / 4, 4 / 3),
) -> tf.Tensor:
    """Draw the box of a random resized crop with TensorFlow's sampler, as SimCLR does.

    The aspect ratio (width / height) is uniform, then the height is uniform among those that
    keep the area in its range. SimCLR asks for [0.08, 1], but every crop must cover a tenth of
    the image. After 100 failed attempts the box is the whole image.

    Args:
      image_size: int tensor (2,), height and width of the image.
      seed: int tensor (2,).
      area: share of the image that the box has, from and to.
      covered: share of the image that it has at least.
      aspect: width / height, from and to.

    Returns:
      The box, int32 (4,).
    """
    begin, size, _ = tf.image.stateless_sample_distorted_bounding_box(
        tf.concat([image_size, [3]], axis=0),
        bounding_boxes=tf.constant([[[0.0, 0.0, 1.0, 1.0]]]),
        seed=seed,
        min_object_covered=covered,
        aspect_ratio_range=aspect,
        area_range=area,
        max_attempts=100,
        use_image_if_no_bounding_boxes=True,
    )
    return tf.concat([begin[:2], size[:2]], axis=0)


def clamped_crop_box(
    image_size: tf.Tensor,
    seed: tf.Tensor,
    area: tuple[float, float],
    aspect: tuple[float, float],
) -> tf.Tensor:
    """Draw the box of a random resized crop whose sides are cut to the image, as BYOL does.

    The area is uniform, the logarithm of the aspect ratio (width / height) too, and the place is
    any that holds the box.

    Args:
      image_size: int tensor (2,), height and width of the image.
      seed: int tensor (2,).
      area: share of the image that the box has, from and to.
      aspect: width / height, from and to.

    Returns:
      The box, int32 (4,).
    """
    draws = tf.random.stateless_uniform((4,), seed)
    sides = tf.clip_by_value(_sides(image_size, draws[:2], area, aspect), 1, image_size)
    return tf.concat([_place(image_size, sides, draws[2:]), sides], axis=0)


def tried_crop_box(
    image_size: tf.Tensor,
    seed: tf.Tensor,
    area: tuple[float, float],
    aspect: tuple[float, float],
    tries: int = 10,
) -> tf.Tensor:
    """Draw the box of a random resized crop as torchvision does.

    As `clamped_crop_box`, but a box that is larger than the image is drawn again. After the last
    try it is the largest central one whose aspect ratio is in its range.

    Args:
      image_size: int tensor (2,), height and width of the image.
      seed: int tensor (2,).
      area: share of the image that the box has, from and to.
      aspect: width / height, from and to.
      tries: how often a box is drawn.

    Returns:
      The box, int32 (4,).
    """
    draws = tf.random.stateless_uniform((tries, 4), seed)
    sides = _sides(image_size, draws[:, :2], area, aspect)  # (tries, 2)
    fits = tf.reduce_all((sides > 0) & (sides <= image_size), axis=1)
    first = tf.argmax(fits)  # the first that is true
    drawn = tf.concat([_place(image_size, sides[first], draws[first, 2:]), sides[first]], axis=0)
    height, width = tf.unstack(tf.cast(image_size, tf.float32))
    largest = tf.stack(
        [tf.minimum(height, width / aspect[0]), tf.minimum(width, height * aspect[1])]
    )
    largest = tf.cast(tf.round(largest), tf.int32)
    central = tf.concat([(image_size - largest) // 2, largest], axis=0)
    return tf.where(tf.reduce_any(fits), drawn, central)


def _sides(image_size, draws, area, aspect):
    """Height and width (..., 2) of boxes, from two uniform numbers (..., 2) for each."""
    pixels = tf.cast(tf.reduce_prod(image_size), tf.float32)
    covered = pixels * (area[0] + (area[1] - area[0]) * draws[..., 0])
    low, high = math.log(aspect[0]), math.log(aspect[1])
    ratio = tf.exp(low + (high - low) * draws[..., 1])
    sides = tf.stack([tf.sqrt(covered / ratio), tf.sqrt(covered * ratio)], axis=-1)
    return tf.cast(tf.round(sides), tf.int32)


def _place(image_size, sides, draws):
    """The upper left corner of a box, from two uniform numbers."""
    room = tf.cast(image_size - sides + 1, tf.float32)
    return tf.minimum(tf.cast(tf.floor(draws * room), tf.int32), image_size - sides)


def central_crop_box(
    image_size: tf.Tensor, size: tuple[int, int], proportion: float = 0.875
) -> tf.Tensor:
    """Return the largest central box with the aspect of `size`, scaled by `proportion`.

    Args:
      image_size: int tensor (2,), height and width of the image.
      size: height and width that the crop will be resized to.
      proportion: side of the box relative to the largest one, in (0, 1].

    Returns:
      The box, int32 (4,), its sides rounded half to even.
    """
    height, width = tf.unstack(tf.cast(image_size, tf.float32))
    aspect = size[1] / size[0]
    box_height = tf.minimum(height, width / aspect)
    box_width = tf.minimum(width, height * aspect)
    box_size = tf.cast(tf.round(proportion * tf.stack([box_height, box_width])), tf.int32)
    begin = (tf.cast(image_size, tf.int32) - box_size + 1) // 2
    return tf.concat([begin, box_size], axis=0)
