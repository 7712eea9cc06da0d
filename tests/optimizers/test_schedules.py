import json
from pathlib import Path

import numpy as np
import pytest

from simclr_tf import optimizers
from simclr_tf.backend import keras
from simclr_tf.errors import UserError

GOLDEN = Path(__file__).parents[1] / "golden"
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


def test_config_round_trip():
    schedule = optimizers.WarmupCosine(0.3, train_steps=50, warmup_steps=7)
    config = keras.optimizers.schedules.serialize(schedule)
    again = keras.optimizers.schedules.deserialize(json.loads(json.dumps(config)))
    np.testing.assert_array_equal(again(np.arange(60)), schedule(np.arange(60)))


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
