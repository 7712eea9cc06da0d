"""Trains on logical CPU devices and writes down all that must not depend on their number.

    python replicas.py OUTPUT.npz REPLICAS CASE [CASE ...]

A process has one strategy. Each case goes through the flags, the input pipeline, the
method and `fit`, as in a run; its arrays are stored as CASE/quantity/step/variable.
"""

import pathlib
import sys

import numpy as np
import tensorflow as tf

sys.path[:0] = [str(pathlib.Path(__file__).parents[i]) for i in (1, 2)]

import toy  # noqa: E402
import training  # noqa: E402

from simclr_tf import optimizers  # noqa: E402
from simclr_tf.backend import keras  # noqa: E402
from simclr_tf.checkpoints.restore import variable_paths  # noqa: E402
from simclr_tf.data import datasets  # noqa: E402
from simclr_tf.devices import strategies  # noqa: E402
from simclr_tf.experiment import config as configuration  # noqa: E402
from simclr_tf.experiment import parts, pretraining  # noqa: E402
from simclr_tf.losses import nt_xent  # noqa: E402
from simclr_tf.methods import SimCLR  # noqa: E402
from simclr_tf.models.batch_norm import BatchNormalization  # noqa: E402
from simclr_tf.models.heads import Head, SupervisedHead, simclr_projector  # noqa: E402

SIZE = 8
STEPS = 5
TEMPERATURE = 0.5  # lower ones amplify rounding errors
CLASSES = 10
# With many seeds the input of some ReLU comes so near to 0 that rounding decides its sign; with
# this one it does not.
SEED = 3
LEARNING_RATES = {"lars": 0.02, "momentum": 0.01, "adam": 0.001, "lamb": 0.001}


class TinyNetwork(keras.Model):
    """One convolution, both heads: what an optimizer can tell apart, quick to trace."""

    probed_layer = 0

    def __init__(self, synchronized):
        super().__init__()
        self.encoder = keras.Sequential(
            [
                keras.layers.Conv2D(16, 3, use_bias=False),
                BatchNormalization(synchronized=synchronized),
                keras.layers.ReLU(),
                keras.layers.GlobalAveragePooling2D(),
            ]
        )
        self.projection_head = Head(simclr_projector("nonlinear", 2, 8), global_bn=synchronized)
        self.supervised_head = SupervisedHead(CLASSES)
        self.encoder.build((None, SIZE, SIZE, 3))
        self.projection_head.build((None, 16))
        self.supervised_head.build((None, 16))
        self.built = True


normalize_exactly = BatchNormalization._normalize_exactly


def normalize_by_halves(layer, inputs):
    """What two replicas compute when each has its own statistics, on one.

    The rows are view 1 of replica 0, view 1 of replica 1, view 2 of replica 0, view 2 of 1.
    """
    quarters = tf.split(inputs, 4)
    halves = [tf.concat([quarters[r], quarters[r + 2]], axis=0) for r in (0, 1)]
    outputs, means, variances = zip(*(normalize_exactly(layer, half) for half in halves))
    (first_0, second_0), (first_1, second_1) = (tf.split(half, 2) for half in outputs)
    joined = tf.concat([first_0, first_1, second_0, second_1], axis=0)
    return joined, sum(means) / 2, sum(variances) / 2


class Recorder(keras.callbacks.Callback):
    """Notes metrics and moving statistics after every step, weights and slots after the last."""

    def __init__(self, arrays, case):
        super().__init__()
        self.arrays, self.case = arrays, case

    def on_train_batch_end(self, batch, logs=None):
        step = batch + 1
        for name, value in logs.items():
            self.arrays[f"{self.case}/metric/{step}/{name}"] = value
        self.model.reset_means()
        for path, variable in variable_paths(self.model.network).items():
            if "moving" in path:
                self.arrays[f"{self.case}/statistic/{step}/{path}"] = variable.numpy()

    def on_train_end(self, logs=None):
        for path, variable in variable_paths(self.model.network).items():
            if "moving" not in path:
                self.arrays[f"{self.case}/weight/{STEPS}/{path}"] = variable.numpy()
        shapes = {tuple(variable.shape) for variable in self.model.trained_variables}
        variables = self.model.optimizer.variables  # a scalar counts the steps, others are slots
        slots = [variable for variable in variables if tuple(variable.shape) in shapes]
        for i, slot in enumerate(slots):
            self.arrays[f"{self.case}/slot/{STEPS}/{i}"] = slot.numpy()


def _of_flags(config):
    return pretraining.build(config, pretraining.architecture_of(config, CLASSES), plan=None)


def train(case, strategy, arrays):
    """Train a case: NETWORK-OPTIMIZER-STATISTICS, such as toy-lars-global."""
    network_name, optimizer_name, bn = case.split("-")
    config = configuration.from_dict(
        training.SMALL | {"image_size": SIZE, "temperature": TEMPERATURE, "seed": SEED}
    )
    dataset = datasets.load("digits", "train")
    keras.utils.set_random_seed(0)
    BatchNormalization._normalize_exactly = (
        normalize_by_halves if bn == "halves" else normalize_exactly
    )
    with strategy.scope():
        if network_name == "resnet":
            method = _of_flags(config)
        elif network_name == "toy":
            with toy.in_place_of_resnet_18():
                method = _of_flags(config)
        else:
            network = TinyNetwork(synchronized=bn != "local")
            decays = optimizer_name in optimizers.DECAYS_INSIDE
            method = SimCLR(
                network,
                SimCLR.Flags(temperature=TEMPERATURE),
                weight_decay=1e-4,
                optimizer_decays=decays,
            )
        if optimizer_name == "gradient":
            # After one step the slot of momentum SGD is minus the gradient.
            optimizer = keras.optimizers.SGD(1.0, momentum=0.5)
        else:
            optimizer = optimizers.build(
                optimizer_name,
                LEARNING_RATES[optimizer_name],
                weight_decay=1e-4,
                exclude=method.network.supervised_head.trainable_weights,
            )
        method.compile(optimizer)
        optimizers.create_slots(optimizer, method.trainable_variables)

    recipe = pretraining.recipe_of(config)

    def make_batches(host, hosts):
        return parts.training_batches(
            config, dataset, recipe, batch_size=16, host_index=host, num_hosts=hosts
        )

    gradients_only = optimizer_name == "gradient"
    method.fit(
        strategies.distribute_batches(strategy, make_batches),
        steps_per_epoch=1 if gradients_only else STEPS,
        callbacks=[] if gradients_only else [Recorder(arrays, case)],
        verbose=0,
    )
    if gradients_only:
        paths = {v.ref(): path for path, v in variable_paths(method.network).items()}
        for slot, variable in zip(optimizer.momentums, method.trainable_variables, strict=True):
            arrays[f"{case}/gradient/1/{paths[variable.ref()]}"] = -slot.numpy()


def contrast(strategy, arrays):
    """The contrastive loss alone: its value, logits, and gradient, rows in the global order."""
    hidden = np.random.default_rng(0).normal(size=(2, 16, 6)).astype(np.float32)
    replicas = strategy.num_replicas_in_sync

    def share(context):
        n = 16 // replicas
        start = context.replica_id_in_sync_group * n
        return tf.constant(hidden[:, start : start + n].reshape(-1, 6))

    def loss_and_gradient(rows):
        with tf.GradientTape() as tape:
            tape.watch(rows)
            loss, logits, labels = nt_xent(rows, 0.1)
            mean = loss / replicas
        gradient = tape.gradient(mean, rows)
        return loss, tf.stack(tf.split(gradient, 2), axis=1), logits, labels

    @tf.function
    def step(rows):
        loss, *sums = strategy.run(loss_and_gradient, args=(rows,))
        mean = strategy.reduce(tf.distribute.ReduceOp.MEAN, loss, axis=None)
        return mean, *[strategy.gather(part, axis=0) for part in sums]

    shares = strategy.experimental_distribute_values_from_function(share)
    for name, value in zip(("loss", "gradient", "logits", "labels"), step(shares), strict=True):
        arrays[f"contrast/{name}"] = value.numpy()


def main(output, replicas, *cases):
    cpu = tf.config.list_physical_devices("CPU")[0]
    devices = [tf.config.LogicalDeviceConfiguration()] * int(replicas)
    tf.config.set_logical_device_configuration(cpu, devices)
    strategy = strategies.choose_strategy("one" if replicas == "1" else "mirrored")
    assert strategy.num_replicas_in_sync == int(replicas)
    arrays = {}
    for case in cases:
        contrast(strategy, arrays) if case == "contrast" else train(case, strategy, arrays)
    np.savez(output, **arrays)


if __name__ == "__main__":
    main(*sys.argv[1:])
