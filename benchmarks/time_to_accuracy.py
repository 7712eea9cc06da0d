"""kNN accuracy against seconds of training: the original, ours, and ours with views that grow.

python benchmarks/time_to_accuracy.py CIFAR OUT --original_dir=DIR [--minutes 30]
    [--contestants original ours growing] [--image_size 32] [--batch_size 128]

CIFAR is a folder with train/CLASS/*.jpg and test/CLASS/*.jpg, DIR the directory tf2/ of
google-research/simclr, which reads the folder as ours packs it. All train a ResNet-18 by the recipe
of configs/cifar10.cfg, with a warm-up of a tenth. A pilot of each finds how many steps it makes in
the minutes, so that its schedule ends there; then it trains, one after the other, with all that a
start takes on the clock. The growing views have half of the pixels' side for GROWN[0] of the steps
and three quarters up to GROWN[1].

Afterwards kNN is fitted to 10,000 training images and measured on 2,000 test images at each
checkpoint. OUT keeps everything: a contestant that is finished there is not trained again, so that
one after the other may be given. OUT/curves.json and OUT/curves.png are written anew each time.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import runpy
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

import side_by_side

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

NAMES = ("original", "ours", "growing")
TITLES = {"original": "the original", "ours": "ours", "growing": "ours, growing views"}
RECIPE = (
    *("--learning_rate=1.0", "--weight_decay=1e-4", "--temperature=0.5", "--use_blur=False"),
    *("--color_jitter_strength=0.5", "--resnet_depth=18", "--train_split=train"),
    *("--eval_split=test", "--mode=train", "--keep_checkpoint_max=1000"),
)
GROWN = (0.6, 0.85)
PILOT = (4, 16)  # steps of two short runs; what they differ in is the time of the steps
CHECKPOINTS = 6  # kNN of one takes minutes
EXAMPLES, BANK, QUERIES, CLASSES = 50_000, 10_000, 2_000, 10


@dataclasses.dataclass(frozen=True)
class Setting:
    """What all contestants share.

    Attributes:
      images: the folder.
      out: where everything goes.
      original: the directory of the original's code; None where it is no contestant.
      minutes: that each trains.
      size: of the views, in pixels.
      batch: images of a step.
    """

    images: pathlib.Path
    out: pathlib.Path
    original: pathlib.Path | None
    minutes: float
    size: int
    batch: int

    def command(self, name: str, directory: pathlib.Path, steps: int, *further: str) -> list[str]:
        """What trains one of NAMES for so many steps."""
        flags = [
            f"--model_dir={directory}",
            f"--train_steps={steps}",
            f"--image_size={self.size}",
            f"--train_batch_size={self.batch}",
            f"--warmup_epochs={0.1 * self.epochs(steps):.6f}",
            f"--checkpoint_steps={max(1, steps // CHECKPOINTS)}",
        ]
        if name == "original":
            program = [__file__, f"--original_program={self.original}"]
            data = [f"--dataset={PACKED}", f"--data_dir={self.out / 'packed'}", "--nouse_tpu"]
        else:
            program = [str(ROOT / "run.py")]
            data = ["--dataset=image_folder", f"--data_dir={self.images}"]
        return [sys.executable, *program, *RECIPE, *flags, *data, *further]

    def epochs(self, steps: float) -> float:
        """So many steps in passes over the images."""
        return steps * self.batch / EXAMPLES

    def grown(self, steps: int) -> str:
        """--image_size_schedule of a run of so many steps."""
        sizes = self.size // 2, 3 * self.size // 4
        ends = (self.epochs(share * steps) for share in GROWN)
        return ",".join(f"{size}:{end:.6f}" for size, end in zip(sizes, ends, strict=True))


PACKED = "cifar_of_folder"


def run(command: Sequence[str], log: pathlib.Path) -> float:
    """Run a command to its end; the seconds that it took."""
    begin = time.time()
    # What is remembered of the images' check lies there: every start checks them all.
    with tempfile.TemporaryDirectory() as cache, open(log, "w") as file:
        environment = os.environ | {"XDG_CACHE_HOME": cache}
        status = subprocess.run(
            command, stdout=file, stderr=subprocess.STDOUT, env=environment
        ).returncode
    if status:
        raise SystemExit(f"{' '.join(command)}\nended with status {status}; see {log}.")
    return time.time() - begin


def pilot(setting: Setting, name: str, size: int) -> tuple[float, float]:
    """Seconds of a start, and of a step with views of `size` pixels."""
    setting = dataclasses.replace(setting, size=size)
    folder = setting.out / "pilots"
    folder.mkdir(exist_ok=True)
    seconds = []
    for steps in PILOT:
        directory = folder / f"{name}-{size}-{steps}"
        shutil.rmtree(directory, ignore_errors=True)  # a finished one would take no time
        command = setting.command(name, directory, steps, f"--checkpoint_steps={steps}")
        seconds.append(run(command, directory.with_suffix(".log")))
    step = (seconds[1] - seconds[0]) / (PILOT[1] - PILOT[0])
    return max(0.0, seconds[0] - PILOT[0] * step), step


def steps_within(setting: Setting, name: str) -> int:
    """How many steps a contestant makes in the minutes, by its pilots.

    They are a multiple of CHECKPOINTS: the original always makes as many as lie between two.
    """
    if name != "growing":
        start, step = pilot(setting, name, setting.size)
    else:
        sizes = setting.size // 2, 3 * setting.size // 4, setting.size
        starts, steps = zip(*(pilot(setting, name, size) for size in sizes), strict=True)
        shares = GROWN[0], GROWN[1] - GROWN[0], 1 - GROWN[1]
        step = sum(share * step for share, step in zip(shares, steps, strict=True))
        start = sum(starts)  # each size is traced when its steps begin, which is most of a start
    between = int((60 * setting.minutes - start) / step / CHECKPOINTS)
    return CHECKPOINTS * max(1, between)


def train(setting: Setting, name: str) -> None:
    """Train a contestant, unless it is finished; OUT/NAME.json says when it began and ended."""
    record = setting.out / f"{name}.json"
    if record.exists():
        return
    steps = steps_within(setting, name)
    directory = setting.out / name
    if directory.exists():
        raise SystemExit(f"{directory} is that of a run that was cut off: remove it.")
    further = [f"--image_size_schedule={setting.grown(steps)}"] if name == "growing" else []
    print(f"{TITLES[name]}: {steps} steps", flush=True)
    began = time.time()
    command = setting.command(name, directory, steps, *further)
    seconds = run(command, setting.out / f"{name}.log")
    machine = side_by_side.describe_machine()
    facts = {"began": began, "seconds": seconds, "steps": steps, "machine": machine}
    record.write_text(json.dumps(facts | {"setting": setting.size, "minutes": setting.minutes}))


def images_of(folder: pathlib.Path, number: int) -> tuple:
    """As many of each class, the first by name: (n, size, size, 3) uint8, and labels (n,)."""
    import numpy as np
    from PIL import Image

    files = [
        (file, label)
        for label, of_class in enumerate(sorted(path for path in folder.iterdir()))
        for file in sorted(of_class.iterdir())[: number // CLASSES]
    ]
    pixels = np.stack([np.asarray(Image.open(file).convert("RGB")) for file, _ in files])
    return pixels, np.array([label for _, label in files])


def curve(setting: Setting, name: str, splits: Sequence[tuple]) -> list[dict]:
    """The kNN accuracy of each checkpoint, with its step and seconds since the command.

    OUT/NAME/knn-STEP.json keeps it, so that no checkpoint is measured twice.
    """
    began = json.loads((setting.out / f"{name}.json").read_text())["began"]
    found = []
    for index in (setting.out / name).glob("ckpt-*.index"):
        step = int(index.stem.rpartition("-")[2])
        record = index.with_name(f"knn-{step}.json")
        if not record.exists():
            record.write_text(json.dumps(knn_of(index.with_suffix(""), setting.size, splits)))
        seconds = round(os.stat(index).st_mtime - began, 1)
        found.append({"step": step, "seconds": seconds, "knn": json.loads(record.read_text())})
    return sorted(found, key=lambda point: point["step"])


def knn_of(checkpoint: pathlib.Path, size: int, splits: Sequence[tuple]) -> float:
    """The kNN accuracy of a checkpoint."""
    import simclr_tf
    from simclr_tf import library
    from simclr_tf.evaluation.knn import knn_accuracy

    network = simclr_tf.load(checkpoint)
    (bank, labels), (queries, answers) = (
        library.features_of(network, images, size) for images in splits
    )
    return knn_accuracy(bank, labels, queries, answers, num_classes=CLASSES)


def seconds_to(points: Sequence[dict], accuracy: float) -> float | None:
    """When a curve first reaches an accuracy, on straight lines between its points."""
    before = None
    for point in points:
        if point["knn"] >= accuracy:
            if before is None or before["knn"] >= accuracy:
                return point["seconds"]
            share = (accuracy - before["knn"]) / (point["knn"] - before["knn"])
            return before["seconds"] + share * (point["seconds"] - before["seconds"])
        before = point
    return None


def draw(curves: dict[str, list[dict]], path: pathlib.Path) -> None:
    """All curves in one picture."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for name, points in curves.items():
        minutes = [point["seconds"] / 60 for point in points]
        axes.plot(minutes, [100 * p["knn"] for p in points], marker="o", label=TITLES[name])
    axes.set(xlabel="minutes since the command", ylabel="kNN accuracy, %")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend()
    figure.savefig(path, dpi=110)


def pack(setting: Setting) -> None:
    """Write the folder as a data set of TensorFlow Datasets, which the original reads."""
    target = setting.out / "packed" / PACKED / "1.0.0"
    if not target.exists():
        program = [sys.executable, "-m", "simclr_tf.data.pack"]
        target.parent.mkdir(parents=True, exist_ok=True)
        run([*program, str(setting.images), str(target)], setting.out / "packed.log")


def run_original(directory: str, arguments: list[str]) -> None:
    """The original's program, in this process."""
    import tensorflow as tf

    # Its optimizer is written against the base class that Keras 2.11 renamed.
    tf.keras.optimizers.Optimizer = tf.keras.optimizers.legacy.Optimizer
    program = os.path.join(directory, "run.py")
    sys.path.insert(0, directory)
    sys.argv = [program, *arguments]
    runpy.run_path(program, run_name="__main__")


def main() -> None:
    """Train and measure the contestants."""
    if len(sys.argv) > 1 and sys.argv[1].startswith("--original_program="):
        run_original(sys.argv[1].partition("=")[2], sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", metavar="CIFAR", type=pathlib.Path)
    parser.add_argument("out", metavar="OUT", type=pathlib.Path)
    parser.add_argument("--original_dir", type=pathlib.Path)
    parser.add_argument("--contestants", nargs="*", choices=NAMES, default=NAMES)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--image_size", type=int, default=32)
    parser.add_argument("--batch_size", type=int, default=128)
    arguments = parser.parse_args()
    if "original" in arguments.contestants and not arguments.original_dir:
        parser.error("--original_dir is missing, or --contestants without the original.")
    setting = Setting(
        arguments.images.resolve(),
        arguments.out.resolve(),
        arguments.original_dir,
        arguments.minutes,
        arguments.image_size,
        arguments.batch_size,
    )
    setting.out.mkdir(parents=True, exist_ok=True)
    if "original" in arguments.contestants:
        pack(setting)
    for name in arguments.contestants:
        train(setting, name)
    done = [name for name in NAMES if (setting.out / f"{name}.json").exists()]
    splits = [
        images_of(setting.images / split, number)
        for split, number in (("train", BANK), ("test", QUERIES))
    ]
    curves = {name: curve(setting, name, splits) for name in done}
    (setting.out / "curves.json").write_text(json.dumps(curves, indent=1) + "\n")
    draw(curves, setting.out / "curves.png")
    goal = max(point["knn"] for point in next(iter(curves.values())))
    print(f"\n| | steps | seconds | kNN, % | seconds to {goal:.1%} |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name, points in curves.items():
        last, reached = points[-1], seconds_to(points, goal)
        shown = "not reached" if reached is None else f"{reached:.0f}"
        cells = f"{last['step']} | {last['seconds']:.0f} | {100 * last['knn']:.1f} | {shown}"
        print(f"| {TITLES[name]} | {cells} |")


if __name__ == "__main__":
    main()
