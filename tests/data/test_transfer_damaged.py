"""Official files that are damaged or others: one line, which names the file where it can."""

import dataclasses
import os
import shutil

import numpy as np
import pytest
from damage import damaged
from official_archives import MAKERS, jpeg

from simclr_tf.data.holdout import hashes
from simclr_tf.data.transfer import opening, voc
from simclr_tf.data.transfer.official_files import OfficialFiles
from simclr_tf.data.transfer.registry import REGISTRY
from simclr_tf.errors import UserError

# The files of each data set that say which images there are and what they show.
LISTS = {
    "food101": ["food-101/meta/train.txt", "food-101/meta/test.txt"],
    "dtd": ["dtd/labels/train1.txt", "dtd/labels/val1.txt", "dtd/labels/test1.txt"],
    "sun397": ["ClassName.txt", "Training_01.txt", "Testing_01.txt"],
    "pets": ["annotations/trainval.txt", "annotations/test.txt"],
    "aircraft": ["data/variants.txt", "data/images_variant_train.txt"],
    "birdsnap": ["birdsnap/images.txt", "birdsnap/species.txt", "birdsnap/test_images.txt"],
    "voc2007": ["Main/train.txt", "Annotations/000000.xml", "Annotations/000020.xml"],
}


def load(name, folder, split="train+validation"):
    return opening.load(name, split, data_dir=str(folder), check=False)


def read(name, folder):
    return opening._read(
        name, REGISTRY[name], OfficialFiles(folder, name, REGISTRY[name].downloads, False)
    )


def list_of(name, folder, ending):
    """The path of a list of a data set that was unpacked."""
    (found,) = (path for path in folder.rglob("*") if path.as_posix().endswith(ending))
    return found


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    """The unpacked data sets by name, which tests put back as they were."""
    made = {}

    def make(name):
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name)
            MAKERS[name](made[name])
            load(name, made[name])
        return made[name]

    return make


@pytest.mark.parametrize("name", LISTS)
def test_a_damaged_list_is_read_as_it_was_or_is_one_line(official, name):
    """Cut, and with bits turned, in 40 ways for each list."""
    folder = official(name)
    names = read(name, folder).class_names
    random = np.random.default_rng(2)
    refusals = 0
    for ending in LISTS[name]:
        path = list_of(name, folder, ending)
        whole = path.read_bytes()
        for copy in damaged(whole, 40, random):
            path.write_bytes(copy)
            try:
                listing = read(name, folder)
            except UserError as error:
                assert "\n" not in str(error) and str(folder) in str(error)
                refusals += 1
            else:
                for examples in listing.parts.values():
                    assert len(examples.labels) == len(examples) > 0
                    assert examples.labels.max() < max(len(listing.class_names), 2)
        path.write_bytes(whole)
    assert refusals >= 20
    assert read(name, folder).class_names == names


@pytest.mark.parametrize(
    ("name", "ending", "contents", "message"),
    [
        ("food101", "meta/train.txt", b"", "train.txt is not the official file: it is empty"),
        ("food101", "meta/train.txt", b"sushi/\xff\n", "train.txt is damaged .*utf-8"),
        ("food101", "meta/test.txt", b"pizza/1\n", "pizza/1 for test, in a folder of .* no class"),
        ("dtd", "labels/val1.txt", b"\n\n", "val1.txt is not the official file: it is empty"),
        ("sun397", "Training_01.txt", b"/\n", "needs SUN397/|no class"),
        ("pets", "trainval.txt", b"Abyssinian_1 1 1\n", "trainval.txt .*should have 4 columns"),
        ("pets", "trainval.txt", b"Abyssinian_1 one 1 1\n", "trainval.txt is damaged .*'one'"),
        ("pets", "annotations/test.txt", b"Abyssinian_61 4 1 1\n", "not numbered from 1 to 3"),
        ("pets", "annotations/test.txt", b"Abyssinian_61 0 1 1\n", "not numbered from 1 to 3"),
        ("pets", "annotations/test.txt", b"Abyssinian_61 " + b"9" * 30 + b" 1 1", "too large"),
        ("aircraft", "variant_val.txt", b"1030\n", "variant_val.txt .*'1030' should have 2 col"),
        ("aircraft", "variant_val.txt", b"1030 747\n", "variant_val.txt is damaged .*'747'"),
        (
            "birdsnap",
            "species.txt",
            b"id\tname\n1\tx\n",
            "species.txt is damaged .*'common' is mis",
        ),
        ("birdsnap", "birdsnap/images.txt", b"path\tspecies_id\na.jpg\n", "has no species_id"),
        ("birdsnap", "birdsnap/images.txt", b"path\tspecies_id\na.jpg\t9\n", "'9' is missing"),
        ("birdsnap", "test_images.txt", b"\xff\xfe", "test_images.txt is damaged .*utf-8"),
        ("voc2007", "Annotations/000000.xml", b"<annotation><object>", "000000.xml is damaged"),
        ("voc2007", "Annotations/000000.xml", b"", "000000.xml is damaged"),
        (
            "voc2007",
            "Annotations/000000.xml",
            b"<a><object><name>dragon</name></object></a>",
            "000000.xml is damaged .*not in tuple",
        ),
        ("voc2007", "Main/val.txt", b"../../x\n", "No such file"),
    ],
)
def test_a_list_with_other_content_is_one_line(official, name, ending, contents, message):
    folder = official(name)
    path = list_of(name, folder, ending)
    whole = path.read_bytes()
    path.write_bytes(contents)
    try:
        with pytest.raises(UserError, match=message) as caught:
            load(name, folder)
        assert "\n" not in str(caught.value)
    finally:
        path.write_bytes(whole)


def test_entities_are_not_expanded(tmp_path):
    laughs = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 10))
    text = f'<!DOCTYPE a [<!ENTITY l0 "ha">{laughs}]><a><object><name>&l9;</name></object></a>'
    for encoding in ("utf-8", "utf-16"):
        (tmp_path / "1.xml").write_bytes(text.encode(encoding))
        with pytest.raises(UserError, match="1.xml is damaged .*(document type|utf-8)"):
            voc.classes_of(tmp_path / "1.xml")
    deep = "<object>" * 50_000 + "</object>" * 50_000
    (tmp_path / "1.xml").write_text(f"<a>{deep}</a>")
    with pytest.raises(UserError, match="1.xml is damaged .*not in tuple"):
        voc.classes_of(tmp_path / "1.xml")


@pytest.mark.parametrize(
    ("name", "ending"),
    [("dtd", "val1.txt"), ("birdsnap", "species.txt"), ("voc2007", "000020.xml")],
)
def test_a_pipe_in_the_place_of_a_list_is_not_waited_for(official, name, ending):
    folder = official(name)
    path = list_of(name, folder, ending)
    whole = path.read_bytes()
    path.unlink()
    os.mkfifo(path)
    try:
        with pytest.raises(UserError, match=f"{path.name} is no regular file"):
            load(name, folder)
    finally:
        path.unlink()
        path.write_bytes(whole)


def test_a_pipe_in_the_place_of_an_image_is_missing(official, tmp_path):
    folder = tmp_path / "dtd"
    shutil.copytree(official("dtd"), folder)
    path = next(folder.rglob("banded_0001.jpg"), None) or next(folder.rglob("banded_*.jpg"))
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(UserError, match=f"1 of the .* images .* are missing .*{path.name}"):
        load("dtd", folder)


def test_a_pipe_in_the_place_of_an_archive_is_missing(tmp_path):
    os.mkfifo(tmp_path / "dtd-r1.0.1.tar.gz")
    with pytest.raises(UserError, match="needs dtd/labels, which is neither in"):
        load("dtd", tmp_path)


def test_class_folders_that_are_empty_or_others_are_one_line(tmp_path):
    (tmp_path / "101_ObjectCategories/ant").mkdir(parents=True)
    with pytest.raises(UserError, match="There are no images in .*101_ObjectCategories"):
        load("caltech101", tmp_path)
    for path in ("train/airplane/1.png", "test/dog/2.png"):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_bytes(jpeg(1))
    with pytest.raises(UserError, match="test/dog has no counterpart in .*train"):
        load("cifar10", tmp_path)


def test_any_other_error_of_a_reader_is_one_line(tmp_path, monkeypatch):
    def fails(_):
        raise RecursionError("too\ndeep")

    monkeypatch.setitem(REGISTRY, "dtd", dataclasses.replace(REGISTRY["dtd"], read=fails))
    with pytest.raises(UserError, match="files of data set transfer/dtd in .* too deep. Get them"):
        load("dtd", tmp_path)


def test_names_of_images_that_are_not_utf_8(tmp_path):
    folder = os.fsencode(tmp_path / "101_ObjectCategories/ant")
    os.makedirs(folder)
    for i in range(32):
        with open(os.path.join(folder, b"gr\xfcn%02d.jpg" % i), "wb") as file:
            file.write(jpeg(i))
    found = load("caltech101", tmp_path)
    images = {example["image"].numpy() for example in found.examples()}
    assert len(images) == 30 and images <= {jpeg(i) for i in range(32)}


def test_the_choice_among_other_names_is_what_it_was():
    assert hashes(["a/b", "ü"], 3).tolist() == [864623154418673356, 18120088719656599913]
