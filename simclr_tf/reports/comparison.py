"""Several runs in one table."""

from collections.abc import Sequence

from simclr_tf.reports import facts, html, worth
from simclr_tf.reports.record import PRETRAINED, RANDOM, Record
from simclr_tf.reports.worth import Worth

_COLUMNS = (worth.PROBE, worth.KNN, "alignment of h", "uniformity of h", "effective rank of h")


def section(records: Sequence[Record], found: Sequence[Worth | None]) -> str:
    """One row for each run, with what its features are worth.

    Args:
      records: of the runs.
      found: their numbers; None where they could not be measured.
    """
    rows = [_row(record, numbers) for record, numbers in zip(records, found, strict=True)]
    header = ["run", "method", "length", "time in steps", "speed", *_COLUMNS]
    return html.section(
        "The runs",
        html.paragraph(
            "Numbers in brackets are those of random weights. Accuracies are of frozen features, "
            "on a sample of each run's images (--images)."
        ),
        html.table(header, rows, wide=True),
    )


def _row(record: Record, found: Worth | None) -> list[str]:
    about = [
        record.name,
        record.method,
        facts.length(record),
        facts.duration(record.seconds),
        facts.speed(record),
    ]
    return about + [_cell(found, name) for name in _COLUMNS]


def _cell(found: Worth | None, name: str) -> str:
    if found is None or name not in found.numbers[PRETRAINED]:
        return "-"
    pretrained, random = (worth.shown(name, found.numbers[e][name]) for e in (PRETRAINED, RANDOM))
    return f"{pretrained} ({random})"
