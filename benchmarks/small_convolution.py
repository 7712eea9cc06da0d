"""The gradient of a 3x3 convolution by its filters in bfloat16: TensorFlow's kernel, and ours.

python benchmarks/small_convolution.py [--views 128] [--repetitions 10]

Shapes are those of a ResNet's stages for views of 16 to 224 pixels. Ours is used where outputs have
at most 49 pixels; see simclr_tf/models/small_convolution.py.
"""

import argparse
import pathlib
import statistics
import sys
import time

import side_by_side
import tensorflow as tf

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from simclr_tf.models import small_convolution

STAGES = (
    (16, 64),
    (16, 128),
    (14, 256),
    (8, 256),
    (7, 512),
    (4, 256),
    (4, 512),
    (4, 1024),
    (2, 512),
)
"""Height and width of the outputs, and channels."""


def gradient(convolve):
    """A compiled function from images, filters and upstream gradient to that of the filters."""

    def by_filters(images, filters, upstream):
        with tf.GradientTape() as tape:
            tape.watch(filters)
            outputs = convolve(images, filters, 1, "SAME")
        return tape.gradient(outputs, filters, output_gradients=upstream)

    return tf.function(by_filters, autograph=False)


def main() -> None:
    """Print a line for each stage."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--views", type=int, default=128)
    parser.add_argument("--repetitions", type=int, default=10)
    arguments = parser.parse_args()
    print(side_by_side.describe_machine())
    print("\n| outputs | channels | TensorFlow, ms | products, ms | ratio | largest difference |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for size, channels in STAGES:
        shapes = [arguments.views, size, size, channels], [3, 3, channels, channels]
        images, filters, upstream = (
            tf.cast(tf.random.stateless_normal(shape, [0, i]), tf.bfloat16)
            for i, shape in enumerate((*shapes, shapes[0]))
        )
        ways = gradient(tf.nn.conv2d), gradient(small_convolution.convolve)
        results = [tf.cast(way(images, filters, upstream), tf.float32) for way in ways]
        times = ([], [])
        for _ in range(arguments.repetitions):
            for way, seconds in zip(ways, times, strict=True):
                begin = time.perf_counter()
                way(images, filters, upstream)
                seconds.append(time.perf_counter() - begin)
        theirs, ours = (1000 * statistics.median(seconds) for seconds in times)
        apart = tf.reduce_max(tf.abs(results[0] - results[1])) / tf.reduce_max(tf.abs(results[0]))
        print(
            f"| {size} x {size} | {channels} | {theirs:.1f} | {ours:.1f} | {theirs / ours:.2f} | "
            f"{float(apart):.4f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
