"""What happens between training steps: Keras callbacks that count steps over the whole run.

`fit` is called once for each size that views have, with all steps of that size that are left;
what recurs (rows of metrics, checkpoints, kNN) recurs by steps, whatever `steps_per_execution` is.
"""

import contextlib
import math
import signal
import threading
from collections.abc import Callable, Iterator

from absl import logging

from simclr_tf.backend import keras
from simclr_tf.errors import NonFiniteLossError


class StepCallback(keras.callbacks.Callback):
    """Calls `on_step(step, logs)` with the number of steps of the whole run, from 1.

    Args:
      start_step: steps that were made before `fit` was called.
    """

    def __init__(self, start_step: int):
        super().__init__()
        self.step = start_step

    def on_epoch_begin(self, epoch, logs=None):
        self._before_epoch = self.step

    def on_train_batch_end(self, batch, logs=None):
        before, self.step = self.step, self._before_epoch + batch + 1
        self.on_step(before, self.step, logs or {})

    def on_step(self, before: int, step: int, logs: dict[str, float]) -> None:
        """Called after each execution: `before` steps were made before it, `step` after it."""
        raise NotImplementedError


def passed(before: int, step: int, interval: int) -> bool:
    """Whether a multiple of `interval` lies in (before, step]; never when it is 0."""
    return interval > 0 and step // interval > before // interval


class StopOnNonFiniteLoss(StepCallback):
    """Raises NonFiniteLossError after the first execution whose loss is not finite."""

    def on_step(self, before, step, logs):
        if not math.isfinite(logs["total_loss"]):
            raise NonFiniteLossError(
                f"The loss became {logs['total_loss']} at step {step}. Lower the learning rate "
                "or lengthen the warm-up; what was saved before is kept."
            )


class WarnAtCollapse(StepCallback):
    """Warns once when, after the warm-up, a row of metrics tells that the encoder learns nothing.

    It looks at the first row of metrics that begins after the warm-up, and runs before the
    callback that resets them.

    Args:
      start_step: see StepCallback.
      after_step: the last step of the warm-up.
      interval: steps of a row of metrics.
      sign: what a row of metrics tells of it, in words, or None.
    """

    def __init__(
        self,
        start_step: int,
        after_step: int,
        interval: int,
        sign: Callable[[dict[str, float]], str | None],
    ):
        super().__init__(start_step)
        self.after_step = after_step
        self.interval = interval
        self.sign = sign
        self._row_begins = start_step
        self._looked = False

    def on_step(self, before, step, logs):
        if self._looked or not passed(before, step, self.interval):
            return
        row_begins, self._row_begins = self._row_begins, step
        self._looked = row_begins >= self.after_step
        if self._looked and (sign := self.sign(logs)):
            logging.warning(
                "At step %d, after the warm-up, %s. The encoder is not learning: try another "
                "learning rate or other flags of the method, and look at the views.",
                step,
                sign,
            )


class RowOfEachEpoch(keras.callbacks.Callback):
    """Begins a new row of metrics with every epoch of Keras."""

    def on_epoch_begin(self, epoch, logs=None):
        self.model.reset_means()


class StopAt(StepCallback):
    """Ends `fit` at a step, in the middle of an epoch too.

    Args:
      start_step: see StepCallback.
      last_step: the step.
    """

    def __init__(self, start_step: int, last_step: int):
        super().__init__(start_step)
        self.last_step = last_step

    def on_step(self, before, step, logs):
        if step >= self.last_step:
            self.model.stop_training = True


class RunEvery(StepCallback):
    """Calls a function with the step, every `interval` steps and after the last.

    Args:
      start_step: see StepCallback.
      interval: steps between two calls.
      last_step: the last step of the run.
      function: what to call.
    """

    def __init__(
        self, start_step: int, interval: int, last_step: int, function: Callable[[int], None]
    ):
        super().__init__(start_step)
        self.interval = interval
        self.last_step = last_step
        self.function = function

    def on_step(self, before, step, logs):
        if passed(before, step, self.interval) or step == self.last_step:
            self.function(step)


class StopOnSignal(StepCallback):
    """On SIGTERM: finish the step, call a function with the step, and end `fit`.

    Signals are received in the context `listening`.

    Args:
      start_step: see StepCallback.
      save: called with the step that was reached.
      anywhere: turns whether this host was told to stop into whether any was, so that all
        stop at the same step; called after each execution.

    Attributes:
      stopped: whether a signal ended the training.
    """

    def __init__(
        self,
        start_step: int,
        save: Callable[[int], None],
        anywhere: Callable[[bool], bool] = bool,
    ):
        super().__init__(start_step)
        self.save = save
        self.anywhere = anywhere
        self.stopped = False
        self._received = False

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Take SIGTERM while the context lasts, however it ends.

        Only the main thread of a process can; elsewhere signals are left alone.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        previous = signal.signal(signal.SIGTERM, self._receive)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, previous)

    def _receive(self, number, frame):
        self._received = True

    def on_step(self, before, step, logs):
        if self.anywhere(self._received) and not self.stopped:
            self.stopped = True
            self.save(step)
            self.model.stop_training = True
