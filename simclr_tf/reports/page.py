"""The report: one HTML file that holds all it shows, about one run or several."""

import dataclasses
from collections.abc import Callable, Sequence

from simclr_tf.checkpoints.run_directory import checkpoint_step
from simclr_tf.errors import UserError
from simclr_tf.evaluation.trained import open_trained
from simclr_tf.reports import (
    comparison,
    confusions,
    curves,
    embedding_map,
    facts,
    html,
    neighbours,
    shown_views,
)
from simclr_tf.reports import worth as of_features
from simclr_tf.reports.measured import Measured, measure, open_splits
from simclr_tf.reports.record import PRETRAINED, RANDOM, Record, read_record
from simclr_tf.reports.style import STYLE
from simclr_tf.reports.worth import Worth, worth


def report(paths: Sequence[str], images: int, tell: Callable[[str], None]) -> str:
    """Read runs, show images to their checkpoints, and write the page.

    Of a run that goes on there is what exists. What cannot be shown is left out, and the page
    says why: without a checkpoint, without the data, without labels.

    Args:
      paths: of the run directories; one is told of in full, several are compared.
      images: how many of each split are shown to the encoders, at most.
      tell: is called with a line about what is done.

    Returns:
      The text of the HTML file, which refers to no other.

    Raises:
      UserError: a directory holds no run, or its files are damaged.
    """
    records = [read_record(path, name) for path, name in zip(paths, _names(paths), strict=True)]
    if len(records) > 1:  # what probe.json says is of other images than the sample
        records = [dataclasses.replace(record, probe=None) for record in records]
    found, numbers, reasons = [], [], []
    for record in records:
        tell(f"{record.directory.path}: {facts.length(record)}")
        measured, of_measured, reason = _measured(record, images)
        if reason:
            tell(f"note: {reason}")
        found.append(measured if len(records) == 1 else None)  # of several its numbers are enough
        numbers.append(of_measured)
        reasons.append(reason)
    if len(records) == 1:
        return _of_one(records[0], found[0], numbers[0], reasons[0])
    return _of_several(records, numbers, reasons)


def _names(paths: Sequence[str]) -> list[str]:
    """The last parts of paths; all of a path where two would have one name."""
    last = [path.rstrip("/").rpartition("/")[2] for path in paths]
    return list(paths) if len(set(last)) < len(last) else last


def _measured(record: Record, images: int) -> tuple[Measured | None, Worth | None, str | None]:
    """What the checkpoint makes of images, its numbers, and what is left out, in a sentence."""
    if record.checkpoint is None:
        reason = "The run has no checkpoint yet, so that there are no features to look at."
        return None, None, reason
    trained = open_trained(record.checkpoint)
    try:
        splits = open_splits(record, trained)
    except UserError as error:
        reason = f"The images cannot be opened, so that none is shown to the encoder: {error}"
        return None, None, reason
    try:
        measured = measure(record, trained.network, splits, images)
        return measured, worth(record, measured), measured.note
    except UserError as error:
        return None, None, f"What the encoder makes of images is left out: {error}"


def _of_one(
    record: Record, measured: Measured | None, numbers: Worth | None, reason: str | None
) -> str:
    sections = [curves.section([record]), shown_views.section(record, measured)]
    if measured is not None and numbers is not None:
        sections.insert(0, of_features.section(record, measured, numbers))
        sections += [neighbours.section(measured), embedding_map.section(measured)]
        if numbers.predictions is not None:
            sections.append(confusions.section(measured, numbers.predictions))
    sections.append(facts.section(record))
    title = f"{record.name}: {record.method} on {record.flags['dataset']}"
    return _page(title, _headline(record, numbers), [reason], sections)


def _of_several(
    records: Sequence[Record], numbers: Sequence[Worth | None], reasons: Sequence[str | None]
) -> str:
    notes = [f"{r.name}: {reason}" for r, reason in zip(records, reasons, strict=True) if reason]
    sections = [comparison.section(records, numbers), curves.section(records)]
    sections += [facts.section(record, record.name) for record in records]
    return _page(f"{len(records)} runs", ", ".join(r.name for r in records), notes, sections)


def _headline(record: Record, numbers: Worth | None) -> str:
    """The most important of a run, in a sentence."""
    if numbers is None or of_features.PROBE not in numbers.numbers[PRETRAINED]:
        return f"{facts.length(record)}."
    pretrained, random = (numbers.numbers[name][of_features.PROBE] for name in (PRETRAINED, RANDOM))
    return (
        f"At step {checkpoint_step(record.checkpoint):,} a linear probe on the features finds the "
        f"class of {pretrained:.1%} of the test images; on those of random weights {random:.1%}."
    )


def _page(title: str, headline: str, notes: Sequence[str | None], sections: Sequence[str]) -> str:
    noted = "".join(f'<p class="note">{html.text(note)}</p>' for note in notes if note)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.text(title)}</title><style>{STYLE}</style></head><body><main>"
        f'<header><h1>{html.text(title)}</h1><p class="headline">{html.text(headline)}</p>{noted}'
        f"</header>{''.join(sections)}</main></body></html>\n"
    )
