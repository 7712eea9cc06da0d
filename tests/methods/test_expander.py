"""The wide projection heads of Barlow Twins and VICReg, their views, and Barlow Twins' rates."""

import every_method
import pytest
import tensorflow as tf

from simclr_tf.data.recipe import ViewFlags
from simclr_tf.errors import UserError
from simclr_tf.methods import BarlowTwins, VICReg
from simclr_tf.methods.expander import expander
from simclr_tf.models import Dense

pytestmark = pytest.mark.usefixtures("toy_encoder")


def test_layers():
    assert expander("32-16-8", bias=True) == (
        Dense(32, bias=True, start="uniform"),
        Dense(16, bias=True, start="uniform"),
        Dense(8, norm=False, relu=False, start="uniform"),
    )
    assert expander("5", bias=False) == (Dense(5, norm=False, relu=False, start="uniform"),)
    for method, bias in ((BarlowTwins, False), (VICReg, True)):
        assert method.projector(method.Flags()) == expander("8192-8192-8192", bias)


@pytest.mark.parametrize("widths", ["", "8-", "8--8", "8-0", "-1", "8x8", "8.5", "9999999"])
def test_what_are_no_widths(widths):
    with pytest.raises(UserError, match="--projector has the widths of the layers, .* Received"):
        expander(widths, bias=True)


@pytest.mark.parametrize("method", [BarlowTwins, VICReg])
def test_one_view_is_always_blurred_and_the_other_solarised(method):
    first, second = method.recipe(method.Flags(), ViewFlags(224))
    assert (first.blur_probability, first.solarize_probability) == (1.0, 0.0)
    assert (second.blur_probability, second.solarize_probability) == (0.1, 0.2)
    for view in (first, second):
        assert (view.area, view.interpolation, view.antialias) == ((0.08, 1.0), "bicubic", True)
        assert view.jitter == (0.4, 0.4, 0.2, 0.1)
        assert view.clip_crop  # as PIL, whose pixels are bytes


def test_biases_and_batch_norm_have_a_rate_of_their_own():
    method = every_method.build("barlow_twins")
    assert method.flags.bias_rate == pytest.approx(0.0048 / 0.2 / 16)
    probe = method.network.supervised_head.trainable_variables
    assert sorted(v.shape.rank for v in probe) == [1, 2]
    for variable in method.trained_variables:
        of_probe = any(variable is v for v in probe)
        expected = 0.0015 if variable.shape.rank == 1 and not of_probe else None
        assert method.rate_factor(variable) == expected


PROJECTIONS = tf.random.stateless_normal((16, 2, 16), (1, 2))


def test_weights_of_the_terms_of_vicreg():
    weights = {"invariance_weight": 2.0, "variance_weight": 3.0, "covariance_weight": 5.0}
    loss, terms = every_method.build("vicreg", **weights).objective({"projections": PROJECTIONS})
    names = ("invariance", "variance", "covariance")
    expected = sum(w * float(terms[n]) for n, w in zip(names, (2, 3, 5), strict=True))
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    plain, _ = every_method.build("vicreg").objective({"projections": PROJECTIONS})
    assert float(loss) != pytest.approx(float(plain), rel=0.1)


def test_the_weight_off_the_diagonal_and_the_rate_of_biases_of_barlow_twins():
    """The loss is linear in the weight."""
    found = []
    for weight in (0.1, 0.3, 0.5):
        method = every_method.build("barlow_twins", off_diagonal_weight=weight, bias_rate=0.25)
        found.append(float(method.objective({"projections": PROJECTIONS})[0]))
    assert found[2] - found[1] == pytest.approx(found[1] - found[0], rel=1e-4)
    assert found[1] > 1.05 * found[0]
    rates = {method.rate_factor(variable) for variable in method.trained_variables}
    assert rates == {None, 0.25}
