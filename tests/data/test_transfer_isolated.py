"""Pickles and MATLAB files that somebody else made: nothing is called, and no crash is ours."""

import os
import pickle
import struct

import numpy as np
import official_archives
import pytest
from official_archives import matlab as mat_file
from official_archives import python2_pickle

from simclr_tf.data.transfer import cifar, isolated_reader, matlab, opening
from simclr_tf.data.transfer.unpacking import unpack
from simclr_tf.errors import UserError


def refused(read, path, message):
    with pytest.raises(UserError, match=message) as caught:
        read(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


class Malicious:
    def __reduce__(self):
        return (print, ("called",))


def load_pickle(path):
    return cifar._load_pickles([path])[0]


def load_matlab(path):
    return matlab._load_all([path])[0]


def test_malicious_pickles_are_refused(tmp_path, capfd):
    path = tmp_path / "train"
    path.write_bytes(pickle.dumps({"data": Malicious()}, protocol=2))
    with pytest.raises(
        UserError, match="is not an official file of CIFAR: it wants to call .*print"
    ):
        load_pickle(path)
    assert "called" not in capfd.readouterr().out


def test_an_official_pickle_is_read_as_it_is(tmp_path):
    path = tmp_path / "train"
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 12)
    path.write_bytes(python2_pickle({"data": pixels, "labels": [3, 1], "batch_label": "one"}))
    found = load_pickle(path)
    assert found.keys() == {b"data", b"labels", b"batch_label"}
    np.testing.assert_array_equal(found[b"data"], pixels)
    assert found[b"data"].dtype == np.uint8
    assert (found[b"labels"], found[b"batch_label"]) == ([3, 1], b"one")
    path.write_bytes(python2_pickle({"data": np.asfortranarray(pixels)}))
    np.testing.assert_array_equal(load_pickle(path)[b"data"], pixels)


BOMBS = {
    "a memo of 16 GB": b"\x80\x02Nr" + struct.pack("<I", 1 << 31) + b".",
    "bytes of 1 EB": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 60) + b"x.",
    "a bytearray of 1 TB": b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b"x.",
    "lists in lists": b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b".",
    "a key that no stack holds": b"\x80\x02})" + b"\x85" * 2_000_000 + b"Ns.",
    "no dictionary": b"\x80\x02]q\x00.",
    "a class": b"\x80\x02cnumpy\nndarray\n.",
    "nothing": b"",
    "a key that is a list": b"\x80\x02}]Ns.",
}


@pytest.mark.parametrize("name", BOMBS)
def test_pickles_that_fill_or_crash_a_process_are_one_line(tmp_path, name):
    path = tmp_path / "train"
    path.write_bytes(BOMBS[name])
    refused(load_pickle, path, "is not an official file of CIFAR: ")


def test_files_that_are_too_large_or_no_files_are_not_read(tmp_path):
    path = tmp_path / "train"
    with open(path, "wb") as file:
        file.truncate(1 << 33)  # takes no room on the disk
    refused(load_pickle, path, "more than 268,435,456 are not read")
    refused(load_matlab, path, "more than 67,108,864 are not read")
    path.unlink()
    os.mkfifo(path)
    for read in (load_pickle, load_matlab):
        refused(read, path, "is no regular file")
        refused(read, tmp_path, "is no regular file")
        refused(read, tmp_path / "nowhere", "No such file")


def test_arrays_of_objects_are_refused():
    array = isolated_reader.Array()
    array.__setstate__((1, (2,), isolated_reader.Dtype(b"O8"), False, [None, None]))
    with pytest.raises(ValueError, match="array of objects"):
        isolated_reader.Answer().plain(array)


GOOD = {"data": np.zeros((2, 3072), np.uint8), "fine_labels": [0, 1]}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"fine_labels": [0, 2]}, "labels do not lie between 0 and 1"),
        ({"fine_labels": [0, -1]}, "labels do not lie between 0 and 1"),
        ({"fine_labels": [0]}, "one for each label"),
        ({"fine_labels": [0.0, 1.0]}, "no list of numbers"),
        ({"fine_labels": [[0], [1]]}, "no list of numbers"),
        ({"fine_labels": []}, "no list of numbers"),
        ({"data": np.zeros((2, 3072), np.float32)}, "32 pixels high"),
        ({"data": np.zeros((2, 3071), np.uint8)}, "32 pixels high"),
        ({"data": "no array"}, "32 pixels high"),
        ({"data": None, "fine_labels": None}, "no list of numbers"),
    ],
)
def test_pickles_with_other_content_are_one_line(tmp_path, changed, message):
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    (folder / "meta").write_bytes(python2_pickle({"fine_label_names": ["a", "b"]}))
    (folder / "test").write_bytes(python2_pickle(GOOD))
    (folder / "train").write_bytes(python2_pickle(GOOD | changed))
    with pytest.raises(UserError, match=f"cifar-100-python/train is damaged .*{message}"):
        opening.load("cifar100", "test", data_dir=str(tmp_path), check=False)


def test_pickles_that_lack_something_are_one_line(tmp_path):
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    for file in ("meta", "train", "test"):
        with pytest.raises(UserError, match=f"cifar-100-python/{file} .*No such file"):
            opening.load("cifar100", "test", data_dir=str(tmp_path), check=False)
        (folder / file).write_bytes(python2_pickle({"other": [1]}))
    with pytest.raises(UserError, match="meta is damaged .*'fine_label_names' is missing"):
        opening.load("cifar100", "test", data_dir=str(tmp_path), check=False)


def test_a_matlab_file_is_read_as_it_is(tmp_path):
    path = tmp_path / "labels.mat"
    rows = np.zeros((1, 2), dtype=[("fname", object), ("class", object)])
    rows[0, 0], rows[0, 1] = ("a.jpg", 7), ("b.jpg", 8)
    names = np.array([["one", "two"]], dtype=object)
    path.write_bytes(mat_file(labels=np.array([[3, 1]], np.uint8), rows=rows, names=names))
    found = load_matlab(path)
    assert found.keys() == {"labels", "rows", "names"}
    np.testing.assert_array_equal(found["labels"], [3, 1])
    assert found["rows"] == [{"fname": "a.jpg", "class": 7}, {"fname": "b.jpg", "class": 8}]
    assert found["names"] == ["one", "two"]


@pytest.mark.thorough
def test_damaged_matlab_files_are_one_line(tmp_path):
    """Cut, and with bytes replaced; SciPy crashes on some such files."""
    whole = mat_file(labels=np.arange(30)[None], names=np.array([["a", "bc"]], dtype=object))
    path = tmp_path / "labels.mat"
    random = np.random.default_rng(1)
    refused = 0
    for i in range(8):
        damaged = bytearray(whole)
        if i % 2:
            damaged = damaged[: random.integers(1, len(whole))]
        else:
            at = random.integers(128, len(whole) - 8)
            damaged[at : at + 8] = random.bytes(8)
        path.write_bytes(damaged)
        try:
            load_matlab(path)
        except UserError as error:
            assert "\n" not in str(error) and str(path) in str(error)
            refused += 1
    assert refused >= 4  # those that are cut, and others


def test_a_reader_that_crashes_or_hangs_is_one_line(tmp_path, monkeypatch):
    path = tmp_path / "labels.mat"
    path.write_bytes(mat_file(labels=np.arange(3)))
    program = tmp_path / "program.py"
    monkeypatch.setattr(isolated_reader, "__file__", str(program))
    monkeypatch.setattr("simclr_tf.data.transfer.isolated._SECONDS", 0.5)
    for text, message in {
        "import os; os.abort()": "ended with SIGABRT",
        "import time; time.sleep(60)": "ended with SIGKILL",
        'print(\'{"found": {"array": ["O8", [1], "C", 0, 8]}}\')': "values of the type O8",
        "print('[]')": "no attribute",
        "": "Expecting value",
        "raise SystemExit(3)": "ended with status 3",
    }.items():
        program.write_text(text)
        refused(load_matlab, path, f"no MATLAB file that can be read: .*{message}")


def variables_of_flowers(**changed):
    return {
        "imagelabels.mat": {"labels": np.array([[1, 3, 2]])},
        "setid.mat": {
            "trnid": np.array([[1]]),
            "valid": np.array([[2]]),
            "tstid": np.array([[3]]),
        },
    } | changed


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"imagelabels.mat": {"other": 1}}, "imagelabels.mat is damaged .*'labels' is missing"),
        ({"imagelabels.mat": {"labels": "text"}}, "imagelabels.mat .*labels are no numbers"),
        ({"imagelabels.mat": {"labels": [[1, 103]]}}, "labels should lie between 1 and 102"),
        ({"imagelabels.mat": {"labels": [[0, 1]]}}, "labels should lie between 1 and 102"),
        ({"imagelabels.mat": {"labels": [[1.5, 1]]}}, "labels should lie between 1 and 102"),
        ({"imagelabels.mat": {"labels": np.zeros((0, 0))}}, "labels are no numbers"),
        ({"setid.mat": {"trnid": [[1]], "valid": [[2]]}}, "setid.mat .*'tstid' is missing"),
        (
            {"setid.mat": {"trnid": [[1]], "valid": [[2]], "tstid": [[0]]}},
            "setid.mat .*tstid should lie between 1 and 3",
        ),
    ],
)
def test_matlab_files_with_other_content_are_one_line(tmp_path, changed, message):
    official_archives.flowers(tmp_path)
    for name, variables in variables_of_flowers(**changed).items():
        (tmp_path / name).write_bytes(mat_file(**variables))
    with pytest.raises(UserError, match=message):
        opening.load("flowers", "test", data_dir=str(tmp_path), check=False)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("../1.jpg", 1)], "fname are no names of files"),
        ([("1.jpg", 3)], "class should lie between 1 and 2"),
        ([("1.jpg", "one")], "class are no numbers"),
        ([], "cars_train_annos.mat is damaged"),
    ],
)
def test_annotations_of_cars_with_other_content_are_one_line(tmp_path, rows, message):
    official_archives.cars(tmp_path)
    for name in ("cars_train", "cars_test", "car_devkit"):
        unpack(tmp_path / f"{name}.tgz", tmp_path / "unpacked" / name)
    made = np.zeros((1, len(rows)), dtype=[("fname", object), ("class", object)])
    for i, row in enumerate(rows):
        made[0, i] = row
    path = tmp_path / "unpacked/car_devkit/devkit/cars_train_annos.mat"
    path.write_bytes(mat_file(annotations=made))
    with pytest.raises(UserError, match=message):
        opening.load("cars", "test", data_dir=str(tmp_path), check=False)
