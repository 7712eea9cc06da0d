"""Pretrain, fine-tune and evaluate SimCLR: `python run.py --helpfull` lists the flags."""

import sys

from absl import app

from simclr_tf import cli
from simclr_tf.experiment import train
from simclr_tf.experiment.config import ExperimentConfig


def main(argv: list[str]) -> None:
    cli.refuse_arguments(argv)
    config = cli.read_flags(ExperimentConfig)
    given = cli.given_flags(ExperimentConfig)
    sys.exit(cli.exit_status(lambda: train.run(config, given)))


if __name__ == "__main__":
    cli.define_flags(ExperimentConfig)
    app.run(main, flags_parser=cli.parse_flags)
