"""The table of a sweep, beside the paper's: Markdown, CSV and a picture."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import BinaryIO

import numpy as np

from simclr_tf.data.transfer.registry import REGISTRY
from simclr_tf.errors import UserError
from simclr_tf.evaluation.metrics import permutation_p_value
from simclr_tf.models import Architecture
from simclr_tf.outputs import complete_file, csv_writer, write_complete
from simclr_tf.studies.sweep import SETTINGS, Sweep, read_arrays
from simclr_tf.transfer.paper import reported
from simclr_tf.transfer.plan import FINAL, PROTOCOLS, Fit

OURS = "this sweep"
SIGNIFICANT = 0.05
Rows = Mapping[tuple[str, str], Mapping[str, float]]  # (protocol, what) -> data set -> value


def results(sweep: Sweep, fits: Sequence[Fit], architecture: Architecture) -> Rows:
    """Test results of the finished last fits, in percent, and the paper's for the same encoder.

    Data sets and protocols that other calls have finished are there too, of a whole grid. A
    protocol of which nothing is finished has no rows.
    """
    rows: dict[tuple[str, str], dict[str, float]] = {}
    last = {(fit.dataset, fit.protocol): fit.id for fit in fits if fit.point is None}
    for (dataset, protocol), fit_id in (_of_whole_grids(sweep) | last).items():
        if result := sweep.result(fit_id, ["test"]):
            rows.setdefault((protocol, OURS), {})[dataset] = 100 * result["test"]
    for protocol, _ in tuple(rows):
        for kind, values in reported(architecture, protocol).items():
            rows[protocol, f"paper, {kind}"] = values
    return dict(sorted(rows.items(), key=lambda item: (item[0][0], item[0][1] != OURS)))


def _of_whole_grids(sweep: Sweep) -> dict[tuple[str, str], str]:
    """The ids of last fits that are finished, by data set and protocol."""
    found = {}
    for protocol in PROTOCOLS:
        for file in sorted(sweep.path.rglob(f"{protocol}/{FINAL}.json")):
            folder = file.parent.parent
            near = (p for p in file.parents if p == sweep.path or (p / SETTINGS).exists())
            if folder != sweep.path == next(near):  # and not of a sweep below this one
                dataset = folder.relative_to(sweep.path).as_posix()
                found[dataset, protocol] = Fit(dataset, protocol, FINAL, None).id
    return found


def p_values(sweep: Sweep, other: Sweep, fits: Sequence[Fit]) -> Rows:
    """Permutation tests of the differences from another sweep, where both have finished.

    Raises:
      UserError: a data set does not have the same test images in both, or predictions cannot be
        read.
    """
    rows: dict[tuple[str, str], dict[str, float]] = {}
    for fit in fits:
        if fit.point is not None or not (sweep.result(fit.id) and other.result(fit.id)):
            continue
        shares, labels = {}, {}
        for which in (sweep, other):
            stored = read_arrays(which.arrays(fit.id), "shares", "labels")
            if stored is None or len(stored[0]) != len(stored[1]):
                raise UserError(
                    f"{which.arrays(fit.id)} is damaged. Remove it and the .json file beside it, "
                    "and run that sweep again."
                )
            shares[which], labels[which] = stored
        if not np.array_equal(labels[sweep], labels[other]):
            raise UserError(
                f"{sweep.path} and {other.path} have other test images of {fit.dataset}; sweeps "
                "can be compared on the same images only."
            )
        difference = permutation_p_value(shares[sweep] - shares[other])
        rows.setdefault((fit.protocol, f"p against {other.path.name}"), {})[fit.dataset] = (
            difference
        )
    return rows


def write(folder: pathlib.Path, rows: Rows, differences: Rows) -> str:
    """Write table.md, table.csv and table.png; returns the Markdown.

    Args:
      folder: where to.
      rows: see `results`.
      differences: see `p_values`; p below 0.05 is set in bold.
    """
    here = {dataset for (_, what), values in rows.items() if what == OURS for dataset in values}
    order = [name for name in REGISTRY if name in here]
    order += sorted(here.difference(order))
    titles = [REGISTRY[name].title if name in REGISTRY else name for name in order]
    lines = ["| protocol | what | " + " | ".join(titles) + " |"]
    lines.append("| --- | --- |" + " ---: |" * len(order))
    cells = []
    for (protocol, what), values in {**rows, **differences}.items():
        form = _p_value if (protocol, what) in differences else "{:.1f}".format
        shown = [form(values[name]) if name in values else "" for name in order]
        cells.append([protocol, what, *shown])
        lines.append("| " + " | ".join(cells[-1]) + " |")
    text = "\n".join(lines) + "\n"
    with complete_file(folder / "table.png") as part, open(part, "wb") as file:
        _draw(file, rows, order, titles)
    with csv_writer(folder / "table.csv") as sheet:
        sheet.writerows([["protocol", "what", *order], *_plain(cells)])
    write_complete(folder / "table.md", text.encode())
    return text


def _p_value(value: float) -> str:
    shown = f"{value:.3f}" if value >= 0.001 else "<0.001"  # a p-value is never 0
    return f"**{shown}**" if value < SIGNIFICANT else shown


def _plain(cells: Sequence[Sequence[str]]) -> list[list[str]]:
    return [[cell.strip("*") for cell in row] for row in cells]


def _draw(file: BinaryIO, rows: Rows, order: Sequence[str], titles: Sequence[str]) -> None:
    """Bars for each data set, one picture for each protocol above the other."""
    from matplotlib.figure import Figure

    protocols = list(dict.fromkeys(protocol for protocol, _ in rows))
    figure = Figure(figsize=(max(6, len(order)), 3 * len(protocols)), layout="constrained")
    all_axes = figure.subplots(len(protocols), squeeze=False)[:, 0]
    for axes, protocol in zip(all_axes, protocols, strict=True):
        groups = {what: values for (of, what), values in rows.items() if of == protocol}
        width = 0.8 / len(groups)
        for i, (what, values) in enumerate(groups.items()):
            heights = [values.get(name, np.nan) for name in order]
            axes.bar(np.arange(len(order)) + i * width, heights, width, label=what)
        axes.set_xticks(np.arange(len(order)) + 0.4 - width / 2, titles, rotation=30, ha="right")
        axes.set_title(protocol)
        axes.set_ylabel("%")
        axes.legend(fontsize="small")
    figure.savefig(file, format="png", dpi=120)
