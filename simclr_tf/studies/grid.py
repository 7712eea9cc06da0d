"""A study as a grid of cells, each of them a training that differs in a few flags."""

import dataclasses
import itertools
import pathlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from simclr_tf.data.sources import ImageDataset
from simclr_tf.errors import UserError, did_you_mean
from simclr_tf.models import Network

PAPER, REDUCED = "paper", "reduced"
_LABEL = re.compile(r"\w[\w.+]*")  # of a point, which becomes a part of the name of a folder


@dataclasses.dataclass(frozen=True)
class Axis:
    """What is varied, and how.

    Attributes:
      name: of the axis.
      points: flags by the label of a point.
    """

    name: str
    points: Mapping[str, Mapping[str, Any]]

    def __post_init__(self):
        for word in (self.name, *self.points):
            if not _LABEL.fullmatch(word):
                raise ValueError(f"{word!r} cannot be a part of the name of a folder.")


@dataclasses.dataclass(frozen=True)
class Cell:
    """One training of a study.

    Attributes:
      labels: of its point on each axis, by the name of the axis.
      flags: what it has other than the other cells.
      after: ids of the cells that have to be finished before; there are none.
    """

    labels: Mapping[str, str]
    flags: Mapping[str, Any]
    after: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Names the cell in its study, such as `batch_256-epochs_100`."""
        return "-".join(f"{axis}_{label}" for axis, label in self.labels.items())

    @property
    def folder(self) -> str:
        """Where its files are in the directory of the study."""
        return f"cells/{self.name}"

    @property
    def id(self) -> str:
        """Names its result in the directory of the study."""
        return f"{self.folder}/result"


@dataclasses.dataclass(frozen=True)
class Measure:
    """A number of a cell that is shown.

    Attributes:
      key: its name in the result of a cell.
      title: its name in tables.
      percent: whether it is a share that is shown in percent.
    """

    key: str
    title: str
    percent: bool = True


# What is measured besides, by its key; of the configuration, the network in inference mode, the
# images that the probe is fitted to and those it is measured on, and the folder of the cell.
Further = Callable[[Any, Network, ImageDataset, ImageDataset, pathlib.Path], Mapping[str, float]]

LINEAR_PROBE = Measure("linear_probe_top_1_accuracy", "linear probe, %")
KNN = Measure("knn_top_1_accuracy", "kNN, %")
MEASURES = (LINEAR_PROBE, KNN)  # of every cell


@dataclasses.dataclass(frozen=True)
class Study:
    """A grid of trainings, and what a paper found with it.

    Attributes:
      about: what is varied, in a sentence.
      source: table or figure.
      shown: the axes of the table: its rows, and if there are more, its columns. Over the others
        the cell with the best linear probe counts.
      grids: axes whose products together are the cells; by PAPER, those of the paper, and
        REDUCED, for data and networks that are small.
      finding: what the paper found, in a sentence.
      published: by the key of a measure, values by the labels of the axes that are shown; in
        percent where the measure is.
      measures: what is shown of a cell.
      mean_of_rows: whether the table has the mean of each row, where all its cells have a value.
      further: measures more of a cell, and may leave files in its folder.
      require: refuses, before a cell is trained, a configuration, and images that the probe is
        fitted to, with which `further` cannot work.
    """

    about: str
    source: str
    shown: tuple[str, ...]
    grids: Mapping[str, tuple[tuple[Axis, ...], ...]]
    finding: str
    published: Mapping[str, Mapping[tuple[str, ...], float]] = dataclasses.field(
        default_factory=dict
    )
    measures: tuple[Measure, ...] = MEASURES
    mean_of_rows: bool = False
    further: Further | None = None
    require: Callable[[Any, ImageDataset], None] | None = None


def cells_of(study: Study, axes: str, chosen: str | None = None) -> list[Cell]:
    """The cells of a study, in the order of its axes.

    Args:
      study: see `Study`.
      axes: PAPER or REDUCED.
      chosen: points such as `loss=margin,loss=nt_xent,rate=0.1`; an axis that is not named is
        whole. None are all cells.

    Raises:
      UserError: there is no such axis or point, or no cell with these points.
    """
    grids = study.grids[axes]
    cells = [_cell(*point) for grid in grids for point in _points(grid)]
    wanted: dict[str, set[str]] = {}
    for word in (chosen or "").split(","):
        if word.strip():
            axis, label = _known(word.strip(), grids)
            wanted.setdefault(axis, set()).add(label)
    found = [
        cell
        for cell in cells
        if all(cell.labels.get(axis) in labels for axis, labels in wanted.items())
    ]
    if not found:
        raise UserError(f"No cell has all the points of --cells={chosen}. See --list.")
    return found


def points_of(study: Study, axes: str) -> dict[str, list[str]]:
    """The labels of the points of each axis.

    Args:
      study: see `Study`.
      axes: PAPER or REDUCED.
    """
    return _labels(study.grids[axes])


def _labels(grids: Sequence[Sequence[Axis]]) -> dict[str, list[str]]:
    labels: dict[str, list[str]] = {}
    for grid in grids:
        for axis in grid:
            known = labels.setdefault(axis.name, [])
            known += [label for label in axis.points if label not in known]
    return labels


def _points(grid: Sequence[Axis]):
    """Every combination of points: for each axis its name, a label and flags."""
    axes = [[(axis.name, *point) for point in axis.points.items()] for axis in grid]
    return itertools.product(*axes)


def _cell(*points: tuple[str, str, Mapping[str, Any]]) -> Cell:
    labels = {axis: label for axis, label, _ in points}
    flags: dict[str, Any] = {}
    for _, _, more in points:
        flags |= more
    return Cell(labels, flags)


def _known(word: str, grids: Sequence[Sequence[Axis]]) -> tuple[str, str]:
    """The axis and the label that a word of --cells names."""
    labels = _labels(grids)
    name, _, label = word.partition("=")
    if name not in labels:
        raise UserError(
            f"--cells is a list of points such as {next(iter(labels))}="
            f"{next(iter(labels.values()))[0]}, of the axes {', '.join(labels)}. It cannot have "
            f"{word!r} in it.{did_you_mean(name, list(labels))}"
        )
    if label not in labels[name]:
        raise UserError(
            f"The axis {name} has the points {', '.join(labels[name])}. --cells cannot have "
            f"{word!r} in it.{did_you_mean(label, labels[name])}"
        )
    return name, label
