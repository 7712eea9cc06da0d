"""The losses of SimCLR's table 4 against what was recorded of their definitions in float64."""

import pathlib

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf import losses
from simclr_tf.errors import UserError

RECORDED = np.load(pathlib.Path(__file__).parents[1] / "golden" / "triplets.npz")
HIDDEN = RECORDED["simclr/hidden"]
CASES = sorted(key.removesuffix("/loss") for key in RECORDED if key.endswith("/loss"))
KINDS = {
    "nt_xent_one_view": lambda h, t: losses.nt_xent(h, t, negatives="other_view")[0],
    "nt_logistic": losses.nt_logistic,
    "nt_logistic_semihard": lambda h, t: losses.nt_logistic(h, t, "semi_hard"),
    "margin": losses.margin_triplet,
    "margin_semihard": lambda h, m: losses.margin_triplet(h, m, "semi_hard"),
}


@pytest.mark.parametrize("case", CASES)
def test_loss_and_gradient(case):
    _, kind, setting = case.split("/")
    if setting.startswith("not_normed"):
        loss, *_ = losses.nt_xent(HIDDEN, 10.0, hidden_norm=False, negatives="other_view")
        assert float(loss) == pytest.approx(float(RECORDED[f"{case}/loss"]), rel=2e-6)
        return
    value = float(setting.removeprefix("tau").removeprefix("m"))
    hidden = tf.constant(HIDDEN)
    with tf.GradientTape() as tape:
        tape.watch(hidden)
        loss = KINDS[kind](hidden, value)
    assert float(loss) == pytest.approx(float(RECORDED[f"{case}/loss"]), rel=2e-6)
    expected = RECORDED[f"{case}/grad"]
    found = tape.gradient(loss, hidden)
    np.testing.assert_allclose(found, expected, rtol=0, atol=5e-6 * np.abs(expected).max())


def of_rows(hidden, loss, semi_hard):
    """Both views as negatives, in a loop; `loss` of s_ii and a list of s_ij."""
    a, b = np.split(hidden / np.linalg.norm(hidden, axis=1, keepdims=True), 2)
    total = 0
    for rows, others in ((a, b), (b, a)):
        for i, row in enumerate(rows):
            own = row @ others[i]
            found = [row @ c[j] for c in (others, rows) for j in range(len(rows)) if j != i]
            total += loss(own, semi_hard(own, found) if semi_hard else found)
    return total / len(a)


def softplus(x):
    return np.log1p(np.exp(x))


def test_negatives_of_both_views():
    hidden = np.random.default_rng(0).normal(size=(10, 4))
    largest_below = lambda own, found: [max([s for s in found if s < own], default=None)]  # noqa: E731

    def logistic(own, found):
        found = [softplus(s / 0.5) for s in found if s is not None]
        return softplus(-own / 0.5) + (np.mean(found) if found else 0)

    def margin(own, found):
        found = [max(s - own + 0.4, 0) for s in found if s is not None]
        return np.mean(found) if found else 0

    for found, expected in (
        (losses.nt_logistic(hidden, 0.5, negatives="both"), of_rows(hidden, logistic, None)),
        (
            losses.nt_logistic(hidden, 0.5, "semi_hard", "both"),
            of_rows(hidden, logistic, largest_below),
        ),
        (losses.margin_triplet(hidden, 0.4, negatives="both"), of_rows(hidden, margin, None)),
        (
            losses.margin_triplet(hidden, 0.4, "semi_hard", "both"),
            of_rows(hidden, margin, largest_below),
        ),
    ):
        assert float(found) == pytest.approx(expected, rel=1e-5)


def test_unknown_options_are_refused():
    with pytest.raises(UserError, match="negative_mining is one of none, semi_hard"):
        losses.nt_logistic(HIDDEN, negative_mining="hard")
    with pytest.raises(UserError, match="negatives is one of both, other_view"):
        losses.margin_triplet(HIDDEN, negatives="one_view")


@pytest.mark.parametrize("n", [2, 3, 7, 16, 33])
@pytest.mark.parametrize("width", [4, 31, 128])
def test_equal_images_are_no_semi_hard_negatives_of_each_other(n, width):
    """Rounding alone would tell them apart: in a product of matrices, equal columns may differ."""
    row = np.random.default_rng(width).normal(size=(1, width))
    collapsed = np.repeat(row, 2 * n, axis=0)
    for negatives in ("other_view", "both"):
        assert float(losses.margin_triplet(collapsed, 0.8, "semi_hard", negatives)) == 0
        found = losses.nt_logistic(collapsed, 0.5, "semi_hard", negatives)
        assert float(found) == pytest.approx(2 * softplus(-1 / 0.5), rel=1e-5)


def test_an_image_that_is_there_twice():
    """Both copies of image 0 leave each other out, and still have image 1 as a negative."""
    a, b = np.random.default_rng(3).normal(size=(2, 2, 64))
    b = a + 0.3 * b
    twice = np.concatenate([a[[0, 0, 1]], b[[0, 0, 1]]])
    unit = lambda rows: rows / np.linalg.norm(rows, axis=-1, keepdims=True)  # noqa: E731
    cosines = unit(a) @ unit(b).T
    # cosines are near 1 on the diagonal, and near 0 beside it
    expected = 0
    for s in (cosines, cosines.T):
        terms = [max(s[i, 1 - i] - s[i, i] + 1.5, 0) for i in (0, 1)]
        expected += (2 * terms[0] + terms[1]) / 3
    found = losses.margin_triplet(twice, 1.5, "semi_hard")
    assert float(found) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("loss", [losses.nt_logistic, losses.margin_triplet, losses.nt_xent])
def test_rows_that_are_not_of_two_views_are_refused(loss):
    with pytest.raises(UserError, match="those of two views.* Received: 7 rows"):
        loss(HIDDEN[:7])
