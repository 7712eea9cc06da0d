"""A training step on a large batch: at once, with recomputed blocks, and in slices.

python benchmarks/micro_batches.py [--batch_size 1024] [--slices 32 64 128 256]
    [--skip_whole] [--no_bfloat16] [--repetitions 5]

ResNet-18 with the CIFAR stem on 32-pixel images, the linear probe, LARS. The first row is a
plain step of 128 images, with which time an image is compared. --skip_whole leaves out what
holds the whole batch: a plain step takes about 12 MB an image. Memory is what comes on top of
the process with its imports.
"""

import argparse
import pathlib
import sys

import side_by_side

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

REFERENCE = 128
SIZE = 32


def worker(batch_size: int, slices: int = 0, recompute: bool = False, bf16: bool = False) -> None:
    """Measure one contestant; see side_by_side."""
    import tensorflow as tf

    from simclr_tf import optimizers
    from simclr_tf.methods import SimCLR
    from simclr_tf.models import Architecture, Network

    architecture = Architecture(resnet_depth=18, cifar_stem=True, num_classes=10)
    network = Network(architecture, "bfloat16" if bf16 else "float32", recompute)
    method = SimCLR(network, weight_decay=1e-6, optimizer_decays=True, micro_batch_size=slices)
    method.compile(
        optimizers.build(
            "lars", 0.1, weight_decay=1e-6, exclude=network.supervised_head.trainable_weights
        )
    )
    optimizers.create_slots(method.optimizer, method.trainable_variables)
    step = tf.function(method.train_step, autograph=False)
    shape = [batch_size, SIZE, SIZE, 3]
    views = tuple(tf.random.stateless_uniform(shape, seed=[0, i]) for i in (0, 1))
    labels = tf.range(batch_size, dtype=tf.int64) % 10
    side_by_side.serve(lambda: step((views, labels))["total_loss"].numpy(), batch_size)


def main() -> None:
    """Compare the ways to compute a batch."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch_size", type=int, default=1024)
    parser.add_argument("--slices", type=int, nargs="*", default=[32, 64, 128, 256])
    parser.add_argument("--skip_whole", action="store_true")
    parser.add_argument("--no_bfloat16", action="store_true")
    arguments = side_by_side.parse(parser, worker)
    whole = {"batch_size": arguments.batch_size}
    contestants = {f"plain, {REFERENCE} images": {"batch_size": REFERENCE}}
    if not arguments.skip_whole:
        contestants["plain"] = whole
        contestants["recompute"] = whole | {"recompute": True}
    for size in arguments.slices:
        contestants[f"slices of {size}"] = whole | {"slices": size}
    for size in [] if arguments.no_bfloat16 else arguments.slices[-2:]:
        contestants[f"slices of {size}, bfloat16"] = whole | {"slices": size, "bf16": True}
    print(f"\n{arguments.batch_size} images\n")
    side_by_side.measure(__file__, contestants, arguments.repetitions)


if __name__ == "__main__":
    main()
