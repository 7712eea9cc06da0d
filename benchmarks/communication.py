"""Gathering the projections of all replicas, and the loss: all_gather beside the original's way.

    python benchmarks/communication.py [--replicas=4] [--batch=512] [--width=128]

The original's TPU code scatters a replica's rows into a tensor of zeros for the global
batch and all-reduces that. Here the rows are all-gathered; only the backward pass needs an
all-reduce. Both are run on logical CPU devices of this machine, in turns, and the medians
of their times are printed with the values that their collectives are given.
"""

import argparse
import pathlib
import statistics
import sys
import time

import numpy as np
import side_by_side
import tensorflow as tf

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from simclr_tf.devices import replicas, strategies
from simclr_tf.losses import nt_xent

all_gather = replicas.gather


def scatter_and_reduce(tensor: tf.Tensor) -> tf.Tensor:
    """The same rows by an all-reduce of (N, ...), mostly zeros."""
    rows, count = tensor.shape[0], replicas.num_replicas()
    places = replicas.replica_id() * rows + tf.range(rows)
    shape = [rows * count, *tensor.shape[1:]]
    context = tf.distribute.get_replica_context()
    scattered = tf.scatter_nd(places[:, None], tensor, shape)
    return context.all_reduce(tf.distribute.ReduceOp.SUM, scattered)


def make_step(strategy: tf.distribute.Strategy, gather, shares):
    """A compiled step: loss and gradient of every replica."""

    def loss_and_gradient(hidden):
        with tf.GradientTape() as tape:
            tape.watch(hidden)
            loss, _, _ = nt_xent(hidden)
        return loss, tape.gradient(loss, hidden)

    replicas.gather = gather  # what the loss calls when it is traced
    step = tf.function(lambda: strategy.run(loss_and_gradient, args=(shares,)))
    step()
    return step


def measure(replicas: int, batch: int, width: int, rounds: int) -> None:
    """Print times and sizes of both."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(
        cpu, [tf.config.LogicalDeviceConfiguration()] * replicas
    )
    strategy = strategies.choose_strategy("mirrored")
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(replicas, 2 * batch // replicas, width)).astype(np.float32)
    shares = strategy.experimental_distribute_values_from_function(
        lambda context: tf.constant(hidden[context.replica_id_in_sync_group])
    )
    ways = {"all_gather": all_gather, "scatter and reduce": scatter_and_reduce}
    steps = {name: make_step(strategy, gather, shares) for name, gather in ways.items()}
    times = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            start = time.perf_counter()
            strategy.experimental_local_results(step()[0])[0].numpy()
            times[name].append(time.perf_counter() - start)
    # A ring all-gather sends (R - 1) / R of the whole, an all-reduce twice that.
    whole = 4 * batch * 2 * width * (replicas - 1) / replicas
    sent = {"all_gather": whole + 2 * whole, "scatter and reduce": 2 * whole + 2 * whole}
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, median in medians.items():
        print(
            f"| {replicas} | {batch} | {name} | {sent[name] / 1e6:.2f} | {1000 * median:.2f} "
            f"| {median / medians['scatter and reduce']:.2f} |"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--replicas", type=int, default=2)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=50)
    arguments = parser.parse_args()
    print(side_by_side.describe_machine())
    print("| replicas | batch | way | MB sent by a replica | ms | ratio |")
    print("| ---: | ---: | --- | ---: | ---: | ---: |")
    measure(arguments.replicas, arguments.batch, arguments.width, arguments.rounds)
