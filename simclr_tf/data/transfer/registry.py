"""The 12 data sets: sizes, metrics, splits and sources (SimCLR appendix B.8).

The paper gives no sizes; these are those of table 10 of BYOL (arXiv 2006.07733), which follows
the same protocol (Kornblith et al., arXiv 1805.08974, table 1).
"""

import dataclasses
from collections.abc import Callable

from simclr_tf.data.transfer import caltech, cifar, matlab, split_lists, voc
from simclr_tf.data.transfer.listing import Listing
from simclr_tf.data.transfer.official_files import Download, OfficialFiles

TOP_1 = "top_1"
MEAN_PER_CLASS = "mean_per_class"
MEAN_AVERAGE_PRECISION = "11_point_map"


@dataclasses.dataclass(frozen=True)
class TransferSet:
    """One of the data sets.

    Attributes:
      title: its name in tables.
      num_classes: number of classes.
      train, validation, test: expected numbers of images.
      metric: what is reported: TOP_1, MEAN_PER_CLASS or MEAN_AVERAGE_PRECISION.
      read: finds the images and labels in the official files.
      downloads: the official files.
      official_validation: whether the authors chose the validation images. Otherwise they are
        held out from those for training, by a seed.
      tfds: the name in TensorFlow Datasets; two names are of `builders`.
      tfds_test: what the split `test` is called there.
      lacks_images: whether some of the images are no longer to be had, so that others have fewer.
      banner: height in pixels of what is cut off at the lower edge of each image.
    """

    title: str
    num_classes: int
    train: int
    validation: int
    test: int
    metric: str
    read: Callable[[OfficialFiles], Listing]
    downloads: tuple[Download, ...]
    tfds: str
    official_validation: bool = False
    banner: int = 0
    tfds_test: str = "test"
    lacks_images: bool = False


_TORONTO = "https://www.cs.toronto.edu/~kriz/"
_OXFORD = "https://www.robots.ox.ac.uk/~vgg/data/"
_SUN = "https://vision.princeton.edu/projects/2010/SUN/"
_VOC = "http://host.robots.ox.ac.uk/pascal/VOC/voc2007/"
_CARS = "https://ai.stanford.edu/~jkrause/"


def _download(folder: str, file: str, md5: str | None = None) -> Download:
    return Download(file, folder + file, md5)


# In the order of the paper's tables.
REGISTRY = {
    "food101": TransferSet(
        "Food-101", 101, 68_175, 7_575, 25_250, TOP_1, split_lists.food101,
        (_download("http://data.vision.ee.ethz.ch/cvl/", "food-101.tar.gz",
                   "85eeb15f3717b99a5da872d97d918f87"),),
        tfds="food101",
        tfds_test="validation",
    ),
    "cifar10": TransferSet(
        "CIFAR-10", 10, 45_000, 5_000, 10_000, TOP_1, cifar.cifar10,
        (_download(_TORONTO, "cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a"),),
        tfds="cifar10",
    ),
    "cifar100": TransferSet(
        "CIFAR-100", 100, 44_933, 5_067, 10_000, TOP_1, cifar.cifar100,
        (_download(_TORONTO, "cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85"),),
        tfds="cifar100",
    ),
    "birdsnap": TransferSet(
        "Birdsnap", 500, 42_405, 4_981, 2_443, TOP_1, split_lists.birdsnap,
        (_download("http://thomasberg.org/datasets/birdsnap/1.1/", "birdsnap.tgz"),),
        tfds="birdsnap",
        lacks_images=True,
    ),
    "sun397": TransferSet(
        "SUN397", 397, 15_880, 3_970, 19_850, TOP_1, split_lists.sun397,
        (_download(_SUN, "SUN397.tar.gz", "8ca2778205c41d23104230ba66911c7a"),
         _download(_SUN + "download/", "Partitions.zip")),
        tfds="sun397/standard-part1-120k",
    ),
    "cars": TransferSet(
        "Cars", 196, 6_494, 1_650, 8_041, TOP_1, matlab.cars,
        (_download(_CARS + "car196/", "cars_train.tgz", "065e5b463ae28d29e77c1b4b166cfe61"),
         _download(_CARS + "car196/", "cars_test.tgz", "4ce7ebf6a94d07f1952d94dd34c4d501"),
         _download(_CARS + "cars/", "car_devkit.tgz", "c3b158d763b6e2245038c8ad08e45376"),
         _download(_CARS + "car196/", "cars_test_annos_withlabels.mat",
                   "b0a2b23655a3edd16d84508592a98d10")),
        tfds="cars196",
    ),
    "aircraft": TransferSet(
        "Aircraft", 100, 3_334, 3_333, 3_333, MEAN_PER_CLASS, split_lists.aircraft,
        (_download(_OXFORD + "fgvc-aircraft/archives/", "fgvc-aircraft-2013b.tar.gz",
                   "d4acdd33327262359767eeaa97a4f732"),),
        official_validation=True,
        tfds="fgvc_aircraft",
        banner=20,
    ),
    "voc2007": TransferSet(
        "VOC2007", 20, 2_501, 2_510, 4_952, MEAN_AVERAGE_PRECISION, voc.voc2007,
        (_download(_VOC, "VOCtrainval_06-Nov-2007.tar", "c52e279531787c972589f7e41ab4ae64"),
         _download(_VOC, "VOCtest_06-Nov-2007.tar", "b6e924de25625d8de591ea690078ad9f")),
        official_validation=True,
        tfds="voc/2007",
    ),
    "dtd": TransferSet(
        "DTD", 47, 1_880, 1_880, 1_880, TOP_1, split_lists.dtd,
        (_download(_OXFORD + "dtd/download/", "dtd-r1.0.1.tar.gz",
                   "fff73e5086ae6bdbea199a49dfb8a4c1"),),
        official_validation=True,
        tfds="dtd",
    ),
    "pets": TransferSet(
        "Pets", 37, 2_940, 740, 3_669, MEAN_PER_CLASS, split_lists.pets,
        (_download(_OXFORD + "pets/data/", "images.tar.gz", "5c4f3ee8e5d25df40f4fd59a7f44e54c"),
         _download(_OXFORD + "pets/data/", "annotations.tar.gz",
                   "95a8c909bbe2e81eed6a22bccdf3f68f")),
        tfds="oxford_iiit_pet",
    ),
    "caltech101": TransferSet(
        "Caltech-101", 102, 2_550, 510, 6_084, MEAN_PER_CLASS, caltech.caltech101,
        (_download("https://data.caltech.edu/records/mzrjq-6wc02/files/", "caltech-101.zip",
                   "3138e1922a9193bfa496528edbbc45d0"),
         _download("http://www.vision.caltech.edu/Image_Datasets/Caltech101/",
                   "101_ObjectCategories.tar.gz", "b224c7392d521a49829488ab0f1120d9")),
        tfds="caltech101",
    ),
    "flowers": TransferSet(
        "Flowers", 102, 1_020, 1_020, 6_149, MEAN_PER_CLASS, matlab.flowers,
        (_download(_OXFORD + "flowers/102/", "102flowers.tgz", "52808999861908f626f3c1f4e79d11fa"),
         _download(_OXFORD + "flowers/102/", "imagelabels.mat", "e0620be6f572b9609742df49c70aed4d"),
         _download(_OXFORD + "flowers/102/", "setid.mat", "a5357ecc9cb78c4bef273ce3793fc85c")),
        official_validation=True,
        tfds="oxford_flowers102",
    ),
}  # fmt: skip
