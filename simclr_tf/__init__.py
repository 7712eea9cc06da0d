"""SimCLR in TensorFlow: contrastive pretraining, evaluation, transfer and export."""

import sys

# `python -m simclr_tf.NAME` of a part that is no program would do nothing, with status 0.
_PROGRAMS = ("checkpoints", "export", "features", "predict", "probe", "report")
_PROGRAMS += ("data.service", "evaluation.summary")
if sys.argv[:1] == ["-m"]:  # as long as Python looks for the module
    _asked = sys.orig_argv[sys.orig_argv.index("-m") + 1].removeprefix(f"{__name__}.")
    if _asked.removesuffix(".__main__") not in _PROGRAMS:
        print(
            f"error: {__name__}.{_asked} is no program. Those that `python -m` runs are "
            f"{', '.join(f'{__name__}.{name}' for name in _PROGRAMS)}. Pretraining is run.py, "
            "fine-tuning finetune.py.",
            file=sys.stderr,
        )
        sys.exit(2)

from simclr_tf import losses, models, optimizers  # noqa: E402
from simclr_tf.checkpoints import load  # noqa: E402

__all__ = ["load", "losses", "models", "optimizers"]
__version__ = "0.1.0"
