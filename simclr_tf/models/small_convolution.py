"""Convolutions of few pixels and many channels by other means, which are faster there on CPUs.

TensorFlow's kernels (oneDNN) are slow where outputs are small, above all for the gradient by the
filters: see benchmarks/small_convolution.py. In bfloat16 that gradient is a product of matrices for
each tap of the filter, and where outputs are smaller yet, the values are one product of all
patches, and so is the gradient by the images. In float32 the gradient by the filters is a
convolution in which images and channels have changed places.
"""

import tensorflow as tf

from simclr_tf.devices import strategies

LARGEST_BY_TAPS = 49
"""In bfloat16 products of taps are faster for outputs of at most so many pixels: 7 by 7."""

LARGEST_BY_PATCHES = 16
"""A product of patches, and in float32 the exchanged convolution, for at most so many: 4 by 4."""

MANY_CHANNELS, MANY_IN_FLOAT32 = 512, 256
"""The channels that outputs of so few pixels have at least, for these to be faster."""


def pays(images: tf.Tensor, shape: tuple[int, ...], strides: int, pixels: int | None) -> bool:
    """Whether `convolve` is faster than TensorFlow's own convolution.

    Args:
      images: what is convolved.
      shape: of the filters, (k, k, c, d).
      strides: of both axes.
      pixels: height times width of the outputs; None where it is not known.
    """
    if pixels is None or not strategies.on_cpu():
        return False
    if images.dtype == tf.float32:
        many = min(shape[2:]) >= MANY_IN_FLOAT32
        return pixels <= LARGEST_BY_PATCHES and shape[0] > 1 and strides == 1 and many
    return images.dtype == tf.bfloat16 and pixels <= LARGEST_BY_TAPS


def convolve(images: tf.Tensor, filters: tf.Tensor, strides: int, padding: str) -> tf.Tensor:
    """`tf.nn.conv2d` by what is faster where outputs are small.

    Values and gradients are the same sums, added up in another order.

    Args:
      images: (n, height, width, c), of a static height and width.
      filters: (k, k, c, d), k odd where the padding is "SAME".
      strides: of both axes; 1 where the padding is "SAME".
      padding: "SAME" or "VALID".

    Returns:
      (n, height', width', d)
    """
    return _convolution(strides, padding)(images, filters)


def _convolution(strides: int, padding: str):
    @tf.custom_gradient
    def convolution(images, filters):
        patches_pay = _patches_pay(images, filters, padding)
        if patches_pay:
            outputs = of_patches(images, filters)
        else:
            outputs = tf.nn.conv2d(images, filters, strides, padding)

        def gradient(upstream):
            if patches_pay:
                by_images = of_patches(upstream, turned(filters))
            else:
                by_images = tf.raw_ops.Conv2DBackpropInput(
                    input_sizes=tf.shape(images),
                    filter=filters,
                    out_backprop=upstream,
                    strides=[1, strides, strides, 1],
                    padding=padding,
                )
            if images.dtype == tf.float32 and strides == 1 and padding == "SAME":
                return by_images, by_filters_exchanged(images, upstream, filters.shape[0])
            return by_images, by_filters(images, upstream, filters.shape, strides, padding)

        return outputs, gradient

    return convolution


def _patches_pay(images: tf.Tensor, filters: tf.Tensor, padding: str) -> bool:
    """Whether one product of all patches is faster than TensorFlow's kernel."""
    small = images.shape[1] * images.shape[2] <= LARGEST_BY_PATCHES
    many = min(filters.shape[2:]) >= MANY_CHANNELS
    wanted = images.dtype == tf.bfloat16 and padding == "SAME" and filters.shape[0] > 1
    return wanted and small and many


def of_patches(images: tf.Tensor, filters: tf.Tensor) -> tf.Tensor:
    """The convolution with strides of 1 and padding "SAME", as one product of all patches.

    Args:
      images: (n, height, width, c), of a static height and width.
      filters: (k, k, c, d), k odd.

    Returns:
      (n, height, width, d)
    """
    size, _, channels, units = filters.shape
    height, width = images.shape[1:3]
    patches = tf.concat(_met_by_taps(images, size, 1, "SAME", height, width), axis=-1)
    outputs = tf.matmul(
        tf.reshape(patches, [-1, size * size * channels]),
        tf.reshape(filters, [size * size * channels, units]),
    )
    return tf.reshape(outputs, [-1, height, width, units])


def turned(filters: tf.Tensor) -> tf.Tensor:
    """Of filters (k, k, c, d) those, (k, k, d, c), that carry what flows back to the images."""
    return tf.transpose(tf.reverse(filters, axis=[0, 1]), [0, 1, 3, 2])


def by_filters_exchanged(images: tf.Tensor, upstream: tf.Tensor, size: int) -> tf.Tensor:
    """The gradient by the filters, with strides of 1 and padding "SAME", as one convolution.

    The channels of the images are convolved like images, whose channels are the images, and
    `upstream` is the filter.

    Args:
      images: (n, height, width, c)
      upstream: (n, height, width, d), what flows back into the outputs.
      size: k of the filters, odd.

    Returns:
      (k, k, c, d)
    """
    border = [size // 2, size // 2]
    of_channels = tf.pad(tf.transpose(images, [3, 1, 2, 0]), [[0, 0], border, border, [0, 0]])
    gradient = tf.nn.conv2d(of_channels, tf.transpose(upstream, [1, 2, 0, 3]), 1, "VALID")
    return tf.transpose(gradient, [1, 2, 0, 3])


def by_filters(
    images: tf.Tensor, upstream: tf.Tensor, shape: tf.TensorShape, strides: int, padding: str
) -> tf.Tensor:
    """The gradient by the filters: for each tap, the pixels that it met times `upstream`.

    Args:
      images, strides, padding: see `convolve`.
      upstream: (n, height', width', d), what flows back into the outputs.
      shape: of the filters, (k, k, c, d).
    """
    size, _, channels, units = shape
    height, width = upstream.shape[1:3]
    upstream = tf.reshape(upstream, [-1, units])
    of_taps = [
        tf.matmul(tf.reshape(met, [-1, channels]), upstream, transpose_a=True)
        for met in _met_by_taps(images, size, strides, padding, height, width)
    ]
    return tf.reshape(tf.stack(of_taps), shape)


def _met_by_taps(images, size, strides, padding, height, width):
    """For each tap of the filter, row by row, the pixels (n, height, width, c) that it meets."""
    if padding == "SAME":
        border = [size // 2, size // 2]
        images = tf.pad(images, [[0, 0], border, border, [0, 0]])
    starts = [(row, column) for row in range(size) for column in range(size)]
    return [
        images[
            :,
            row : row + strides * (height - 1) + 1 : strides,
            column : column + strides * (width - 1) + 1 : strides,
        ]
        for row, column in starts
    ]
