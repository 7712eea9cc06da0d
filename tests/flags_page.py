"""Writes docs/flags.md from the configurations; a test compares the two.

python tests/flags_page.py
"""

import dataclasses
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from simclr_tf.experiment.config import ExperimentConfig, ProtocolConfig  # noqa: E402
from simclr_tf.flag_help import allowed  # noqa: E402
from simclr_tf.methods import METHODS  # noqa: E402

PAGE = ROOT / "docs" / "flags.md"
HEAD = """# Flags

Of `run.py`; `finetune.py` has them too, and its protocol. `--help` prints the same, of one method.
This page is written by `python tests/flags_page.py`.
"""


def page() -> str:
    """Flags of all programs that train, group by group; flags and metrics of each method."""
    shared = [field for field in dataclasses.fields(ExperimentConfig) if field.name != "method"]
    sections = [_section(_title(field.type), field.type) for field in shared]
    sections.append(_section(f"finetune.py: {_title(ProtocolConfig)}", ProtocolConfig))
    for name, method in METHODS.items():
        sections.append(_section(f"--method={name}", method.Flags, method.DEFAULTS))
        meanings = "; ".join(f"`{metric}`: {what}" for metric, what in method.metrics_of.items())
        sections.append(f"Metrics: {meanings}.\n")
    return "\n".join([HEAD, *sections])


def _title(group: type) -> str:
    return group.__doc__.strip().partition("\n")[0].rstrip(".")


def _section(title: str, group: type, defaults: dict | None = None) -> str:
    lines = [f"## {title}\n", "| flag | default | allowed | meaning |", "| --- | --- | --- | --- |"]
    for field in dataclasses.fields(group):
        default = "" if field.default is None or field.default == "" else f"`{field.default}`"
        words = (f"`--{field.name}`", default, allowed(field), field.metadata["help"])
        lines.append(f"| {' | '.join(word.replace('|', chr(92) + '|') for word in words)} |")
    if defaults:
        values = ", ".join(f"`--{name}={value}`" for name, value in defaults.items())
        lines.append(f"\nOther defaults of shared flags: {values}.")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
