"""Rows of metrics: to TensorBoard, to metrics.jsonl, and to the screen."""

import json
import sys
import time

import tensorflow as tf
from tqdm import tqdm

from simclr_tf.outputs import write_complete
from simclr_tf.paths import AnyPath
from simclr_tf.training.callbacks import StepCallback, passed
from simclr_tf.training.plan import Plan

UNWRITTEN = 100  # steps of a row of metrics that is shown, and looked at, but not written


class MetricsLog(StepCallback):
    """Writes the means of the metrics every `interval` steps and after the last, then resets them.

    Without an interval it resets them every UNWRITTEN steps, and writes the last ones alone.
    TensorBoard gets them as train/NAME and learning_rate, metrics.jsonl one object in
    each line. Rows of an interrupted run that lie after `start_step` are dropped.

    Args:
      start_step: steps made before.
      directory: the run directory.
      interval: steps between two rows; 0 for the last one alone.
      plan: the numbers of the run.
    """

    def __init__(self, start_step: int, directory: AnyPath, interval: int, plan: Plan):
        super().__init__(start_step)
        self.path = directory / "metrics.jsonl"
        self.writer = tf.summary.create_file_writer(str(directory))
        self.interval = interval
        self.plan = plan
        self._keep_rows_until(start_step)
        self._row_step = start_step
        self._row_time = None

    def _keep_rows_until(self, step: int) -> None:
        if not self.path.exists():
            return
        rows = read_rows(self.path)
        kept = [json.dumps(row) + "\n" for row in rows if row["step"] <= step]
        write_complete(self.path, "".join(kept).encode())

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        self._row_time = None

    def on_step(self, before, step, logs):
        if self._row_time is None:  # the first execution of a size includes tracing
            self._row_time, self._row_step = time.monotonic(), step
        is_last = step == self.plan.train_steps
        if not (passed(before, step, self.interval or UNWRITTEN) or is_last):
            return
        if not (self.interval or is_last):
            self.model.reset_means()
            return
        now = time.monotonic()
        images = (step - self._row_step) * self.plan.batch_size
        row = {
            "step": step,
            "epoch": round(step / self.plan.epoch_steps, 4),
            **{name: float(value) for name, value in logs.items()},
            "learning_rate": float(self.plan.schedule(step)),
            "images_per_second": round(images / (now - self._row_time), 1) if images else None,
        }
        self._row_time, self._row_step = now, step
        append_row(self.path, row)
        with self.writer.as_default(step):
            for name in logs:
                tf.summary.scalar(f"train/{name}", row[name])
            tf.summary.scalar("learning_rate", row["learning_rate"])
        self.writer.flush()
        self.model.reset_means()


def read_rows(path: AnyPath) -> list[dict]:
    """The rows of a metrics.jsonl; what is no row, as a last line that was cut off, is left out."""
    rows = []
    for line in path.read_bytes().splitlines():
        try:
            row = json.loads(line)
        except ValueError:  # no JSON, or not UTF-8
            continue
        if isinstance(row, dict) and isinstance(row.get("step"), int):
            rows.append(row)
    return rows


def append_row(path: AnyPath, row: dict) -> None:
    """Add a row to a metrics.jsonl."""
    with path.open("a") as file:
        file.write(json.dumps(row) + "\n")


class ProgressBar(StepCallback):
    """A progress bar over the whole run, with the metrics of the current row.

    Args:
      start_step: steps made before.
      last_step: the last step of the run.
      shown: whether this is the host that shows it.
    """

    def __init__(self, start_step: int, last_step: int, shown: bool = True):
        super().__init__(start_step)
        self.last_step = last_step
        self.shown = shown
        self.bar = tqdm(disable=True)

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        if self.bar.total is not None:  # views grow: the run goes on
            return
        self.bar = tqdm(
            total=self.last_step,
            initial=self.step,
            desc="training",
            unit="step",
            mininterval=1.0 if sys.stderr.isatty() else 30.0,
            disable=not self.shown,
        )

    def on_step(self, before, step, logs):
        shown = {name: f"{value:.3f}" for name, value in logs.items() if name != "weight_decay"}
        self.bar.set_postfix(shown, refresh=False)
        self.bar.update(step - before)

    def close(self) -> None:
        """Leave the bar as it is, also when training ends with an error."""
        self.bar.close()
