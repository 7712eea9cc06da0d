"""What was learned, in pictures: one HTML file about a run, or one that compares several.

    python -m simclr_tf.report RUN_DIR... [--output=FILE.html]

It has curves, views, nearest neighbours, maps and confusions, and says how much better the features
are than those of random weights. It needs no network. docs/report.md tells more.
"""

import dataclasses
import time
from collections.abc import Sequence

import tensorflow as tf

from simclr_tf import cli
from simclr_tf.errors import UserError
from simclr_tf.flag import check_ranges, flag
from simclr_tf.outputs import reason, require_file, write_complete
from simclr_tf.paths import as_path
from simclr_tf.reports.page import report


@dataclasses.dataclass(frozen=True)
class Report:
    """Where the report goes, and of how many images it tells."""

    output: str | None = flag(
        None,
        "The HTML file; local, or a URL. By default report.html in the run directory, or where "
        "there are several, in the working directory.",
    )
    images: int = flag(
        2000, "Images of each split that are looked at, at most.", at_least=10, at_most=10_000
    )


@dataclasses.dataclass(frozen=True)
class ReportConfig:
    """The flags of this program."""

    report: Report = Report()


def write_report(runs: Sequence[str], flags: Report) -> str:
    """Write the report, and return what there is to say about it.

    Raises:
      UserError: something that was given cannot work.
    """
    check_ranges(ReportConfig(flags))
    directory = as_path(runs[0] if len(runs) == 1 else ".")
    if not directory.is_dir():
        raise UserError(f"There is no run directory {directory}.")
    output = as_path(flags.output) if flags.output else directory / "report.html"
    require_file(output, f"--output={output}")
    tf.get_logger().setLevel("ERROR")  # it warns where networks are traced one after the other
    begun = time.monotonic()
    page = report(runs, flags.images, lambda line: print(line, flush=True)).encode()
    try:
        write_complete(output, page)
    except OSError as error:
        raise UserError(f"--output={output} cannot be written: {reason(error)}.") from None
    seconds = time.monotonic() - begun
    return f"Wrote {output} ({len(page) / 2**20:.1f} MB) in {seconds:.0f} s. Open it in a browser."


def program(runs: list[str], config: ReportConfig, given: frozenset[str]) -> int:
    """Write the report, say where it is; returns the exit status."""
    del given
    print(write_report(runs, config.report))
    return 0


def main() -> None:
    cli.run(program, ReportConfig, about=__doc__, argument="RUN_DIR...")


if __name__ == "__main__":
    main()
