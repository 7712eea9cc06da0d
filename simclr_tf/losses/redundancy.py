"""Losses that keep the dimensions of an embedding apart: Barlow Twins and VICReg.

Both look at statistics of the global batch: every replica gathers the embeddings of all and
computes the whole loss.
"""

import tensorflow as tf

from simclr_tf.devices import replicas
from simclr_tf.errors import UserError
from simclr_tf.losses.rows import number_of, require_pairs

EPSILON = 1e-5  # Barlow Twins normalises with batch norm's
VARIANCE_EPSILON = 1e-4  # under VICReg's root


def barlow_twins(z_a: tf.Tensor, z_b: tf.Tensor, off_diagonal_weight: float = 0.0051) -> tf.Tensor:
    """The cross-correlation of two views is to be the identity (arXiv 2103.03230, eq. 1).

    Each view is normalised by itself over the global batch, with the biased variance, as the
    official code does; the paper's pseudo-code has the unbiased one.

    Args:
      z_a: (n, d), the embeddings of this replica's images in the first view.
      z_b: (n, d), in the second.
      off_diagonal_weight: of the squared correlations of different dimensions.

    Returns:
      A float32 scalar: the sum of (C_ii - 1)^2 and of the weighted C_ij^2.

    Raises:
      UserError: the shapes of the views differ.
    """
    z_a, z_b = tf.cast(z_a, tf.float32), tf.cast(z_b, tf.float32)
    require_pairs(z_a=z_a, z_b=z_b)
    a, b = (_standardised(replicas.gather(z)) for z in (z_a, z_b))
    correlations = tf.matmul(a, b, transpose_a=True) / number_of(a)
    diagonal = tf.linalg.diag_part(correlations)
    others = _without_diagonal(correlations)
    on_diagonal = tf.reduce_sum(tf.square(diagonal - 1))
    return on_diagonal + off_diagonal_weight * tf.reduce_sum(tf.square(others))


def vicreg(
    z_a: tf.Tensor,
    z_b: tf.Tensor,
    invariance: float = 25.0,
    variance: float = 25.0,
    covariance: float = 1.0,
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Views agree, every dimension varies, and no two vary together (arXiv 2105.04906).

    The terms are those of the official code. Where s and v of the paper's eq. 1 to 6 are sums
    over dimensions and over views, the code takes means: the paper's text with its weights
    would be 25 d, 50 and 1 here.

    Args:
      z_a: (n, d), the embeddings of this replica's images in the first view.
      z_b: (n, d), in the second.
      invariance: weight of the mean squared difference of all entries.
      variance: weight of what is missing to a standard deviation of 1, a mean over dimensions
        and views.
      covariance: weight of the squared covariances of different dimensions over d, the sum of
        both views.

    Returns:
      The float32 scalar loss, and the three terms by name without their weights. The mean over
      replicas of each is that of the global batch.

    Raises:
      UserError: the shapes of the views differ, or the global batch is a single image.
    """
    z_a, z_b = tf.cast(z_a, tf.float32), tf.cast(z_b, tf.float32)
    require_pairs(z_a=z_a, z_b=z_b)
    terms = {"invariance": tf.reduce_mean(tf.math.squared_difference(z_a, z_b))}
    missing, products = 0.0, 0.0
    for z in (z_a, z_b):
        z = replicas.gather(z)
        z -= tf.reduce_mean(z, axis=0)
        n, d = number_of(z), z.shape[1]
        if isinstance(n, int) and n < 2:
            raise UserError(
                f"VICReg has variances of the batch: it needs 2 images or more. Received: {n}."
            )
        deviations = tf.sqrt(tf.reduce_sum(tf.square(z), axis=0) / (n - 1) + VARIANCE_EPSILON)
        missing += tf.reduce_mean(tf.nn.relu(1 - deviations)) / 2
        covariances = _without_diagonal(tf.matmul(z, z, transpose_a=True) / (n - 1))
        products += tf.reduce_sum(tf.square(covariances)) / d
    terms |= {"variance": missing, "covariance": products}
    weights = {"invariance": invariance, "variance": variance, "covariance": covariance}
    return tf.add_n([weights[name] * term for name, term in terms.items()]), terms


def _standardised(z):
    mean, variance = tf.nn.moments(z, axes=[0])
    return (z - mean) * tf.math.rsqrt(variance + EPSILON)


def _without_diagonal(matrix):
    """The matrix with zeros on its diagonal, so that sums of what is left keep their digits."""
    return tf.linalg.set_diag(matrix, tf.zeros_like(matrix[0]))
