"""A study of the SimCLR paper: a grid of pretrainings, each with linear probe and kNN, in a table.

    python -m simclr_tf.study NAME --study_dir=DIR --flagfile=RECIPE [flags of run.py]
    python -m simclr_tf.study --list

The same command goes on where it was killed, and several of them, on one or more machines that
share DIR, divide the cells. The flags are those of all cells; what the study varies, it sets
itself. DIR has the table (table.md, table.csv, table.png), and below cells/ a run directory and
result.json for each cell.
"""

import dataclasses
import sys
from collections.abc import Mapping
from typing import Any

from absl import app

from simclr_tf import cli, flag
from simclr_tf.exit_status import exit_status
from simclr_tf.experiment.config import ExperimentConfig, defaults_of_method
from simclr_tf.experiment.method_flags import asked_for, flags_of_others
from simclr_tf.methods import DEFAULT_METHOD
from simclr_tf.studies.program import StudyFlags, listing, study


@dataclasses.dataclass(frozen=True)
class StudyConfig(ExperimentConfig):
    """The flags of a study, and those of run.py for its cells."""

    study: StudyFlags = StudyFlags()


def _recipe(prefix: str, method: str) -> Mapping[str, Any]:
    """The flags of the recipe of a method, see --method_recipes."""
    path = f"{prefix}{'' if method == DEFAULT_METHOD else f'_{method}'}.cfg"
    return cli.flags_of_file(path, asked_for(["", f"--method={method}"], ExperimentConfig))


def program(argv: list[str], config_class: type) -> None:
    """Make a study, or list what there is; ends with the exit status."""
    config = cli.read_flags(config_class)
    if config.study.list and len(argv) <= 2:
        sys.exit(exit_status(lambda: print(listing(*argv[1:])) or 0))
    if len(argv) != 2:
        print(
            "error: give one study: python -m simclr_tf.study NAME --study_dir=DIR. Switches are "
            "written --name=True and --name=False. --list shows the studies.",
            file=sys.stderr,
        )
        sys.exit(2)
    values = flag.to_dict(config)
    chosen = {
        name: values[name] for name in cli.given_flags(config_class) - vars(config.study).keys()
    }

    def made() -> int:
        flag.check_ranges(config)
        return study(argv[1], config.study, chosen, _recipe)

    sys.exit(exit_status(made))


def main() -> None:
    config_class = asked_for(sys.argv, StudyConfig)
    cli.define_flags(config_class)
    others = flags_of_others(config_class)
    app.run(
        lambda argv: program(argv, config_class),
        flags_parser=cli.parser(config_class, others, __doc__, defaults_of_method(config_class)),
    )


if __name__ == "__main__":
    main()
