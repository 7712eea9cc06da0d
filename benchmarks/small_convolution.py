"""A 3x3 convolution and its gradients: TensorFlow's kernels, and other ways.

python benchmarks/small_convolution.py [--dtype bfloat16] [--views 128] [--repetitions 10]

Shapes are those of a ResNet's stages for views of 16 to 224 pixels. In bfloat16 the other ways are
products of matrices; in float32 the gradient by the filters is the convolution in which images and
channels have changed places. Where ours takes them says simclr_tf/models/small_convolution.py; here
they are measured everywhere.
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

PARTS = {"bfloat16": ("values", "by images", "by filters"), "float32": ("by filters",)}


def ways(part: str, dtype: str) -> tuple:
    """Compiled functions of images, filters and upstream gradient: TensorFlow's, and the other."""

    def kernels(images, filters, upstream):
        if part == "values":
            return tf.nn.conv2d(images, filters, 1, "SAME")
        with tf.GradientTape() as tape:
            inputs = images if part == "by images" else filters
            tape.watch(inputs)
            outputs = tf.nn.conv2d(images, filters, 1, "SAME")
        return tape.gradient(outputs, inputs, output_gradients=upstream)

    def other(images, filters, upstream):
        if part == "values":
            return small_convolution.of_patches(images, filters)
        if part == "by images":
            return small_convolution.of_patches(upstream, small_convolution.turned(filters))
        if dtype == "float32":
            return small_convolution.by_filters_exchanged(images, upstream, filters.shape[0])
        return small_convolution.by_filters(images, upstream, filters.shape, 1, "SAME")

    return tuple(tf.function(way, autograph=False) for way in (kernels, other))


def compare(part: str, arguments: tuple, repetitions: int) -> str:
    """Three cells: the milliseconds of both, and their ratio."""
    times = ([], [])
    for way in (both := ways(part, arguments[0].dtype.name)):
        way(*arguments)
    for _ in range(repetitions):
        for way, seconds in zip(both, times, strict=True):
            begin = time.perf_counter()
            way(*arguments)
            seconds.append(time.perf_counter() - begin)
    kernel, other = (1000 * statistics.median(seconds) for seconds in times)
    return f"{kernel:.1f} | {other:.1f} | {kernel / other:.2f}"


def main() -> None:
    """Print a line for each stage."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dtype", choices=PARTS, default="bfloat16")
    parser.add_argument("--views", type=int, default=128)
    parser.add_argument("--repetitions", type=int, default=10)
    options = parser.parse_args()
    print(side_by_side.describe_machine())
    parts = PARTS[options.dtype]
    print(f"\n| outputs | channels |{''.join(f' {part}, ms | other | ratio |' for part in parts)}")
    print("| --- | ---: |" + " ---: | ---: | ---: |" * len(parts))
    for size, channels in STAGES:
        shapes = [options.views, size, size, channels], [3, 3, channels, channels]
        arguments = tuple(
            tf.cast(tf.random.stateless_normal(shape, [0, i]), options.dtype)
            for i, shape in enumerate((*shapes, shapes[0]))
        )
        cells = " | ".join(compare(part, arguments, options.repetitions) for part in parts)
        print(f"| {size} x {size} | {channels} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
