"""Tiny versions of the 12 transfer data sets, in the layouts and formats of the official archives.

Every image has one grey value, by which a test knows it again.
"""

import dataclasses
import io
import pickle
import tarfile
import zipfile

import numpy as np
import tensorflow as tf
from scipy.io import savemat

from simclr_tf.data.decode import decode_image
from simclr_tf.data.transfer.registry import REGISTRY


@dataclasses.dataclass
class Made:
    """What was written: {value of the image: its label or labels} for each official part."""

    class_names: tuple
    train: dict
    test: dict
    validation: dict | None = None


def jpeg(value, size=(30, 8)):
    """A JPEG whose pixels all have one value."""
    return tf.io.encode_jpeg(np.full((*size, 3), value, np.uint8), quality=100).numpy()


def tar(path, files):
    """Write a tar archive, compressed if its name says so, with {name: contents}."""
    mode = "w" if path.name.endswith(".tar") else "w:gz"
    with tarfile.open(path, mode) as archive:
        for name, contents in files.items():
            member = tarfile.TarInfo(name)
            contents = contents.encode() if isinstance(contents, str) else contents
            member.size = len(contents)
            archive.addfile(member, io.BytesIO(contents))


def zipped(path, files):
    """Write a zip archive with {name: contents}."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, contents in files.items():
            archive.writestr(name, contents)


def lines(rows):
    """A text file of these lines."""
    return "".join(f"{row}\n" for row in rows)


def matlab(**variables):
    """The contents of a .mat file."""
    buffer = io.BytesIO()
    savemat(buffer, variables)
    return buffer.getvalue()


def numbered(labels, first):
    """{value: label} with values counted from `first`."""
    return {first + i: label for i, label in enumerate(labels)}


def food101(folder):
    """food-101.tar.gz."""
    made = Made(("apple_pie", "sushi"), numbered([1] * 10 + [0] * 10, 0), numbered([0, 1], 50))
    keys = {v: f"{made.class_names[c]}/10{v:02d}" for v, c in (made.train | made.test).items()}
    files = {f"food-101/images/{key}.jpg": jpeg(v) for v, key in keys.items()}
    files["food-101/meta/classes.txt"] = lines(made.class_names)
    files["food-101/meta/train.txt"] = lines(keys[v] for v in made.train)
    files["food-101/meta/test.txt"] = lines(keys[v] for v in made.test)
    tar(folder / "food-101.tar.gz", files)
    return made


class Python2Pickler(pickle._Pickler):
    """Pickles as Python 2 did, with byte strings for str: the official files are from then."""

    dispatch = dict(pickle._Pickler.dispatch)

    def save_string(self, value):
        value = value.encode("latin1") if isinstance(value, str) else value
        self.write(pickle.BINSTRING + len(value).to_bytes(4, "little") + value)
        self.memoize(value)

    dispatch[bytes] = dispatch[str] = save_string


def python2_pickle(value):
    """The bytes of a pickle of protocol 2 as Python 2 and NumPy 1 wrote them."""
    buffer = io.BytesIO()
    Python2Pickler(buffer, protocol=2).dump(value)
    return buffer.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")


def flat_images(values):
    """(n, 3072) uint8: red is the value, green one more, blue two more."""
    planes = np.repeat(np.array(values, np.uint8)[:, None] + np.arange(3, dtype=np.uint8), 1024, 1)
    return planes.reshape(len(values), 3072)


def cifar10(folder):
    """cifar-10-python.tar.gz."""
    names = ("airplane", "automobile", "bird")
    made = Made(names, numbered([0, 1, 2] * 10, 0), numbered([2, 1], 60))
    batches = {
        f"data_batch_{i + 1}": dict(list(made.train.items())[6 * i : 6 * i + 6]) for i in range(5)
    }
    batches["test_batch"] = made.test
    files = {
        f"cifar-10-batches-py/{name}": python2_pickle(
            {
                "batch_label": name,
                "labels": list(batch.values()),
                "data": flat_images(list(batch)),
                "filenames": [f"{v}.png" for v in batch],
            }
        )
        for name, batch in batches.items()
    }
    files["cifar-10-batches-py/batches.meta"] = python2_pickle(
        {"num_cases_per_batch": 6, "label_names": list(names), "num_vis": 3072}
    )
    tar(folder / "cifar-10-python.tar.gz", files)
    return made


def cifar100(folder):
    """cifar-100-python.tar.gz."""
    names = ("apple", "bee")
    made = Made(names, numbered([0, 1] * 10, 0), numbered([1, 0], 60))
    files = {
        f"cifar-100-python/{split}": python2_pickle(
            {
                "batch_label": split,
                "fine_labels": list(images.values()),
                "coarse_labels": [0] * len(images),
                "data": flat_images(list(images)),
                "filenames": [f"{v}.png" for v in images],
            }
        )
        for split, images in (("train", made.train), ("test", made.test))
    }
    files["cifar-100-python/meta"] = python2_pickle(
        {"fine_label_names": list(names), "coarse_label_names": ["things"]}
    )
    tar(folder / "cifar-100-python.tar.gz", files)
    return made


def birdsnap(folder, gone=()):
    """birdsnap.tgz, and download/images as its script makes it, without the values in `gone`."""
    names = ("Acadian Flycatcher", "Blue Jay")
    made = Made(names, numbered([0, 1] * 10, 0), numbered([1, 0], 60))
    everything = made.train | made.test
    paths = {v: f"{names[c].replace(' ', '_')}/{900 + v}.jpg" for v, c in everything.items()}
    images = ["url\tmd5\tpath\tspecies_id\tbb_x1\tbb_y1\tbb_x2\tbb_y2"]
    images += [f"http://x/{v}\t0\t{paths[v]}\t{c + 1}\t1\t2\t3\t4" for v, c in everything.items()]
    species = ["id\tcommon\tscientific\tdir"]
    species += [f"{i + 1}\t{n}\tAvis avis\t{n.replace(' ', '_')}" for i, n in enumerate(names)]
    files = {
        "birdsnap/images.txt": lines(images),
        "birdsnap/species.txt": lines(species),
        "birdsnap/test_images.txt": lines(["path", *(paths[v] for v in made.test)]),
    }
    tar(folder / "birdsnap.tgz", files)
    for value, path in paths.items():
        target = folder / "download/images" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if value not in gone:
            target.write_bytes(jpeg(value))
    return made


def sun397(folder):
    """SUN397.tar.gz and Partitions.zip; one class lies deeper than the other."""
    names = ("a/abbey", "a/apartment_building/outdoor")
    made = Made(names, numbered([0, 1] * 10, 0), numbered([0, 1], 60))
    keys = {v: f"/{names[c]}/sun_{v:03d}.jpg" for v, c in (made.train | made.test).items()}
    tar(folder / "SUN397.tar.gz", {f"SUN397{key}": jpeg(v) for v, key in keys.items()})
    partitions = {
        "ClassName.txt": lines(f"/{name}" for name in names),
        "Training_01.txt": lines(keys[v] for v in made.train),
        "Testing_01.txt": lines(keys[v] for v in made.test),
        "Training_02.txt": lines(keys[v] for v in made.test),
    }
    zipped(folder / "Partitions.zip", partitions)
    return made


def cars(folder):
    """cars_train.tgz, cars_test.tgz, car_devkit.tgz and cars_test_annos_withlabels.mat."""
    names = ("AM General Hummer SUV 2000", "Acura RL Sedan 2012")
    made = Made(names, numbered([0, 1] * 10, 0), numbered([1, 0], 60))

    def annotations(images):
        fields = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname")
        rows = np.zeros((1, len(images)), dtype=[(field, object) for field in fields])
        for i, label in enumerate(images.values()):
            rows[0, i] = (39, 116, 569, 375, label + 1, f"{i + 1:05d}.jpg")
        return matlab(annotations=rows)

    for split, images in (("train", made.train), ("test", made.test)):
        files = {f"cars_{split}/{i + 1:05d}.jpg": jpeg(v) for i, v in enumerate(images)}
        tar(folder / f"cars_{split}.tgz", files)
    class_names = np.array([list(names)], dtype=object)
    devkit = {
        "devkit/cars_meta.mat": matlab(class_names=class_names),
        "devkit/cars_train_annos.mat": annotations(made.train),
    }
    tar(folder / "car_devkit.tgz", devkit)
    (folder / "cars_test_annos_withlabels.mat").write_bytes(annotations(made.test))
    return made


def aircraft(folder):
    """fgvc-aircraft-2013b.tar.gz; the lowest 20 rows of each image are a white banner."""
    names = ("707-320", "Boeing 717")
    made = Made(names, numbered([0, 1], 0), numbered([1, 0], 60), numbered([1, 1, 0], 30))
    splits = {"train": made.train, "val": made.validation, "test": made.test}
    files = {"fgvc-aircraft-2013b/data/variants.txt": lines(names)}
    for split, images in splits.items():
        rows = [f"{1000 + v} {names[label]}" for v, label in images.items()]
        files[f"fgvc-aircraft-2013b/data/images_variant_{split}.txt"] = lines(rows)
        for value in images:
            pixels = np.full((52, 8, 3), value, np.uint8)
            pixels[32:] = 255
            name = f"fgvc-aircraft-2013b/data/images/{1000 + value}.jpg"
            files[name] = tf.io.encode_jpeg(pixels, quality=100, chroma_downsampling=False).numpy()
    tar(folder / "fgvc-aircraft-2013b.tar.gz", files)
    return made


def voc2007(folder):
    """VOCtrainval_06-Nov-2007.tar and VOCtest_06-Nov-2007.tar."""
    from simclr_tf.data.transfer.voc import CLASSES

    # (class, difficult) of the objects in each image
    shown = {
        "train": {0: [("dog", 0), ("cat", 1)], 1: [("train", 0), ("train", 1)]},
        "val": {20: [("person", 1), ("person", 0), ("sofa", 0)]},
        "test": {40: [("aeroplane", 0)], 41: [("tvmonitor", 1)]},
    }

    def annotation(objects):
        parts = [
            f"<object><name>{name}</name><pose>Left</pose><truncated>1</truncated>"
            f"<difficult>{difficult}</difficult><bndbox><xmin>1</xmin></bndbox>"
            "<part><name>head</name></part></object>"
            for name, difficult in objects
        ]
        return f"<annotation><folder>VOC2007</folder>{''.join(parts)}</annotation>"

    def labels(objects):
        row = [0] * 20
        for name, difficult in objects:
            at = CLASSES.index(name)
            row[at] = 1 if not difficult or row[at] == 1 else -1
        return tuple(row)

    base = "VOCdevkit/VOC2007"
    for archive, splits in (("VOCtrainval", ("train", "val")), ("VOCtest", ("test",))):
        files = {}
        for split in splits:
            names = {value: f"{value:06d}" for value in shown[split]}
            files[f"{base}/ImageSets/Main/{split}.txt"] = lines(names.values())
            for value, name in names.items():
                files[f"{base}/JPEGImages/{name}.jpg"] = jpeg(value)
                files[f"{base}/Annotations/{name}.xml"] = annotation(shown[split][value])
        tar(folder / f"{archive}_06-Nov-2007.tar", files)
    parts = {split: {v: labels(o) for v, o in images.items()} for split, images in shown.items()}
    return Made(CLASSES, parts["train"], parts["test"], parts["val"])


def dtd(folder):
    """dtd-r1.0.1.tar.gz."""
    names = ("banded", "zigzagged")
    made = Made(names, numbered([0, 1], 0), numbered([1, 0], 60), numbered([1, 0, 0], 30))
    splits = {"train": made.train, "val": made.validation, "test": made.test}
    files = {}
    for split, images in splits.items():
        keys = {v: f"{names[c]}/{names[c]}_{v:04d}.jpg" for v, c in images.items()}
        files |= {f"dtd/images/{key}": jpeg(v) for v, key in keys.items()}
        files[f"dtd/labels/{split}1.txt"] = lines(keys.values())
        files[f"dtd/labels/{split}2.txt"] = lines([])
    tar(folder / "dtd-r1.0.1.tar.gz", files)
    return made


def pets(folder):
    """images.tar.gz and annotations.tar.gz; breeds of cats begin with a capital letter."""
    names = ("Abyssinian", "american_bulldog")
    made = Made(names, numbered([0, 1] * 10, 0), numbered([1, 0], 60))
    keys = {v: f"{names[c]}_{v}" for v, c in (made.train | made.test).items()}
    tar(folder / "images.tar.gz", {f"images/{key}.jpg": jpeg(v) for v, key in keys.items()})
    files = {"annotations/list.txt": "#Image CLASS-ID SPECIES BREED ID\n"}
    for split, images in (("trainval", made.train), ("test", made.test)):
        rows = [f"{keys[v]} {label + 1} {label + 1} 1" for v, label in images.items()]
        files[f"annotations/{split}.txt"] = lines(rows)
    tar(folder / "annotations.tar.gz", files)
    return made


def caltech101(folder):
    """caltech-101.zip with 101_ObjectCategories.tar.gz inside: 33 and 32 images.

    Which of them are for training is not theirs to say, so all of them stand in `train`.
    """
    names = ("BACKGROUND_Google", "accordion")
    made = Made(names, numbered([0] * 33 + [1] * 32, 0), {})
    files = {
        f"101_ObjectCategories/{names[label]}/image_{value:04d}.jpg": jpeg(value)
        for value, label in made.train.items()
    }
    files["101_ObjectCategories/BACKGROUND_Google/tmp"] = "no image"
    tar(folder / "101_ObjectCategories.tar.gz", files)
    inner = (folder / "101_ObjectCategories.tar.gz").read_bytes()
    (folder / "101_ObjectCategories.tar.gz").unlink()
    zipped(folder / "caltech-101.zip", {"caltech-101/101_ObjectCategories.tar.gz": inner})
    return made


def flowers(folder):
    """102flowers.tgz, imagelabels.mat and setid.mat."""
    labels = [0, 2, 1, 0, 1, 2, 2]  # of image_00001.jpg, ...
    splits = {"trnid": [2, 1], "valid": [3], "tstid": [7, 4, 5, 6]}
    files = {f"jpg/image_{i + 1:05d}.jpg": jpeg(i + 1) for i in range(len(labels))}
    tar(folder / "102flowers.tgz", files)
    (folder / "imagelabels.mat").write_bytes(matlab(labels=np.array([labels]) + 1))
    numbers = {name: np.array([n]) for name, n in splits.items()}
    (folder / "setid.mat").write_bytes(matlab(**numbers))
    parts = [{n: labels[n - 1] for n in splits[name]} for name in ("trnid", "tstid", "valid")]
    return Made(("flower 1", "flower 2", "flower 3"), *parts)


MAKERS = {
    maker.__name__: maker
    for maker in (
        food101, cifar10, cifar100, birdsnap, sun397, cars, aircraft, voc2007, dtd, pets,
        caltech101, flowers,
    )
}  # fmt: skip


def values(dataset):
    """{value of the image: its label} in one pass; several labels as a tuple."""
    found = {}
    for example in dataset.examples():
        image = decode_image(example["image"]).numpy()
        assert np.ptp(image[..., 0]) == 0
        label = example["label"].numpy()
        found[int(image[0, 0, 0])] = tuple(label.tolist()) if label.ndim else int(label)
    assert len(found) == dataset.num_examples
    return found


def expect_md5(monkeypatch, name, md5):
    """Change the MD5 sum that the only archive of a data set should have."""
    (download,) = REGISTRY[name].downloads
    changed = dataclasses.replace(download, md5=md5)
    entry = dataclasses.replace(REGISTRY[name], downloads=(changed,))
    monkeypatch.setitem(REGISTRY, name, entry)
