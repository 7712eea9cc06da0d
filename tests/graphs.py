"""Whether TensorFlow rewrites the graphs of functions before it executes them.

Rewriting is meant for graphs that are executed many times, costs a third of a test's time, and
changes values by rounding alone. So tests do without, see `conftest.py`.
"""

import tensorflow as tf


def rewrite(wanted: bool) -> None:
    """Rewrite graphs that are executed from here on, or not."""
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": not wanted})
