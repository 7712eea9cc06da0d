"""The table over runs: one row for each run directory, as Markdown and CSV."""

import csv
import io
import json

import pytest

from simclr_tf.evaluation import summary

RESULTS = {
    "linear": (
        {"train_mode": "finetune", "dataset": "digits", "protocol": "linear", "checkpoint": "r/a"},
        {"eval/label_top_1_accuracy": 0.96124, "eval/label_top_5_accuracy": 1.0}
        | {"fraction": 0.01, "protocol": "linear", "dataset": "digits", "checkpoint": "r/a"}
        | {"command": "python x|y"},
    ),
    "pretrained": (
        {"train_mode": "pretrain", "dataset": "cats", "checkpoint": None, "command": "python z"},
        {"eval/label_top_1_accuracy": 0.5, "eval/regularization_loss": 0.1},
    ),
}


@pytest.fixture
def directories(tmp_path):
    for name, (run, result) in RESULTS.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(json.dumps(run))
        (tmp_path / name / "result.json").write_text(json.dumps(result))
    return [str(tmp_path / name) for name in RESULTS]


def test_markdown(directories, capsys):
    assert summary.main(directories) == 0
    assert capsys.readouterr().out.splitlines() == [
        "| protocol | data set | labels | top-1 | top-5 | checkpoint | command |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        r"| linear | digits | 1% | 96.12% | 100% | r/a | python x\|y |",
        "| pretrain | cats | 100% | 50% |  |  | python z |",
    ]


def test_csv(directories, capsys):
    assert summary.main([*directories, "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["protocol"] for row in rows] == ["linear", "pretrain"]
    assert rows[0]["command"] == "python x|y" and rows[0]["top-1"] == "96.12%"
    assert list(rows[0]) == list(summary.COLUMNS)


def test_what_has_no_result_is_an_error(directories, tmp_path, capsys):
    (tmp_path / "linear" / "result.json").unlink()
    assert summary.main(directories) == 2
    assert "has no result.json" in capsys.readouterr().err
    assert summary.main([str(tmp_path / "nothing")]) == 2
    assert "is not a run directory" in capsys.readouterr().err
