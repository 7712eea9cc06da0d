"""Pretrain, fine-tune and evaluate; --help lists the flags.

    python -m simclr_tf.pretrain --flagfile=recipe:digits --model_dir=runs/digits

The same as run.py. Each --method has flags of its own: --method=NAME --help lists them.
"""

import sys

from simclr_tf import cli
from simclr_tf.experiment import train
from simclr_tf.experiment.config import ExperimentConfig, defaults_of_method
from simclr_tf.experiment.method_flags import asked_for, flags_of_others


def main() -> None:
    config_class = asked_for(sys.argv, ExperimentConfig)
    cli.run(
        train.run,
        config_class,
        about=__doc__,
        others=flags_of_others(config_class),
        defaults=defaults_of_method(config_class),
    )


if __name__ == "__main__":
    main()
