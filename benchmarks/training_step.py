"""A training step: ours and PyTorch's in float32 and bfloat16, and the original's.

python benchmarks/training_step.py [--depth 18] [--image_size 32] [--batch_size 64]
    [--original_dir DIR]      the directory tf2/ of google-research/simclr
    [--torch_python FILE]     a Python that has PyTorch and NumPy
    [--no_bfloat16]

All train encoder, projection head and linear probe on views that lie in memory, with LARS (PyTorch
with its own SGD, which is less work); the CIFAR stem is used at 32 pixels. Memory is what comes on
top of the process with its imports.
"""

import argparse
import pathlib
import sys
from collections.abc import Callable
from typing import Any

import side_by_side

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

CLASSES = 10
LEARNING_RATE = 0.1
WEIGHT_DECAY = 1e-6


def method(depth: int, image_size: int, dtype: str) -> Any:
    """Our SimCLR, compiled with its optimizer, whose slots exist."""
    from simclr_tf import optimizers
    from simclr_tf.methods import SimCLR
    from simclr_tf.models import Architecture, Network

    architecture = Architecture(
        resnet_depth=depth, cifar_stem=image_size <= 32, num_classes=CLASSES
    )
    network = Network(architecture, dtype)
    method = SimCLR(network, weight_decay=WEIGHT_DECAY, optimizer_decays=True)
    head = network.supervised_head.trainable_weights
    method.compile(optimizers.build("lars", LEARNING_RATE, weight_decay=WEIGHT_DECAY, exclude=head))
    optimizers.create_slots(method.optimizer, method.trainable_variables)
    return method


def ours(depth: int, image_size: int, dtype: str) -> Callable:
    """A compiled function from views (2 of (n, size, size, 3)) and labels (n,) to the loss."""
    import tensorflow as tf

    step = method(depth, image_size, dtype).train_step
    return tf.function(lambda views, labels: step((views, labels))["total_loss"], autograph=False)


def original(depth: int, image_size: int, batch_size: int, directory: str) -> Callable:
    """As `ours`, by the original's model, losses and optimizer."""
    import tensorflow as tf
    from absl import flags

    # Its optimizer is written against the base class that Keras 2.11 renamed.
    tf.keras.optimizers.Optimizer = tf.keras.optimizers.legacy.Optimizer
    sys.path.insert(0, directory)
    import model as original_model
    import objective

    import run  # noqa: F401  defines the flags

    given = [f"--resnet_depth={depth}", f"--image_size={image_size}", "--nouse_tpu"]
    given += [f"--train_batch_size={batch_size}", f"--weight_decay={WEIGHT_DECAY}"]
    flags.FLAGS(["run.py", *given])
    model = original_model.Model(CLASSES)
    optimizer = original_model.build_optimizer(LEARNING_RATE)

    @tf.function
    def step(views, labels):
        with tf.GradientTape() as tape:
            projections, logits = model(tf.concat(views, -1), training=True)
            loss, _, _ = objective.add_contrastive_loss(
                projections, temperature=flags.FLAGS.temperature
            )
            one_hot = tf.one_hot(tf.concat([labels, labels], 0), CLASSES)
            loss += objective.add_supervised_loss(labels=one_hot, logits=logits)
            loss += original_model.add_weight_decay(model, adjust_per_optimizer=True)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    return step


def pytorch(depth: int, image_size: int, batch_size: int, bfloat16: bool) -> Callable:
    """A function that makes a step of a plain network in the layout channels_last."""
    import lightly_peer

    torch = lightly_peer.settled_torch()
    from torch.nn import functional

    sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "tests" / "checkpoints"))
    from torch_resnet import ResNet

    # SimCLR's head: units of None are as many as there are features.
    hidden = {
        "units": None,
        "bias": False,
        "norm": True,
        "center": True,
        "scale": True,
        "relu": True,
    }
    last = hidden | {"units": 128, "center": False, "relu": False}
    network = ResNet(
        depth,
        cifar_stem=image_size <= 32,
        projector=[hidden, hidden, last],
        num_classes=CLASSES,
    )
    network = network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9, weight_decay=WEIGHT_DECAY)
    shape = (2 * batch_size, 3, image_size, image_size)
    views = torch.rand(shape).contiguous(memory_format=torch.channels_last)
    labels = torch.arange(2 * batch_size) % CLASSES
    positives = torch.arange(2 * batch_size).roll(batch_size)
    itself = torch.eye(2 * batch_size, dtype=torch.bool)

    def step():
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            h, z, _ = network(views)
        z = functional.normalize(z.float())
        logits = (z @ z.T / 0.1).masked_fill(itself, -1e9)
        loss = functional.cross_entropy(logits, positives)
        loss = loss + functional.cross_entropy(network.fc(h.float().detach()), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def data(batch_size: int, image_size: int) -> tuple:
    """Two views (batch_size, image_size, image_size, 3) of noise, and labels."""
    import tensorflow as tf

    shape = [batch_size, image_size, image_size, 3]
    views = tuple(tf.random.stateless_uniform(shape, seed=[0, i]) for i in (0, 1))
    return views, tf.range(batch_size, dtype=tf.int64) % CLASSES


def worker(
    contestant: str, depth: int, image_size: int, batch_size: int, original_dir: str | None
) -> None:
    """Measure one contestant; see side_by_side."""
    if contestant.startswith("PyTorch"):
        step = pytorch(depth, image_size, batch_size, contestant.endswith("bfloat16"))
        side_by_side.serve(lambda: [step() for _ in range(3)], 3 * batch_size)
        return
    if contestant == "original":
        step = original(depth, image_size, batch_size, original_dir)
    else:
        step = ours(depth, image_size, contestant.removeprefix("ours, "))
    views, labels = data(batch_size, image_size)

    def work():
        for _ in range(3):
            loss = step(views, labels)
        return loss.numpy()

    side_by_side.serve(work, 3 * batch_size)


def main() -> None:
    """Compare the contestants."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--depth", type=int, default=18)
    parser.add_argument("--image_size", type=int, default=32)
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--original_dir")
    parser.add_argument("--torch_python")
    parser.add_argument("--no_bfloat16", action="store_true")
    arguments = side_by_side.parse(parser, worker)
    print(f"\nResNet-{arguments.depth}, {arguments.image_size} px, batch {arguments.batch_size}\n")
    options = {
        name: getattr(arguments, name)
        for name in ("depth", "image_size", "batch_size", "original_dir")
    }
    names = ["original"] * bool(arguments.original_dir)
    types = ["float32"] + ["bfloat16"] * (not arguments.no_bfloat16)
    names += [f"PyTorch, {dtype}" for dtype in types] * bool(arguments.torch_python)
    names += [f"ours, {dtype}" for dtype in types]
    contestants = {name: {"contestant": name} | options for name in names}
    pythons = {name: arguments.torch_python for name in names if name.startswith("PyTorch")}
    side_by_side.measure(__file__, contestants, arguments.repetitions, pythons)


if __name__ == "__main__":
    main()
