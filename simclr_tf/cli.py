"""Configuration dataclasses <-> absl flags: the only module that knows about flags."""

import dataclasses
import functools
import sys
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

from absl import app, flags

from simclr_tf.errors import UserError, require_utf8
from simclr_tf.exit_status import exit_status
from simclr_tf.flag import flag_fields, from_dict, to_dict
from simclr_tf.flag_files import with_paths_of_recipes
from simclr_tf.flag_help import help_text


def _value_type(field: dataclasses.Field) -> type:
    """The type of a field's value; `str | None` counts as str."""
    if isinstance(field.type, types.UnionType):
        return next(t for t in typing.get_args(field.type) if t is not type(None))
    return field.type


def define_flags(config_class: type, flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Define one flag for each field of a configuration class, in the place of earlier ones.

    A notebook may run a program, or several of them, again and again.
    """
    for flag in list(flag_values.flags_by_module_dict().get(__name__, [])):
        delattr(flag_values, flag.name)
    define = {
        bool: flags.DEFINE_boolean,
        int: flags.DEFINE_integer,
        float: flags.DEFINE_float,
        str: flags.DEFINE_string,
    }
    for _, field in flag_fields(config_class):
        choices = field.metadata["choices"]
        about = field.metadata["help"]
        value_type = _value_type(field)
        if choices and value_type is str:
            flags.DEFINE_enum(field.name, field.default, choices, about, flag_values=flag_values)
            continue
        define[value_type](field.name, field.default, about, flag_values=flag_values)
        if choices:
            flags.register_validator(
                field.name,
                lambda value, choices=choices: value in choices,
                message=f"one of {', '.join(map(str, choices))}",
                flag_values=flag_values,
            )


def value_of(name: str, argv: list[str], boolean: bool = False) -> Any:
    """The value that a command line, or a flag file in it, gives one flag; the last one counts.

    Args:
      name: of the flag.
      argv: the command line.
      boolean: whether it is a switch, whose value is True or False and not text.

    Returns:
      The value, or None where the flag is not given or cannot be read.
    """
    alone = flags.FlagValues()
    alone.set_gnu_getopt()  # values of flags that are not known here look like arguments
    define = flags.DEFINE_boolean if boolean else flags.DEFINE_string
    define(name, None, "", flag_values=alone)
    try:
        alone(with_paths_of_recipes(argv), known_only=True)
    except (UserError, flags.Error, UnicodeDecodeError, RecursionError, OSError):
        return None  # what is wrong is said when all flags are parsed
    return alone[name].value


def run(
    program: Callable[..., int],
    config_class: type,
    *,
    about: str,
    others: Mapping[str, str] | None = None,
    defaults: Mapping[str, Any] | None = None,
    argument: str | None = None,
) -> None:
    """Parse the command line, run a program, and end with its exit status.

    Args:
      program: takes the argument, where the program has one, the configuration, and the names of
        the flags that were given; it returns the exit status.
      config_class: its flags.
      about: what it is for; --help shows the first line.
      others, defaults: see `parser`.
      argument: what the one word that is no flag stands for, such as "RUN_DIR"; or several, as
        "FOLDER OUT". With dots behind, "RUN_DIR...", there may be more, and the program takes a
        list. None: there is no such word.
    """

    def main(argv: list[str]) -> None:
        words, several = argv[1:], argument is not None and argument.endswith("...")
        if argument is None:
            refuse_arguments(argv)
        elif not words or (len(words) != len(argument.split()) and not several):
            wanted = argument if several else f"one {argument.replace(' ', ' and one ')}"
            print(f"error: give {wanted}, and flags. See --help.", file=sys.stderr)
            sys.exit(2)
        config, given = read_flags(config_class), given_flags(config_class)
        arguments = [words] if several else words
        sys.exit(exit_status(lambda: program(*arguments, config, given)))

    define_flags(config_class)
    app.run(main, flags_parser=parser(config_class, others, about, defaults))


def flags_of_file(path: str, config_class: type) -> dict[str, Any]:
    """The flags that a flag file gives, by their names.

    Args:
      path: of the file.
      config_class: the flags that it may give.

    Raises:
      UserError: the file cannot be read, or gives others.
    """
    alone = flags.FlagValues()
    define_flags(config_class, alone)
    try:
        rest = alone(["", f"--flagfile={path}"])
    except (OSError, flags.CantOpenFlagFileError):
        raise UserError(f"{path} cannot be read. Give the name of a flag file.") from None
    except (flags.Error, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{path} is no recipe: {error}") from None
    if rest[1:]:
        raise UserError(f"{path} is no recipe: {rest[1]!r} is not a flag.")
    values = to_dict(read_flags(config_class, alone))
    return {name: values[name] for name in given_flags(config_class, alone)}


def parser(
    config_class: type,
    others: Mapping[str, str] | None = None,
    about: str = "",
    defaults: Mapping[str, Any] | None = None,
) -> Callable[[list[str]], list[str]]:
    """What parses the command line of a program, for `app.run`.

    It prints the flags where --help is asked for, and ends the program with one line and
    status 2 where the command line is wrong.

    Args:
      config_class: the flags of the program.
      others: flags that are refused, and what they belong to, such as "--method=moco".
      about: what the program is for; --help shows the first line.
      defaults: what --help shows in place of the flags' own defaults: those of a method.
    """
    shown = functools.partial(help_text, config_class, about, defaults)
    return functools.partial(_parse, shown=shown, others=others or {})


def _parse(argv: list[str], shown: Callable[[], str], others: Mapping[str, str]) -> list[str]:
    try:
        for word in argv:
            require_utf8(word, "What is given on the command line")
        if {"--help", "-help", "-h", "--helpshort"}.intersection(argv[1:]):
            print(shown())
            sys.exit(0)
        return flags.FLAGS(with_paths_of_recipes(argv))
    except flags.UnrecognizedFlagError as error:
        owner = others.get(error.flagname) or others.get(error.flagname.removeprefix("no"))
        reason = f"--{error.flagname} is a flag of {owner}." if owner else str(error)
        print(f"error: {reason} See --help.", file=sys.stderr)
    except flags.Error as error:
        print(f"error: {error} See --help.", file=sys.stderr)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
    except UnicodeDecodeError:
        print("error: --flagfile is no text file. See configs/ for examples.", file=sys.stderr)
    except RecursionError:
        print("error: Flag files include each other in a circle.", file=sys.stderr)
    except OSError as error:
        reason = f"{error.strerror}: {error.filename}"
        print(f"error: --flagfile cannot be read: {reason}.", file=sys.stderr)
    sys.exit(2)


def refuse_arguments(argv: list[str]) -> None:
    """End the program when something was given that is no flag, such as the value of a switch."""
    if len(argv) > 1:
        print(
            f"error: {argv[1]!r} is not a flag. Switches are written --name=True and --name=False.",
            file=sys.stderr,
        )
        sys.exit(2)


def read_flags(config_class: type, flag_values: flags.FlagValues = flags.FLAGS) -> Any:
    """The configuration that the parsed flags describe."""
    values = {field.name: flag_values[field.name].value for _, field in flag_fields(config_class)}
    return from_dict(values, config_class)


def given_flags(config_class: type, flag_values: flags.FlagValues = flags.FLAGS) -> frozenset[str]:
    """Names of the flags that were given, on the command line or in a flag file."""
    return frozenset(
        field.name for _, field in flag_fields(config_class) if flag_values[field.name].present
    )
