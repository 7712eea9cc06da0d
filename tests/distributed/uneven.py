"""Counts what evaluation shows on a number of replicas that does not divide its batch.

    python uneven.py REPLICAS

prints, for all batches and for the first one: the number of images, the sum of their labels, and
that of their pixels' means. A process has one strategy.
"""

import pathlib
import sys

import tensorflow as tf

sys.path[:0] = [str(pathlib.Path(__file__).parents[2])]

from simclr_tf.evaluation.features import extract_features  # noqa: E402
from simclr_tf.experiment import config as configuration  # noqa: E402
from simclr_tf.experiment import parts  # noqa: E402


class Means:
    """Stands in for a network: its features are the mean of each image."""

    def features(self, images):
        return tf.reduce_mean(images, axis=(1, 2))


def main(replicas: int) -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    devices = [tf.config.LogicalDeviceConfiguration() for _ in range(replicas)]
    tf.config.set_logical_device_configuration(cpu, devices)
    config = configuration.from_dict({"dataset": "digits", "image_size": 8})
    dataset = parts.open_dataset(config, "test")
    strategy = tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(replicas)])
    for steps in (0, 1):
        batches = parts.evaluation_batches(config, dataset, strategy, steps)
        features, labels = extract_features(Means(), batches, strategy)
        print(len(labels), labels.sum(), f"{features.sum():.3f}")


if __name__ == "__main__":
    main(int(sys.argv[1]))
