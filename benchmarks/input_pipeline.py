"""From JPEG files to batches of two views: ours, the original, albumentations with OpenCV.

python benchmarks/input_pipeline.py IMAGES --image_size=224 [--batches 8]
    [--original_dir DIR]            the directory tf2/ of google-research/simclr
    [--albumentations_python FILE]  a Python that has albumentations and OpenCV
    [--no_blur]

IMAGES is a folder of JPEG files; at most 2,000 are read, into memory. Albumentations runs in
one process a core; its CPU time is that of all of them.
"""

import argparse
import json
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

JPEG_SUFFIXES = (".jpg", ".jpeg")
MOST_IMAGES = 2000


def read_images(folder: str) -> list[bytes]:
    """The contents of the JPEG files in a folder and those below it."""
    files = sorted(p for p in pathlib.Path(folder).rglob("*") if p.suffix.lower() in JPEG_SUFFIXES)
    if not files:
        raise SystemExit(f"{folder} holds no JPEG files.")
    return [file.read_bytes() for file in files[:: -(-len(files) // MOST_IMAGES)]]


def ours(images: list[bytes], batch_size: int, image_size: int, blur: bool):
    """A data set of batches."""
    import tensorflow as tf

    from simclr_tf.data import pipeline, sources
    from simclr_tf.data.recipe import ViewFlags, adjusted, simclr_recipe

    flags = ViewFlags(image_size, use_blur=blur)
    source = sources.indexed(tf.constant(images), None)
    dataset = sources.ImageDataset("benchmark", "train", len(images), None, None, source)
    return pipeline.training_dataset(
        dataset,
        adjusted(simclr_recipe(flags), flags),
        batch_size=batch_size,
        seed=0,
        threads=pipeline.threads_of_this_host(),
    )


def original(images: list[bytes], batch_size: int, image_size: int, blur: bool, directory: str):
    """A data set of the original's views, and its blur of whole batches."""
    sys.path.insert(0, directory)
    import data_util
    import tensorflow as tf

    def two_views(encoded):
        image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
        image.set_shape((None, None, 3))
        views = [
            data_util.preprocess_image(image, image_size, image_size, True, 1.0) for _ in range(2)
        ]
        return tf.concat(views, -1)

    @tf.function
    def finish(batch):
        views = tf.split(batch, 2, -1)
        return data_util.batch_random_blur(views, image_size, image_size) if blur else views

    options = tf.data.Options()
    options.deterministic = False
    dataset = tf.data.Dataset.from_tensor_slices(images).with_options(options).repeat()
    dataset = dataset.shuffle(len(images)).map(two_views, num_parallel_calls=tf.data.AUTOTUNE)
    return dataset.batch(batch_size, drop_remainder=True).prefetch(tf.data.AUTOTUNE), finish


def decoding(images: list[bytes], batch_size: int):
    """Whole images are decoded, and nothing else is done."""
    import tensorflow as tf

    dataset = tf.data.Dataset.from_tensor_slices(images).repeat()
    return dataset.map(
        lambda encoded: tf.shape(tf.io.decode_jpeg(encoded, channels=3)),
        num_parallel_calls=tf.data.AUTOTUNE,
    ).batch(batch_size)


def albumentations_batches(images: list[bytes], batch_size: int, image_size: int, blur: bool):
    """Batches of albumentations, in this process."""
    import albumentations as A
    import cv2
    import numpy as np

    cv2.setNumThreads(1)
    kernel = max(3, image_size // 10 // 2 * 2 + 1)
    colors = {"brightness": (0.2, 1.8), "contrast": (0.2, 1.8), "saturation": (0.2, 1.8)}
    transforms = [
        A.RandomResizedCrop((image_size, image_size), interpolation=cv2.INTER_CUBIC),
        A.HorizontalFlip(p=0.5),
        A.ColorJitter(**colors, hue=(-0.2, 0.2), p=0.8),
        A.ToGray(p=0.2),
    ]
    if blur:
        transforms.append(
            A.GaussianBlur(blur_limit=(kernel, kernel), sigma_limit=(0.1, 2.0), p=0.5)
        )
    transform = A.Compose(transforms)
    position = 0
    while True:
        batch = np.empty((2, batch_size, image_size, image_size, 3), np.float32)
        for i in range(batch_size):
            encoded = np.frombuffer(images[position % len(images)], np.uint8)
            image = cv2.cvtColor(cv2.imdecode(encoded, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
            for view in batch:
                view[i] = transform(image=image)["image"]
            position += 1
        batch /= 255
        yield batch


def worker(
    contestant: str, batches: int, original_dir: str | None, python: str | None, **arguments
) -> None:
    """Measure one contestant; see side_by_side."""
    import side_by_side

    if contestant == "albumentations":
        cores = os.cpu_count()
        part = -(-batches // cores)
        items = cores * part * arguments["batch_size"]
        options = json.dumps(arguments | {"batches": part})
        side_by_side.serve_processes([python, __file__, f"--albumentations_part={options}"], items)
        return
    images = read_images(arguments.pop("folder"))
    finish = None
    if contestant == "decoding":
        dataset = decoding(images, arguments["batch_size"])
    elif contestant == "original":
        dataset, finish = original(images, **arguments, directory=original_dir)
    else:
        dataset = ours(images, **arguments)

    def start():
        # A new iterator every time: one that is kept would prefetch while others are measured.
        # Training has one for all of its steps, so its start is not measured.
        iterator = iter(dataset.take(1 + batches))
        next(iterator)
        return iterator

    def work(iterator):
        for batch in iterator:
            if finish:
                finish(batch)

    side_by_side.serve(work, batches * arguments["batch_size"], start)


def main() -> None:
    """Compare at one size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", metavar="IMAGES")
    parser.add_argument("--image_size", type=int, default=224)
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--batches", type=int, default=8, help="in each repetition")
    parser.add_argument("--no_blur", action="store_true")
    parser.add_argument("--original_dir")
    parser.add_argument("--albumentations_python")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--worker", type=json.loads)
    parser.add_argument("--albumentations_part", type=json.loads)
    arguments = parser.parse_args()
    if arguments.albumentations_part:
        import side_by_side

        options = arguments.albumentations_part
        images, batches = read_images(options.pop("folder")), options.pop("batches")
        side_by_side.serve_part(albumentations_batches(images, **options), batches)
        return
    if arguments.worker:
        worker(**arguments.worker)
        return
    if not arguments.folder:
        parser.error("name a folder of JPEG files")

    import side_by_side

    options = {
        "folder": arguments.folder,
        "batch_size": arguments.batch_size,
        "image_size": arguments.image_size,
        "blur": not arguments.no_blur,
        "batches": arguments.batches,
        "original_dir": arguments.original_dir,
        "python": arguments.albumentations_python,
    }
    names = ["original"] if arguments.original_dir else []
    names += ["albumentations"] if arguments.albumentations_python else []
    names += ["ours", "decoding"]
    print(f"{side_by_side.describe_machine()}\n")
    contestants = {name: {"contestant": name} | options for name in names}
    side_by_side.measure(__file__, contestants, arguments.repetitions)


if __name__ == "__main__":
    main()
