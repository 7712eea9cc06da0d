"""Reader of Caltech-101: one folder of images for each class."""

import numpy as np

from simclr_tf.data.holdout import hashes, lowest_of_each_class
from simclr_tf.data.transfer.listing import Listing, image_files
from simclr_tf.data.transfer.official_files import OfficialFiles

TRAINING_IMAGES = 30  # of every class; the others are for testing
_SEED = 0  # of that choice, which is part of what the data set is


def caltech101(files: OfficialFiles) -> Listing:
    """Caltech-101: 101_ObjectCategories/CLASS/image_NUMBER.jpg, the background class included.

    There is no official split: 30 random images of each class are for training.
    """
    folder = files.find("101_ObjectCategories")
    found = sorted(folder.glob("*/*.jpg"))
    keys = np.array([path.relative_to(folder).as_posix() for path in found])
    names, labels = np.unique([path.parent.name for path in found], return_inverse=True)
    everything = image_files(folder, keys, labels)
    counts = np.full(len(names), TRAINING_IMAGES)
    training = lowest_of_each_class(hashes(keys, _SEED), labels, counts)
    parts = {"train": everything.take(training), "test": everything.take(~training)}
    return Listing(tuple(names.tolist()), parts)
