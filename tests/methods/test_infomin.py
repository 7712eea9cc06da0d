"""InfoMin Aug: which views there are, how the jigsaw is cut and joined, and what its loss is."""

import every_method
import numpy as np
import pytest
import tensorflow as tf
from recorded_steps import GOLDEN

from simclr_tf.data.recipe import ViewFlags
from simclr_tf.devices import replicas
from simclr_tf.methods import InfoMin, MoCo, infomin
from simclr_tf.methods.infomin import jigsaw_view, patches
from simclr_tf.methods.twin import Queue
from simclr_tf.models.batch_norm import statistics

pytestmark = pytest.mark.usefixtures("toy_encoder")


def test_views_are_moco_s_and_one_that_is_cut():
    flags, shown = InfoMin.Flags(), ViewFlags(224)
    assert (flags.temperature, flags.jigsaw_weight) == (0.15, 0.5)
    *others, whole = InfoMin.recipe(flags, shown)
    assert tuple(others) == MoCo.recipe(MoCo.Flags(infomin=True), shown)
    *others, _ = InfoMin.recipe(InfoMin.Flags(infomin=False, small_crops=1), shown)
    assert tuple(others) == MoCo.recipe(MoCo.Flags(small_crops=1), shown)
    assert (whole.size, whole.area, whole.flip_probability) == (255, (0.6, 1.0), 0.5)
    assert whole.jitter_probability == whole.grayscale_probability == whole.blur_probability == 0
    assert whole.strong is None and whole.fit == "tries"
    assert [jigsaw_view(size).size for size in (8, 12, 16, 32, 96)] == [9, 15, 18, 36, 108]


@pytest.mark.parametrize(("pixels", "cell", "patch"), [(255, 85, 64), (37, 12, 9), (9, 3, 2)])
def test_a_patch_lies_anywhere_in_its_cell(pixels, cell, patch):
    """The first image has patches at the top left, the second at the bottom right."""
    draws = np.random.default_rng(0)
    images = draws.uniform(size=(3, pixels, pixels, 3)).astype(np.float32)
    last = np.nextafter(np.float32(1), np.float32(0))
    places = np.stack([np.zeros((9, 2)), np.full((9, 2), last), draws.uniform(size=(9, 2))])
    found = patches(tf.constant(images), tf.constant(places, tf.float32))
    assert found.shape == (9, 3, patch, patch, 3)
    room = cell - patch
    for image in range(3):
        for i in range(9):
            down, across = (int(place * (room + 1)) for place in places[image, i])
            assert image > 1 or (down, across) == (image * room, image * room)
            top, left = i // 3 * cell + down, i % 3 * cell + across
            expected = images[image, top : top + patch, left : left + patch]
            np.testing.assert_array_equal(found[i, image], expected)


@pytest.fixture(scope="module")
def embedded():
    """A method of two groups of batch norm, and what it keeps of a batch."""
    method = every_method.build("infomin")
    return method, method.embed(tuple(map(tf.constant, every_method.views_of("infomin"))))


def test_draws_follow_from_step_and_place(embedded):
    method, _ = embedded
    drawn = []
    for step in (0, 1, 0):
        method.optimizer.iterations.assign(step)
        drawn.append(method.draw_jigsaws(400).numpy())
    np.testing.assert_array_equal(drawn[0], drawn[2])
    assert not np.any(drawn[0] == drawn[1])
    # Each of 9 patches comes first equally often, and lies everywhere in its cell.
    first = np.bincount(drawn[0][:, :, 2].argmin(axis=1), minlength=9)
    assert first.min() > 20 and first.sum() == 400  # 44 each, with a deviation of 6
    means = drawn[0][:, :, :2].mean(axis=0)
    np.testing.assert_allclose(means, 0.5, atol=0.07)  # a deviation of 0.014


def test_a_jigsaw_of_a_replica_that_is_known_in_the_step_alone(embedded, monkeypatch):
    """As on TPUs: its share of the draws keeps its static shape."""
    method, _ = embedded
    view = tf.constant(every_method.views_of("infomin")[-1])
    expected, shapes = method._jigsaw(view), []

    def seen(images, places):
        shapes.append(places.shape)
        return patches(images, places)

    @tf.function(autograph=False)
    def jigsaw(replica):
        monkeypatch.setattr(replicas, "replica_id", lambda: replica)
        return method._jigsaw(view)

    monkeypatch.setattr(infomin, "patches", seen)
    np.testing.assert_allclose(jigsaw(tf.constant(0)), expected, atol=1e-5)
    assert shapes == [(16, 9, 2)]


def layers_of(head, rows):
    """Dense layers with a ReLU between, in NumPy."""
    for i, layer in enumerate(head.layers):
        rows = np.maximum(rows, 0) if i else rows
        rows = rows @ layer.dense.kernel.numpy() + layer.dense.bias.numpy()
    return rows


def test_nine_patches_make_a_row(embedded):
    """In the drawn order, and with the batch statistics of the patches of an image's group."""
    method, embeddings = embedded
    view = every_method.views_of("infomin")[-1]
    draws = method.draw_jigsaws(16).numpy()
    cut = np.moveaxis(patches(tf.constant(view), tf.constant(draws[..., :2])).numpy(), 0, 1)
    features = np.empty((16, 9, method.network.encoder.feature_dim), np.float32)
    for group in range(2):
        images = cut[group::2]
        with statistics(update=False):
            rows = method.network.encoder(images.reshape(-1, *images.shape[2:]), training=True)
        features[group::2] = rows.numpy().reshape(8, 9, -1)
    assert [len(head.layers) for head in (method.patch_head, method.jigsaw_head)] == [2, 1]
    rows = layers_of(method.patch_head, features)
    order = np.argsort(draws[..., 2], axis=1)
    joined = np.stack([rows[i][order[i]].reshape(-1) for i in range(16)])
    expected = layers_of(method.jigsaw_head, joined)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(embeddings["jigsaw"], expected, atol=1e-5)


def unit(draws, *shape):
    rows = draws.normal(size=shape)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def compared(queries, keys, queue, temperature):
    """The loss of queries, its gradient, and the share that find their key."""
    logits = np.concatenate([np.sum(queries * keys, axis=1, keepdims=True), queries @ queue.T], 1)
    shares = np.exp(logits / temperature)
    shares /= shares.sum(axis=1, keepdims=True)
    gradient = shares[:, 1:] @ queue + (shares[:, :1] - 1) * keys
    found = np.mean(logits[:, 0] > logits[:, 1:].max(axis=1))
    return -np.log(shares[:, 0]).mean(), gradient / (temperature * len(queries)), found


@pytest.mark.parametrize("number", [1, 2])
def test_loss_and_gradients_equal_numpy(embedded, number, monkeypatch):
    """The jigsaw is a query of each key; with two keys, both losses are sums over both."""
    method, _ = embedded
    flags = InfoMin.Flags(queue_size=36, proj_out_dim=16, temperature=0.5, jigsaw_weight=0.3)
    monkeypatch.setattr(method, "flags", flags)
    draws = np.random.default_rng(number)
    queries, keys, jigsaw = (unit(draws, 16, *rest) for rest in ((number, 16), (number, 16), (16,)))
    keys = queries + 2 * keys
    keys /= np.linalg.norm(keys, axis=-1, keepdims=True)
    arrays = {"queries": queries, "keys": keys, "jigsaw": jigsaw}
    embeddings = {name: tf.constant(array, tf.float32) for name, array in arrays.items()}
    with tf.GradientTape() as tape:
        tape.watch(embeddings)
        loss, values = method.objective(embeddings)
    gradients = tape.gradient(loss, embeddings)
    queue = method.queue.rows.numpy().astype(np.float64)
    plain = [compared(queries[:, i], keys[:, i], queue, 0.5) for i in range(number)]
    of_jigsaw = [compared(jigsaw, keys[:, i], queue, 0.5) for i in range(number)]
    sums = [sum(value for value, _, _ in losses) for losses in (plain, of_jigsaw)]
    shares = [np.mean([found for _, _, found in losses]) for losses in (plain, of_jigsaw)]
    names = ("contrast_loss", "jigsaw_loss", "contrast_acc", "jigsaw_acc")
    for name, expected in zip(names, (*sums, *shares), strict=True):
        assert float(values[name]) == pytest.approx(expected, rel=1e-5), name
    assert 0 < shares[0] < 1
    assert float(loss) == pytest.approx(0.7 * sums[0] + 0.3 * sums[1], rel=1e-5)
    expected = {"queries": 0.7 * np.stack([gradient for _, gradient, _ in plain], axis=1)}
    expected["jigsaw"] = 0.3 * sum(gradient for _, gradient, _ in of_jigsaw)
    assert gradients["keys"] is None
    for name, array in expected.items():
        np.testing.assert_allclose(gradients[name], array, rtol=1e-4, atol=1e-6, err_msg=name)
    assert values.keys() == method.metrics_of.keys()


def test_four_steps_of_the_official_code(embedded, monkeypatch):
    """PyContrast's losses, their gradients, and its queue, which wraps inside a batch."""
    method, _ = embedded
    recorded = dict(np.load(GOLDEN / "infomin_memory.npz"))
    temperature, beta = map(float, recorded["settings"])
    queue = Queue(*recorded["queue_before"].shape)
    queue.rows.assign(recorded["queue_before"])
    flags = InfoMin.Flags(temperature=temperature, jigsaw_weight=beta, target_decay=1.0)
    monkeypatch.setattr(method, "flags", flags)
    monkeypatch.setattr(method, "queue", queue)
    of_code = {"queries": "q", "jigsaw": "q_jig", "keys": "k"}
    for step, pointer in enumerate(recorded["pointer_after"]):
        rows = {name: tf.constant(recorded[other][step]) for name, other in of_code.items()}
        rows |= {name: rows[name][:, tf.newaxis] for name in ("queries", "keys")}
        with tf.GradientTape() as tape:
            tape.watch(rows)
            loss, values = method.objective(rows)
        gradients = tape.gradient(loss, rows)
        plain, jigsaw = recorded["loss"][step], recorded["loss_jig"][step]
        np.testing.assert_allclose(values["contrast_loss"], plain, rtol=1e-6)
        np.testing.assert_allclose(values["jigsaw_loss"], jigsaw, rtol=1e-6)
        np.testing.assert_allclose(loss, (1 - beta) * plain + beta * jigsaw, rtol=1e-6)
        for name, other in (("queries", "grad_q"), ("jigsaw", "grad_jig")):
            expected = recorded[other][step]
            found = tf.reshape(gradients[name], expected.shape)
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
        method.after_update(rows)
        np.testing.assert_allclose(queue.rows, recorded["queue_after"][step], rtol=0, atol=1e-6)
        assert queue.next_row == pointer


@pytest.mark.thorough
def test_without_weight_the_step_is_moco_s():
    """The loss and the gradients, to the last bit."""
    views = tuple(map(tf.constant, every_method.views_of("infomin")))
    labels = tf.constant(every_method.LABELS)
    method = every_method.build("infomin", jigsaw_weight=0.0)
    plain = every_method.build("moco", infomin=True)
    _, values, gradients = method.values_and_gradients(views, labels)
    _, expected, others = plain.values_and_gradients(views[:-1], labels)
    assert float(values["contrast_loss"]) == float(expected["contrast_loss"])
    of_method, of_plain = (
        {id(v): g for v, g in zip(m.trained_variables, of_all, strict=True)}
        for m, of_all in ((method, gradients), (plain, others))
    )
    pairs = zip(method.network.trainable_variables, plain.network.trainable_variables, strict=True)
    for variable, other in pairs:
        np.testing.assert_array_equal(of_method[id(variable)], of_plain[id(other)])
