"""Parsing command lines of run.py as run.py does, and finding them in documents."""

import pathlib
import re
import shlex
import unittest.mock
from collections.abc import Sequence
from typing import Any

from absl import flags

from simclr_tf import cli
from simclr_tf.experiment import method_flags
from simclr_tf.experiment.config import ExperimentConfig
from simclr_tf.flag_files import with_paths_of_recipes

ROOT = pathlib.Path(__file__).resolve().parent.parent


def parsed(
    *arguments: str, config_class: type = ExperimentConfig
) -> tuple[ExperimentConfig, frozenset[str]]:
    """The configuration of a command line, and the names of the flags that it gives."""
    values, config_class, others = _read(arguments, config_class)
    assert not others, f"not flags: {others}"
    return cli.read_flags(config_class, values), cli.given_flags(config_class, values)


def read_command(words: Sequence[str], config_class: type) -> tuple[Any, list[str]]:
    """The configuration of a program's command line, and its words that are no flags."""
    values, config_class, others = _read(words, config_class)
    return cli.read_flags(config_class, values), others


def _read(words, config_class):
    values = flags.FlagValues()
    argv = with_paths_of_recipes(["run.py", *words])
    if issubclass(config_class, ExperimentConfig):
        config_class = method_flags.asked_for(argv, config_class)
    cli.define_flags(config_class, values)
    return values, config_class, values(argv)[1:]


def parse(*arguments: str) -> None:
    """Parse a command line as run.py does, with what it says and its exit status."""
    argv, values = ["run.py", *arguments], flags.FlagValues()
    config_class = method_flags.asked_for(argv, ExperimentConfig)
    cli.define_flags(config_class, values)
    with unittest.mock.patch.object(cli.flags, "FLAGS", values):
        cli.parser(config_class, method_flags.flags_of_others(config_class))(argv)


def config_of(*arguments: str, config_class: type = ExperimentConfig) -> ExperimentConfig:
    """The configuration of a command line."""
    return parsed(*arguments, config_class=config_class)[0]


def shell_lines(markdown: str) -> list[list[str]]:
    """The words of each command in the `bash` blocks of a Markdown document."""
    blocks = re.findall(r"^```bash\n(.*?)^```", markdown, re.DOTALL | re.MULTILINE)
    text = "".join(blocks).replace("\\\n", " ")
    lines = [shlex.split(line, comments=True) for line in text.splitlines()]
    return [words for words in lines if words]
