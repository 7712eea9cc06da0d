"""A bank: one row for each training image, an average of what the network made of it."""

from collections.abc import Callable, Sequence

import tensorflow as tf

from simclr_tf.backend import keras

LARGEST_PART = 2**24  # numbers of the rows that are read at a time, 64 MiB


class Bank(tf.Module):
    """Rows by the numbers of the images, with what is read of them and written to them.

    Every replica holds all rows. A step reads a thousand rows and more for each image of the
    batch and writes one, so rows that were divided among replicas would travel far more than
    those that are written on all. A bank takes 4 bytes for each number, on every device and in
    every checkpoint: 656 MB for ImageNet's 1,281,167 images with a width of 128.

    Attributes:
      rows: (num_images, width) float32; at the beginning uniform, with a length of about 1.

    Args:
      num_images: number of training images.
      width: of a row.
    """

    def __init__(self, num_images: int, width: int, name: str = "bank"):
        super().__init__(name)
        limit = (3 / width) ** 0.5
        rows = keras.initializers.RandomUniform(-limit, limit)((num_images, width))
        once = tf.VariableAggregation.ONLY_FIRST_REPLICA
        self.rows = tf.Variable(rows, trainable=False, aggregation=once, name="rows")

    def update(self, numbers: tf.Tensor, features: tf.Tensor, momentum: float) -> None:
        """Average rows with features, and normalise them.

        An image that comes twice, at the end of an epoch and at the start of the next, brings
        the first of its features. Call it in every replica with the same values.

        Args:
          numbers: (n,) int64, of the images.
          features: (n, width) float32 rows of length 1.
          momentum: share of the row that remains, in [0, 1].
        """
        same = tf.equal(numbers[:, tf.newaxis], numbers[tf.newaxis])
        features = tf.gather(features, tf.argmax(tf.cast(same, tf.float32), axis=1))
        rows = momentum * tf.gather(self.rows, numbers) + (1 - momentum) * features
        self.rows.scatter_update(tf.IndexedSlices(tf.math.l2_normalize(rows, axis=1), numbers))

    def all_scores(self, features: tf.Tensor) -> tf.Tensor:
        """Dot products of features (n, width) with all rows, (n, num_images) float32."""
        return tf.matmul(features, tf.stop_gradient(self.rows), transpose_b=True)

    def scores(
        self,
        features: tf.Tensor,
        numbers: tf.Tensor,
        others: tf.Tensor,
        largest: int = LARGEST_PART,
    ) -> tf.Tensor:
        """Dot products of features with the rows of their own images, then with others.

        No gradient reaches the rows. Where the rows that are read have more than `largest`
        numbers, they are read for some images at a time, and again for the gradient; values are
        the same.

        Args:
          features: (n, width) float32.
          numbers: (n,) int64, of the images.
          others: numbers of other images: (n, m), or (m,) where all have the same.
          largest: how many numbers are read at a time.

        Returns:
          (n, 1 + m) float32.
        """
        numbers = tf.cast(numbers, others.dtype)[:, tf.newaxis]
        if others.shape.rank == 1:
            own = self._scores(features, numbers, largest)
            return tf.concat([own, tf.matmul(features, self._read(others), transpose_b=True)], 1)
        return self._scores(features, tf.concat([numbers, others], axis=1), largest)

    def _read(self, numbers):
        return tf.stop_gradient(tf.gather(self.rows, numbers))

    def _scores(self, features, chosen, largest):
        n, count = chosen.shape
        at_once = max(1, largest // (count * self.rows.shape[1]))
        at_once = max(k for k in range(1, n + 1) if n % k == 0 and k <= at_once)

        @tf.custom_gradient
        def compared(features):
            def gradient(upstream):
                return _in_parts(
                    lambda part, places: tf.linalg.matvec(
                        self._read(places), part, transpose_a=True
                    ),
                    (upstream, chosen),
                    at_once,
                )

            scores = _in_parts(
                lambda part, places: tf.linalg.matvec(self._read(places), part),
                (features, chosen),
                at_once,
            )
            return scores, gradient

        return compared(features)


def _in_parts(
    function: Callable[..., tf.Tensor], tensors: Sequence[tf.Tensor], at_once: int
) -> tf.Tensor:
    """The function of tensors (n, ...), computed for so many rows at a time."""
    if at_once == tensors[0].shape[0]:
        return function(*tensors)
    parts = tuple(tf.reshape(t, [-1, at_once, *t.shape[1:]]) for t in tensors)
    found = tf.map_fn(
        lambda part: function(*part),
        parts,
        fn_output_signature=tf.float32,
        parallel_iterations=1,
    )
    return tf.reshape(found, [-1, *found.shape[2:]])
