"""Training input from photographs of 12 megapixels and from what they are packed into.

python benchmarks/packed.py IMAGES FOLDER [--photographs 64] [--image_size=224]
    [--shorter_sides 512 256]

IMAGES is a folder of JPEG files, of which some are enlarged to 4000 x 3000 pixels and stored with
quality 90 in FOLDER/photographs, and packed into FOLDER/packed_512 and so on, unless they are
there. Enlarged photographs are smoother than those of a camera and take less time to decode. Two
tables come out: batches of two views from the files, with --reduced_decoding and without, and from
the packed data; and decoding all files on all cores beside packing them.
"""

import argparse
import pathlib
import sys
import tempfile

import side_by_side
from input_pipeline import read_images

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

HEIGHT, WIDTH, QUALITY = 3000, 4000, 90


def enlarge(images: list[bytes], folder: pathlib.Path) -> None:
    """Write photographs of 12 megapixels."""
    import tensorflow as tf

    folder.mkdir(parents=True, exist_ok=True)
    for i, encoded in enumerate(images):
        image = tf.io.decode_jpeg(encoded, channels=3)
        image = tf.image.resize(image, (HEIGHT, WIDTH), "bicubic")
        image = tf.cast(tf.clip_by_value(tf.round(image), 0, 255), tf.uint8)
        encoded = tf.io.encode_jpeg(image, quality=QUALITY).numpy()
        (folder / f"{i:04d}.jpg").write_bytes(encoded)


def batches_from(folder: pathlib.Path, contestant: str, batch_size: int, image_size: int):
    """A data set of batches of two views with blur."""
    from simclr_tf.data import datasets, pipeline
    from simclr_tf.data.recipe import ViewFlags, adjusted, simclr_recipe

    if contestant.startswith("packed"):
        images = datasets.load(str(folder / contestant), "train")
    else:
        images = datasets.load(
            "image_folder", "train", data_dir=str(folder / "photographs"), known_bad=()
        )
    flags = ViewFlags(image_size)
    return pipeline.training_dataset(
        images,
        adjusted(simclr_recipe(flags), flags),
        batch_size=batch_size,
        seed=0,
        threads=pipeline.threads_of_this_host(),
        reduced_decoding=contestant == "files, reduced",
    )


def decode_all(photographs: pathlib.Path) -> None:
    """Read and decode all files on all cores, and do nothing else."""
    import tensorflow as tf

    paths = sorted(str(path) for path in photographs.iterdir())
    sizes = tf.data.Dataset.from_tensor_slices(paths).map(
        lambda path: tf.size(tf.io.decode_jpeg(tf.io.read_file(path), channels=3)),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    for _ in sizes:
        pass


def pack_all(photographs: pathlib.Path, shorter_side: int | None) -> None:
    """Pack all files, to nowhere."""
    from simclr_tf.data.packing import pack

    with tempfile.TemporaryDirectory(dir=photographs.parent) as directory:
        pack(str(photographs), f"{directory}/packed", shorter_side=shorter_side)


def worker(contestant: str, folder: str, batch_size: int, batches: int, image_size: int) -> None:
    """Measure one contestant; see side_by_side."""
    folder = pathlib.Path(folder)
    photographs = folder / "photographs"
    count = len(list(photographs.iterdir()))
    if contestant == "decoding":
        side_by_side.serve(lambda: decode_all(photographs), count)
        return
    if contestant.startswith("packing"):
        side = contestant.rpartition("_")[2]
        side = None if side == "whole" else int(side)
        side_by_side.serve(lambda: pack_all(photographs, side), count)
        return
    dataset = batches_from(folder, contestant, batch_size, image_size)

    def start():
        iterator = iter(dataset.take(1 + batches))
        next(iterator)
        return iterator

    def work(iterator):
        for _ in iterator:
            pass

    side_by_side.serve(work, batches * batch_size, start)


def main() -> None:
    """Make the photographs, and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", nargs="?", metavar="IMAGES")
    parser.add_argument("folder", nargs="?", metavar="FOLDER")
    parser.add_argument("--photographs", type=int, default=64)
    parser.add_argument("--image_size", type=int, default=224)
    parser.add_argument("--shorter_sides", type=int, nargs="+", default=[512, 256])
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--batches", type=int, default=4, help="in each repetition")
    arguments = side_by_side.parse(parser, worker)
    if not arguments.folder:
        parser.error("name a folder of JPEG files, and one to work in")
    folder = pathlib.Path(arguments.folder)
    photographs = folder / "photographs"
    if not photographs.exists():
        unfinished = folder / "photographs.part"
        enlarge(read_images(arguments.images)[: arguments.photographs], unfinished)
        unfinished.rename(photographs)
    for side in arguments.shorter_sides:
        if not (folder / f"packed_{side}").exists():
            from simclr_tf.data.packing import pack

            pack(str(photographs), str(folder / f"packed_{side}"), shorter_side=side)
    options = {
        "folder": str(folder),
        "batch_size": arguments.batch_size,
        "batches": arguments.batches,
        "image_size": arguments.image_size,
    }
    inputs = ["files", "files, reduced", *(f"packed_{side}" for side in arguments.shorter_sides)]
    packings = [f"packing_{side}" for side in (*arguments.shorter_sides, "whole")]
    for names in (inputs, ["decoding", *packings]):
        print()
        contestants = {name: {"contestant": name} | options for name in names}
        side_by_side.measure(__file__, contestants, arguments.repetitions)


if __name__ == "__main__":
    main()
