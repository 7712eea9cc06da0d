"""Putting arrays into a network, and saying what became of each of them.

Nothing is known here about file formats: arrays come under the paths that
`variable_paths` gives.
"""

import dataclasses
from collections import Counter
from collections.abc import Collection, Mapping

import numpy as np
import tensorflow as tf

from simclr_tf.checkpoints.variable_paths import paths_in
from simclr_tf.errors import UserError
from simclr_tf.models import Network

PARTS = {
    "encoder": "encoder",
    "projection_head": "projection head",
    "supervised_head": "supervised head",
}
SHOWN = 3


@dataclasses.dataclass(frozen=True)
class Mismatch:
    """A variable whose array has another shape."""

    path: str
    expected: tuple[int, ...]
    found: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.path} is {self.found} in the file and {self.expected} in this model"


@dataclasses.dataclass(frozen=True)
class RestoreReport:
    """What became of every variable of the network and every variable of the file.

    Attributes:
      matched: paths whose variables were assigned.
      missing: paths of the network for which there was no array.
      mismatched: arrays of another shape than the network's variable.
      skipped: paths that would have fitted, of heads which were not loaded because
        something else in them is missing or of another shape.
      unused: names in the file that this network has no place for.
      excluded: paths that the user's variable schema leaves out.
      ignored: names in the file that are no weights: optimizer slots, counters and
        moving-average copies.
      notes: lines for the user: what was found, and what there is to know about it.
    """

    matched: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    mismatched: tuple[Mismatch, ...] = ()
    skipped: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def summary(self) -> str:
        """The notes, and one line for each kind of outcome that occurred, with a few names."""
        lines = [*self.notes, f"{'matched':<12}{len(self.matched):>5}  {_by_part(self.matched)}"]
        for field in dataclasses.fields(self)[1:-1]:
            names = getattr(self, field.name)
            if names:
                lines.append(f"{field.name:<12}{len(names):>5}  {_first(names)}")
        return "\n".join(lines)

    __str__ = summary


def variable_paths(network: Network) -> dict[str, tf.Variable]:
    """The variables of a network by their place in it, see `paths_in`.

    Such are `encoder/groups/0/0/convolution1/kernel`, `projection_head/layers/0/dense/kernel`,
    `supervised_head/bias`.
    """
    return {
        path: variable
        for part in PARTS
        if getattr(network, part) is not None
        for path, variable in paths_in(getattr(network, part), part).items()
    }


def assign(
    network: Network,
    arrays: Mapping[str, np.ndarray],
    *,
    require_projection_head: bool = False,
    require_supervised_head: bool = False,
    excluded: Collection[str] = (),
    unused: Collection[str] = (),
    ignored: Collection[str] = (),
    source: str = "the checkpoint",
) -> RestoreReport:
    """Assign arrays to the variables of a network, all of a part or nothing of it.

    The encoder has to be complete. A head that is not complete, or has another shape
    (another number of classes), is left as it is, unless it is required.

    Args:
      network: what to load into.
      arrays: values by the paths of `variable_paths`.
      require_projection_head: whether an incomplete projection head is an error.
      require_supervised_head: whether an incomplete supervised head is an error.
      excluded: paths that may be missing because the user left them out.
      unused: further names of the file without a place, for the report.
      ignored: names of the file that are no weights, for the report.
      source: what the arrays come from, for messages.

    Raises:
      UserError: a required variable is missing or has another shape; nothing is assigned.
    """
    variables = variable_paths(network)
    missing = [p for p in variables if p not in arrays and p not in excluded]
    mismatched = [
        Mismatch(path, tuple(variable.shape), tuple(np.shape(arrays[path])))
        for path, variable in variables.items()
        if path in arrays and tuple(variable.shape) != tuple(np.shape(arrays[path]))
    ]
    incomplete = {_part(path) for path in missing} | {_part(m.path) for m in mismatched}
    required = {
        "encoder": True,
        "projection_head": require_projection_head,
        "supervised_head": require_supervised_head,
    }
    for part in PARTS:
        if required[part] and part in incomplete:
            raise UserError(_complaint(source, part, missing, mismatched, arrays, unused))

    fitting = [p for p in variables if p in arrays and p not in {m.path for m in mismatched}]
    matched = [path for path in fitting if _part(path) not in incomplete]
    for path in matched:
        variables[path].assign(arrays[path])
    return RestoreReport(
        matched=tuple(matched),
        missing=tuple(missing),
        mismatched=tuple(mismatched),
        skipped=tuple(path for path in fitting if _part(path) in incomplete),
        unused=(*unused, *(path for path in arrays if path not in variables)),
        excluded=tuple(excluded),
        ignored=tuple(ignored),
    )


def _part(path: str) -> str:
    return path.split("/", 1)[0]


def _by_part(paths: Collection[str]) -> str:
    return ", ".join(f"{PARTS[p]} {n}" for p, n in Counter(map(_part, paths)).items())


def _first(names: Collection) -> str:
    shown = "; ".join(str(name) for name in list(names)[:SHOWN])
    return shown + (f"; and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _complaint(
    source: str,
    part: str,
    missing: list[str],
    mismatched: list[Mismatch],
    arrays: Collection[str],
    unused: Collection[str],
) -> str:
    missing = [path for path in missing if _part(path) == part]
    mismatched = [m for m in mismatched if _part(m.path) == part]
    problems = []
    if missing:
        problems.append(f"{len(missing)} of its variables are missing ({_first(missing)})")
    if mismatched:
        problems.append(f"{len(mismatched)} have another shape ({_first(mismatched)})")
    if not any(_part(path) == part for path in arrays):
        problems = ["it has none"]
    elif missing and unused:
        problems.append(f"of its own variables these have no place: {_first(unused)}")
    return (
        f"The {PARTS[part]} cannot be loaded from {source}: {', and '.join(problems)}. "
        "Nothing was loaded."
    )
