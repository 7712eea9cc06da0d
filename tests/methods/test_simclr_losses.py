"""SimCLR with the losses that its paper compares it with."""

import every_method
import numpy as np
import pytest
import tensorflow as tf

from simclr_tf import losses
from simclr_tf.errors import UserError
from simclr_tf.methods import SimCLR

pytestmark = pytest.mark.usefixtures("toy_encoder")
PROJECTIONS = np.random.default_rng(0).normal(size=(16, 2, 16)).astype(np.float32)
HIDDEN = np.concatenate(np.moveaxis(PROJECTIONS, 1, 0))


def loss_of(projections=PROJECTIONS, **flags):
    method = every_method.build("simclr", **flags)
    return method, method.objective({"projections": tf.constant(projections)})


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (dict(negatives="other_view"), losses.nt_xent(HIDDEN, 0.5, negatives="other_view")[0]),
        (dict(hidden_norm=False), losses.nt_xent(HIDDEN, 0.5, False)[0]),
        (dict(contrastive_loss="nt_logistic"), losses.nt_logistic(HIDDEN, 0.5)),
        (
            dict(contrastive_loss="nt_logistic", negative_mining="semi_hard", negatives="both"),
            losses.nt_logistic(HIDDEN, 0.5, "semi_hard", "both"),
        ),
        (dict(contrastive_loss="margin", margin=0.4), losses.margin_triplet(HIDDEN, 0.4)),
        (
            dict(contrastive_loss="margin", margin=0.4, negative_mining="semi_hard"),
            losses.margin_triplet(HIDDEN, 0.4, "semi_hard"),
        ),
    ],
)
def test_flags_choose_the_loss(flags, expected):
    _, (loss, values) = loss_of(**flags)
    assert float(loss) == float(values["contrast_loss"]) == pytest.approx(float(expected))
    _, (_, plain) = loss_of(hidden_norm=flags.get("hidden_norm", True))
    for name in ("contrast_acc", "contrast_entropy"):
        assert float(values[name]) == pytest.approx(float(plain[name]), rel=1e-5)


@pytest.mark.parametrize(
    "flags",
    [
        dict(),
        dict(negatives="other_view"),
        dict(contrastive_loss="nt_logistic"),
        dict(contrastive_loss="margin", negatives="both"),
    ],
)
def test_chance_is_the_loss_of_projections_that_are_all_the_same(flags):
    method, (loss, _) = loss_of(np.ones((16, 2, 16), np.float32), **flags)
    assert method.chance_levels(16)["contrast_loss"] == pytest.approx(float(loss), rel=1e-5)


def test_semi_hard_negatives_have_no_chance_level():
    flags = SimCLR.Flags(contrastive_loss="margin", negative_mining="semi_hard")
    network = every_method.build("simclr").network
    assert SimCLR(network, flags).chance_levels(16) == {}
    without = SimCLR.Flags(contrastive_loss="margin", margin=0.0)
    assert SimCLR(network, without).chance_levels(16) == {}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            dict(negative_mining="semi_hard"),
            "--negative_mining=semi_hard is for",
        ),
        (
            dict(contrastive_loss="margin", hidden_norm=False),
            "--contrastive_loss=margin is of",
        ),
        (dict(margin=0.4), "--margin=0.4 is for --contrastive_loss=margin"),
        (dict(contrastive_loss="nt_logistic", margin=0.4), "--margin=0.4 is for"),
        (dict(negatives="other_view", loss_implementation="tiled"), "--loss_implementation=tiled"),
    ],
)
def test_flags_that_do_not_fit_are_refused(flags, message):
    with pytest.raises(UserError, match=message):
        every_method.build("simclr", **flags)


@pytest.mark.thorough
@pytest.mark.parametrize(
    "flags",
    [
        dict(contrastive_loss="margin", negative_mining="semi_hard"),
        dict(contrastive_loss="nt_logistic", negatives="both"),
        dict(negatives="other_view"),
    ],
)
def test_a_slice_has_the_loss_and_the_gradients_of_the_batch(flags):
    data = tuple(map(tf.constant, every_method.views_of("simclr")))
    labels = tf.constant(every_method.LABELS)
    found, expected = (
        every_method.build("simclr", micro_batch_size=size, **flags).values_and_gradients(
            data, labels
        )
        for size in (every_method.IMAGES, 0)
    )
    assert float(found[1]["total_loss"]) == pytest.approx(
        float(expected[1]["total_loss"]), rel=1e-5
    )
    for gradient, other in zip(found[2], expected[2], strict=True):
        scale = max(np.abs(other).max(), 1e-2)
        np.testing.assert_allclose(gradient, other, rtol=0, atol=1e-4 * scale)
