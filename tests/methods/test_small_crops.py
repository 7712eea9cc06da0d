"""Views of several sizes: which there are, and what methods make of the small ones."""

import dataclasses

import every_method
import numpy as np
import pytest
import tensorflow as tf

from simclr_tf import losses
from simclr_tf.data.recipe import ViewFlags, adjusted
from simclr_tf.errors import UserError
from simclr_tf.methods import METHODS, SwAV

pytestmark = pytest.mark.usefixtures("toy_encoder")
WITH_SMALL_CROPS = [name for name, m in METHODS.items() if hasattr(m.Flags, "small_crops")]


@pytest.mark.parametrize("name", WITH_SMALL_CROPS)
@pytest.mark.parametrize("number", [0, 1, 3])
def test_small_views_follow_the_large_ones(name, number):
    method = METHODS[name]
    flags = method.Flags(small_crops=number, small_crop_size=48, small_crop_max_area=0.3)
    recipe = method.recipe(flags, ViewFlags(64))
    if name == "infomin":
        *recipe, _ = recipe  # the view that is cut into patches
    assert [view.size for view in recipe] == [64, 64] + [48] * number
    assert {view.area for view in recipe[2:]} <= {(0.05, 0.3)}
    assert {view.covered for view in recipe[2:]} <= {0.0}
    assert {view.jitter for view in recipe} == {recipe[0].jitter}


def test_large_views_of_swav_show_more_beside_small_ones():
    alone, beside = (
        SwAV.recipe(SwAV.Flags(small_crops=number), ViewFlags(224))[0].area for number in (0, 6)
    )
    assert (alone, beside) == ((0.08, 1.0), (0.14, 1.0))


def test_min_crop_area_is_that_of_large_views():
    flags = ViewFlags(224, min_crop_area=0.2)
    recipe = adjusted(SwAV.recipe(SwAV.Flags(small_crops=1), flags), flags)
    assert [view.area for view in recipe] == [(0.2, 1.0), (0.2, 1.0), (0.05, 0.14)]


def test_small_views_that_cannot_be_are_refused():
    with pytest.raises(UserError, match="--small_crop_size=96, but --image_size=32"):
        SwAV.recipe(SwAV.Flags(small_crops=1), ViewFlags(32))
    flags = SwAV.Flags(small_crops=1, small_crop_min_area=0.5)
    with pytest.raises(UserError, match="--small_crop_min_area=0.5 is above --small_crop_max_area"):
        SwAV.recipe(flags, ViewFlags(224))


@pytest.mark.parametrize("symmetric", [False, True])
def test_small_views_are_queries_of_moco(symmetric):
    """A key's loss is the mean over its queries: the other large view, and all small ones."""
    method = every_method.build("moco", small_crops=2, symmetric=symmetric)
    draws = np.random.default_rng(0).normal(size=(2, 6, 4, 16)).astype(np.float32)
    queries, keys = tf.math.l2_normalize(draws, axis=-1)
    keys = keys[:, : 1 + symmetric]
    queries = queries if symmetric else queries[:, 1:]
    loss, _ = method.objective({"queries": queries, "keys": keys})
    expected = 0
    for i in range(keys.shape[1]):
        rows = [queries[:, i], queries[:, -2], queries[:, -1]]
        found = [losses.info_nce(q, keys[:, i], method.queue.rows, 0.5)[0] for q in rows]
        expected += np.mean(found)
    assert float(loss) == pytest.approx(expected, rel=1e-6)


def test_a_queue_of_swav_holds_whole_batches():
    assert every_method.build("swav", queue_length=47).queues[0].rows.shape == (32, 16)
    assert every_method.build("swav", queue_length=0).queues == []
    with pytest.raises(UserError, match="--queue_length=15 does not hold a batch of 16 images"):
        every_method.build("swav", queue_length=15)


def test_without_a_plan_a_queue_of_swav_has_to_fit_the_batch():
    method = every_method.build("swav", queue_length=32)
    rows = tf.ones((12, 2, 16))
    with pytest.raises(UserError, match="A queue of 32 images does not hold whole batches of 12"):
        method.objective({"projections": rows})


def test_a_queue_of_swav_counts_from_its_epoch_on():
    """With epochs of 10 steps and a queue of two batches."""
    method = every_method.build("swav", queue_length=32, queue_start_epoch=1)
    rows = tf.math.l2_normalize(np.random.default_rng(0).normal(size=(16, 2, 16)), axis=-1)
    rows = tf.cast(rows, tf.float32)
    found = []
    for step in (0, 11, 12, 30):
        method.optimizer.iterations.assign(step)
        found.append(float(method.objective({"projections": rows})[0]))
    method.queues.clear()
    alone = float(method.objective({"projections": rows})[0])
    assert found[:2] == pytest.approx([alone, alone], rel=1e-6)
    assert found[2] == found[3] != pytest.approx(alone, rel=1e-4)


def test_the_least_area_of_large_views_is_none_of_small_ones_of_their_size():
    view = ViewFlags(32, min_crop_area=0.2)
    flags = SwAV.Flags(small_crops=1, small_crop_size=32)
    *large, small = adjusted(SwAV.recipe(flags, view), view)
    assert [v.area[0] for v in large] == [0.2, 0.2]
    assert small.area == (flags.small_crop_min_area, flags.small_crop_max_area)


@pytest.mark.parametrize(("frozen", "settled"), [(2, 20), (40, 80)])
def test_a_sign_of_collapse_is_looked_for_late(frozen, settled):
    """A third of the 60 steps, and not while the prototypes are frozen."""
    method = every_method.build("swav", freeze_prototypes_steps=frozen)
    assert method.settled == settled
    assert every_method.build("simclr").settled == 0


@pytest.mark.parametrize(("frozen", "told"), [(15, False), (16, True), (60, True)])
def test_prototypes_that_are_frozen_for_long_are_told(frozen, told, caplog):
    every_method.build("swav", freeze_prototypes_steps=frozen)
    said = f"={frozen} of 60 steps. SwAV freezes them for an epoch of a long training: give 10."
    assert (said in caplog.text) == told


@pytest.mark.parametrize(("frozen", "told"), [(30, False), (31, True)])
def test_prototypes_that_are_frozen_for_half_of_a_short_run_are_told(frozen, told, caplog):
    plan = dataclasses.replace(every_method.build("swav").plan, epoch_steps=60)
    SwAV(every_method.build("swav").network, SwAV.Flags(freeze_prototypes_steps=frozen), plan)
    assert (f"={frozen} of 60 steps" in caplog.text) == told


@pytest.mark.parametrize(("epoch", "told"), [(5, False), (6, True), (15, True)])
def test_a_queue_that_begins_too_late_is_told(epoch, told, caplog):
    """Of 60 steps, 10 an epoch; the queue is two batches long."""
    every_method.build("swav", queue_length=32, queue_start_epoch=epoch)
    said = f"The queue would be used from step {10 * epoch + 2} on, and the run has 60"
    assert (said in caplog.text) == told and ("The queue would" in caplog.text) == told


def test_swav_s_temperature_and_how_it_assigns():
    flags = {"temperature": 0.3, "epsilon": 0.2, "sinkhorn_iterations": 1, "queue_length": 0}
    method = every_method.build("swav", small_crops=0, **flags)
    rows = tf.math.l2_normalize(tf.random.stateless_normal((16, 2, 16), (1, 2)), axis=-1)
    scores = tf.einsum("nvd,kd->nvk", rows, method.prototypes)
    assigned = [losses.sinkhorn(scores[:, i], 0.2, 1) for i in (0, 1)]
    expected = losses.swapped_prediction(scores, tf.stack(assigned, axis=1), 0.3)
    loss, _ = method.objective({"projections": rows})
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)
