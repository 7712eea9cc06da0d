"""Where the time of a training step and of the input pipeline goes, as a table and a picture.

python benchmarks/where_time_goes.py IMAGES [--picture FILE.png]

IMAGES is a folder of JPEG files. The step is that of training_step.py in float32; its share of each
kind of operation is that of the time of all operations. Its speed is compared with that of a
product of two large matrices, which is as fast as this machine computes. The pipeline is run up to
each of its stages in turn, in one thread, and a stage is what it adds in CPU time; images are
finished one at a time, as those above 181 pixels are.
"""

import argparse
import collections
import glob
import pathlib
import sys
import tempfile
import time
from collections.abc import Callable

import side_by_side

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

STEPS = 5
IMAGES = 300
OTHERS = 0.01  # kinds of operations below this share are put together


def make_step(depth: int, image_size: int, batch_size: int) -> tuple[Callable, int]:
    """A training step that has warmed up, and how many floating-point operations it has."""
    import tensorflow as tf
    import training_step

    views, labels = training_step.data(batch_size, image_size)
    step = training_step.ours(depth, image_size, "float32").get_concrete_function(views, labels)
    step(views, labels)
    profiler = tf.compat.v1.profiler
    builder = profiler.ProfileOptionBuilder(profiler.ProfileOptionBuilder.float_operation())
    counts = profiler.profile(step.graph, cmd="op", options=builder.with_empty_output().build())
    return lambda: step(views, labels), counts.total_float_ops


def gigaflops(work: Callable, operations: int) -> float:
    """The speed of `work`, which is done once before; the best of STEPS."""
    work().numpy()
    seconds = []
    for _ in range(STEPS):
        begin = time.perf_counter()
        work().numpy()
        seconds.append(time.perf_counter() - begin)
    return operations / min(seconds) / 1e9


def large_product() -> tuple[Callable, int]:
    """A product of two matrices, and its number of floating-point operations."""
    import tensorflow as tf

    matrix = tf.random.stateless_uniform([4096, 4096], seed=[0, 0])
    return lambda: tf.matmul(matrix, matrix)[0, 0], 2 * 4096**3


def profile_step(step: Callable) -> dict[str, float]:
    """The share of each kind of operation in the time of all, the largest first."""
    times = times_of_operations(step, STEPS)
    total = sum(times.values())
    shares = {kind: value / total for kind, value in times.most_common() if value > OTHERS * total}
    return shares | {"all others": 1 - sum(shares.values())}


def times_of_operations(step: Callable, steps: int) -> collections.Counter:
    """The picoseconds that each kind of operation takes in so many steps."""
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder:
        tf.profiler.experimental.start(folder)
        for _ in range(steps):
            step()
        tf.profiler.experimental.stop()
        (trace,) = glob.glob(f"{folder}/**/*.xplane.pb", recursive=True)
        return _read_times(pathlib.Path(trace).read_bytes())


def _read_times(trace: bytes) -> collections.Counter:
    """The time of each kind of operation, from events that are called NAME:KIND."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    times = collections.Counter()
    for plane in xplane_pb2.XSpace.FromString(trace).planes:
        names = {key: metadata.name for key, metadata in plane.event_metadata.items()}
        for line in plane.lines:
            for event in line.events:
                name, _, kind = names[event.metadata_id].rpartition(":")
                if name.rstrip(":") == name and name and kind.isidentifier():
                    times[kind.removeprefix("_Mkl").removeprefix("Native")] += event.duration_ps
    return times


def profile_pipeline(folder: str, image_size: int) -> dict[str, float]:
    """CPU milliseconds that each stage adds for an image."""
    import input_pipeline
    import tensorflow as tf

    from simclr_tf.data import decode, views
    from simclr_tf.data.recipe import ViewFlags, simclr_recipe

    images = tf.constant(input_pipeline.read_images(folder))
    recipe = simclr_recipe(ViewFlags(image_size))

    def draw(index):
        seed = tf.stack([tf.constant(0, tf.int64), index])
        return lambda shape: views.draw_views(shape, seed, recipe)

    def decoded(index):
        return decode.decode_for_crops(images[index % len(images)], draw(index))

    def cropped(index):
        image, boxes, draws = decoded(index)
        return views.resized_crops(image, boxes, recipe), draws

    def finished(index):
        crops, draws = tf.nest.map_structure(lambda one: one[tf.newaxis], cropped(index))
        return views.finish_views(crops, draws, recipe)

    stages = {
        "draw boxes and numbers": lambda index: draw(index)(tf.constant([375, 500])),
        "decode": decoded,
        "crop and resize": cropped,
        "flip, jitter, greyscale, blur": finished,
    }
    found, before = {}, 0.0
    for name, stage in stages.items():
        total = _cpu_milliseconds(tf.data.Dataset.range(10**9).map(stage))
        found[name], before = max(total - before, 0.0), total
    batches = tf.data.Dataset.range(10**9).map(finished).rebatch(64, drop_remainder=True)
    found["batch"] = max(_cpu_milliseconds(batches, 64) - before, 0.0)
    return found


def _cpu_milliseconds(dataset, batch_size: int = 1) -> float:
    """For an image, after a warm-up; the median of three."""
    import tensorflow as tf

    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    options.threading.max_intra_op_parallelism = 1
    stream = iter(dataset.with_options(options))
    counts = -(-IMAGES // batch_size)
    times = []
    for _ in range(4):
        begin = time.process_time()
        for _ in range(counts):
            next(stream)
        times.append(1000 * (time.process_time() - begin) / (counts * batch_size))
    return sorted(times[1:])[1]


def draw_picture(path: str, step: dict[str, float], pipeline: dict[str, float]) -> None:
    """Bars of both, one above the other."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 7), layout="constrained")
    upper, lower = figure.subplots(2, height_ratios=[len(step), len(pipeline)])
    upper.barh(list(step), [100 * share for share in step.values()])
    upper.set_title("training step, float32: share of the time of all operations, %")
    lower.barh(list(pipeline), list(pipeline.values()))
    lower.set_title("two views of a JPEG: CPU milliseconds for an image")
    for axes in (upper, lower):
        axes.invert_yaxis()
        axes.bar_label(axes.containers[0], fmt="%.2g", padding=3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Profile both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", metavar="IMAGES")
    parser.add_argument("--picture")
    parser.add_argument("--depth", type=int, default=18)
    parser.add_argument("--step_image_size", type=int, default=32)
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--image_size", type=int, default=224)
    arguments = parser.parse_args()
    print(side_by_side.describe_machine())
    pipeline = profile_pipeline(arguments.folder, arguments.image_size)
    training_step, operations = make_step(
        arguments.depth, arguments.step_image_size, arguments.batch_size
    )
    speed, most = gigaflops(training_step, operations), gigaflops(*large_product())
    step = profile_step(lambda: training_step().numpy())
    print("\n| operations of the step | share |\n| --- | ---: |")
    for kind, share in step.items():
        print(f"| {kind} | {share:.1%} |")
    print(
        f"\n{operations / 1e9:.0f} GFLOP a step, {speed:.0f} GFLOP/s; a product of large matrices "
        f"has {most:.0f} GFLOP/s, with which the step would take {speed / most:.2f} of its time."
    )
    print("\n| stage of the pipeline | CPU, ms an image |\n| --- | ---: |")
    for stage, milliseconds in pipeline.items():
        print(f"| {stage} | {milliseconds:.2f} |")
    if arguments.picture:
        draw_picture(arguments.picture, step, pipeline)


if __name__ == "__main__":
    main()
