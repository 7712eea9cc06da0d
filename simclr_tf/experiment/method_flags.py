"""Which method a command line is about, and with it, which flags it may have."""

from simclr_tf import cli
from simclr_tf.checkpoints.run_directory import RunDirectory
from simclr_tf.errors import UserError
from simclr_tf.experiment.config import config_class as class_with_flags_of
from simclr_tf.flag import flag_fields
from simclr_tf.methods import METHODS


def asked_for(argv: list[str], base: type) -> type:
    """The configuration class of a command line.

    It has the flags of --method, or where that is not given, of the run in --model_dir.

    Args:
      argv: the command line.
      base: the class of the program, with the flags of the default method.
    """
    method = cli.value_of("method", argv) or _method_of_run(argv)
    return class_with_flags_of(method, base)


def _method_of_run(argv):
    """The method of the run that the command line goes on with or evaluates; else the default."""
    model_dir = cli.value_of("model_dir", argv)
    if not model_dir or cli.value_of("overwrite", argv, boolean=True):
        return None
    try:
        return RunDirectory(model_dir).config(complete=False)["method"]
    except (UserError, OSError):
        return None  # there is no run; what is wrong with one is said when it is opened


def flags_of_others(config_class: type) -> dict[str, str]:
    """The flags that a configuration class has not, by the methods that they belong to.

    Args:
      config_class: see `asked_for`.
    """
    own = {field.name for _, field in flag_fields(config_class)}
    owners: dict[str, list[str]] = {}
    for method in METHODS:
        for _, field in flag_fields(class_with_flags_of(method, config_class)):
            if field.name not in own:
                owners.setdefault(field.name, []).append(f"--method={method}")
    return {name: " and ".join(methods) for name, methods in owners.items()}
