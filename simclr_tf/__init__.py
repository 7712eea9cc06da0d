"""SimCLR in TensorFlow: contrastive pretraining, evaluation, transfer and export."""

import importlib
import re
import sys
from typing import Any

# `python -m simclr_tf.NAME` of a part that is no program would do nothing, with status 0.
_PROGRAMS = ("pretrain", "finetune", "transfer", "probe", "predict", "features", "checkpoints")
_PROGRAMS += ("export", "report", "study", "data.service", "data.pack", "evaluation.summary")
if sys.argv[:1] == ["-m"]:  # as long as Python looks for the module
    from simclr_tf import start

    # Behind -m, or -um and the like, or in one word with it.
    _at, _option = next(
        (i, found)
        for i, word in enumerate(sys.orig_argv)
        if i and (found := re.fullmatch(r"-(?![XW])[A-Za-z]*?m(.*)", word))
    )
    _module = _option[1] or sys.orig_argv[_at + 1]
    if f"{_module}.".startswith(f"{__name__}."):  # and not a program that imports this package
        _asked = _module.removeprefix(f"{__name__}.").removesuffix(".__main__")
        if _asked not in _PROGRAMS:
            print(
                f"error: {_module} is no program. Those that `python -m` runs are "
                f"{', '.join(f'{__name__}.{name}' for name in _PROGRAMS)}.",
                file=sys.stderr,
            )
            sys.exit(2)
        start.prepare()

__all__ = [
    "Pretraining",
    "export",
    "library",
    "load",
    "losses",
    "models",
    "open_images",
    "optimizers",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """The public names, imported when they are first used: TensorFlow takes seconds to load."""
    if name in ("Pretraining", "open_images"):
        return getattr(importlib.import_module(f"{__name__}.library"), name)
    if name == "load":
        return importlib.import_module(f"{__name__}.checkpoints").load
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
