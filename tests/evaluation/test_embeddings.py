"""Embeddings in files: the same numbers as in process, whatever interrupted the extraction."""

import contextlib
import dataclasses
import itertools
import json
import os
import resource

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf.checkpoints.convert import convert
from simclr_tf.checkpoints.description import Description
from simclr_tf.data import datasets, pipeline, subsets
from simclr_tf.evaluation import embeddings
from simclr_tf.exit_status import exit_status
from simclr_tf.features import Features, extract
from simclr_tf.models import Architecture, Network

pytestmark = pytest.mark.usefixtures("toy_encoder")

SIZE = 8
HEADLESS = Architecture(18, cifar_stem=True, projector=())
ABOUT = {"weights": "a"}


@pytest.fixture(scope="module")
def network():
    return Network(HEADLESS)


@pytest.fixture(scope="module")
def digits():
    return datasets.load("digits", "test")


@pytest.fixture(scope="module")
def expected(network, digits):
    batches = pipeline.evaluation_dataset(digits, batch_size=359, image_size=SIZE)
    images, labels, _ = next(iter(batches))
    return network.features(images).numpy(), labels.numpy()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Seven images in two classes, and one file that is none."""
    root = tmp_path_factory.mktemp("images")
    for i, name in enumerate(["cat/a", "cat/b", "cat/c", "dog/a", "dog/d", "dog/e", "dog/f"]):
        path = root / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        pixels = np.random.default_rng(i).integers(0, 256, (10 + i, 12, 3), np.uint8)
        path.write_bytes(tf.io.encode_png(pixels).numpy())
    (root / "dog" / "broken.png").write_bytes(b"no image")
    return root


def write(network, dataset, output, about=ABOUT, **options):
    options = {"image_size": SIZE, "batch_size": 50, "part_size": 120} | options
    return embeddings.write_embeddings(network, dataset, str(output), about=about, **options)


def records(directory):
    files = sorted(map(str, directory.glob("*.tfrecord")))
    return [
        tf.train.Example.FromString(r.numpy()).features.feature
        for r in tf.data.TFRecordDataset(files)
    ]


def close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


def test_npz_holds_features_and_labels_in_order(network, digits, expected, tmp_path):
    output = tmp_path / "new" / "digits.npz"
    assert write(network, digits, output) == 359
    with np.load(output) as stored:
        assert set(stored) == {"features", "labels", "class_names", "about"}
        assert stored["features"].dtype == np.float32 and stored["labels"].dtype == np.int64
        close(stored["features"], expected[0])
        np.testing.assert_array_equal(stored["labels"], expected[1])
        assert stored["class_names"].tolist() == list("0123456789")
        assert json.loads(str(stored["about"]))["num_examples"] == 359
    assert [path.name for path in output.parent.iterdir()] == ["digits.npz"]
    assert write(network, digits, output) == 0


def test_tfrecord_holds_features_labels_and_positions(network, digits, expected, tmp_path):
    assert write(network, digits, tmp_path / "out") == 359
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == [
        "embeddings-00000-of-00003.tfrecord",
        "embeddings-00001-of-00003.tfrecord",
        "embeddings-00002-of-00003.tfrecord",
        "embeddings.json",
    ]
    found = records(tmp_path / "out")
    close([r["features"].float_list.value for r in found], expected[0])
    assert [r["label"].int64_list.value[0] for r in found] == expected[1].tolist()
    assert [r["position"].int64_list.value[0] for r in found] == list(range(359))
    assert "path" not in found[0]
    assert write(network, digits, tmp_path / "out") == 0


@pytest.mark.parametrize("name", ["killed.npz", "killed"])
def test_a_killed_extraction_goes_on_after_the_last_part(
    network, digits, expected, tmp_path, monkeypatch, name
):
    output = tmp_path / name
    part_of = {"killed.npz": "_write_npz_part", "killed": "_write_tfrecord"}[name]
    original, calls = getattr(embeddings, part_of), itertools.count()

    def killed(*arguments):
        if next(calls) == 2:
            raise KeyboardInterrupt
        original(*arguments)

    monkeypatch.setattr(embeddings, part_of, killed)
    with pytest.raises(KeyboardInterrupt):
        write(network, digits, output)
    monkeypatch.setattr(embeddings, part_of, original)
    assert not output.is_file()
    assert write(network, digits, output, batch_size=64) == 359 - 240
    if name == "killed":
        features = [r["features"].float_list.value for r in records(output)]
    else:
        features = np.load(output)["features"]
    close(features, expected[0])


def test_another_extraction_is_refused(network, digits, tmp_path):
    write(network, digits, tmp_path / "a.npz")
    write(network, digits, tmp_path / "b")
    for output in (tmp_path / "a.npz", tmp_path / "b"):
        with pytest.raises(embeddings.UserError, match="weights was 'a', now 'b'"):
            write(network, digits, output, about={"weights": "b"})
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "notes.txt").touch()
    (tmp_path / "d.npz").write_bytes(b"mine")
    for output in (tmp_path / "c", tmp_path / "d.npz"):
        with pytest.raises(embeddings.UserError, match="holds something else"):
            write(network, digits, output)
    with pytest.raises(embeddings.UserError, match="cannot be written"):
        write(network, digits, tmp_path / "d.npz" / "e.npz")


@pytest.fixture(scope="module")
def source(network, tmp_path_factory):
    path = str(tmp_path_factory.mktemp("source") / "own")
    convert(network, "simclr_tf", path, Description(HEADLESS, 3))
    return path


@pytest.mark.slow
def test_paths_and_labels_of_a_folder(network, source, folder, tmp_path, capsys):
    output = str(tmp_path / "folder.npz")
    flags = Features(data_dir=str(folder), split="all", output=output, image_size=SIZE)
    assert "Wrote 7 embeddings of 512 numbers" in extract(source, flags)
    assert "found: converted checkpoint" in capsys.readouterr().out
    with np.load(output) as stored:
        paths = ["cat/a.png", "cat/b.png", "cat/c.png"] + [f"dog/{c}.png" for c in "adef"]
        assert stored["paths"].tolist() == paths
        assert stored["labels"].tolist() == [0, 0, 0, 1, 1, 1, 1]
        assert stored["class_names"].tolist() == ["cat", "dog"]
        dataset = datasets.load("image_folder", "all", data_dir=str(folder))
        batches = pipeline.evaluation_dataset(dataset, batch_size=7, image_size=SIZE)
        close(stored["features"], network.features(next(iter(batches))[0]))
    assert "Nothing to do" in extract(source, flags)


@pytest.mark.thorough
def test_a_folder_without_labels(source, folder, tmp_path):
    flags = Features(data_dir=f"{folder}/cat", output=f"{tmp_path}/out", image_size=SIZE)
    extract(source, flags)
    first = records(tmp_path / "out")[0]
    assert first["path"].bytes_list.value[0] == b"a.png" and "label" not in first
    assert json.loads((tmp_path / "out/embeddings.json").read_text())["image_size"] == SIZE


@pytest.mark.thorough
def test_the_size_of_images_is_that_of_the_stem(source, folder, tmp_path):
    extract(source, Features(data_dir=f"{folder}/cat", output=f"{tmp_path}/out"))
    assert json.loads((tmp_path / "out/embeddings.json").read_text())["image_size"] == 32


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"output": None}, "--output is missing"),
        ({"batch_size": 0}, "--batch_size lies in [1, "),
        ({"image_size": -1}, "--image_size lies in [0, "),
        ({"data_dir": None}, "--data_dir=FOLDER"),
        ({"output": "TMP/n\0.npz"}, "UTF-8"),
        ({"output": f"TMP/{'n' * 300}.npz"}, "name too long"),
        ({"output": f"TMP/{'n' * 249}.npz"}, "name too long"),  # with .parts
        ({"output": f"TMP/{'n' * 300}"}, "name too long"),
        ({"output": "/proc/absent/f.npz"}, "cannot be written"),
        ({"output": "nothing://bucket/f.npz"}, "Nothing opens nothing://"),
        ({"split": "dev"}, "no split 'dev'; it has train, validation, test, all"),
    ],
)
def test_what_cannot_work_is_one_line(source, folder, tmp_path, capsys, flags, message):
    given = {"data_dir": str(folder), "output": "TMP/out.npz"} | flags
    given["output"] = given["output"] and given["output"].replace("TMP", str(tmp_path))
    assert exit_status(lambda: extract(source, Features(**given)) and 0) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: ") and printed.count("\n") == 1 and message in printed
    assert not list(tmp_path.iterdir())


def test_outputs_are_checked_before_anything_is_read(tmp_path):
    (tmp_path / "folder.npz").mkdir()
    (tmp_path / "file").touch()
    for name, message in (
        ("folder.npz", "is a directory"),
        ("file/f.npz", "is not a directory"),
        ("file/f", "is not a directory"),
        ("file", "holds something else"),
    ):
        with pytest.raises(embeddings.UserError, match=message):
            extract("absent", Features(output=f"{tmp_path}/{name}"))


def test_files_of_others_are_left_alone(network, digits, tmp_path):
    np.save(tmp_path / "array.npy", np.zeros(3))
    (tmp_path / "array.npy").rename(tmp_path / "array.npz")
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    np.savez(tmp_path / "list.npz", about="[1]")
    np.savez(tmp_path / "pickle.npz", about=np.array([{}], object))
    (tmp_path / "empty.npz").touch()
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for path in before:
        with pytest.raises(embeddings.UserError, match="holds something else"):
            write(network, digits, path)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.thorough
def test_what_killed_processes_left_is_overwritten_or_removed(network, digits, expected, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "embeddings.json.part").write_text("{")
    assert write(network, digits, tmp_path / "out") == 359
    close([r["features"].float_list.value for r in records(tmp_path / "out")], expected[0])
    output = tmp_path / "f.npz"
    write(network, digits, output)
    (tmp_path / "f.npz.parts").mkdir()
    (tmp_path / "f.npz.parts" / "part-00001.npz").write_bytes(b"half removed")
    assert write(network, digits, output) == 0
    assert not (tmp_path / "f.npz.parts").exists()


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["full.npz", "full"])
def test_a_full_disk_keeps_whole_parts(network, digits, expected, tmp_path, monkeypatch, name):
    output = tmp_path / name
    writer = embeddings.complete_file
    calls = itertools.count()

    @contextlib.contextmanager
    def full(file):
        if next(calls) == 2:  # the second part
            before = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
            try:
                with writer(file) as part:
                    yield part
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, before)
        else:
            with writer(file) as part:
                yield part

    monkeypatch.setattr(embeddings, "complete_file", full)
    monkeypatch.setattr("simclr_tf.outputs.complete_file", full)
    with pytest.raises(embeddings.UserError, match="File too large.*whole parts is kept") as caught:
        write(network, digits, output)
    assert "\n" not in str(caught.value)
    assert not [path for path in tmp_path.rglob("*.part")] and not output.is_file()
    assert write(network, digits, output) == 359 - 120
    if name == "full":
        features = [r["features"].float_list.value for r in records(output)]
    else:
        features = np.load(output)["features"]
    close(features, expected[0])


NOT_UTF8 = "caf\udce9"


@pytest.fixture(scope="module")
def odd(digits):
    """Five images whose file and class names are not all UTF-8."""
    paths = tuple(f"{NOT_UTF8}/{name}.png" for name in ("a", "größe", NOT_UTF8, "d", "e"))
    dataset = subsets.restrict(digits, np.arange(5))
    names = tuple([NOT_UTF8, *"123456789"])
    return dataclasses.replace(dataset, file_names=paths, class_names=names)


def test_names_that_are_no_utf8(network, odd, tmp_path):
    write(network, odd, tmp_path / "f.npz")
    with np.load(tmp_path / "f.npz") as stored:
        assert tuple(stored["paths"].tolist()) == odd.file_names
        assert stored["class_names"].tolist()[0] == NOT_UTF8
        assert json.loads(str(stored["about"]))["class_names"][0] == NOT_UTF8
    write(network, odd, tmp_path / "out")
    paths = [r["path"].bytes_list.value[0] for r in records(tmp_path / "out")]
    assert paths == [os.fsencode(path) for path in odd.file_names] and b"\xe9" in paths[0]
    json.loads((tmp_path / "out" / "embeddings.json").read_bytes().decode("ascii"))
    for name in ("f.npz", "out"):
        assert write(network, odd, tmp_path / name) == 0
