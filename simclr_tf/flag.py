"""Fields of a dataclass that are command line flags: default, help, choices and range.

A configuration is a dataclass whose fields are groups, and a group a dataclass whose fields
are flags. `simclr_tf.experiment.config` has those of run.py and finetune.py; other programs
have their own.
"""

import dataclasses
import functools
import math
import shlex
import types
import typing
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from simclr_tf.errors import UserError

LARGEST_INTEGER = 2**31 - 1
LARGEST_SEED = 2**32 - 1  # that NumPy takes


@dataclasses.dataclass(frozen=True)
class Range:
    """Which numbers a flag may have; all of them are finite.

    Attributes:
      at_least, above: the lower bound, which belongs to the range or does not.
      at_most, below: the upper bound likewise.
    """

    at_least: float = -math.inf
    above: float = -math.inf
    at_most: float = math.inf
    below: float = math.inf

    def holds(self, value: float) -> bool:
        """Whether a number lies in the range; NaN and infinity do not."""
        return self.at_least <= value <= self.at_most and self.above < value < self.below

    def of_integers(self) -> "Range":
        """The range with bounds that no integer of use is beyond, where it has none."""
        low, high = max(self.at_least, self.above), min(self.at_most, self.below)
        return dataclasses.replace(
            self,
            at_least=self.at_least if low > -math.inf else -LARGEST_INTEGER,
            at_most=self.at_most if high < math.inf else LARGEST_INTEGER,
        )

    def __str__(self) -> str:
        opening, low = ("[", self.at_least) if self.above < self.at_least else ("(", self.above)
        closing, high = ("]", self.at_most) if self.below > self.at_most else (")", self.below)
        if low > -math.inf and high < math.inf:
            return f"lies in {opening}{_number(low)}, {_number(high)}{closing}"
        if low > -math.inf:
            return f"is {'at least' if opening == '[' else 'above'} {_number(low)}"
        if high < math.inf:
            return f"is {'at most' if closing == ']' else 'below'} {_number(high)}"
        return "is a finite number"


def flag(
    default: Any,
    help: str,
    *,
    choices: Collection = (),
    identity: bool = True,
    at_least: float = -math.inf,
    above: float = -math.inf,
    at_most: float = math.inf,
    below: float = math.inf,
) -> Any:
    """A dataclass field that is also a command line flag.

    Args:
      default: the value where none is given.
      help: a sentence about it.
      choices: the only values, where there are such.
      identity: whether it decides what is trained.
      at_least, above, at_most, below: the range of a number, see `Range`.
    """
    return dataclasses.field(
        default=default,
        metadata={
            "help": help,
            "choices": choices,
            "identity": identity,
            "range": Range(at_least, above, at_most, below),
        },
    )


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:g}"


def flag_fields(config_class: type) -> Iterator[tuple[str, dataclasses.Field]]:
    """Yield (group name, field) for each flag of a configuration class."""
    for group in dataclasses.fields(config_class):
        for field in dataclasses.fields(group.type):
            yield group.name, field


def to_dict(config: Any) -> dict[str, Any]:
    """All flags of a configuration as one flat dictionary."""
    return {f.name: getattr(getattr(config, g), f.name) for g, f in flag_fields(type(config))}


def from_dict(values: Mapping[str, Any], config_class: type) -> Any:
    """The configuration of a class with these flag values.

    Args:
      values: by the names of flags; flags that are not named keep their defaults, and names
        that are no flags of the class are left out.
      config_class: the class.
    """
    groups: dict[str, dict[str, Any]] = {g.name: {} for g in dataclasses.fields(config_class)}
    for group, field in flag_fields(config_class):
        if field.name in values:
            groups[group][field.name] = values[field.name]
    types = {g.name: g.type for g in dataclasses.fields(config_class)}
    return config_class(**{name: types[name](**fields) for name, fields in groups.items()})


@functools.cache
def with_method(config_class: type, group: type) -> type:
    """The configuration class with the flags of one method.

    Args:
      config_class: a class with a field `method`, such as `ExperimentConfig`.
      group: a dataclass of flags, which takes the place of that field's.
    """
    if any(f.name == "method" and f.type is group for f in dataclasses.fields(config_class)):
        return config_class
    fields = [("method", group, group())]
    return dataclasses.make_dataclass(
        config_class.__name__,
        fields,
        bases=(config_class,),
        frozen=True,
        namespace={"__doc__": config_class.__doc__, "__module__": config_class.__module__},
    )


def with_defaults(config: Any, values: Mapping[str, Any], given: Collection[str]) -> Any:
    """The configuration with these values of flags where the user gave none.

    Args:
      config: the flags.
      values: by the names of flags: what a method or a protocol sets.
      given: names of the flags that the user gave.
    """
    defaults = {name: value for name, value in values.items() if name not in given}
    return from_dict(to_dict(config) | defaults, type(config))


def identity(config: Any) -> dict[str, Any]:
    """The flags that decide what is trained."""
    return {
        f.name: getattr(getattr(config, g), f.name)
        for g, f in flag_fields(type(config))
        if f.metadata["identity"]
    }


def command(config: Any, given: Collection[str]) -> str:
    """The command line that gives these flags, those of flag files among them."""
    values = to_dict(config)
    arguments = [f"--{name}={values[name]}" for name in values if name in given]
    return shlex.join(["python", config.program, *arguments])


def check_ranges(config: Any) -> None:
    """Refuse values that are none of their flags' choices, or outside of their ranges.

    Args:
      config: the flags of any program.

    Raises:
      UserError: a number is outside, is NaN or infinite, or is larger than any that has a use.
    """
    for group, field in flag_fields(type(config)):
        value, choices = getattr(getattr(config, group), field.name), field.metadata["choices"]
        if value is None or isinstance(value, bool):
            continue
        if choices and value not in choices:
            raise UserError(
                f"--{field.name} is one of {', '.join(map(str, choices))}. Received: {value}."
            )
        if isinstance(value, int | float):
            allowed = field.metadata["range"]
            if allowed.holds(value) and isinstance(value, int):
                allowed = allowed.of_integers()
            if not allowed.holds(value):
                raise UserError(f"--{field.name} {allowed}. Received: {value}.")


def check_types(values: Mapping[str, Any], config_class: type, source: str) -> None:
    """Refuse values of flags that were read from a file and cannot be such.

    Args:
      values: by the names of flags; other names are not looked at.
      config_class: the configuration that the flags belong to.
      source: the file, for the message.

    Raises:
      UserError: a value has another type than its flag, or is none of its choices.
    """
    for _, field in flag_fields(config_class):
        if field.name not in values:
            continue
        value, choices = values[field.name], field.metadata["choices"]
        if not fits(value, field) or (choices and value is not None and value not in choices):
            raise UserError(
                f"{source} is damaged or of another version: it has {value!r} for --{field.name}."
            )


def fits(value: Any, field: dataclasses.Field) -> bool:
    """Whether a value has a type that the field of a flag allows."""
    kinds = _types(field)
    return isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))


def _types(field: dataclasses.Field) -> tuple[type, ...]:
    """The types of a field's values; a whole number is a float too."""
    union = isinstance(field.type, types.UnionType)
    kinds = typing.get_args(field.type) if union else (field.type,)
    return (*kinds, int) if float in kinds else kinds
