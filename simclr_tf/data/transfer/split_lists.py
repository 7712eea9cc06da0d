"""Readers of data sets whose splits are text files that list images."""

import csv
import io
import os

import numpy as np
from absl import logging

from simclr_tf.data.transfer.listing import Examples, Listing, image_files
from simclr_tf.data.transfer.official_files import OfficialFiles
from simclr_tf.data.transfer.official_text import official, read_lines, read_rows, read_text
from simclr_tf.errors import UserError


def food101(files: OfficialFiles) -> Listing:
    """Food-101: meta/train.txt and test.txt list CLASS/ID; the images are images/CLASS/ID.jpg."""
    meta, images = files.find("food-101/meta"), files.find("food-101/images")
    parts = {split: read_lines(meta / f"{split}.txt") for split in ("train", "test")}
    return _by_folder(images, parts, ending=".jpg")


def dtd(files: OfficialFiles) -> Listing:
    """DTD: the first published split, labels/train1.txt, val1.txt and test1.txt."""
    labels, images = files.find("dtd/labels"), files.find("dtd/images")
    names = {"train": "train1", "validation": "val1", "test": "test1"}
    return _by_folder(images, {k: read_lines(labels / f"{v}.txt") for k, v in names.items()})


def sun397(files: OfficialFiles) -> Listing:
    """SUN397: the first published split; classes and images are listed as /a/abbey/ID.jpg."""
    partitions = files.find("Partitions/Training_01.txt").parent
    first = read_lines(partitions / "Training_01.txt")[0]
    images = files.find(f"SUN397/{first.strip('/')}").parents[first.strip("/").count("/")]
    names = [line.strip("/") for line in read_lines(partitions / "ClassName.txt")]
    parts = {
        split: [line.strip("/") for line in read_lines(partitions / f"{file}_01.txt")]
        for split, file in (("train", "Training"), ("test", "Testing"))
    }
    return _by_folder(images, parts, names=names)


def pets(files: OfficialFiles) -> Listing:
    """Oxford-IIIT Pets: annotations/trainval.txt and test.txt, lines of IMAGE CLASS SPECIES BREED.

    The images are images/BREED_NUMBER.jpg; the classes are counted from 1.
    """
    annotations, images = files.find("annotations/trainval.txt").parent, files.find("images")
    parts, names = {}, {}
    for split, file in (("train", "trainval"), ("test", "test")):
        path = annotations / f"{file}.txt"
        rows = read_rows(path, columns=4)
        with official(path):
            labels = [int(row[1]) - 1 for row in rows]
        keys = [row[0] for row in rows]
        names |= {label: key.rpartition("_")[0] for key, label in zip(keys, labels)}
        parts[split] = image_files(images, keys, labels, ".jpg")
    if sorted(names) != list(range(len(names))):
        raise UserError(
            f"The classes in {annotations}/trainval.txt and test.txt are not numbered from 1 to "
            f"{len(names)}, which is how many there are. Get the official files again."
        )
    return Listing(tuple(names[label] for label in sorted(names)), parts)


def aircraft(files: OfficialFiles) -> Listing:
    """FGVC Aircraft, by variants: data/images_variant_SPLIT.txt has lines of IMAGE VARIANT."""
    data = files.find("fgvc-aircraft-2013b/data")
    names = read_lines(data / "variants.txt")
    parts = {}
    for split, file in (("train", "train"), ("validation", "val"), ("test", "test")):
        path = data / f"images_variant_{file}.txt"
        rows = read_rows(path, columns=2)
        with official(path):
            labels = [names.index(name) for _, name in rows]
        parts[split] = image_files(data / "images", [key for key, _ in rows], labels, ".jpg")
    return Listing(tuple(names), parts)


def birdsnap(files: OfficialFiles) -> Listing:
    """Birdsnap: tables images.txt and species.txt; the images in test_images.txt are for testing.

    The archive holds no images: its get_birdsnap.py downloads them to download/images, and many
    are gone. Those that are missing are named in `Examples.missing`.
    """
    tables = files.find("birdsnap/images.txt").parent
    images = files.find("birdsnap/download/images", "download/images")
    path = tables / "species.txt"
    with official(path):
        species = sorted(_table(path, "id", "common"), key=lambda row: int(row["id"]))
    label_of = {row["id"]: label for label, row in enumerate(species)}
    for_testing = {row["path"] for row in _table(tables / "test_images.txt", "path")}
    path = tables / "images.txt"
    rows = _table(path, "path", "species_id")
    with official(path):
        labels = {row["path"]: label_of[row["species_id"]] for row in rows}
    parts = {}
    for split in ("train", "test"):
        listed = [row for row in rows if (row["path"] in for_testing) == (split == "test")]
        here = [row for row in listed if os.path.isfile(images / row["path"])]
        missing = tuple(sorted({r["path"] for r in listed} - {r["path"] for r in here}))
        if missing:
            logging.warning(
                "%d of Birdsnap's %d images for %s are missing in %s, the first is %s; results are "
                "not comparable with those on all of them.",
                len(missing), len(listed), split, images, missing[0],
            )  # fmt: skip
        keys = [row["path"] for row in here]
        found = image_files(images, keys, [labels[key] for key in keys])
        parts[split] = Examples(found.keys, found.labels, found.images, missing)
    return Listing(tuple(row["common"] for row in species), parts)


def _table(path: os.PathLike, *columns: str) -> list[dict[str, str]]:
    """The rows of a table with tabs between its columns and their names in the first line."""
    lines = io.StringIO(read_text(path), newline="")
    with official(path):
        rows = list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
        for row in rows:
            for name in columns:
                if row[name] is None:
                    raise ValueError(f"a row has no {name}")
    return rows


def _by_folder(images, parts, *, ending="", names=None) -> Listing:
    """Examples whose class is the folder that their key lies in."""
    if names is None:
        names = np.unique([os.path.dirname(key) for key in parts["train"]]).tolist()
    label_of = {name: label for label, name in enumerate(names)}
    for split, keys in parts.items():
        for key in keys:
            if os.path.dirname(key) not in label_of:
                raise UserError(
                    f"The official lists name {key} for {split}, in a folder of {images} that is "
                    "no class. Get them again."
                )
    return Listing(
        tuple(names),
        {
            split: image_files(images, keys, [label_of[os.path.dirname(k)] for k in keys], ending)
            for split, keys in parts.items()
        },
    )
