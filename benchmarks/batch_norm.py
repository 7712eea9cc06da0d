"""Batch norm on one device: what its statistics cost, and how far gradients are from float64.

python benchmarks/batch_norm.py [--image_size 32] [--batch_size 64]

Compares TensorFlow's kernel for training with ours, in the training step of a ResNet-18, and in the
gradients of its first step on views of noise: as they are, and with each ReLU open where it is in
float64.
"""

import argparse
import pathlib
import sys
from collections.abc import Callable

import side_by_side
import training_step

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

CONTESTANTS = ("the kernel for training", "ours")


def choose(contestant: str) -> None:
    """Let batch norm compute as the contestant does."""
    from simclr_tf.models.batch_norm import BatchNormalization as Layer

    ours = contestant == "ours"
    Layer._normalize_here = Layer._normalize_exactly if ours else Layer._normalize_in_one_kernel


def worker(contestant: str, image_size: int, batch_size: int) -> None:
    """Measure one contestant; see side_by_side."""
    choose(contestant)
    step = training_step.ours(18, image_size, "float32")
    views, labels = training_step.data(batch_size, image_size)
    side_by_side.serve(lambda: step(views, labels).numpy(), batch_size)


def in_float64(self, inputs, training=False):
    """Batch norm by its formula, in the place of the layer's own."""
    import tensorflow as tf

    axes = list(range(inputs.shape.rank - 1))
    mean = tf.reduce_mean(inputs, axes)
    variance = tf.reduce_mean((inputs - mean) ** 2, axes)
    beta = 0.0 if self.beta is None else tf.cast(self.beta, tf.float64)
    scale = tf.cast(self.gamma, tf.float64) * tf.math.rsqrt(variance + self.epsilon)
    return (inputs - mean) * scale + beta


def print_errors(image_size: int, batch_size: int) -> None:
    """Print a table: relative errors of gradients, and how many ReLUs are on the other side."""
    import numpy as np
    import tensorflow as tf

    from simclr_tf.models import Architecture, Network
    from simclr_tf.models.batch_norm import BatchNormalization

    architecture = Architecture(resnet_depth=18, cifar_stem=image_size <= 32)
    network, exact = Network(architecture), Network(architecture, "float64")
    for variable, other in zip(network.weights, exact.weights, strict=True):
        other.assign(tf.cast(variable, other.dtype))
    views, _ = training_step.data(batch_size, image_size)

    def gradients(network: Network, dtype: str, relu: Callable) -> list:
        tf.nn.relu = relu
        with tf.GradientTape() as tape:
            outputs = network(tf.cast(tf.concat(views, 0), dtype), training=True)
            z = tf.math.l2_normalize(tf.cast(outputs["projections"][-1], tf.float64), axis=1)
            logits = z @ tf.transpose(z) / 0.1 - 1e9 * tf.eye(2 * batch_size, dtype=tf.float64)
            positives = tf.roll(tf.range(2 * batch_size), batch_size, axis=0)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(positives, logits)
            loss = tf.reduce_mean(losses)
        return tape.gradient(loss, network.trainable_variables)

    opened = []

    def recording(x):
        opened.append(x > 0)
        return tf.where(opened[-1], x, 0)

    own, call = tf.nn.relu, BatchNormalization.call
    BatchNormalization.call = in_float64
    expected = np.concatenate([np.ravel(g) for g in gradients(exact, "float64", recording)])
    BatchNormalization.call = call

    print("\n| | error | ReLUs on the other side | error with the same ReLUs open |")
    print("| --- | --- | --- | --- |")
    for contestant in CONTESTANTS:
        choose(contestant)
        errors, other_side = [], []
        for imposed in (False, True):
            places = iter(opened)

            def relu(x, places=places, imposed=imposed, other_side=other_side):
                there = next(places)
                other_side.append(int(tf.math.count_nonzero((x > 0) != there)))
                return tf.where(there, x, 0) if imposed else own(x)

            found = [np.ravel(g) for g in gradients(network, "float32", relu)]
            difference = np.concatenate(found).astype(np.float64) - expected
            errors.append(np.linalg.norm(difference) / np.linalg.norm(expected))
        flipped = sum(other_side[: len(opened)])
        print(f"| {contestant} | {errors[0]:.1e} | {flipped} | {errors[1]:.1e} |")
    tf.nn.relu = own


def main() -> None:
    """Measure both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image_size", type=int, default=32)
    parser.add_argument("--batch_size", type=int, default=64)
    arguments = side_by_side.parse(parser, worker)
    print(f"\nResNet-18, {arguments.image_size} px, batch {arguments.batch_size}\n")
    options = {"image_size": arguments.image_size, "batch_size": arguments.batch_size}
    contestants = {name: {"contestant": name} | options for name in CONTESTANTS}
    side_by_side.measure(__file__, contestants, arguments.repetitions)
    print_errors(**options)


if __name__ == "__main__":
    main()
