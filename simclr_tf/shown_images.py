"""The flags of programs that show images to a trained network, and opening those images."""

import dataclasses
from collections.abc import Sequence

from simclr_tf.data.sources import ImageDataset
from simclr_tf.evaluation.trained import Trained
from simclr_tf.flag import LARGEST_SEED, flag


@dataclasses.dataclass(frozen=True)
class ShownImages:
    """Which images are shown, and how."""

    dataset: str = flag(
        "image_folder",
        "Name of the data set: a TensorFlow Datasets name, a directory with a data set of it, "
        "`digits`, or `image_folder`.",
    )
    data_dir: str | None = flag(
        None, "The image folder, or where TensorFlow Datasets keeps its files."
    )
    split: str = flag("train", "Split; `all` is the whole of an image folder without splits.")
    holdout_fraction: float | None = flag(
        None,
        "Share that is held out of an image folder without splits; by default that of SOURCE, or "
        "0.1.",
        above=0,
        below=1,
    )
    split_seed: int | None = flag(
        None,
        "Seed of what is held out; by default that of SOURCE, or 0.",
        at_least=0,
        at_most=LARGEST_SEED,
    )
    labels: str | None = flag(
        None,
        "Where the labels of an image folder come from: `folders`, `none`, or a CSV file with a "
        "line FILE,CLASS for each image; by default those of SOURCE, where it was trained on this "
        "folder, or folders.",
    )
    image_size: int = flag(
        0,
        "Height and width of the images that the network is shown. 0 is what SOURCE was trained "
        "on, or where it does not say, 32 with the CIFAR stem and else 224.",
        at_least=0,
        at_most=8192,
    )
    batch_size: int = flag(256, "Images at a time.", at_least=1, at_most=2**24)
    max_bad_images: int = flag(
        100,
        "How many files that cannot be decoded are left out before the program stops.",
        at_least=0,
    )


def open_images(
    trained: Trained, flags: ShownImages, known_bad: Sequence[str] | None = None
) -> ImageDataset:
    """Open the images, divided and read as the network's run did.

    Args:
      trained: the network.
      flags: which images.
      known_bad: see `datasets.load`.

    Raises:
      UserError: the flags contradict the run, or the data cannot be opened.
    """
    return trained.dataset(
        flags.split,
        flags.dataset,
        flags.data_dir,
        holdout_fraction=flags.holdout_fraction,
        split_seed=flags.split_seed,
        labels=flags.labels,
        max_bad_images=flags.max_bad_images,
        known_bad=known_bad,
    )
