"""What `python -m simclr_tf.study` does with its flags."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

from simclr_tf.errors import UserError, did_you_mean
from simclr_tf.experiment.probing import ProbeFlags
from simclr_tf.experiment.train import TERMINATED
from simclr_tf.flag import flag
from simclr_tf.studies import table
from simclr_tf.studies.grid import PAPER, REDUCED, Study, cells_of, points_of
from simclr_tf.studies.paper import STUDIES
from simclr_tf.studies.runner import Runner, Stopped
from simclr_tf.studies.sweep import Sweep


@dataclasses.dataclass(frozen=True)
class StudyFlags(ProbeFlags):
    """A study: where it is, and how much of it."""

    study_dir: str | None = flag(
        None, "The study's directory; several processes may share it, and it may hold a part."
    )
    axes: str = flag(
        PAPER,
        "The points of the axes: those of the paper, or reduced ones for small data and networks.",
        choices=(PAPER, REDUCED),
    )
    cells: str | None = flag(
        None,
        "Only cells with these points, such as batch=256,batch=512,epochs=100; --list shows them.",
    )
    method_recipes: str | None = flag(
        None,
        "Of the study `methods`: where the recipe of each method is, as PREFIX_METHOD.cfg, and "
        "SimCLR's as PREFIX.cfg. The flags that are given are stronger.",
    )
    dry_run: bool = flag(False, "Print the cells and what they cost, and do nothing.")
    list: bool = flag(False, "Print the studies, or all about one of them, and do nothing.")


def study(
    name: str,
    flags: StudyFlags,
    chosen: Mapping[str, Any],
    recipe: Callable[[str, str], Mapping[str, Any]] = lambda prefix, method: {},
    report: Callable[[str], None] = print,
) -> int:
    """Make what is left of a study and write its table, or print its plan.

    Args:
      name: of the study.
      flags: see `StudyFlags`.
      chosen: the flags of run.py that all cells share, by their names.
      recipe: gives the flags of a recipe by --method_recipes and the name of a method.
      report: is told about each cell that is finished, the plan and the table.

    Returns:
      The exit status: 0, or 143 after a SIGTERM.

    Raises:
      UserError: something that was given cannot work.
    """
    found = _study(name)
    if not flags.study_dir:
        raise UserError("--study_dir is missing: give the directory of the study.")
    sweep = Sweep(flags.study_dir)
    every, cells = cells_of(found, flags.axes), cells_of(found, flags.axes, flags.cells)
    facts = {"study": name, "axes": flags.axes, "method_recipes": flags.method_recipes}
    facts |= {"probe_images": flags.probe_images or None}  # as in directories of before there were
    recipes = functools.partial(recipe, flags.method_recipes) if flags.method_recipes else None
    methods = sorted({cell.flags["method"] for cell in every if "method" in cell.flags})
    facts["recipes"] = {name: dict(recipes(name)) for name in methods} if recipes else None
    runner = Runner(
        sweep, facts, cells, chosen, recipes, flags.probe_images, found.further, found.require
    )
    if flags.dry_run:
        runner.compare()
        report(runner.describe())
        return 0
    try:
        runner.run(report)
    except Stopped:
        return TERMINATED
    with sweep.claim("table", wait=True):  # others may have waited for the last cell too
        results = {cell.id: result for cell in every if (result := sweep.result(cell.id))}
        report(table.write(sweep.path, found, every, results))
    return 0


def listing(name: str | None = None) -> str:
    """All studies, or one of them with the flags of each cell; with the points and paper's values.

    Raises:
      UserError: there is no such study.
    """
    if name is None:
        return "\n\n".join(_outline(*study) for study in STUDIES.items())
    found = _study(name)
    lines = [_outline(name, found)]
    for axes in (PAPER, REDUCED):
        lines += ["", f"--axes={axes}"]
        for cell in cells_of(found, axes):
            flags = " ".join(f"--{flag}={value}" for flag, value in cell.flags.items())
            lines.append(f"    {cell.name}: {flags}")
    return "\n".join(lines)


def _outline(name: str, found: Study) -> str:
    """What a study varies, the points of its axes, what the paper found, and its values."""
    lines = [f"{name} ({found.source}): {found.about}. {found.finding}"]
    for axes in (PAPER, REDUCED):
        lines.append(f"    {len(cells_of(found, axes))} cells with --axes={axes}")
        for axis, points in points_of(found, axes).items():
            lines.append(f"        {axis}: {', '.join(points)}")
    known = tuple(measure for measure in found.measures if measure.key in found.published)
    if known:
        shown = dataclasses.replace(found, measures=known)
        lines += ["in the paper:", "", table.markdown(shown, cells_of(found, PAPER), {}).rstrip()]
    return "\n".join(lines)


def _study(name: str) -> Study:
    if name not in STUDIES:
        raise UserError(
            f"Unknown study {name!r}; it is one of {', '.join(STUDIES)}."
            + did_you_mean(name, [*STUDIES])
        )
    return STUDIES[name]
