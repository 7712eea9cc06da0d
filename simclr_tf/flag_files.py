"""The recipes that come with the package: `--flagfile=recipe:NAME` is a file of configs/.

The folder is a part of the package too, so that recipes are found wherever it is installed.
"""

import pathlib
import re

from simclr_tf.errors import UserError, did_you_mean

PREFIX = "recipe:"
FOLDER = pathlib.Path(__file__).parent / "configs"


def with_paths_of_recipes(argv: list[str]) -> list[str]:
    """A command line whose `--flagfile=recipe:NAME`, also as two words, names the file.

    Args:
      argv: the command line; after a word `--` nothing is a flag.

    Raises:
      UserError: there is no such recipe.
    """
    found = list(argv)
    flags = argv[: argv.index("--")] if "--" in argv else argv
    for index, word in enumerate(flags):
        flag, equals, value = word.rpartition("=") if "=" in word else (argv[index - 1], "", word)
        if re.fullmatch("--?flagfile", flag) and value.startswith(PREFIX):
            found[index] = f"{flag}={_path(value)}" if equals else str(_path(value))
    return found


def _path(given: str) -> pathlib.Path:
    name = given.removeprefix(PREFIX)
    known = sorted(path.stem for path in FOLDER.glob("*.cfg"))
    if name not in known:
        near = did_you_mean(name, known) or f" There are {', '.join(known)}."
        raise UserError(f"--flagfile={given}: there is no recipe of this name.{near}")
    return FOLDER / f"{name}.cfg"
