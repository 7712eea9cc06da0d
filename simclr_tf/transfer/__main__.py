"""Transfer to many data sets by the protocol of the paper; --help lists the flags.

    python -m simclr_tf.transfer --model_dir=SWEEP_DIR --checkpoint=... --datasets=food101,pets

The same as `finetune.py --protocol=transfer`.
"""

from simclr_tf import cli
from simclr_tf.transfer import program
from simclr_tf.transfer.program import TransferConfig


def main() -> None:
    cli.run(program.run, TransferConfig, about=__doc__)


if __name__ == "__main__":
    main()
