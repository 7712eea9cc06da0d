"""Checkpoints of a run in progress: weights, optimizer, step and metrics, written atomically."""

import os

import tensorflow as tf

from simclr_tf.callbacks import require_finite
from simclr_tf.checkpoints.run_directory import RunDirectory, checkpoint_step
from simclr_tf.errors import UserError
from simclr_tf.methods import Method


class Saver:
    """Saves a method to a run directory, and brings it back.

    A checkpoint holds the network, what else the method owns, the optimizer with its
    step, and the metrics. The position in the data follows from the step.

    Args:
      method: compiled, with an optimizer that is built.
      directory: the run directory.
      keep: how many checkpoints are kept; 0 keeps all.
    """

    def __init__(self, method: Method, directory: RunDirectory, keep: int):
        self._method = method
        self._checkpoint = tf.train.Checkpoint(method=method)
        self._manager = tf.train.CheckpointManager(
            self._checkpoint, str(directory.path), max_to_keep=keep or None, checkpoint_name="ckpt"
        )

    def save(self, step: int) -> None:
        """Write ckpt-STEP; a reader sees the whole checkpoint or none.

        Raises:
          NonFiniteLossError: a weight is infinite or NaN; nothing is written.
        """
        latest = self._manager.latest_checkpoint
        if latest and checkpoint_step(latest) == step:
            return
        require_finite(self._method.network.weights, step)
        self._manager.save(checkpoint_number=step)

    def restore(self) -> int:
        """Bring back the latest checkpoint and return its step; 0 when there is none.

        Raises:
          UserError: the checkpoint cannot be read or does not fit.
        """
        latest = self._manager.latest_checkpoint
        if not latest:
            return 0
        try:
            self._checkpoint.restore(latest).assert_existing_objects_matched().assert_consumed()
        except (AssertionError, ValueError, tf.errors.OpError) as error:
            raise UserError(
                f"The checkpoint {latest} cannot be restored: {str(error).splitlines()[0]} "
                f"Remove {os.path.basename(latest)}.* to go on from an earlier one."
            ) from None
        return checkpoint_step(latest)
