"""Fine-tune by a protocol of the papers; `python finetune.py --help` lists the flags.

`--protocol=transfer` is a sweep over data sets with flags of its own, which
`python finetune.py --protocol=transfer --help` lists.
"""

import sys

from absl import app

from simclr_tf import cli
from simclr_tf.experiment import protocols
from simclr_tf.experiment.config import FinetuneConfig
from simclr_tf.experiment.method_flags import asked_for, flags_of_others
from simclr_tf.transfer import program as transfer
from simclr_tf.transfer.program import TransferConfig


def main(argv: list[str], config_class: type) -> None:
    cli.refuse_arguments(argv)
    config = cli.read_flags(config_class)
    given = cli.given_flags(config_class)
    run = transfer.run if config_class is TransferConfig else protocols.run
    sys.exit(cli.exit_status(lambda: run(config, given)))


if __name__ == "__main__":
    if cli.value_of("protocol", sys.argv) == "transfer":
        config_class, others = TransferConfig, {}
    else:
        config_class = asked_for(sys.argv, FinetuneConfig)
        others = flags_of_others(config_class)
    cli.define_flags(config_class)
    app.run(lambda argv: main(argv, config_class), flags_parser=cli.parser(config_class, others))
