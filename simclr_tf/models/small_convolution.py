"""Convolutions whose gradient by the filters is faster than TensorFlow's, where that is slow.

TensorFlow's kernel for the gradient by the filters (oneDNN) reaches 37 to 100 GFLOP/s in bfloat16
where the outputs are small, and its other kernels and matrix products several hundred: see
benchmarks/filter_gradient.py. There the gradient of each tap of the filter is a product of its own.
"""

import tensorflow as tf

from simclr_tf.devices import strategies

LARGEST = 49
"""Pixels of the outputs up to which the products were faster: 7 by 7."""


def pays(images: tf.Tensor, output_pixels: int | None) -> bool:
    """Whether `convolve` is faster than TensorFlow's own: bfloat16 on a CPU and small outputs.

    Args:
      images: what is convolved.
      output_pixels: height times width of the outputs; None where it is not known.
    """
    small = output_pixels is not None and output_pixels <= LARGEST
    return small and images.dtype == tf.bfloat16 and strategies.on_cpu()


def convolve(images: tf.Tensor, filters: tf.Tensor, strides: int, padding: str) -> tf.Tensor:
    """`tf.nn.conv2d` whose gradient by the filters is a product for each of their taps.

    Values and the gradient by the images are TensorFlow's; the gradient by the filters is the same
    sum, added up in another order.

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
        outputs = tf.nn.conv2d(images, filters, strides, padding)

        def gradient(upstream):
            by_images = tf.raw_ops.Conv2DBackpropInput(
                input_sizes=tf.shape(images),
                filter=filters,
                out_backprop=upstream,
                strides=[1, strides, strides, 1],
                padding=padding,
            )
            return by_images, _by_filters(images, upstream, filters.shape, strides, padding)

        return outputs, gradient

    return convolution


def _by_filters(images, upstream, shape, strides, padding):
    """The gradient by filters of that shape (k, k, c, d): for each tap, the pixels that it met
    times what flows back into the outputs."""
    size, _, channels, units = shape
    if padding == "SAME":
        border = [size // 2, size // 2]
        images = tf.pad(images, [[0, 0], border, border, [0, 0]])
    height, width = upstream.shape[1:3]
    upstream = tf.reshape(upstream, [-1, units])
    taps = []
    for row in range(size):
        rows = slice(row, row + strides * (height - 1) + 1, strides)
        for column in range(size):
            columns = slice(column, column + strides * (width - 1) + 1, strides)
            met = tf.reshape(images[:, rows, columns], [-1, channels])
            taps.append(tf.matmul(met, upstream, transpose_a=True))
    return tf.reshape(tf.stack(taps), shape)
