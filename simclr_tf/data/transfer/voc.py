"""Reader of Pascal VOC 2007, in which an image shows objects of several classes."""

import pathlib
from xml.etree import ElementTree

import numpy as np

from simclr_tf.data.transfer.listing import Listing, image_files
from simclr_tf.data.transfer.official_files import OfficialFiles
from simclr_tf.data.transfer.official_text import official, read_lines, read_text

CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)  # fmt: skip


def voc2007(files: OfficialFiles) -> Listing:
    """VOC 2007: ImageSets/Main/SPLIT.txt list the images, Annotations/ID.xml what they show."""
    parts = {}
    for split, file in (("train", "train"), ("validation", "val"), ("test", "test")):
        listed = files.find(
            f"VOCdevkit/VOC2007/ImageSets/Main/{file}.txt", f"VOC2007/ImageSets/Main/{file}.txt"
        )
        year, keys = listed.parents[2], read_lines(listed)
        labels = [classes_of(year / "Annotations" / f"{key}.xml") for key in keys]
        parts[split] = image_files(year / "JPEGImages", keys, labels, ".jpg")
    return Listing(CLASSES, parts)


def classes_of(annotation: pathlib.Path) -> np.ndarray:
    """Which classes an image shows, (20,) int64: 1 it does, 0 it does not.

    -1 where all objects of the class are marked as difficult: by the rules of VOC the image
    counts neither for nor against that class.

    Raises:
      UserError: the file cannot be read, or is no annotation of VOC.
    """
    labels = np.zeros(len(CLASSES), np.int64)
    text = read_text(annotation)
    with official(annotation):
        if "<!DOCTYPE" in text:  # entities, which could be made to grow without end
            raise ValueError("it declares a document type")
        for element in ElementTree.fromstring(text).iter("object"):
            label = CLASSES.index(element.findtext("name"))
            difficult = element.findtext("difficult", "0").strip() == "1"
            labels[label] = -1 if difficult and labels[label] != 1 else 1
    return labels
