"""The parts that ResNets are made of.

Layers are created in the order of the original's construction: in a block with a
shortcut, the shortcut first. `norm` is a dictionary with the arguments that all
BatchNormalization layers of a network share.
"""

import tensorflow as tf

from simclr_tf.backend import keras
from simclr_tf.models import small_convolution
from simclr_tf.models.batch_norm import BatchNormalization


class Convolution(keras.layers.Conv2D):
    """Convolution without bias; with a stride its padding is symmetric and fixed.

    With stride 1 the padding is SAME. With a larger stride (k - 1) // 2 zeros are
    put before and the rest of the k - 1 after, whatever the size of the image.
    """

    def __init__(self, filters: int, kernel_size: int, strides: int = 1, **kwargs):
        super().__init__(
            filters,
            kernel_size,
            strides,
            padding="same" if strides == 1 else "valid",
            use_bias=kwargs.pop("use_bias", False),
            kernel_initializer=keras.initializers.VarianceScaling(),
            **kwargs,
        )

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """(batch, height, width, c) -> (batch, height / stride, width / stride, filters)."""
        if self.strides[0] > 1:
            inputs = pad(inputs, self.kernel_size[0])
        pixels = self.compute_output_shape(inputs.shape)[1:3].num_elements()
        strides, shape = self.strides[0], self.kernel.shape
        if self.use_bias or not small_convolution.pays(inputs, shape, strides, pixels):
            return super().call(inputs)
        kernel = tf.cast(self.kernel, inputs.dtype)
        return small_convolution.convolve(inputs, kernel, strides, self.padding.upper())


def spatial_mean(inputs: tf.Tensor, keepdims: bool = False) -> tf.Tensor:
    """The mean over height and width of (batch, height, width, channels), in the inputs' dtype.

    It is computed in float32: sums in bfloat16 stop to grow after some hundred pixels.
    """
    mean = tf.reduce_mean(tf.cast(inputs, tf.float32), axis=[1, 2], keepdims=keepdims)
    return tf.cast(mean, inputs.dtype)


def pad(inputs: tf.Tensor, kernel_size: int) -> tf.Tensor:
    """Pad height and width with zeros so that a VALID kernel covers every pixel."""
    before = (kernel_size - 1) // 2
    after = kernel_size - 1 - before
    return tf.pad(inputs, [[0, 0], [before, after], [before, after], [0, 0]])


class SelectiveKernel(keras.layers.Layer):
    """Two streams of 3x3 convolutions, mixed by an attention over channels (arXiv 1903.06586)."""

    def __init__(self, filters: int, strides: int, sk_ratio: float, norm: dict, **kwargs):
        super().__init__(**kwargs)
        self.convolution = Convolution(2 * filters, 3, strides, name="convolution")
        self.norm = BatchNormalization(name="norm", **norm)
        self.squeeze = Convolution(max(int(filters * sk_ratio), 32), 1, name="squeeze")
        self.squeeze_norm = BatchNormalization(name="squeeze_norm", **norm)
        self.excite = Convolution(2 * filters, 1, name="excite")

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        streams = tf.nn.relu(self.norm(self.convolution(inputs), training=training))
        streams = tf.stack(tf.split(streams, 2, axis=-1))  # 2, batch, height, width, filters
        context = spatial_mean(tf.reduce_sum(streams, axis=0), keepdims=True)
        context = tf.nn.relu(self.squeeze_norm(self.squeeze(context), training=training))
        logits = tf.stack(tf.split(self.excite(context), 2, axis=-1))
        return tf.reduce_sum(streams * tf.nn.softmax(logits, axis=0), axis=0)


class SqueezeExcitation(keras.layers.Layer):
    """Scales channels by a gate computed from their means (arXiv 1709.01507).

    `filters` is the block's nominal number of filters, which for a bottleneck is a
    quarter of the channels that come in.
    """

    def __init__(self, filters: int, se_ratio: float, channels: int, **kwargs):
        super().__init__(**kwargs)
        self.squeeze = Convolution(max(1, int(filters * se_ratio)), 1, use_bias=True)
        self.excite = Convolution(channels, 1, use_bias=True)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        context = spatial_mean(inputs, keepdims=True)
        return inputs * tf.sigmoid(self.excite(tf.nn.relu(self.squeeze(context))))


class Shortcut(keras.layers.Layer):
    """Projection shortcut; the ResNet-D form pools before it projects (arXiv 1812.01187)."""

    def __init__(self, filters: int, strides: int, pooled: bool, norm: dict, **kwargs):
        super().__init__(**kwargs)
        self.pool_strides = strides if pooled else 0
        if pooled:
            self.pool = keras.layers.AveragePooling2D(
                2, strides, padding="same" if strides == 1 else "valid"
            )
        self.convolution = Convolution(filters, 1, 1 if pooled else strides, name="convolution")
        self.norm = BatchNormalization(name="norm", **norm)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        if self.pool_strides:
            inputs = self.pool(pad(inputs, 2) if self.pool_strides > 1 else inputs)
        return self.norm(self.convolution(inputs), training=training)


class BasicBlock(keras.layers.Layer):
    """Two 3x3 convolutions and a shortcut; the last batch norm starts at gamma 0."""

    def __init__(
        self,
        filters: int,
        strides: int,
        projected: bool,
        sk_ratio: float,
        se_ratio: float,
        norm: dict,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.shortcut = Shortcut(filters, strides, sk_ratio > 0, norm) if projected else None
        self.convolution1 = Convolution(filters, 3, strides, name="convolution1")
        self.norm1 = BatchNormalization(name="norm1", **norm)
        self.convolution2 = Convolution(filters, 3, name="convolution2")
        self.norm2 = BatchNormalization(gamma_initializer="zeros", name="norm2", **norm)
        self.attention = SqueezeExcitation(filters, se_ratio, filters) if se_ratio > 0 else None

    @property
    def last_norm(self) -> BatchNormalization:
        """The last batch norm of the residual branch."""
        return self.norm2

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        shortcut = inputs if self.shortcut is None else self.shortcut(inputs, training=training)
        outputs = tf.nn.relu(self.norm1(self.convolution1(inputs), training=training))
        outputs = self.norm2(self.convolution2(outputs), training=training)
        if self.attention is not None:
            outputs = self.attention(outputs)
        return tf.nn.relu(outputs + shortcut)


class BottleneckBlock(keras.layers.Layer):
    """1x1, 3x3 (or selective kernels), 1x1 with 4 times the filters; the stride is on the 3x3."""

    def __init__(
        self,
        filters: int,
        strides: int,
        projected: bool,
        sk_ratio: float,
        se_ratio: float,
        norm: dict,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.shortcut = Shortcut(4 * filters, strides, sk_ratio > 0, norm) if projected else None
        self.convolution1 = Convolution(filters, 1, name="convolution1")
        self.norm1 = BatchNormalization(name="norm1", **norm)
        self.selective = None
        if sk_ratio > 0:
            self.selective = SelectiveKernel(filters, strides, sk_ratio, norm)
        else:
            self.convolution2 = Convolution(filters, 3, strides, name="convolution2")
            self.norm2 = BatchNormalization(name="norm2", **norm)
        self.convolution3 = Convolution(4 * filters, 1, name="convolution3")
        self.norm3 = BatchNormalization(gamma_initializer="zeros", name="norm3", **norm)
        self.attention = SqueezeExcitation(filters, se_ratio, 4 * filters) if se_ratio > 0 else None

    @property
    def last_norm(self) -> BatchNormalization:
        """The last batch norm of the residual branch."""
        return self.norm3

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        shortcut = inputs if self.shortcut is None else self.shortcut(inputs, training=training)
        outputs = tf.nn.relu(self.norm1(self.convolution1(inputs), training=training))
        if self.selective is not None:
            outputs = self.selective(outputs, training=training)
        else:
            outputs = tf.nn.relu(self.norm2(self.convolution2(outputs), training=training))
        outputs = self.norm3(self.convolution3(outputs), training=training)
        if self.attention is not None:
            outputs = self.attention(outputs)
        return tf.nn.relu(outputs + shortcut)


class Stem(keras.layers.Layer):
    """What stands before the first block group; call gives (after the convolution, pooled).

    CIFAR: 3x3, no pooling. ImageNet: 7x7 with stride 2, or three 3x3 with selective
    kernels, then 3x3 max pooling. The first output is taken before its batch norm.
    `pool_padding` is "same", TensorFlow's, or "symmetric", a pixel on each side.
    """

    def __init__(
        self,
        filters: int,
        cifar: bool,
        deep: bool,
        norm: dict,
        pool_padding: str = "same",
        **kwargs,
    ):
        super().__init__(**kwargs)
        if cifar:
            sizes = [(filters, 3, 1)]
        elif deep:
            sizes = [(filters // 2, 3, 2), (filters // 2, 3, 1), (filters, 3, 1)]
        else:
            sizes = [(filters, 7, 2)]
        self.convolutions = []
        self.norms = []
        for i, (channels, kernel_size, strides) in enumerate(sizes):
            self.convolutions.append(
                Convolution(channels, kernel_size, strides, name=f"convolution{i + 1}")
            )
            self.norms.append(BatchNormalization(name=f"norm{i + 1}", **norm))
        self.pad_pool = pool_padding == "symmetric"
        self.pool = None
        if not cifar:
            self.pool = keras.layers.MaxPooling2D(3, 2, "valid" if self.pad_pool else "same")

    def call(self, inputs: tf.Tensor, training: bool = False) -> tuple[tf.Tensor, tf.Tensor]:
        outputs = inputs
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            before_norm = convolution(outputs)
            outputs = tf.nn.relu(norm(before_norm, training=training))
        if self.pool is None:
            return before_norm, outputs
        # Nothing is below zero after the ReLU, so zeros are never the only maximum.
        return before_norm, self.pool(pad(outputs, 3) if self.pad_pool else outputs)
