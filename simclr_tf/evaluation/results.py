"""Evaluating the checkpoints of a run, and writing down what came out."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from simclr_tf.checkpoints.run_directory import RunDirectory, checkpoint_step, write_json
from simclr_tf.paths import AnyPath

EVALUATED_WITH = "flags.json"  # the flags of an evaluation


def record_result(
    directory: RunDirectory,
    result: Mapping[str, float],
    step: int,
    flags: Mapping[str, Any],
    name: str | None = None,
    about: Mapping[str, Any] | None = None,
) -> None:
    """Write TensorBoard's eval/NAME, flags.json, result_STEP.json and, last, result.json.

    Args:
      directory: the run directory.
      result: the metrics, which the files name eval/NAME as the original does.
      step: training steps of the weights that were evaluated.
      flags: what they were evaluated with.
      name: of the evaluation; with one, all goes below eval_NAME/.
      about: what else result.json says.
    """
    file = result_file(directory, name)
    file.parent.mkdir(parents=True, exist_ok=True)
    row = {f"eval/{name}": value for name, value in result.items()}
    row |= {"global_step": step, **(about or {})}
    write_scalars(directory / (f"eval_{name}" if name else "eval"), result, step)
    write_json(file.with_name(EVALUATED_WITH), flags)
    write_json(file.with_name(f"result_{step}.json"), row)
    write_json(file, row)


def result_file(directory: RunDirectory, name: str | None) -> AnyPath:
    """Where the latest result of an evaluation is, which is there once all of it is."""
    return (directory / f"eval_{name}" if name else directory.path) / "result.json"


def write_scalars(folder: AnyPath, values: Mapping[str, float], step: int) -> None:
    """Write values to TensorBoard as eval/NAME."""
    writer = tf.summary.create_file_writer(str(folder))
    with writer.as_default(step):
        for name, value in values.items():
            tf.summary.scalar(f"eval/{name}", value)
    writer.close()


def watch_checkpoints(
    newest: Callable[[], str | None],
    last_step: int,
    evaluate: Callable[[str], None],
    poll_seconds: float = 5.0,
) -> None:
    """Call `evaluate` with the prefix of every new checkpoint until that of the last step.

    Args:
      newest: the prefix of the newest checkpoint, or None. With several hosts it waits for all
        and says the same on each. Older ones are passed over.
      last_step: the step of the last checkpoint.
      evaluate: what to call.
      poll_seconds: how long to wait between two looks.
    """
    seen = None
    while True:
        prefix = newest()
        if prefix is None or prefix == seen:
            time.sleep(poll_seconds)
            continue
        seen = prefix
        evaluate(prefix)
        if checkpoint_step(prefix) >= last_step:
            return
