"""predict.py: where its predictions go, and the names in them."""

import csv
import dataclasses
import json
import os

import numpy as np
import pytest

from simclr_tf import predict
from simclr_tf.checkpoints.convert import convert
from simclr_tf.checkpoints.description import Description
from simclr_tf.data import datasets, subsets
from simclr_tf.errors import UserError
from simclr_tf.evaluation.trained import Trained
from simclr_tf.exit_status import exit_status
from simclr_tf.models import Architecture, Network

pytestmark = pytest.mark.usefixtures("toy_encoder")

NOT_UTF8 = "caf\udce9"
ARCHITECTURE = Architecture(18, cifar_stem=True, projector=(), num_classes=10)
NAMES = tuple([NOT_UTF8, "größe", *"23456789"])
FILES = (f"{NOT_UTF8}/{NOT_UTF8}.png", "größe/b,c.png", "d\n.png")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("source") / "own")
    about = Description(ARCHITECTURE, 3, 8, class_names=NAMES)
    convert(Network(ARCHITECTURE), "simclr_tf", path, about)
    return path


@pytest.fixture
def odd(monkeypatch):
    """Three images with odd names, whatever is asked for."""
    dataset = subsets.restrict(datasets.load("digits", "test"), np.arange(3))
    dataset = dataclasses.replace(dataset, file_names=FILES)
    monkeypatch.setattr(Trained, "dataset", lambda *_, **__: dataset)


def run(source, output):
    return predict.predict(source, predict.Predictions(output=str(output), top_k=10))


def test_names_are_the_bytes_of_the_file_system_in_csv(source, odd, tmp_path):
    assert run(source, tmp_path / "p.csv") == 3
    content = (tmp_path / "p.csv").read_bytes()
    assert content.count(b"caf\xe9/caf\xe9.png") == 1 and content.count(b",caf\xe9,") == 3
    text = content.decode("utf-8", "surrogateescape")
    rows = list(csv.DictReader(text.splitlines(keepends=True)))
    assert [row["path"] for row in rows] == list(FILES)
    assert {row[f"class_{i}"] for row in rows for i in range(1, 11)} == set(NAMES)


def test_json_lines_are_json_whatever_the_names(source, odd, tmp_path):
    assert run(source, tmp_path / "p.jsonl") == 3
    lines = (tmp_path / "p.jsonl").read_bytes().decode("ascii").splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["path"] for row in rows] == list(FILES)
    assert os.fsencode(rows[0]["path"]) == b"caf\xe9/caf\xe9.png"
    assert all(set(row["classes"]) == set(NAMES) for row in rows)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (None, "--output is FILE.csv or FILE.jsonl"),
        ("p.txt", "--output is FILE.csv or FILE.jsonl"),
        ("p.csv/", "is a directory"),
        ("link.csv", "is a directory"),
        ("absent/p.csv", "absent is no directory"),
        ("file/p.csv", "file is not a directory"),
        (f"{'n' * 300}/p.csv", "name too long"),
        (f"{'n' * 300}.csv", "name too long"),
        (f"{'n' * 249}.csv", "name too long"),  # with .part
        ("/proc/1/p.csv", "cannot be written"),
        ("nothing://bucket/p.csv", "Nothing opens nothing://"),
        ("gs:/bucket/p.csv", "two slashes"),
    ],
)
def test_outputs_are_checked_before_anything_is_read(
    tmp_path, monkeypatch, capsys, output, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.csv").mkdir()
    (tmp_path / "link.csv").symlink_to("p.csv")
    (tmp_path / "file").touch()
    flags = predict.Predictions(output=output)
    assert exit_status(lambda: predict.predict("absent_source", flags)) == 2
    printed = capsys.readouterr().err
    assert message in printed and "absent_source" not in printed and printed.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"p.csv", "link.csv", "file"}


@pytest.mark.slow
def test_what_was_there_is_kept_until_all_is_written(source, odd, tmp_path, monkeypatch):
    def left_by_a_killed_process():
        (tmp_path / ".p.csv-0123abcd" / "made").mkdir(parents=True)
        (tmp_path / ".p.csv-0123abcd" / "made" / "p.csv").write_text("of a killed process")

    (tmp_path / "p.csv").write_text("old")
    left_by_a_killed_process()
    with monkeypatch.context() as patch:
        patch.setattr(predict.csv, "writer", lambda file: FullDisk())
        with pytest.raises(UserError, match="No space left on device. What was there before"):
            run(source, tmp_path / "p.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["p.csv"]
    assert (tmp_path / "p.csv").read_text() == "old"
    left_by_a_killed_process()
    assert run(source, tmp_path / "p.csv") == 3
    assert [path.name for path in tmp_path.iterdir()] == ["p.csv"]
    assert b"killed" not in (tmp_path / "p.csv").read_bytes()


class FullDisk:
    """Writes rows to /dev/full."""

    def writerow(self, row):
        with open("/dev/full", "w") as file:
            file.write(str(row))
