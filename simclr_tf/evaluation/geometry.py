"""How embeddings lie in space: alignment, uniformity and effective rank, without any labels."""

import numpy as np

from simclr_tf.errors import UserError

_EPSILON = 1e-7  # RankMe, section 3.1


def alignment(first: np.ndarray, second: np.ndarray, *, alpha: float = 2.0) -> float:
    """How near two views of an image lie on the unit sphere (arXiv 2005.10242, section 4.1).

    The mean of ||x - y||^alpha over pairs of embeddings that are scaled to length 1.

    Args:
      first, second: (n, d) float, embeddings of two views of the same n images.
      alpha: the exponent; 2 in the paper's experiments.

    Returns:
      In [0, 2^alpha]; 0 where both views of every image are embedded alike.

    Raises:
      UserError: the shapes differ, or there is no image.
    """
    if first.shape != second.shape or not len(first):
        raise UserError(
            "Alignment compares two views of the same images. Received embeddings of shapes "
            f"{first.shape} and {second.shape}."
        )
    distances = np.linalg.norm(_unit(first) - _unit(second), axis=1)
    return float(np.mean(distances**alpha))


def uniformity(embeddings: np.ndarray, *, t: float = 2.0) -> float:
    """How evenly embeddings cover the unit sphere (arXiv 2005.10242, section 4.1).

    The logarithm of the mean of exp(-t ||x - y||^2) over all pairs of different images, whose
    embeddings are scaled to length 1.

    Args:
      embeddings: (n, d) float, of n images.
      t: how fast the potential falls; 2 in the paper's experiments.

    Returns:
      In [-4 t, 0]; 0 where all images are embedded alike, about -2 t where they are spread evenly
      over a sphere of many dimensions.

    Raises:
      UserError: there are fewer than two images.
    """
    if len(embeddings) < 2:
        raise UserError(
            f"Uniformity compares images with each other. Received {len(embeddings)}: give more."
        )
    unit = _unit(embeddings)
    cosines = (unit @ unit.T)[np.triu_indices(len(unit), k=1)]
    return float(np.log(np.mean(np.exp(-2 * t * (1 - cosines)))))


def effective_rank(embeddings: np.ndarray) -> float:
    """How many dimensions embeddings make use of: RankMe (arXiv 2210.02885, equation 1).

    The exponential of the entropy of the singular values, which are divided by their sum.

    Args:
      embeddings: (n, d) float, of n images; not centred.

    Returns:
      From 1, where all lie on one line through the origin, to min(n, d); 0 where all are 0.
    """
    values = np.linalg.svd(np.asarray(embeddings, np.float64), compute_uv=False)
    if not values.any():
        return 0.0
    shares = values / values.sum() + _EPSILON
    return float(np.exp(-np.sum(shares * np.log(shares))))


def _unit(embeddings: np.ndarray) -> np.ndarray:
    """The rows, scaled to length 1, in float64; rows of zeros stay so."""
    rows = np.asarray(embeddings, np.float64)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
