"""Which fits make a sweep."""

import numpy as np
import pytest

from simclr_tf.errors import UserError
from simclr_tf.transfer import plan
from simclr_tf.transfer.plan import FINAL, FINETUNE, LINEAR, PROTOCOLS, RANDOM_INIT


def test_grids_are_those_of_the_paper():
    (l2,) = plan.grid(LINEAR).values()
    assert (len(l2), l2[0], l2[-1]) == (45, 1e5, 1e-6)
    np.testing.assert_allclose(np.diff(np.log10(l2)), -0.25, atol=1e-5)
    rates, decays = plan.grid(FINETUNE).values()
    np.testing.assert_allclose(np.log10(rates), np.linspace(-4, -1, 7), atol=1e-6)
    assert decays[0] == 0
    np.testing.assert_allclose(np.log10(decays[1:]), np.linspace(-6, -3, 7), atol=1e-6)
    rates, decays = plan.grid(RANDOM_INIT).values()
    np.testing.assert_allclose(np.log10(rates), np.linspace(-3, 0, 7), atol=1e-6)
    np.testing.assert_allclose(np.log10(decays), np.linspace(-5, -1.5, 8), atol=1e-6)


def test_the_whole_plan():
    fits = plan.make_plan(["pets", "dtd"], PROTOCOLS, {})
    assert len(fits) == 2 * (46 + 57 + 57)
    assert len({fit.id for fit in fits}) == len(fits)
    seen = set()
    for fit in fits:
        assert seen.issuperset(fit.after)
        seen.add(fit.id)
    last = [fit for fit in fits if fit.point is None]
    assert [fit.id for fit in last[:2]] == ["pets/linear/final", "dtd/linear/final"]
    assert [len(fit.after) for fit in last] == [45, 45, 56, 56, 56, 56]


def test_a_linear_fit_begins_at_its_neighbour_of_stronger_l2():
    fits = plan.make_plan(["dtd"], [LINEAR], {LINEAR: {"l2": [1e-6, 1e-3, 0.1]}})
    assert [fit.point and fit.point["l2"] for fit in fits] == [0.1, 1e-3, 1e-6, None]
    assert [fit.after for fit in fits[:3]] == [(), (fits[0].id,), (fits[1].id,)]


def test_ids_are_stable():
    fits = plan.make_plan(["dtd"], [LINEAR, FINETUNE], {})
    assert fits[0].id == "dtd/linear/l2_1e+05"
    assert fits[1].id == "dtd/linear/l2_5.623e+04"
    assert fits[46].id == "dtd/finetune/learning_rate_0.0001_weight_decay_0"


def test_the_last_fit_of_some_points_is_not_that_of_others():
    def last(values):
        return plan.make_plan(["dtd"], [LINEAR], {LINEAR: {"l2": values}})[-1].name

    assert len({last([1.0]), last([10.0]), last([1.0, 10.0]), FINAL}) == 4
    assert last([1.0, 10.0]) == last([10.0, 1.0])
    assert last(plan.grid(LINEAR)["l2"]) == FINAL


def test_what_is_not_in_the_plan_is_an_error():
    with pytest.raises(UserError, match="Unknown transfer protocol 'lineal'.*Did you mean: linear"):
        plan.make_plan(["dtd"], ["lineal"], {})
    with pytest.raises(UserError, match="--l2=0.5 is not on the grid, which is 1e.05"):
        plan.make_plan(["dtd"], [LINEAR], {LINEAR: {"l2": [0.5]}})


def test_cost():
    sizes = {"train": 100, "validation": 20, "test": 30}
    assert plan.images_shown(LINEAR, sizes, 45, 0, 256) == 150
    # 5 fits of 10 steps, 4 validations, 1 test.
    assert plan.images_shown(FINETUNE, sizes, 4, 10, 8) == 3 * 10 * 8 * 5 + 4 * 20 + 30
