"""InstDisc and CMC against the official code, and their bank against NumPy."""

import dataclasses

import every_method
import numpy as np
import pytest
import recorded
import tensorflow as tf
from recorded_steps import TinyNetwork, plan

from simclr_tf.backend import keras
from simclr_tf.data import datasets, subsets
from simclr_tf.data.recipe import ViewFlags
from simclr_tf.devices import replicas
from simclr_tf.errors import UserError
from simclr_tf.evaluation import features as evaluation_features
from simclr_tf.evaluation.knn import knn_accuracy
from simclr_tf.experiment import evaluate, parts
from simclr_tf.methods import CMC, InstDisc
from simclr_tf.methods.bank import Bank

pytestmark = pytest.mark.usefixtures("toy_encoder")
RECORDED = np.load(recorded.GOLDEN / "banks.npz")


def close(found, expected, message=""):
    atol = 1e-5 * np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol, err_msg=message)


def recorded_method(case, base, views, **changes):
    """The method with the settings of a case, the bank before its first step, and its draws."""
    images, negatives, temperature, momentum = RECORDED[f"{case}/settings"]
    width = RECORDED[f"{case}/memory{'_' if views[0] else ''}{views[0]}_before"].shape[1]
    flags = base.Flags(
        proj_out_dim=width,
        negatives=int(negatives),
        softmax=case.endswith("softmax"),
        temperature=float(temperature),
        bank_momentum=float(momentum),
        **changes,
    )
    numbers = dataclasses.replace(plan(1.0), num_examples=int(images))
    method = base(TinyNetwork("vector", ()), flags, numbers)
    method.project = lambda hidden: (hidden, hidden)
    return method


@pytest.mark.parametrize("case", ["instdisc/nce", "instdisc/full"])
def test_four_steps_of_instdisc(case):
    data = {n.removeprefix(f"{case}/"): RECORDED[n] for n in RECORDED.files if n.startswith(case)}
    method = recorded_method(case, InstDisc, [""])
    method.banks[0].rows.assign(data["memory_before"])
    for step in range(4):
        if "chosen" in data:
            method.draw_negatives = lambda _, s=step: tf.constant(data["chosen"][s][:, 1:])
        hidden = tf.constant(data["hidden"][step][:, np.newaxis])
        with tf.GradientTape() as tape:
            tape.watch(hidden)
            embeddings = method.embed(hidden) | {"numbers": tf.constant(data["index"][step])}
            loss, values = method.objective(embeddings)
        assert float(values["bank_loss"]) == float(loss)
        close(loss, data["loss"][step])
        close(tape.gradient(loss, hidden)[:, 0], data["grad_hidden"][step])
        method.after_update(embeddings)
        close(method.banks[0].rows, data["memory_after"][step])
        if "z" in data:
            close(method.partitions[0], data["z"][step])


@pytest.mark.parametrize("graph", ["full", "core"])
@pytest.mark.parametrize("case", ["cmc/nce", "cmc/softmax"])
def test_four_steps_of_cmc(case, graph):
    """With two views both graphs are the same."""
    data = {n.removeprefix(f"{case}/"): RECORDED[n] for n in RECORDED.files if n.startswith(case)}
    method = recorded_method(case, CMC, ["l", "ab"], graph=graph)
    for bank, view in zip(method.banks, ("l", "ab"), strict=True):
        bank.rows.assign(data[f"memory_{view}_before"])
    for step in range(4):
        method.draw_negatives = lambda _, s=step: tf.constant(data["chosen"][s][:, 1:])
        hidden = tf.stack([data["hidden_l"][step], data["hidden_ab"][step]], axis=1)
        with tf.GradientTape() as tape:
            tape.watch(hidden)
            embeddings = method.embed(hidden) | {"numbers": tf.constant(data["index"][step])}
            loss, _ = method.objective(embeddings)
        gradient = tape.gradient(loss, hidden)
        close(loss, data["l_loss"][step] + data["ab_loss"][step])
        method.after_update(embeddings)
        for i, view in enumerate(("l", "ab")):
            close(gradient[:, i], data[f"grad_hidden_{view}"][step], view)
            close(method.banks[i].rows, data[f"memory_{view}_after"][step], view)
        if "z" in data:
            close(tf.stack(method.partitions), data["z"][step])


@pytest.mark.parametrize("softmax", [False, True])
def test_graphs_of_three_views_are_sums_of_pairs(softmax):
    """The full graph of all three pairs, the core's of the two that have the first view."""
    draws, images, width = np.random.default_rng(0), 30, 6
    rows = draws.normal(size=(5, 3, width)).astype(np.float32)
    numbers, others = (
        tf.constant(draws.integers(images, size=5)),
        draws.integers(images, size=(5, 8)),
    )
    banks = draws.normal(size=(3, images, width)).astype(np.float32) / 3

    def loss_of(views, **flags):
        flags = CMC.Flags(proj_out_dim=width, negatives=8, softmax=softmax, **flags)
        numbers_of_run = dataclasses.replace(plan(1.0), num_examples=images)
        method = CMC(TinyNetwork("vector", ()), flags, numbers_of_run)
        for bank, view in zip(method.banks, views, strict=True):
            bank.rows.assign(banks[view])
        method.project = lambda hidden: (hidden, hidden)
        method.draw_negatives = lambda number: tf.constant(others)
        embeddings = method.embed(tf.constant(rows[:, list(views)])) | {"numbers": numbers}
        return float(method.objective(embeddings)[0])

    pairs = {pair: loss_of(pair, planes="0-1") for pair in ((0, 1), (0, 2), (1, 2))}
    assert len(set(pairs.values())) == 3
    full = loss_of((0, 1, 2), planes="0-1-2")
    assert full == pytest.approx(sum(pairs.values()), rel=1e-5)
    core = loss_of((0, 1, 2), planes="0-1-2", graph="core")
    assert core == pytest.approx(pairs[0, 1] + pairs[0, 2], rel=1e-5)


@pytest.mark.parametrize("planes", ["012", "0-3", "0-", "", "a-b"])
def test_planes_that_are_no_views_are_refused(planes):
    with pytest.raises(UserError, match=f"Received: {planes}."):
        CMC.encoder_fields(CMC.Flags(planes=planes))


def test_a_bank_begins_with_rows_of_about_length_one():
    keras.utils.set_random_seed(0)
    rows = Bank(500, 12).rows.numpy()
    assert np.abs(rows).max() <= 0.5 and np.abs(rows).max() > 0.49
    assert np.mean(np.sum(rows**2, axis=1)) == pytest.approx(1, abs=0.02)


def test_rows_are_averaged_and_normalised():
    """Image 3 comes twice, and the first of its features counts."""
    bank, draws = Bank(6, 4), np.random.default_rng(0)
    before, numbers = bank.rows.numpy(), np.array([3, 5, 3, 0])
    features = draws.normal(size=(4, 4))
    features = np.float32(features / np.linalg.norm(features, axis=1, keepdims=True))
    tf.function(bank.update)(tf.constant(numbers), tf.constant(features), 0.25)
    for i, row in enumerate(before):
        if i in numbers:
            row = 0.25 * row + 0.75 * features[list(numbers).index(i)]
            row /= np.linalg.norm(row)
        np.testing.assert_allclose(bank.rows[i], row, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("largest", [1, 2 * 8 * 4, 3 * 8 * 4, 2**24], ids=str)
def test_scores_in_parts_equal_all_at_once(largest):
    """Of one image, of two, of three, and of all six at a time: values and gradients."""
    bank, draws = Bank(20, 4), np.random.default_rng(1)
    features = tf.constant(draws.normal(size=(6, 4)), tf.float32)
    numbers, others = draws.integers(20, size=6), draws.integers(20, size=(6, 7), dtype=np.int32)
    weights = draws.normal(size=(6, 8)).astype(np.float32)

    @tf.function
    def compared():
        with tf.GradientTape() as tape:
            tape.watch(features)
            scores = bank.scores(features, tf.constant(numbers), tf.constant(others), largest)
            total = tf.reduce_sum(scores * weights)
        return scores, tape.gradient(total, features)

    chosen = bank.rows.numpy()[np.concatenate([numbers[:, None], others], axis=1)]
    scores, gradient = compared()
    np.testing.assert_allclose(scores, np.einsum("nd,nmd->nm", features, chosen), atol=1e-6)
    np.testing.assert_allclose(gradient, np.einsum("nm,nmd->nd", weights, chosen), atol=1e-5)


def test_shared_negatives_are_those_of_each_image():
    bank, draws = Bank(20, 4), np.random.default_rng(2)
    features = tf.constant(draws.normal(size=(5, 4)), tf.float32)
    numbers, others = (
        tf.constant(draws.integers(20, size=5)),
        tf.constant(draws.integers(20, size=7)),
    )
    shared = bank.scores(features, numbers, others)
    each = bank.scores(features, numbers, tf.tile(others[tf.newaxis], [5, 1]))
    np.testing.assert_allclose(shared, each, atol=1e-6)


def test_negatives_are_other_in_every_step_and_of_all_images():
    method = every_method.build("instdisc", negatives=500)
    draws = []
    for step in range(2):
        method.optimizer.iterations.assign(step)
        draws.append(method.draw_negatives(4).numpy())
        np.testing.assert_array_equal(method.draw_negatives(4), draws[-1])
    assert draws[0].shape == (4, 500) and set(np.unique(draws)) == set(range(160))
    assert np.any(draws[0] != draws[1]) and np.any(draws[0][0] != draws[0][1])


def test_negatives_of_a_replica_that_is_known_in_the_step_alone(monkeypatch):
    """As on TPUs: a share of them keeps its static shape."""
    method = every_method.build("instdisc")
    monkeypatch.setattr(replicas, "num_replicas", lambda: 3)

    @tf.function(autograph=False)
    def share(replica):
        monkeypatch.setattr(replicas, "replica_id", lambda: replica)
        drawn = method._own_negatives(4)
        assert drawn.shape == (4, 20)
        return drawn

    found = [share(tf.constant(r)) for r in range(3)]
    np.testing.assert_array_equal(tf.concat(found, axis=0), method.draw_negatives(12))


def test_negatives_that_a_replica_shares_are_drawn_once():
    views = tuple(map(tf.constant, every_method.views_of("instdisc")))
    shared = every_method.build("instdisc", shared_negatives=True)
    each = every_method.build("instdisc")
    (drawn,) = shared.draw_negatives(1)
    each.draw_negatives = lambda number: tf.tile(drawn[tf.newaxis], [number, 1])
    numbers = {"numbers": tf.range(16, dtype=tf.int64)}
    losses = [float(m.objective(m.embed(views) | numbers)[0]) for m in (shared, each)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.thorough
def test_knn_in_the_bank_is_that_of_what_was_written():
    """With a momentum of 0: kNN of the projections, normalised part by part."""
    digits = datasets.load("digits", "train", data_dir=None)
    known, queries = (subsets.restrict(digits, np.arange(i, 120, 2)) for i in (0, 1))
    config = every_method.config_of("cmc", knn_k=5, eval_batch_size=60)
    method = every_method.build("cmc", planes="0-1-2")
    method.plan = dataclasses.replace(method.plan, num_examples=60)
    method.banks = [Bank(60, 16) for _ in method.banks]
    strategy = tf.distribute.get_strategy()

    def projections(dataset):
        batches = parts.evaluation_batches(config, dataset)
        return evaluation_features.extract_features(method.network, batches, layer=-1)

    (rows, labels), (others, other_labels) = map(projections, (known, queries))
    rows, others = (
        tf.math.l2_normalize(z.reshape(60, len(method.banks), 16), axis=2).numpy()
        for z in (rows, others)
    )
    order = np.random.default_rng(0).permutation(60)
    for i, bank in enumerate(method.banks):
        bank.update(tf.constant(order), tf.constant(rows[order, i]), 0.0)
    by_number = subsets.labels_by_number(known)
    np.testing.assert_array_equal(by_number, labels)
    found = evaluate.evaluate_memory(config, strategy, method, method.memory, by_number, queries)
    both = (r.reshape(60, -1) for r in (rows, others))
    expected = knn_accuracy(next(both), labels, next(both), other_labels, num_classes=10, k=5)
    assert found == {"bank_knn_top_1_accuracy": pytest.approx(expected, abs=0.02)}
    assert expected > 0.3


def test_a_bank_needs_the_number_of_images():
    network = every_method.build("instdisc").network
    with pytest.raises(UserError, match="give the method a plan"):
        InstDisc(network)


def test_flips_of_views_are_as_the_flag_says():
    for method in (InstDisc, CMC):
        for flip, probability in ((True, 0.5), (False, 0.0)):
            (view,) = method.recipe(method.Flags(flip=flip), ViewFlags(32))
            assert view.flip_probability == probability


def test_the_encoders_of_cmc_are_as_the_flags_say():
    fields = CMC.encoder_fields(CMC.Flags(color_space="ydbdr", view_width=0.5))
    assert (fields["color_space"], fields["view_width"]) == ("ydbdr", 0.5)
