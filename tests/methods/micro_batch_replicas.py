"""One step on logical devices in each mode: writes values and gradients as MODE/NAME.

python micro_batch_replicas.py OUTPUT.npz REPLICAS plain|slices|recompute ...
"""

import pathlib
import sys

import numpy as np
import tensorflow as tf

sys.path[:0] = [str(pathlib.Path(__file__).parents[i]) for i in (1, 2)]

import graphs  # noqa: E402
import toy  # noqa: E402

from simclr_tf.backend import keras  # noqa: E402
from simclr_tf.methods import SimCLR  # noqa: E402
from simclr_tf.models import Architecture, Network, simclr_projector  # noqa: E402

IMAGES, SIZE = 8, 8
LABELS = [0, 1, 2, -1, 1, -1, -1, -1]  # 3 of them on the first of 2 replicas


def main(output, replicas, *modes):
    graphs.rewrite(False)
    replicas = int(replicas)
    (cpu,) = tf.config.list_physical_devices("CPU")
    devices = [tf.config.LogicalDeviceConfiguration()] * replicas
    tf.config.set_logical_device_configuration(cpu, devices)
    strategy = tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(replicas)])
    arrays = {}
    for mode in modes:
        with toy.in_place_of_resnet_18():
            step = values_and_gradients(strategy, mode)
        arrays |= {f"{mode}/{name}": array for name, array in step.items()}
    np.savez(output, **arrays)


def values_and_gradients(strategy, mode):
    keras.utils.set_random_seed(0)
    with strategy.scope():
        architecture = Architecture(
            18, cifar_stem=True, projector=simclr_projector(out_dim=16), num_classes=3
        )
        network = Network(architecture, recompute=mode == "recompute")
        slices = 2 if mode == "slices" else 0
        method = SimCLR(
            network, SimCLR.Flags(temperature=0.5), weight_decay=1e-3, micro_batch_size=slices
        )
        for layer in method.network.submodules:
            if hasattr(layer, "gamma"):
                layer.gamma.assign(tf.ones_like(layer.gamma))
        method.compile(keras.optimizers.SGD(1.0, momentum=0.5))

    pixels = np.random.default_rng(0).uniform(size=(2, IMAGES, SIZE, SIZE, 3))
    n = IMAGES // strategy.num_replicas_in_sync

    def share(context):
        start = context.replica_id_in_sync_group * n
        rows = tf.constant(pixels[:, start : start + n], tf.float32)
        return (rows[0], rows[1]), tf.constant(LABELS[start : start + n], tf.int64)

    @tf.function
    def step(data):
        values = strategy.run(method.train_step, args=(data,))
        return values

    step(strategy.experimental_distribute_values_from_function(share))
    arrays = {name: mean.result().numpy() for name, mean in method.means.items()}
    for i, slot in enumerate(method.optimizer.momentums):  # after one step, minus the gradient
        arrays[f"gradient{i}"] = slot.numpy()
    return arrays


if __name__ == "__main__":
    main(*sys.argv[1:])
