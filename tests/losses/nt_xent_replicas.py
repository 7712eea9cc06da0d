"""Writes dense and tiled NT-Xent of two logical replicas to a file, for test_nt_xent_tiled.py.

python nt_xent_replicas.py HIDDEN.npy OUTPUT.npz BLOCK_ROWS [BLOCK_ROWS ...]

Blocks of 0 rows stand for dense.
"""

import itertools
import pathlib
import sys

import numpy as np
import tensorflow as tf

sys.path[:0] = [str(pathlib.Path(__file__).parents[i]) for i in (1, 2)]

import graphs  # noqa: E402

from simclr_tf.losses import nt_xent_with_metrics  # noqa: E402
from simclr_tf.losses.nt_xent_tiled import tiled_loss_and_metrics  # noqa: E402

REPLICAS = 2


def main(hidden_file, output, *block_rows):
    graphs.rewrite(False)
    cases = np.load(hidden_file)  # (cases, 2, N, d)
    n = cases.shape[2] // REPLICAS
    (cpu,) = tf.config.list_physical_devices("CPU")
    devices = [tf.config.LogicalDeviceConfiguration()] * REPLICAS
    tf.config.set_logical_device_configuration(cpu, devices)
    strategy = tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(REPLICAS)])

    def values_and_gradient(rows, hidden_norm, block_rows):
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        with tf.GradientTape() as tape:
            tape.watch(rows)
            if not block_rows:
                values = nt_xent_with_metrics(rows, 0.1, hidden_norm, "dense")
            else:
                normed = tf.math.l2_normalize(rows, axis=1) if hidden_norm else rows
                values = tiled_loss_and_metrics(normed, 0.1, hidden_norm, block_rows)
            loss = values[0] * tf.cast(replica + 1, tf.float32)  # replicas weigh differently
        return tf.stack(values), tape.gradient(loss, rows)

    @tf.function
    def compute(shares, hidden_norm, block_rows):
        return strategy.run(values_and_gradient, (shares, hidden_norm, block_rows))

    arrays = {}
    for case, hidden in enumerate(cases):

        def share(context, hidden=hidden):
            start = context.replica_id_in_sync_group * n
            return tf.constant(hidden[:, start : start + n].reshape(-1, hidden.shape[-1]))

        shares = strategy.experimental_distribute_values_from_function(share)
        for hidden_norm, size in itertools.product((True, False), (0, *map(int, block_rows))):
            results = compute(shares, hidden_norm, size)
            for name, result in zip(("values", "gradient"), results, strict=True):
                local = np.stack(strategy.experimental_local_results(result))
                arrays[f"{case}/{size}/{hidden_norm}/{name}"] = local
    np.savez(output, **arrays)


if __name__ == "__main__":
    main(*sys.argv[1:])
