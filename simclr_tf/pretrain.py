"""Pretrain, fine-tune and evaluate; --help lists the flags.

    python -m simclr_tf.pretrain --flagfile=recipe:digits --model_dir=runs/digits

The same as run.py. Each --method has flags of its own: --method=NAME --help lists them.
"""

import sys

from simclr_tf import cli
from simclr_tf.experiment import train
from simclr_tf.experiment.config import ExperimentConfig, method_of
from simclr_tf.experiment.method_flags import asked_for, flags_of_others
from simclr_tf.methods import METHODS


def main() -> None:
    config_class = asked_for(sys.argv, ExperimentConfig)
    cli.run(
        train.run,
        config_class,
        about=__doc__,
        others=flags_of_others(config_class),
        defaults=METHODS[method_of(config_class)].DEFAULTS,
    )


if __name__ == "__main__":
    main()
