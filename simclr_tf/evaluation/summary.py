"""One table over the results of many runs: `python -m simclr_tf.evaluation.summary DIR...`."""

import argparse
import csv
import io
import sys
from collections.abc import Sequence
from typing import Any

from simclr_tf.checkpoints.run_directory import RunDirectory
from simclr_tf.errors import UserError
from simclr_tf.exit_status import exit_status
from simclr_tf.json_files import Kinds, check_entries, read_object

COLUMNS = ("protocol", "data set", "labels", "top-1", "top-5", "checkpoint", "command")

_SHOWN: Kinds = {
    "protocol": (str, type(None)),
    "train_mode": (str, type(None)),
    "fraction": (float, type(None)),
    "eval/label_top_1_accuracy": (float, type(None)),
    "eval/label_top_5_accuracy": (float, type(None)),
    "checkpoint": (str, type(None)),
    "command": (str, type(None)),
}


def row_of(path: str) -> dict[str, str]:
    """What the run directory at `path` says, by COLUMNS; empty where it says nothing.

    Raises:
      UserError: it is no run directory, or it was not evaluated.
    """
    directory = RunDirectory(path)
    run = directory.config(complete=False)
    try:
        result = read_object(directory / "result.json")
    except FileNotFoundError:
        raise UserError(
            f"{directory.path} has no result.json. Evaluate it: python run.py --mode=eval "
            f"--model_dir={directory.path}"
        ) from None
    known = run | result
    check_entries({name: None for name in _SHOWN} | known, _SHOWN, str(directory.path))
    values = (
        known.get("protocol") or known.get("train_mode"),
        known.get("dataset"),
        _percent(known.get("fraction", 1.0)),
        _percent(known.get("eval/label_top_1_accuracy")),
        _percent(known.get("eval/label_top_5_accuracy")),
        known.get("checkpoint"),
        known.get("command"),
    )
    return {name: value or "" for name, value in zip(COLUMNS, values, strict=True)}


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{100 * share:.4g}%"


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as a Markdown table."""
    cells = [[str(row[name]).replace("|", r"\|") for name in COLUMNS] for row in rows]
    lines = [COLUMNS, ["---"] * len(COLUMNS), *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def as_csv(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as CSV with a header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().rstrip("\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m simclr_tf.evaluation.summary",
        description="Print one table over the results of runs.",
    )
    parser.add_argument("directories", metavar="DIR", nargs="+", help="run directory")
    parser.add_argument("--csv", action="store_true", help="CSV instead of Markdown")
    given = parser.parse_args(arguments)

    def program() -> int:
        rows = [row_of(path) for path in given.directories]
        print(as_csv(rows) if given.csv else markdown(rows))
        return 0

    return exit_status(program)


if __name__ == "__main__":
    sys.exit(main())
