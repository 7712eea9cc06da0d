"""Image folders of any depth: classes from a CSV file, and no labels at all."""

import logging
import os

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf.data import datasets
from simclr_tf.data.holdout import held_out
from simclr_tf.errors import UserError

FILES = ["a.png", "deep/er/b.png", "deep/c.png", "deep/est/of/all/d.png", "e.png", "deep/f.png"]


def write_image(path, value=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(tf.io.encode_png(np.full((3, 3, 3), value, np.uint8)).numpy())


@pytest.fixture
def photos(tmp_path):
    """Images at several depths, each with its number as the value of its pixels."""
    for i, name in enumerate(FILES):
        write_image(tmp_path / "photos" / name, i)
    return tmp_path / "photos"


def load(folder, labels, split="all", **options):
    return datasets.load("image_folder", split, data_dir=str(folder), labels=str(labels), **options)


def classes(dataset):
    """{file: the name of its class}"""
    labels = [int(example["label"]) for example in dataset.examples()]
    return {f: dataset.class_names[i] for f, i in zip(dataset.file_names, labels, strict=True)}


def csv(path, *lines):
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


CLASS_OF = dict(zip(FILES, ["cat", "dog", "cat", "emu", "dog", "cat"]))
LINES = [f"{file},{name}" for file, name in CLASS_OF.items()]


def test_classes_of_images_at_any_depth(photos):
    dataset = load(photos, csv(photos.parent / "labels.csv", *LINES))
    assert classes(dataset) == CLASS_OF
    assert dataset.class_names == ("cat", "dog", "emu") and dataset.num_classes == 3
    values = {int(tf.io.decode_png(e["image"])[0, 0, 0]): e["label"] for e in dataset.examples()}
    assert [int(values[i]) for i in range(6)] == [0, 1, 0, 2, 1, 0]


@pytest.mark.parametrize(
    "content",
    [
        "file,class\n" + "\n".join(LINES),
        "\ufeffImage Name,Label\r\n" + "\r\n".join(LINES) + "\r\n",
        "\n\n" + "\n\n".join(reversed(LINES)),
        "\n".join(f'"./{line.replace(",", chr(34) + ", ")} ' for line in LINES),
    ],
    ids=["header", "spreadsheet", "empty lines", "quotes and spaces"],
)
def test_what_a_csv_may_look_like(photos, content):
    file = photos.parent / "labels.csv"
    file.write_bytes(content.encode())
    assert classes(load(photos, file)) == CLASS_OF


@pytest.mark.slow
def test_names_are_relative_to_the_folder_or_to_the_csv_or_absolute(photos, monkeypatch):
    for base in ("photos/", "../photos/../photos/", f"{photos}/"):
        (photos.parent / "lists").mkdir(exist_ok=True)
        place = photos.parent / ("lists" if base.startswith("..") else "")
        file = csv(place / "labels.csv", *(base + line for line in LINES))
        assert classes(load(photos, file)) == CLASS_OF
    monkeypatch.chdir(photos)
    csv(photos / "labels.csv", *LINES)
    assert classes(load(".", "labels.csv")) == CLASS_OF


@pytest.mark.slow
def test_a_share_of_every_class_is_held_out(photos):
    for i in range(10):
        write_image(photos / f"more/{i}.png")
    lines = [*LINES[:3], *(f"more/{i}.png,dog" for i in range(10))]
    file = csv(photos.parent / "labels.csv", *lines)
    whole = load(photos, file)
    labels = np.array([name == "dog" for name in classes(whole).values()], np.int64)
    held = held_out(whole.file_names, labels, 0.3, 5)
    options = {"holdout_fraction": 0.3, "split_seed": 5}
    names = np.array(whole.file_names)
    assert load(photos, file, "validation", **options).file_names == tuple(names[held])
    assert load(photos, file, "train", **options).file_names == tuple(names[~held])
    assert held.sum() == 4


@pytest.mark.slow
def test_upper_folders_that_are_named_like_splits_are_splits(photos):
    for name in ("train/x/1.png", "train/2.png", "val/3.png", "val/y/4.png"):
        write_image(photos / name)
    lines = ["train/x/1.png,b", "train/2.png,a", "val/y/4.png,b"]
    file = csv(photos.parent / "labels.csv", *lines)
    for name in FILES:
        (photos / name).unlink()
    assert classes(load(photos, file, "train")) == {"train/2.png": "a", "train/x/1.png": "b"}
    val = load(photos, file, "val")
    assert classes(val) == {"val/y/4.png": "b"} and val.class_names == ("a", "b")
    assert load(photos, "none", "val").file_names == ("val/3.png", "val/y/4.png")
    csv(file, *lines, "val/3.png,c")
    with pytest.raises(UserError, match="Split train has no image of class c, .*val/3.png"):
        load(photos, file, "train")
    write_image(photos / "others/5.png")
    assert load(photos, "none", "train").num_examples == 5


def test_images_without_a_line_are_counted_and_left_out(photos, caplog):
    file = csv(photos.parent / "labels.csv", *LINES[:4])
    with caplog.at_level(logging.WARNING):
        assert classes(load(photos, file)) == dict(list(CLASS_OF.items())[:4])
    said = f"2 of 6 images below {photos} have no line in {file} and are left out."
    assert caplog.text.count(said) == 1


def test_images_of_formats_that_cannot_be_read_may_have_lines(photos, caplog):
    (photos / "scan.tif").write_bytes(b"image")
    file = csv(photos.parent / "labels.csv", "scan.tif,cat", *LINES)
    with caplog.at_level(logging.WARNING):
        assert classes(load(photos, file)) == CLASS_OF
    assert "TIFF images cannot be read: scan.tif." in caplog.text
    with pytest.raises(UserError, match="names no images that can be read"):
        load(photos, csv(file, "scan.tif,cat"))


def test_a_single_class_is_no_label(photos, caplog):
    file = csv(photos.parent / "labels.csv", *(f"{name},cat" for name in FILES))
    with caplog.at_level(logging.WARNING):
        dataset = load(photos, file)
    assert dataset.num_classes is None and dataset.class_names is None
    assert all("label" not in example for example in dataset.examples())
    assert f"All images of {file} have one class, cat, so they count as" in caplog.text


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "names no images. Give one line file,class for each"),
        (["file,class"], "names no images"),
        (["a.png,cat,1"], "two columns, file,class, .* Line 1 is a.png,cat,1"),
        (["file,class", "a.png"], "Line 2 is a.png"),
        (["a.png;cat"], "Line 1 is a.png;cat"),
        (["a.png,cat", "e.png, "], "Line 2 is e.png,"),
        ([*LINES, "deep/../a.png,dog"], "names a.png twice, in lines 1 and 7"),
        (["a.png,cat", "a.png,cat"], "names a.png twice, in lines 1 and 2"),
        (
            [*LINES, "nowhere.png,cat", "deep/b.png,cat", "notes.txt,cat"],
            "names 3 of 9 files that are no images below .*photos, the first in line 7: nowhere.p",
        ),
        (["id,class", "a,cat"], "names 1 of 1 files .* in line 2: a. Names have an ending"),
        (["../out.png,cat"], r"in line 1: ../out.png"),
    ],
)
def test_csv_files_that_cannot_work(photos, lines, message):
    write_image(photos.parent / "out.png")
    file = csv(photos.parent / "labels.csv", *lines)
    with pytest.raises(UserError, match=message) as error:
        load(photos, file)
    assert str(error.value).startswith(f"--labels={file} ") and "\n" not in str(error.value)


def test_files_that_are_no_csv(photos):
    with pytest.raises(UserError, match="cannot be read: No such file .* none, or a CSV file"):
        load(photos, photos.parent / "nolabels.csv")
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        load(photos, photos)
    csv(photos.parent / "labels.csv", '"a.png,cat', *1000 * LINES)
    with pytest.raises(UserError, match="Line 6001 is a.png,cat.*[.]{3}") as error:
        load(photos, photos.parent / "labels.csv")
    assert len(str(error.value)) < 600
    csv(photos.parent / "labels.csv", *LINES, '"a.png,cat', *3000 * LINES)
    with pytest.raises(UserError, match="cannot be read up to line .*: field larger than"):
        load(photos, photos.parent / "labels.csv")
    (photos.parent / "labels.csv").write_bytes("\n".join(LINES).encode("utf-16"))
    with pytest.raises(UserError, match="it is no text in UTF-8"):
        load(photos, photos.parent / "labels.csv")


def test_names_that_are_no_utf8(photos):
    name = os.fsdecode(b"caf\xe9.png")
    write_image(photos / name)
    file = photos.parent / "labels.csv"
    file.write_bytes(os.fsencode("\n".join([f"{name},caf\udce9", *LINES])))
    assert classes(load(photos, file)) == CLASS_OF | {name: "caf\udce9"}


def test_no_labels_at_any_depth(photos):
    dataset = load(photos, "none", "train")
    assert dataset.file_names == tuple(sorted(FILES)) == load(photos, "none").file_names
    assert dataset.num_classes is None and dataset.class_names is None
    assert all("label" not in example for example in dataset.examples())
    with pytest.raises(UserError, match="has no split 'validation'; it has train, all"):
        load(photos, "none", "validation")
    with pytest.raises(UserError, match="all lie as .* give --labels=none, or --labels=FILE.csv"):
        load(photos, "folders")


def test_links_in_a_circle_are_not_followed_again(photos):
    os.symlink(photos, photos / "deep" / "again")
    os.symlink(photos / "deep" / "er", photos / "linked")
    assert load(photos, "none").file_names == tuple(sorted([*FILES, "linked/b.png"]))


@pytest.mark.parametrize("labels", ["none", "labels.csv"])
def test_labels_are_for_image_folders(labels):
    with pytest.raises(UserError, match=f"--labels={labels} is for image folders, .*=digits has"):
        datasets.load("digits", "train", labels=labels)
