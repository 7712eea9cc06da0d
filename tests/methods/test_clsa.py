"""Weak and strong views: which there are, and how CLSA adds up what they give."""

import every_method
import numpy as np
import pytest
import tensorflow as tf

from simclr_tf import losses
from simclr_tf.data.rand_augment import clsa_operations
from simclr_tf.data.recipe import ViewFlags, adjusted
from simclr_tf.errors import UserError
from simclr_tf.methods import BYOL, CLSA, CLSABYOL, METHODS, CLSASimCLR, MoCo, SimCLR

pytestmark = pytest.mark.usefixtures("toy_encoder")
OFFICIAL = dict(
    crop_sizes="224,192,160,128,96",
    crop_min_areas="0.2,0.172,0.143,0.114,0.086",
    crop_max_areas="1,0.86,0.715,0.571,0.429",
)
PLAIN = {CLSA: MoCo, CLSASimCLR: SimCLR, CLSABYOL: BYOL}


@pytest.mark.parametrize("method", PLAIN)
def test_by_default_there_are_one_strong_and_two_weak_views(method):
    """The weak ones are the plain method's, the strong one has 96 of 224 pixels."""
    *weak, strong = method.recipe(method.Flags(), ViewFlags(224))
    plain = PLAIN[method]
    assert tuple(weak) == plain.recipe(plain.Flags(), ViewFlags(224))
    assert strong.size == 96 and strong.strong == clsa_operations(5)
    assert strong.area == pytest.approx([area * 96 / 224 for area in weak[1].area])


def test_views_of_five_sizes():
    picks = dict(pick_weak="0,1,2,3,4", pick_strong="4,0", strong_operations=3)
    key, *others = CLSA.recipe(CLSA.Flags(**OFFICIAL, **picks), ViewFlags(224))
    assert key == others[0] and not key.strong
    assert [view.size for view in others] == [224, 192, 160, 128, 96, 96, 224]
    assert [view.area for view in others[3:5]] == [(0.114, 0.571), (0.086, 0.429)]
    assert [view.strong for view in others] == [None] * 5 + [clsa_operations(3)] * 2


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (dict(crop_sizes="224,a"), "--crop_sizes are numbers with commas between"),
        (dict(crop_sizes="224,4"), "--crop_sizes lie in"),
        (dict(crop_min_areas="0.2"), "--crop_min_areas has as many numbers as --crop_sizes, 2"),
        (dict(pick_weak="2"), "--pick_weak are places in --crop_sizes, counted from 0 to 1"),
        (dict(pick_strong=""), "--pick_strong are places"),
        (dict(crop_min_areas="0.9,0.9", crop_max_areas="0.5,0.5"), "area of a view"),
    ],
)
def test_flags_that_do_not_fit_are_refused(flags, message):
    with pytest.raises(UserError, match=message):
        CLSA.recipe(CLSA.Flags(**flags), ViewFlags(224))


@pytest.mark.parametrize(
    "name", ["clsa_simclr", pytest.param("clsa_byol", marks=pytest.mark.thorough)]
)
def test_without_divergence_the_step_is_the_plain_method_s(name):
    """The loss and the gradients, to the last bit."""
    views = tuple(map(tf.constant, every_method.views_of(name)))
    labels = tf.constant(every_method.LABELS)
    method = every_method.build(name, divergence_weight=0.0)
    plain = every_method.build(name.removeprefix("clsa_"))
    _, values, gradients = method.values_and_gradients(views, labels)
    _, expected, others = plain.values_and_gradients(views[:2], labels)
    assert float(values["total_loss"]) == float(expected["total_loss"])
    for gradient, other in zip(gradients, others, strict=True):
        np.testing.assert_array_equal(gradient, other)


def test_without_divergence_clsa_has_its_contrastive_part_alone():
    """Its gradients are those of an objective that knows no strong views."""

    class Contrastive(CLSA):
        def objective(self, embeddings):
            _, values = super().objective(embeddings)
            return values["contrast_loss"], values

    views = tuple(map(tf.constant, every_method.views_of("clsa")))
    labels = tf.constant(every_method.LABELS)
    found = every_method.build("clsa", divergence_weight=0.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(METHODS, "clsa", Contrastive)
        plain = every_method.build("clsa")
    _, values, gradients = found.values_and_gradients(views, labels)
    _, expected, others = plain.values_and_gradients(views, labels)
    assert float(values["total_loss"]) == float(expected["total_loss"])
    for gradient, other in zip(gradients, others, strict=True):
        np.testing.assert_array_equal(gradient, other)


def unit(*shape):
    rows = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def softmax(logits):
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def of_pair(weak, strong, bank, temperature=0.2):
    wanted, predicted = (
        softmax(np.float64(rows) @ bank.T / temperature) for rows in (weak, strong)
    )
    return -np.mean(np.sum(wanted * np.log(predicted), axis=1))


def test_divergence():
    weak, strong = 3 * np.random.default_rng(0).normal(size=(2, 5, 7)).astype(np.float32)
    with tf.GradientTape() as tape:
        inputs = tf.constant(weak), tf.constant(strong)
        tape.watch(inputs)
        loss = losses.divergence(*inputs)
    expected = -np.mean(np.sum(softmax(weak) * np.log(softmax(strong)), axis=1))
    assert float(loss) == pytest.approx(expected, rel=1e-6)
    of_weak, of_strong = tape.gradient(loss, inputs)
    assert of_weak is None
    np.testing.assert_allclose(of_strong, (softmax(strong) - softmax(weak)) / 5, atol=1e-7)


def test_a_probability_of_zero_is_no_infinity():
    loss = losses.divergence([[0.0, 0.0]], [[0.0, 200.0]])
    assert float(loss) == pytest.approx(100.0)


def test_pairs_of_clsa_on_simclr_are_added_up():
    """Two pairs of weak views, two strong views."""
    picks = dict(pick_weak="0,1", pick_strong="1,0", divergence_weight=0.5)
    method = every_method.build("clsa_simclr", **picks)
    rows = unit(16, 5, 16)
    weak, strong = np.split(rows, [3], axis=1)
    loss, values = method.objective({"projections": tf.constant(weak), "strong": strong})
    first, *others = np.moveaxis(weak, 1, 0)
    contrast = [losses.nt_xent(np.concatenate([first, other]), 0.5)[0] for other in others]
    assert float(values["contrast_loss"]) == pytest.approx(sum(map(float, contrast)), rel=1e-5)
    pairs = [
        (of_pair(first, s, other) + of_pair(other, s, first)) / 2
        for other in others
        for s in np.moveaxis(strong, 1, 0)
    ]
    assert float(values["divergence_loss"]) == pytest.approx(sum(pairs), rel=1e-5)
    assert float(loss) == pytest.approx(sum(map(float, contrast)) + 0.5 * sum(pairs), rel=1e-5)
    assert method.chance_levels(16)["contrast_loss"] == pytest.approx(2 * 2 * np.log(31))


def test_pairs_of_clsa_on_byol_are_added_up():
    method = every_method.build("clsa_byol", pick_weak="0,1", pick_strong="1,0")
    predicted, targets = 2 * unit(16, 5, 16), 3 * unit(16, 5, 16)[:, :3]
    embeddings = {"predictions": predicted, "targets": targets, "projections": targets[:, :1]}
    _, values = method.objective({k: tf.constant(v) for k, v in embeddings.items()})
    p, t = (np.moveaxis(rows, 1, 0) for rows in (predicted, targets))
    regression = [float(losses.byol(p[0], t[i])) + float(losses.byol(p[i], t[0])) for i in (1, 2)]
    assert float(values["byol_loss"]) == pytest.approx(sum(regression), rel=1e-5)
    bank = np.concatenate([t[0] / 3, method.queue.rows.numpy()])
    pairs = [of_pair(p[w] / 2, p[s] / 2, bank) for w in (1, 2) for s in (3, 4)]
    assert float(values["divergence_loss"]) == pytest.approx(sum(pairs), rel=1e-5)


@pytest.mark.parametrize("name", ["clsa", "clsa_byol"])
def test_what_joins_the_queue(name):
    """The keys, or targets, of the first view; after the loss, and of length 1."""
    method = every_method.build(name)
    views = tuple(map(tf.constant, every_method.views_of(name)))
    embeddings = method.embed(views)
    method.after_update(embeddings)
    rows = embeddings["keys" if name == "clsa" else "targets"][:, 0]
    rows = tf.math.l2_normalize(rows, axis=1)
    np.testing.assert_allclose(method.queue.rows[:16], rows, rtol=1e-6)
    assert method.queue.next_row == 16


def test_every_method_with_strong_views_is_tested_here():
    with_strong_views = {m for m in METHODS.values() if hasattr(m.Flags, "pick_strong")}
    assert with_strong_views == set(PLAIN)


def test_crops_are_no_larger_than_the_keys_view():
    with pytest.raises(UserError, match="--crop_sizes=224,96 are larger .* --image_size=112"):
        CLSA.recipe(CLSA.Flags(crop_sizes="224,96"), ViewFlags(112))


def test_areas_that_are_given_are_those_of_no_other_flag():
    flags = CLSA.Flags(crop_sizes="224,96", crop_min_areas="0.3,0.1", crop_max_areas="1,0.5")
    view = ViewFlags(224, min_crop_area=0.5)
    key, weak, strong = adjusted(CLSA.recipe(flags, view), view)
    assert (key.area, weak.area, strong.area) == ((0.5, 1.0), (0.3, 1.0), (0.1, 0.5))
