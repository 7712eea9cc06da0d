"""Fine-tune by a protocol of the papers; --help lists the flags.

    python -m simclr_tf.finetune --protocol=linear --checkpoint=runs/digits --model_dir=runs/linear

The same as finetune.py. `--protocol=transfer` is a sweep over data sets with flags of its own,
which --protocol=transfer --help lists.
"""

import sys

from simclr_tf import cli
from simclr_tf.experiment import protocols
from simclr_tf.experiment.config import FinetuneConfig
from simclr_tf.experiment.method_flags import asked_for, flags_of_others
from simclr_tf.transfer import program as transfer
from simclr_tf.transfer.program import TransferConfig


def main() -> None:
    protocol = cli.value_of("protocol", sys.argv)
    if protocol == "transfer":
        cli.run(transfer.run, TransferConfig, about=transfer.__doc__)
    config_class = asked_for(sys.argv, FinetuneConfig)
    cli.run(
        protocols.run,
        config_class,
        about=__doc__,
        others=flags_of_others(config_class),
        defaults=protocols.PROTOCOLS.get(protocol),
    )


if __name__ == "__main__":
    main()
