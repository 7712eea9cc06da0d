"""How the transfer experiments show an image that is not augmented (SimCLR appendix B.8.1)."""

import tensorflow as tf

from simclr_tf.data import augment


def resize_then_center_crop(image: tf.Tensor, shorter_side: int, crop_size: int) -> tf.Tensor:
    """Resize the shorter side by bicubic interpolation, keep the aspect, and cut out the centre.

    Small images are enlarged, not padded. As elsewhere, there is no antialiasing, and no mean is
    subtracted.

    Args:
      image: (height, width, 3), uint8 or float in [0, 1].
      shorter_side: of the resized image, in pixels; the other side is rounded.
      crop_size: height and width of the result, at most `shorter_side`.

    Returns:
      float32 (crop_size, crop_size, 3) in [0, 1].
    """
    sides = tf.cast(tf.shape(image)[:2], tf.float64)
    size = tf.cast(tf.round(sides * (shorter_side / tf.reduce_min(sides))), tf.int32)
    image = tf.image.convert_image_dtype(image, tf.float32)
    image = tf.image.resize(image, size, method="bicubic", antialias=False)
    top, left = tf.unstack((size - crop_size) // 2)
    image = image[top : top + crop_size, left : left + crop_size]
    return augment.clip(tf.ensure_shape(image, (crop_size, crop_size, 3)))
