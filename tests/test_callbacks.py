"""What happens between steps."""

import dataclasses
import logging
import os
import signal
import threading
import types

import numpy as np
import pytest
import tensorflow as tf
import test_plan

from simclr_tf.checkpoints.saver import require_finite
from simclr_tf.errors import NonFiniteLossError
from simclr_tf.training.callbacks import (
    RunEvery,
    StopOnNonFiniteLoss,
    StopOnSignal,
    WarnAtCollapse,
    passed,
)
from simclr_tf.training.metrics_log import MetricsLog, read_rows
from simclr_tf.training.plan import make_plan


def play(callback, sizes, logs=None):
    """Executions of so many steps each."""
    callback.on_epoch_begin(0)
    batch = -1
    for size in sizes:
        batch += size
        callback.on_train_batch_end(batch, logs)


def test_a_multiple_is_passed_once():
    assert [s for s in range(1, 11) if passed(s - 1, s, 3)] == [3, 6, 9]
    assert passed(4, 8, 3) and not passed(6, 8, 3) and not passed(0, 100, 0)


@pytest.mark.parametrize(
    ("start", "sizes", "calls"),
    [(0, [1] * 7, [3, 6, 7]), (0, [2] * 3 + [1], [4, 6, 7]), (5, [1, 1], [6, 7])],
)
def test_run_every_counts_steps_of_the_whole_run(start, sizes, calls):
    found = []
    play(RunEvery(start, 3, 7, found.append), sizes)
    assert found == calls


def test_a_sign_of_collapse_after_the_warmup_is_warned_of_once(caplog):
    with caplog.at_level(logging.WARNING):
        play(WarnAtCollapse(0, 3, 2, lambda row: f"loss is {row['loss']}"), [1] * 9, {"loss": 9.69})
    # Rows end at 2, 4, 6, 8; that of 5 and 6 is the first that begins after step 3.
    assert caplog.text.count("not learning") == 1
    assert "step 6, after the warm-up, loss is 9.69" in caplog.text
    caplog.clear()
    play(WarnAtCollapse(0, 3, 2, lambda row: None), [1] * 9, {"loss": 8.0})
    assert not caplog.text


def test_without_rows_the_metrics_that_are_looked_at_begin_anew_all_the_same(tmp_path):
    """--train_summary_steps=0, as in the original's commands for TPUs."""
    resets = []
    plan = dataclasses.replace(make_plan(**test_plan.CIFAR | {"warmup_epochs": 0}), train_steps=250)
    log = MetricsLog(0, tmp_path, 0, plan)
    log.model = types.SimpleNamespace(reset_means=lambda: resets.append(log.step))
    play(log, [50] * 5, {"contrast_loss": 3.5})
    assert resets == [100, 200, 250]
    (row,) = read_rows(tmp_path / "metrics.jsonl")
    assert (row["step"], row["contrast_loss"]) == (250, 3.5)


@pytest.mark.parametrize("loss", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_names_the_step(loss):
    callback = StopOnNonFiniteLoss(10)
    play(callback, [1], {"total_loss": 1.0})
    with pytest.raises(NonFiniteLossError, match="step 12"):
        callback.on_train_batch_end(1, {"total_loss": loss})


def test_weights_that_are_not_finite_are_refused():
    require_finite([tf.Variable([1.0, 2.0]), tf.Variable(3)], 5)
    with pytest.raises(NonFiniteLossError, match="by step 5"):
        require_finite([tf.Variable([1.0]), tf.Variable([np.nan])], 5)


def test_sigterm_is_taken_while_the_context_lasts_however_it_ends():
    before, saved = signal.getsignal(signal.SIGTERM), []
    stop = StopOnSignal(0, saved.append)
    stop.model = type("Model", (), {"stop_training": False})()
    with pytest.raises(NonFiniteLossError), stop.listening():
        os.kill(os.getpid(), signal.SIGTERM)
        play(stop, [1, 1])
        raise NonFiniteLossError("The loss became nan.")
    assert saved == [1] and stop.stopped and stop.model.stop_training
    assert signal.getsignal(signal.SIGTERM) is before


def test_another_thread_than_the_main_one_trains_without_taking_signals():
    handlers = []

    def train():
        with StopOnSignal(0, print).listening():
            handlers.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert handlers == [signal.getsignal(signal.SIGTERM)]
