"""Trains with factors on one and on two logical devices; prints the optimizers that agree."""

import pathlib
import sys

import numpy as np
import tensorflow as tf

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from simclr_tf import optimizers

START = np.array([[1.0, -2.0], [0.5, 3.0]], np.float32)
STEPS, FROZEN_STEPS = 4, 2


def train(name, strategy):
    """The three variables after each step, and the slots after the last."""
    with strategy.scope():
        plain, slow, frozen = variables = [tf.Variable(START) for _ in range(3)]

        def factor(variable):
            if variable is slow:
                return 0.25
            if variable is frozen:
                return tf.cast(optimizer.iterations >= FROZEN_STEPS, tf.float32)
            assert variable is plain
            return None

        optimizer = optimizers.build(name, 0.1, weight_decay=0.01, rate_factor=factor)
        optimizers.create_slots(optimizer, variables)
    replicas = strategy.num_replicas_in_sync

    @tf.function
    def step(gradient):
        strategy.run(
            lambda: optimizer.apply_gradients([(gradient / replicas, v) for v in variables])
        )

    values = []
    for i in range(STEPS):
        step(tf.constant(np.random.default_rng(i).normal(size=START.shape), tf.float32))
        values.append([variable.numpy() for variable in variables])
        copies = [strategy.experimental_local_results(variable) for variable in variables]
        assert all(np.array_equal(own[0], copy) for own in copies for copy in own)
    values = np.array(values)
    assert np.all(values[:FROZEN_STEPS, 2] == START) and np.any(values[FROZEN_STEPS, 2] != START)
    assert np.allclose(values[0, 1] - START, 0.25 * (values[0, 0] - START), atol=1e-6)
    slots = [v.numpy() for v in optimizer.variables if v.shape == START.shape]
    return values, np.array(slots)


def main(*names):
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    for name in names:
        one = train(name, tf.distribute.OneDeviceStrategy("CPU:0"))
        two = train(name, tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]))
        for found, expected in zip(two, one, strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)
        print(name)


if __name__ == "__main__":
    main(*sys.argv[1:])
