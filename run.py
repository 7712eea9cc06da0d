"""Pretrain, fine-tune and evaluate; `python run.py --help` lists the flags.

Each --method has flags of its own: `python run.py --method=NAME --help` lists them.
"""

import sys

from absl import app

from simclr_tf import cli
from simclr_tf.experiment import train
from simclr_tf.experiment.config import ExperimentConfig
from simclr_tf.experiment.method_flags import asked_for, flags_of_others


def main(argv: list[str], config_class: type) -> None:
    cli.refuse_arguments(argv)
    config = cli.read_flags(config_class)
    given = cli.given_flags(config_class)
    sys.exit(cli.exit_status(lambda: train.run(config, given)))


if __name__ == "__main__":
    config_class = asked_for(sys.argv, ExperimentConfig)
    cli.define_flags(config_class)
    app.run(
        lambda argv: main(argv, config_class),
        flags_parser=cli.parser(config_class, flags_of_others(config_class)),
    )
