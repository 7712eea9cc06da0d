"""What --help prints: the flags of a configuration, group by group."""

import dataclasses
import textwrap
from collections.abc import Mapping
from typing import Any

from simclr_tf.flag import Range

WIDTH = 96


def help_text(config_class: type, about: str, defaults: Mapping[str, Any] | None = None) -> str:
    """The flags of a program with their defaults, choices and ranges; a method's own come first.

    Args:
      config_class: a dataclass of groups of flags.
      about: what the program is for, and how it is called.
      defaults: those that a method or a protocol has in place of the flags' own.
    """
    defaults = defaults or {}
    groups = sorted(dataclasses.fields(config_class), key=lambda group: group.name != "method")
    parts = [about.strip()] if about.strip() else []
    for group in groups:
        title = (group.type.__doc__ or group.name).strip().partition("\n")[0]
        shown = [_flag(f, defaults.get(f.name, f.default)) for f in dataclasses.fields(group.type)]
        parts.append("\n\n".join([title, *shown]))
    parts.append("--helpfull shows the flags of absl and its logging too.")
    return "\n\n\n".join(parts)


def _flag(field: dataclasses.Field, default: Any) -> str:
    """A flag: its default and what it may be, and below its help."""
    shown = f"  --{field.name}"
    if isinstance(default, bool):
        shown = f"  --[no]{field.name}"
    if default is not None:
        shown += f"={default}"
    limits = allowed(field)
    lines = textwrap.wrap(
        field.metadata["help"], WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6
    )
    return "\n".join([shown + (f"  ({limits})" if limits else ""), *lines])


def allowed(field: dataclasses.Field) -> str:
    """What a flag may be, in words: its choices or its range; empty where all is allowed."""
    choices: Any = field.metadata["choices"]
    if choices:
        return f"one of {', '.join(map(str, choices))}"
    limits = field.metadata["range"]
    return "" if limits == Range() else str(limits).removeprefix("is ").removeprefix("lies ")
