"""Checkpoints of a run in progress: weights, optimizer, step and metrics, written atomically."""

import os

import tensorflow as tf

from simclr_tf.checkpoints.plain_path import without_patterns
from simclr_tf.checkpoints.run_directory import RunDirectory, checkpoint_step
from simclr_tf.errors import NonFiniteLossError, UserError, first_line
from simclr_tf.methods import Method
from simclr_tf.paths import is_local


class Saver:
    """Saves a method to a directory, and brings it back.

    A checkpoint holds the network, what else the method owns, the optimizer with its
    step, and the metrics. The position in the data follows from the step. With several
    hosts all have to save, each to another directory; the chief's is what counts.

    Args:
      method: compiled, with an optimizer that is built.
      directory: the run directory, or the throwaway directory of another host than the chief.
      keep: how many checkpoints are kept; 0 keeps all.
    """

    def __init__(self, method: Method, directory: os.PathLike, keep: int):
        self._method = method
        self._directory = RunDirectory(directory)
        self._keep = keep
        self._step = 0
        self._checkpoint = tf.train.Checkpoint(method=method)
        # Asked for, it is made: checkpoints have one, and `restore` expects it.
        self._save_counter = self._checkpoint.save_counter

    def save(self, step: int) -> None:
        """Write ckpt-STEP; a reader sees the whole checkpoint or none.

        Raises:
          NonFiniteLossError: a weight is infinite or NaN; nothing is written.
        """
        if step == self._step:
            return
        kept = (*self._method.network.weights, *self._method.trained_variables)
        require_finite(list({id(v): v for v in kept}.values()), step)
        self._directory.keep_checkpoints(self._keep)  # makes room: what was left unfinished goes
        self._write(step)
        self._directory.keep_checkpoints(self._keep)
        self._step = step

    def _write(self, step):
        folder, name = self._directory.path, f"ckpt-{step}"
        if not is_local(folder):  # an object of a bucket appears when it is whole
            self._checkpoint.write(self._directory.checkpoint(step))
            return
        unfinished = folder / f"{name}_temp"
        unfinished.mkdir(parents=True, exist_ok=True)
        self._checkpoint.write(str(unfinished / "whole"))
        files = [file for file in unfinished.iterdir() if file.name.startswith("whole.")]
        for file in sorted(files):  # the index last: a checkpoint is there when its index is
            file.replace(folder / file.name.replace("whole", name, 1))

    def restore(self, path: str) -> None:
        """Bring back the checkpoint .../ckpt-STEP.

        Raises:
          UserError: the checkpoint cannot be read or does not fit.
        """
        if not tf.io.gfile.exists(path + ".index"):
            raise UserError(
                f"The checkpoint {path} is not on this host. --model_dir has to be a directory "
                "that all hosts share."
            )
        try:
            with without_patterns(path) as plain:
                status = self._checkpoint.restore(plain)
                status.assert_existing_objects_matched().assert_consumed()
        except (AssertionError, ValueError, IndexError, RuntimeError, tf.errors.OpError) as error:
            raise UserError(
                f"The checkpoint {path} cannot be restored: {first_line(error)} "
                f"Remove {os.path.basename(path)}.* to go on from an earlier one."
            ) from None
        self._step = checkpoint_step(path)


def require_finite(variables: list[tf.Variable], step: int) -> None:
    """Refuse to save weights that are infinite or NaN.

    Raises:
      NonFiniteLossError: some value is not finite.
    """
    finite = [tf.reduce_all(tf.math.is_finite(v)) for v in variables if v.dtype.is_floating]
    if not tf.reduce_all(finite):
        raise NonFiniteLossError(
            f"A weight became infinite or NaN by step {step}. Lower the learning rate or "
            "lengthen the warm-up; the last good checkpoint is kept."
        )
