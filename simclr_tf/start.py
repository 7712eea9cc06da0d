"""How every program starts: a first line at once, TensorFlow loaded quietly, then its `main`.

This is the one part of a program that runs before TensorFlow is imported, because TensorFlow reads
what it may print, and which kernels it takes, from the environment while it is loaded. Importing
simclr_tf as a library changes nothing of this.
"""

import functools
import importlib
import logging
import os
import pathlib
import platform
import re
import sys
import warnings

from simclr_tf.stderr_filter import filter_stderr

PACKAGE = pathlib.Path(__file__).parent
_LEVEL = "TF_CPP_MIN_LOG_LEVEL"
# The loggers of others that warn of what nobody can mend: a font cache that is built, an operation
# that is traced again. What they call an error is shown.
_LOGGERS = ("tensorflow", "matplotlib.font_manager")


def run(name: str) -> None:
    """Run a program of the package, and end with its exit status.

    Args:
      name: of its module, relative to the package.
    """
    prepare()
    sys.exit(importlib.import_module(f"{__package__}.{name}").main())


def prepare() -> None:
    """Say that TensorFlow is loading, and keep what it and other packages print to errors.

    With --verbosity everything is shown from that level on. TensorFlow's C++ part logs as errors
    that it registers a library twice and that there is no GPU driver, so of its own log only what
    ends the program remains; its errors reach Python as exceptions, which are shown. A level that
    is in the environment, TF_CPP_MIN_LOG_LEVEL, counts first.
    """
    take_onednn()
    if sys.stderr is None:  # it was closed, and others write to it all the same
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    verbosity = _verbosity(sys.argv)
    level = 3 if verbosity is None else min(3, max(0, -verbosity))
    if os.environ.setdefault(_LEVEL, str(level)) == "3":
        filter_stderr()
    from absl import logging as absl_logging  # it keeps the sys.stderr that it finds

    if verbosity is None:
        absl_logging.get_absl_handler().addFilter(_concerns_people)
        for name in _LOGGERS:
            logging.getLogger(name).setLevel(logging.ERROR)
        warnings.filterwarnings("ignore", module="tensorflow_addons")
    if "tensorflow" not in sys.modules:
        print("TensorFlow is loading, which takes some seconds.", file=sys.stderr, flush=True)


def take_onednn() -> None:
    """Have TensorFlow, before it is imported, compute with oneDNN on every x86 processor.

    By itself it does so only on those with AVX-512 instructions for neural networks. On the others
    its own gradients of convolutions take several times as long: see benchmarks/README.md. What the
    environment says of it, TF_ENABLE_ONEDNN_OPTS, counts first.
    """
    if platform.machine().lower() in ("x86_64", "amd64"):
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


def _verbosity(argv: list[str]) -> int | None:
    """The number that --verbosity or -v gives; None where it is not given."""
    found = re.findall(r"(?<=\0)--?(?:verbosity|v)[=\0](-?\d+)(?=\0)", "\0".join(["", *argv, ""]))
    return int(found[-1]) if found else None


def _concerns_people(record: logging.LogRecord) -> bool:
    """Whether a line of the log is a warning, or our own."""
    return record.levelno >= logging.WARNING or PACKAGE in pathlib.Path(record.pathname).parents


# What the console commands call; setup.cfg names them.
pretrain = functools.partial(run, "pretrain")
finetune = functools.partial(run, "finetune")
transfer = functools.partial(run, "transfer.__main__")
probe = functools.partial(run, "probe")
predict = functools.partial(run, "predict")
features = functools.partial(run, "features")
pack = functools.partial(run, "data.pack")
report = functools.partial(run, "report")
study = functools.partial(run, "study")
summary = functools.partial(run, "evaluation.summary")
checkpoints = functools.partial(run, "checkpoints.__main__")
export = functools.partial(run, "export.__main__")
