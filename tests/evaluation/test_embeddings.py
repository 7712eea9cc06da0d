"""Embeddings in files: the same numbers as in process, whatever interrupted the extraction."""

import itertools
import json

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf import cli
from simclr_tf.checkpoints.convert import convert
from simclr_tf.checkpoints.description import Description
from simclr_tf.data import datasets, pipeline
from simclr_tf.evaluation import embeddings
from simclr_tf.features import Features, extract
from simclr_tf.models import Architecture, Network

SIZE = 8
HEADLESS = Architecture(18, cifar_stem=True, proj_head_mode="none")
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


def test_a_folder_without_labels(source, folder, tmp_path):
    flags = Features(data_dir=f"{folder}/cat", output=f"{tmp_path}/out", image_size=SIZE)
    extract(source, flags)
    first = records(tmp_path / "out")[0]
    assert first["path"].bytes_list.value[0] == b"a.png" and "label" not in first
    assert json.loads((tmp_path / "out/embeddings.json").read_text())["image_size"] == SIZE


def test_the_size_of_images_is_that_of_the_stem(source, folder, tmp_path):
    extract(source, Features(data_dir=f"{folder}/cat", output=f"{tmp_path}/out"))
    assert json.loads((tmp_path / "out/embeddings.json").read_text())["image_size"] == 32


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"output": None}, "--output is missing"),
        ({"batch_size": 0}, "--batch_size is at least 1"),
        ({"image_size": -1}, "--image_size at least 0"),
        ({"data_dir": None}, "--data_dir=FOLDER"),
        ({"split": "dev"}, "no split 'dev'; it has train, validation, test, all"),
    ],
)
def test_what_cannot_work_is_one_line(source, folder, tmp_path, capsys, flags, message):
    given = {"data_dir": str(folder), "output": f"{tmp_path}/out.npz"} | flags
    assert cli.exit_status(lambda: extract(source, Features(**given)) and 0) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: ") and printed.count("\n") == 1 and message in printed
    assert not list(tmp_path.iterdir())
