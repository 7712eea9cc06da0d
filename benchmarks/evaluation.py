"""Features of a data set and kNN, beside the network's forward pass alone.

python benchmarks/evaluation.py IMAGES [--depth 18] [--image_size 32] [--images 2000]

IMAGES is a folder of JPEG files. All rows are about the same number of images: the forward pass has
them in memory, ready; the features are computed from files, decoded and resized; kNN looks for the
nearest of 50,000 features.
"""

import argparse
import pathlib
import sys

import side_by_side

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

BATCH = 256
BANK = 50_000
CLASSES = 10


def worker(contestant: str, folder: str, depth: int, image_size: int, images: int) -> None:
    """Measure one contestant; see side_by_side."""
    import numpy as np
    import tensorflow as tf

    if contestant == "kNN":
        from simclr_tf.evaluation.knn import knn_predict

        rng = np.random.default_rng(0)
        width = 512 if depth < 50 else 2048
        bank = rng.normal(size=(BANK, width)).astype(np.float32)
        labels = rng.integers(0, CLASSES, BANK)
        queries = rng.normal(size=(images, width)).astype(np.float32)
        side_by_side.serve(lambda: knn_predict(bank, labels, queries, num_classes=CLASSES), images)
        return

    from simclr_tf.models import Architecture, Network

    network = Network(Architecture(resnet_depth=depth, cifar_stem=image_size <= 32))
    if contestant == "forward pass":
        shown = tf.random.stateless_uniform([BATCH, image_size, image_size, 3], seed=[0, 0])

        def work():
            for _ in range(images // BATCH):
                network.features(shown).numpy()

    else:
        import input_pipeline

        from simclr_tf.data import pipeline, sources
        from simclr_tf.evaluation.features import extract_features

        files = input_pipeline.read_images(folder)
        files = [files[i % len(files)] for i in range(images // BATCH * BATCH)]
        source = sources.indexed(tf.constant(files), None)
        dataset = sources.ImageDataset("benchmark", "train", len(files), None, None, source)

        def work():
            batches = pipeline.evaluation_dataset(dataset, batch_size=BATCH, image_size=image_size)
            extract_features(network, batches)

    side_by_side.serve(work, images // BATCH * BATCH)


def main() -> None:
    """Compare the contestants."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", metavar="IMAGES")
    parser.add_argument("--depth", type=int, default=18)
    parser.add_argument("--image_size", type=int, default=32)
    parser.add_argument("--images", type=int, default=2048)
    arguments = side_by_side.parse(parser, worker)
    if not arguments.folder or arguments.images < BATCH:
        parser.error(f"name a folder of JPEG files, and at least {BATCH} images")
    names = ("folder", "depth", "image_size", "images")
    options = {name: getattr(arguments, name) for name in names}
    print(f"\nResNet-{arguments.depth}, {arguments.image_size} px, {arguments.images} images\n")
    contestants = {
        name: {"contestant": name} | options for name in ("forward pass", "features", "kNN")
    }
    side_by_side.measure(__file__, contestants, arguments.repetitions)


if __name__ == "__main__":
    main()
