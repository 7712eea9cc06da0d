"""What MoCo does beside its recorded steps: flags, views, groups, shuffles, warnings."""

import dataclasses

import every_method
import numpy as np
import pytest
import tensorflow as tf

from simclr_tf.data.recipe import ViewFlags
from simclr_tf.devices import replicas
from simclr_tf.errors import UserError
from simclr_tf.methods import METHODS, MoCo, MoCoV1, shuffle

pytestmark = pytest.mark.usefixtures("toy_encoder")


def test_versions_differ_in_head_views_temperature_and_schedule():
    v1, v2 = MoCoV1.Flags(), MoCo.Flags()
    assert (v1.temperature, v2.temperature) == (0.07, 0.2)
    assert [len(m.projector(m.Flags())) for m in (MoCoV1, MoCo)] == [1, 2]
    (first, second), (other, _) = (m.recipe(m.Flags(), ViewFlags(224)) for m in (MoCoV1, MoCo))
    assert first == second and first.area == other.area == (0.2, 1.0)
    assert first.order[:2] == ("grayscale", "jitter") and other.order[:2] == ("jitter", "grayscale")
    assert (first.jitter_probability, other.jitter_probability) == (1.0, 0.8)
    assert (first.jitter[3], other.jitter[3]) == (0.4, 0.1)
    assert (first.blur_probability, other.blur_probability) == (0.0, 0.5)
    as_v2 = dataclasses.replace(v1, temperature=0.2, mlp=True, aug_plus=True)
    assert MoCoV1.projector(as_v2) == MoCo.projector(v2)
    assert MoCoV1.recipe(as_v2, ViewFlags(32)) == MoCo.recipe(v2, ViewFlags(32))
    assert MoCoV1.DEFAULTS["schedule_milestones"] == "120,160"
    assert MoCo.DEFAULTS["schedule_by"] == "epoch" and "schedule" not in MoCo.DEFAULTS


def test_views_of_infomin():
    """Augmentation D of PyContrast: stronger colours, a reflected blur, RandAugment, then grey."""
    one, other = MoCo.recipe(MoCo.Flags(infomin=True), ViewFlags(224))
    assert one == other and one.area == (0.2, 1.0)
    assert one.jitter == (0.8, 0.8, 0.8, 0.2) and one.jitter_probability == 0.8
    assert (one.blur_border, one.radius, one.blur_probability) == ("reflected", 11, 0.5)
    assert (one.strong.draws, one.strong.probability) == (2, 0.5)
    assert len(one.strong.names) == 15 and one.strong.interpolations == ("bilinear", "bicubic")
    places = [one.order.index(stage) for stage in ("jitter", "blur", "strong", "grayscale")]
    assert places == sorted(places)


def test_residual_branches_start_at_one():
    method = every_method.METHODS["moco"]
    assert not method.zero_residuals and every_method.METHODS["simclr"].zero_residuals
    for name, scale in (("moco", 1.0), ("simclr", 0.0)):
        config = every_method.config_of(name)
        plan = every_method.parts.plan_of(config, 160, num_replicas=1)
        architecture = every_method.pretraining.architecture_of(config, None)
        network = every_method.pretraining.build(config, architecture, plan).network
        (block,) = (block for group in network.encoder.groups for block in group)
        np.testing.assert_array_equal(block.last_norm.gamma, np.full(512, scale))


def test_a_shuffle_is_another_in_every_step_and_the_same_on_every_replica():
    method = every_method.build("moco")
    orders = []
    for step in range(3):
        method.optimizer.iterations.assign(step)
        orders += [method.order_of_keys(i, 16).numpy() for i in (0, 1)]
        np.testing.assert_array_equal(method.order_of_keys(0, 16), orders[-2])
    for order in orders:
        np.testing.assert_array_equal(np.sort(order), np.arange(16))
    assert len({order.tobytes() for order in orders}) == 6


def test_what_is_shuffled_comes_back():
    rows = tf.random.stateless_uniform((7, 3), (1, 2))
    order = shuffle.random_order(7, tf.constant([3, 4], tf.int64))
    mixed = shuffle.shuffled(rows, order)
    np.testing.assert_array_equal(mixed, rows.numpy()[order.numpy()])
    np.testing.assert_array_equal(shuffle.restored(mixed, order), rows)


def test_shares_of_a_replica_that_is_known_in_the_step_alone(monkeypatch):
    """As on TPUs: what a replica takes of the whole batch keeps its static shape."""
    order = np.random.default_rng(0).permutation(12)
    batch = tf.random.stateless_uniform((12, 3), (1, 2))
    monkeypatch.setattr(replicas, "gather", lambda rows: batch)

    @tf.function(autograph=False)
    def share(replica):
        monkeypatch.setattr(replicas, "replica_id", lambda: replica)
        rows = shuffle.shuffled(tf.zeros((4, 3)), tf.constant(order))
        assert rows.shape == (4, 3)
        return rows

    found = [share(tf.constant(r)) for r in range(3)]
    np.testing.assert_array_equal(tf.concat(found, axis=0), batch.numpy()[order])


@pytest.mark.slow
def test_keys_have_the_statistics_of_other_images_than_queries():
    """With one group the shuffle does nothing; with several, keys depend on it."""
    views = tuple(map(tf.constant, every_method.views_of("moco")))
    for groups, depends in ((1, False), (4, True)):
        keys = []
        for order in (np.arange(16), np.random.default_rng(0).permutation(16)):
            method = every_method.build("moco", bn_groups=groups)
            method.order_of_keys = lambda i, number, order=order: tf.constant(order)
            keys.append(method.embed(views)["keys"])
        assert np.allclose(*keys, atol=1e-4) is not depends


@pytest.mark.thorough
def test_groups_that_do_not_divide_the_batch_are_refused():
    with pytest.raises(UserError, match="--bn_groups=5 are 5 on each of 1 replica.* its 16 images"):
        every_method.build("moco", bn_groups=5)
    assert every_method.build("moco", bn_groups=5, global_bn=True)._groups(1) is None
    with pytest.raises(UserError, match="bn_groups=16 are 16 on .* as many as its 16 image"):
        every_method.build("moco", bn_groups=16)
    every_method.build("moco", bn_groups=16, global_bn=True)
    eight = every_method.build("moco", bn_groups=8)
    assert [eight._groups(replicas) for replicas in (1, 2, 3, 8, 16)] == [8, 4, 2, 1, 1]


@pytest.mark.parametrize("name", [n for n, m in METHODS.items() if hasattr(m.Flags, "queue_size")])
def test_a_queue_that_holds_the_batch_itself_is_told(name, caplog):
    rows_of_image = 2 if name == "simclr_memory" else 1
    every_method.build(name, queue_size=144 * rows_of_image)
    assert "negatives" not in caplog.text
    every_method.build(name, queue_size=144 * rows_of_image + 1)
    assert "A queue of 145 images and a batch of 16 are more than the 160" in caplog.text
    assert f"--queue_size of at most {144 * rows_of_image}" in caplog.text


@pytest.mark.thorough
def test_a_queue_of_both_keys_holds_half_as_many_images(caplog):
    every_method.build("moco", queue_size=288, symmetric=True)
    assert "negatives" not in caplog.text
    every_method.build("moco", queue_size=289, symmetric=True)
    assert "--queue_size of at most 288" in caplog.text
