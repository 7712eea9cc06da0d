"""Work that several processes share: each unit is made once, by the process that claims it."""

import time
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from simclr_tf.studies.sweep import Sweep

SHOWN_PER_STEP = 3  # a training step costs about three times what showing its images does
_POLL_SECONDS = 2.0


class Unit(Protocol):
    """A piece of the work, such as a fit.

    Attributes:
      id: names it in the sweep, and its result there.
      after: ids of the units that have to be finished before.
    """

    @property
    def id(self) -> str: ...

    @property
    def after(self) -> tuple[str, ...]: ...


AnyUnit = TypeVar("AnyUnit", bound=Unit)


def make_all(
    sweep: Sweep,
    units: Sequence[AnyUnit],
    *,
    make: Callable[[AnyUnit], str],
    finished: Callable[[AnyUnit], bool],
    seconds_left: Callable[[Sequence[AnyUnit]], float | None],
    report: Callable[[str], None],
) -> None:
    """Make all units that are not finished, or wait until other processes have made them.

    Args:
      sweep: where results and claims are.
      units: in an order in which each can be made after those before it.
      make: makes a unit, writes its result, and returns a line about it. The unit is claimed.
      finished: whether the result of a unit is there; not asked again when it was.
      seconds_left: how long units will take one process, or None where that is not known.
      report: is told about each unit that is made here, and how much is left.
    """
    done: set[str] = set()
    while len(done) < len(units):
        made = False
        for unit in units:
            if unit.id in done or not done.issuperset(unit.after):
                continue
            line, there = "", finished(unit)
            if not there:
                with sweep.claim(unit.id) as claimed:
                    if claimed and not finished(unit):
                        line = make(unit)
                there = finished(unit)
            if there:
                done.add(unit.id)
            if line:
                made = True
                left = [other for other in units if other.id not in done]
                time_left = duration(seconds_left(left))
                report(f"[{len(done)}/{len(units)}] {line}; time left: {time_left}")
        if not made and len(done) < len(units):
            time.sleep(_POLL_SECONDS)


def duration(seconds: float | None) -> str:
    """A time in words, such as `12 min`, and `not known yet` for None."""
    if seconds is None:
        return "not known yet"
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6_000 else f"{seconds / 3600:.1f} h"
