"""Alignment, uniformity and effective rank, against sums that are written out."""

import numpy as np
import pytest

from simclr_tf.errors import UserError
from simclr_tf.evaluation.geometry import alignment, effective_rank, uniformity

RANDOM = np.random.default_rng(0)
ROWS, OTHERS = RANDOM.normal(size=(2, 7, 5)).astype(np.float32)


def unit(rows):
    return [row / np.sqrt((row**2).sum()) for row in rows.astype(np.float64)]


@pytest.mark.parametrize("alpha", [1.0, 2.0])
def test_alignment_is_the_mean_distance_on_the_sphere(alpha):
    pairs = zip(unit(ROWS), unit(OTHERS), strict=True)
    expected = np.mean([((x - y) ** 2).sum() ** (alpha / 2) for x, y in pairs])
    assert alignment(ROWS, OTHERS, alpha=alpha) == pytest.approx(expected, rel=1e-9)
    assert alignment(ROWS, 3 * ROWS) == pytest.approx(0, abs=1e-12)
    assert alignment(ROWS, -ROWS) == pytest.approx(4)


@pytest.mark.parametrize("t", [0.5, 2.0])
def test_uniformity_is_the_mean_potential_of_pairs(t):
    rows = unit(ROWS)
    potentials = [
        np.exp(-t * ((rows[i] - rows[j]) ** 2).sum()) for i in range(7) for j in range(7) if i != j
    ]
    assert uniformity(ROWS, t=t) == pytest.approx(np.log(np.mean(potentials)), rel=1e-9)


def test_uniformity_of_what_is_known():
    assert uniformity(np.ones((4, 3))) == pytest.approx(0, abs=1e-12)
    assert uniformity(np.eye(50)) == pytest.approx(-4)  # all distances are sqrt(2)
    assert uniformity(np.array([[1.0, 0.0], [-2.0, 0.0]])) == pytest.approx(-8)


def test_effective_rank_is_the_exponential_of_an_entropy():
    # RankMe, equation 1, by the eigenvalues of the products.
    squares = np.linalg.eigvalsh(ROWS.astype(np.float64).T @ ROWS.astype(np.float64))
    shares = np.sqrt(squares) / np.sqrt(squares).sum() + 1e-7
    expected = np.exp(-(shares * np.log(shares)).sum())
    assert effective_rank(ROWS) == pytest.approx(expected, rel=1e-6)


def test_effective_rank_of_what_is_known():
    assert effective_rank(np.eye(6)) == pytest.approx(6, rel=1e-5)
    assert effective_rank(np.ones((9, 4))) == pytest.approx(1, abs=1e-4)
    assert effective_rank(np.diag([2.0, 1.0, 1.0])) == pytest.approx(np.exp(1.0397), rel=1e-4)
    assert effective_rank(np.zeros((3, 2))) == 0


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(UserError, match=r"shapes \(7, 5\) and \(6, 5\)"):
        alignment(ROWS, OTHERS[:6])
    with pytest.raises(UserError, match="compares images"):
        uniformity(ROWS[:1])
