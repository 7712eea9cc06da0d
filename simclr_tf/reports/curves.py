"""Curves of loss, accuracy, learning rate and spread: of one run, or of several in one picture."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from simclr_tf.reports import charts, html
from simclr_tf.reports.record import Record

# Metrics that all methods share, and what they mean.
SHARED = {
    "supervised_loss": "of the linear probe that is trained beside, or of the classifier",
    "supervised_acc": "of the linear probe that is trained beside, or of the classifier, on "
    "augmented training images",
    "knn_top_1_accuracy": "of weighted nearest neighbours, on the evaluation split",
    "spread": "how far the embeddings of a batch differ: near 0 they have collapsed",
    "learning_rate": "after scaling to the batch",
}
_LEFT_OUT = ("step", "epoch", "images_per_second", "weight_decay", "total_loss")


def section(records: Sequence[Record]) -> str:
    """One chart for each metric, with a line for each run that has it."""
    names = list(dict.fromkeys(name for record in records for name in metrics(record)))
    if not names:
        return html.section("Curves", html.paragraph("There is no row of metrics yet."))
    several = len(records) > 1
    intro = (
        "Every point is the mean over the steps since the point before. Losses of different "
        "methods cannot be compared."
        if several
        else "Every point is the mean over the steps since the point before."
    )
    return html.section(
        "Curves", html.paragraph(intro), html.panels(_panel(name, records) for name in names)
    )


def metrics(record: Record) -> list[str]:
    """The metrics of a run, those of its method first and the learning rate last."""
    found = {name for row in record.rows for name in row}.difference(_LEFT_OUT)
    others = dict.fromkeys(name for row in record.rows for name in row)
    ordered = [name for name in dict.fromkeys([*record.metrics_of, *others]) if name in found]
    return sorted(ordered, key=lambda name: name == "learning_rate")


def line(record: Record, name: str) -> tuple[list[int], list[float]]:
    """Steps and finite values of a metric; both empty where the run has none."""
    rows = [row for row in record.rows if _finite(row.get(name))]
    return [row["step"] for row in rows], [row[name] for row in rows]


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and bool(np.isfinite(value))


def _panel(name: str, records: Sequence[Record]) -> str:
    lines = {record.name: line(record, name) for record in records}
    meanings = dict.fromkeys(r.metrics_of[name] for r in records if name in r.metrics_of)
    meaning = next(iter(meanings)) if len(meanings) == 1 else SHARED.get(name, "")
    share = name.endswith(("acc", "accuracy", "agreement"))
    ends = "; ".join(
        f"{label} {'ends' if len(values) > 1 else 'is'} at {_shown(values[-1], share)}"
        for label, (_, values) in lines.items()
        if values
    )
    content = charts.curves(lines, share)
    alt = f"Curve of {name} by training step: {ends or 'no finite value'}."
    caption = f"<b>{html.text(name)}</b>" + (f": {html.text(meaning)}" if meaning else "")
    return html.figure(html.picture(content, "svg+xml", alt), caption)


def _shown(value: float, share: bool) -> str:
    return f"{value:.1%}" if share else f"{value:.4g}"
