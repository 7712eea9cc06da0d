"""NT-Xent, forward and backward: the original, ours dense, ours tiled.

python benchmarks/nt_xent.py [--batch_sizes 4096 8192] [--tiled_only 16384 32768]
    [--original_dir DIR]      the directory tf2/ of google-research/simclr

Projections are 128 wide and normalised, the temperature is 0.1. Memory is what comes on top
of the process with its imports and inputs.
"""

import argparse
import pathlib
import sys

import side_by_side

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

WIDTH = 128
TEMPERATURE = 0.1


def worker(contestant: str, batch_size: int, original_dir: str | None = None) -> None:
    """Measure one contestant; see side_by_side."""
    import tensorflow as tf

    from simclr_tf.losses import contrastive_metrics, nt_xent_with_metrics

    if contestant == "original":
        sys.path.insert(0, original_dir)
        import objective

    def values(hidden):
        if contestant == "original":
            loss, logits, labels = objective.add_contrastive_loss(hidden, temperature=TEMPERATURE)
            return loss, *contrastive_metrics(logits, labels)
        return nt_xent_with_metrics(hidden, TEMPERATURE, implementation=contestant)

    @tf.function
    def step(hidden):
        with tf.GradientTape() as tape:
            tape.watch(hidden)
            loss, *metrics = values(hidden)
        return loss, metrics, tape.gradient(loss, hidden)

    hidden = tf.random.stateless_normal([2 * batch_size, WIDTH], seed=[0, 0])
    side_by_side.serve(lambda: step(hidden)[2].numpy(), batch_size)


def main() -> None:
    """Compare at each batch size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch_sizes", type=int, nargs="*", default=[4096, 8192])
    parser.add_argument("--tiled_only", type=int, nargs="*", default=[])
    parser.add_argument("--original_dir")
    arguments = side_by_side.parse(parser, worker)
    original = ["original"] if arguments.original_dir else []
    sizes = [(size, [*original, "dense", "tiled"]) for size in arguments.batch_sizes]
    sizes += [(size, ["tiled"]) for size in arguments.tiled_only]
    for size, names in sizes:
        print(f"\nN = {size}\n")
        options = {"batch_size": size, "original_dir": arguments.original_dir}
        contestants = {name: {"contestant": name} | options for name in names}
        side_by_side.measure(__file__, contestants, arguments.repetitions)


if __name__ == "__main__":
    main()
