import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf import optimizers
from simclr_tf.backend import keras
from simclr_tf.errors import UserError

GOLDEN = Path(__file__).parents[1] / "golden"
OTHERS = np.load(GOLDEN / "optimizers.npz")  # of the official code of other methods
RUNS = json.loads((GOLDEN / "schedule.json").read_text())


@pytest.mark.parametrize("run", RUNS, ids=[f"run{run['index']}" for run in RUNS])
def test_equals_the_recorded_original(run):
    examples, batch = run["num_examples"], run["train_batch_size"]
    peak = optimizers.scaled_learning_rate(
        run["learning_rate"], batch, run["learning_rate_scaling"]
    )
    steps = optimizers.train_steps(examples, run["train_epochs"], batch)
    warmup = optimizers.warmup_steps(examples, run["warmup_epochs"], batch)
    assert peak == pytest.approx(run["peak"], rel=1e-6)
    assert (steps, warmup) == (run["train_steps"], run["warmup_steps"])

    recorded = np.load(GOLDEN / "schedule.npz")
    schedule = optimizers.warmup_cosine(peak, steps, warmup)
    rates = schedule(recorded[f"steps/{run['index']}"])
    np.testing.assert_allclose(rates, recorded[f"lr/{run['index']}"], rtol=1e-5, atol=1e-7 * peak)


def test_corners():
    schedule = optimizers.warmup_cosine(0.4, train_steps=110, warmup_steps=10)
    rates = [float(schedule(step)) for step in (0, 5, 10, 60, 110, 111, 10_000)]
    np.testing.assert_allclose(rates, [0, 0.2, 0.4, 0.2, 0, 0, 0], rtol=1e-6)
    assert float(optimizers.warmup_cosine(0.4, 100)(0)) == np.float32(0.4)


def test_is_exact_after_millions_of_steps():
    train, warmup = 40_000_000, 20_000_001
    schedule = optimizers.warmup_cosine(1.0, train, warmup)
    steps = np.array([warmup - 1, warmup, train - 100_001, train - 3, train - 1, train])
    progress = (steps - warmup) / (train - warmup)
    expected = np.where(steps < warmup, steps / warmup, np.sin(np.pi / 2 * (1 - progress)) ** 2)
    np.testing.assert_allclose(schedule(steps), expected, rtol=1e-6)


def test_all_warmup_and_too_much_warmup():
    schedule = optimizers.warmup_cosine(1.0, train_steps=4, warmup_steps=4)
    assert [float(schedule(step)) for step in range(6)] == [0, 0.25, 0.5, 0.75, 0, 0]
    with pytest.raises(UserError, match="warmup_steps=5, train_steps=4"):
        optimizers.warmup_cosine(1.0, train_steps=4, warmup_steps=5)


@pytest.mark.parametrize("epochs", [40, 100, 300, 1000])
def test_byol(epochs):
    steps, warmup = OTHERS[f"byol/schedule/epochs{epochs}_steps_warmup"].tolist()
    batch, expected = int(OTHERS["byol/schedule/batch"]), OTHERS[f"byol/schedule/epochs{epochs}_lr"]
    base = {40: 0.45, 100: 0.45, 300: 0.3, 1000: 0.2}[epochs]
    schedule = optimizers.WarmupCosine(base * batch / 256, steps, warmup)
    # One step before the end of 40 epochs the original, which is float32, has lost digits.
    found = schedule(OTHERS["byol/schedule/at"])
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=3e-7)


def recorded_steps():
    """The steps of the recorded schedules, of one epoch, and of all."""
    of_epoch, epochs = int(OTHERS["schedule/steps_per_epoch"]), int(OTHERS["schedule/epochs"])
    return OTHERS["schedule/at"], of_epoch, of_epoch * epochs


def test_barlow_twins_and_vicreg():
    at, of_epoch, steps = recorded_steps()
    schedule = optimizers.WarmupCosine(0.2 * 512 / 256, steps, 10 * of_epoch, final_rate=0.001)
    weights, biases = OTHERS["schedule/barlow_weights_biases"].T
    np.testing.assert_allclose(schedule(at), weights, rtol=1e-6)
    np.testing.assert_allclose(0.0048 / 0.2 * schedule(at), biases, rtol=1e-6)
    np.testing.assert_allclose(schedule(at), OTHERS["schedule/vicreg"], rtol=1e-6)
    np.testing.assert_allclose(schedule(steps), 0.4 * 0.001, rtol=1e-6)


def test_swav():
    at, of_epoch, steps = recorded_steps()
    start, base, final, warmup_epochs = OTHERS["schedule/swav_start_base_final_warmupepochs"]
    schedule = optimizers.WarmupCosine(
        base, steps, int(warmup_epochs) * of_epoch, start / base, final / base
    )
    np.testing.assert_allclose(schedule(at), OTHERS["schedule/swav_at"], rtol=1e-6)
    # np.linspace: the last step of the warm-up and the first after it have the same rate.
    np.testing.assert_allclose(schedule(np.array([38, 39])), [base, base], rtol=1e-6)


def test_simsiam_has_one_rate_in_an_epoch():
    _, of_epoch, steps = recorded_steps()
    encoder, predictor = OTHERS["schedule/simsiam_by_epoch_encoder_predictor"].T
    schedule = optimizers.WarmupCosine(0.05 * 512 / 256, steps, epoch_steps=of_epoch)
    rates = schedule(np.arange(steps))
    np.testing.assert_allclose(rates, np.repeat(encoder, of_epoch), rtol=1e-6)
    factors = optimizers.constant_rate_factor(0.1, rates)
    np.testing.assert_allclose(factors * rates, np.repeat(predictor, of_epoch), rtol=1e-6)


@pytest.mark.parametrize(
    ("images", "batch", "epochs"), [(50_000, 512, 100), (50_000, 512, 800), (1_281_167, 512, 100)]
)
def test_by_epoch_with_epochs_that_no_steps_divide(images, batch, epochs):
    """Of so many epochs, each with the rate of its own; of a step that is left, that of the end."""
    steps = optimizers.train_steps(images, epochs, batch)
    schedule = optimizers.WarmupCosine(1.0, steps, epoch_steps=images / batch)
    first = [-(-epoch * images // batch) for epoch in (1, 2, 50, epochs - 1)]  # of these epochs
    rates = schedule(np.array([0, *(step for f in first for step in (f - 1, f)), steps - 1]))
    last = epochs if images * epochs % batch == 0 else epochs - 1
    shown = np.array([0, 0, 1, 1, 2, 49, 50, epochs - 2, epochs - 1, last])
    np.testing.assert_allclose(rates, (1 + np.cos(np.pi * shown / epochs)) / 2, rtol=1e-5)
    assert float(optimizers.WarmupCosine(1.0, 51, epoch_steps=10)(50)) == 0


def test_an_epoch_that_has_begun_has_its_own_rate():
    """And not that of the end, for a third of a training that is given in steps."""
    rates = optimizers.WarmupCosine(1.0, 140, epoch_steps=98)(np.array([97, 98, 139]))
    np.testing.assert_allclose(rates, [1.0, 0.5, 0.5], rtol=1e-6)


def test_by_epoch_with_a_warmup_that_ends_inside_of_an_epoch():
    schedule = optimizers.WarmupCosine(1.0, 50, 15, epoch_steps=10)
    progress = np.array([0, 0, 5, 5, 25]) / 35  # of steps 15, 19, 20, 29, 40
    rates = schedule(np.array([3, 14, 15, 19, 20, 29, 40]))
    expected = [0.2, 14 / 15, *(1 + np.cos(np.pi * progress)) / 2]
    np.testing.assert_allclose(rates, expected, rtol=1e-6)


def test_moco_drops_in_steps():
    rates = OTHERS["moco/v1/learning_rate"]  # 0.3 0.3 0.03 0.03 0.003
    schedule = optimizers.WarmupSteps(0.3, 5, milestones=(2, 4))
    np.testing.assert_allclose(schedule(np.arange(5)), rates, rtol=1e-6)
    schedule = optimizers.WarmupSteps(0.3, 9, 2, milestones=(3, 5), gamma=0.5)
    found = schedule(np.arange(9))
    np.testing.assert_allclose(found / 0.3, [0, 0.5, 1, 0.5, 0.5, *[0.25] * 4], rtol=1e-6)


def test_constant():
    schedule = optimizers.WarmupSteps(0.3, 9, 3, warmup_start=0.5)
    found = schedule(np.array([0, 1, 2, 3, 8, 100]))
    np.testing.assert_allclose(found / 0.3, [0.5, 0.75, 1, 1, 1, 1], rtol=1e-6)


def test_a_warmup_of_one_step_from_above_zero():
    assert float(optimizers.WarmupCosine(1.0, 9, 1, warmup_start=0.25)(0)) == 0.25


@pytest.mark.parametrize("name", ["warmup_start", "final_rate"])
@pytest.mark.parametrize("value", [-0.1, 1.5, float("nan")])
def test_shares_of_the_peak(name, value):
    with pytest.raises(UserError, match=f"{name} is a share of the peak"):
        optimizers.WarmupCosine(1.0, 10, 2, **{name: value})


@pytest.mark.parametrize(
    "schedule",
    [
        optimizers.WarmupCosine(0.3, train_steps=50, warmup_steps=7),
        optimizers.WarmupCosine(0.3, 50, 7, warmup_start=0.1, final_rate=0.2, epoch_steps=6),
        optimizers.WarmupSteps(0.3, 50, 7, warmup_start=0.1, milestones=(20, 30), gamma=0.3),
    ],
)
def test_config_round_trip(schedule):
    config = keras.optimizers.schedules.serialize(schedule)
    again = keras.optimizers.schedules.deserialize(json.loads(json.dumps(config)))
    np.testing.assert_array_equal(again(np.arange(60)), schedule(np.arange(60)))
    assert len(set(schedule(np.arange(60)).numpy())) > 7


def test_in_a_graph():
    schedule = optimizers.WarmupCosine(0.3, 50, 7, 0.1, 0.2, 6)
    traced = tf.function(schedule, jit_compile=True)
    for step in (0, 3, 7, 20, 49, 50):
        np.testing.assert_allclose(traced(tf.constant(step)), schedule(step), rtol=1e-6)


def test_steps_of_epochs():
    assert optimizers.train_steps(50_000, 100, 512) == 9_766  # 9,765.6 and one more, not 9,766 + 1
    assert optimizers.train_steps(512, 3, 512) == 4
    assert optimizers.warmup_steps(50_000, 10, 512) == 976
    assert optimizers.warmup_steps(50_000, 0.5, 512) == 48
    assert optimizers.epoch_steps(50_000, 512) == 98  # 97.66
    assert optimizers.epoch_steps(10, 512) == 1


def test_scaling_of_the_learning_rate():
    assert optimizers.scaled_learning_rate(0.3, 4096, "linear") == pytest.approx(4.8)
    assert optimizers.scaled_learning_rate(0.075, 4096, "sqrt") == pytest.approx(4.8)
    with pytest.raises(UserError, match="'cubic'"):
        optimizers.scaled_learning_rate(0.3, 4096, "cubic")
