"""Fine-tune by a protocol of the papers: `python finetune.py --helpfull` lists the flags."""

import sys

from absl import app

from simclr_tf import cli, protocols
from simclr_tf.config import FinetuneConfig


def main(argv: list[str]) -> None:
    cli.refuse_arguments(argv)
    config = cli.read_flags(FinetuneConfig)
    given = cli.given_flags(FinetuneConfig)
    sys.exit(cli.exit_status(lambda: protocols.run(config, given)))


if __name__ == "__main__":
    cli.define_flags(FinetuneConfig)
    app.run(main, flags_parser=cli.parse_flags)
