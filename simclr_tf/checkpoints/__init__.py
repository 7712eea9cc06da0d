"""Run directories, checkpoints, and loading weights of ours and of the original."""

from simclr_tf.checkpoints.loading import load, load_into, read

__all__ = ["load", "load_into", "read"]
