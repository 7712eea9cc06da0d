"""From JPEG files to batches of two strong views, beside weak ones and torchvision's RandAugment.

python benchmarks/strong_views.py IMAGES --image_size=224 [--batches 8]
    [--torch_python FILE]  a Python that has torchvision

IMAGES is a folder of JPEG files; at most 2,000 are read, into memory. Weak views are those of MoCo
v2, strong ones have CLSA's five draws of 14 operations besides. "RandAugment" is a crop, a flip
and two of torchvision's 14 operations at its default magnitude, ours and torchvision's on PIL;
torchvision runs in one process a core, its CPU time is that of all of them. All resize with
antialiasing, as PIL does, unless they are said not to.
"""

import argparse
import json
import os
import pathlib
import sys

import side_by_side
from input_pipeline import read_images

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

# What torchvision's RandAugment does at magnitude 9 of 31.
AT_NINE = {
    "identity": 0,
    "shear_x": 0.09,
    "shear_y": 0.09,
    "translate_x": 0.3 * 150 / 331,
    "translate_y": 0.3 * 150 / 331,
    "rotate": 9,
    "brightness": 1.27,
    "color": 1.27,
    "contrast": 1.27,
    "sharpness": 1.27,
    "posterize": 7,
    "solarize": 179,
    "autocontrast": 0,
    "equalize": 0,
}


def view_of(contestant: str, image_size: int):
    """The view of ours that a contestant makes."""
    from simclr_tf.data.rand_augment import StrongOperations, clsa_operations
    from simclr_tf.data.recipe import torchvision_view

    if contestant == "weak":
        return torchvision_view(image_size)
    if contestant == "strong":
        return torchvision_view(image_size, strong=clsa_operations())
    ranges = tuple((name, value, value) for name, value in AT_NINE.items())
    return torchvision_view(
        image_size,
        antialias=contestant == "antialiased",
        jitter_probability=0.0,
        grayscale_probability=0.0,
        blur_probability=0.0,
        strong=StrongOperations(ranges, draws=2, probability=1.0),
    )


def ours(images: list[bytes], contestant: str, batch_size: int, image_size: int):
    """A data set of batches."""
    import tensorflow as tf

    from simclr_tf.data import pipeline, sources

    source = sources.indexed(tf.constant(images), None)
    return pipeline.training_dataset(
        sources.ImageDataset("benchmark", "train", len(images), None, None, source),
        (view_of(contestant, image_size),) * 2,
        batch_size=batch_size,
        seed=0,
        threads=pipeline.threads_of_this_host(),
    )


def torchvision_batches(images: list[bytes], batch_size: int, image_size: int):
    """Batches of torchvision, in this process."""
    import io

    import numpy as np
    import PIL.Image
    import torch
    from torchvision import transforms

    torch.set_num_threads(1)
    transform = transforms.Compose(
        [
            transforms.RandomResizedCrop(image_size, scale=(0.2, 1.0)),
            transforms.RandomHorizontalFlip(),
            transforms.RandAugment(),
        ]
    )
    position = 0
    while True:
        batch = np.empty((2, batch_size, image_size, image_size, 3), np.float32)
        for i in range(batch_size):
            image = PIL.Image.open(io.BytesIO(images[position % len(images)])).convert("RGB")
            for view in batch:
                view[i] = transform(image)
            position += 1
        batch /= 255
        yield batch


def worker(contestant: str, folder: str, batches: int, python: str | None, **sizes) -> None:
    """Measure one contestant; see side_by_side."""
    if contestant == "torchvision":
        part = -(-batches // os.cpu_count())
        options = json.dumps({"folder": folder, "batches": part} | sizes)
        items = os.cpu_count() * part * sizes["batch_size"]
        side_by_side.serve_processes([python, __file__, f"--torchvision_part={options}"], items)
        return
    dataset = ours(read_images(folder), contestant, **sizes)

    def start():
        # A new iterator every time: one that is kept would prefetch while others are measured.
        iterator = iter(dataset.take(1 + batches))
        next(iterator)
        return iterator

    def work(iterator):
        for _ in iterator:
            pass

    side_by_side.serve(work, batches * sizes["batch_size"], start)


def main() -> None:
    """Compare at one size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", metavar="IMAGES")
    parser.add_argument("--image_size", type=int, default=224)
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--batches", type=int, default=8, help="in each repetition")
    parser.add_argument("--torch_python")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--worker", type=json.loads)
    parser.add_argument("--torchvision_part", type=json.loads)
    arguments = parser.parse_args()
    if arguments.torchvision_part:
        options = arguments.torchvision_part
        images, batches = read_images(options.pop("folder")), options.pop("batches")
        side_by_side.serve_part(torchvision_batches(images, **options), batches)
        return
    if arguments.worker:
        worker(**arguments.worker)
        return
    if not arguments.folder:
        parser.error("name a folder of JPEG files")
    options = {
        "folder": arguments.folder,
        "batch_size": arguments.batch_size,
        "image_size": arguments.image_size,
        "batches": arguments.batches,
        "python": arguments.torch_python,
    }
    contestants = {
        "ours, RandAugment": "antialiased",
        "ours, RandAugment without antialiasing": "aliased",
    }
    if arguments.torch_python:
        contestants = {"torchvision, RandAugment, one process a core": "torchvision"} | contestants
    contestants |= {"ours, strong": "strong", "ours, weak": "weak"}
    print(f"{side_by_side.describe_machine()}\n")
    side_by_side.measure(
        __file__,
        {name: {"contestant": short} | options for name, short in contestants.items()},
        arguments.repetitions,
    )


if __name__ == "__main__":
    main()
