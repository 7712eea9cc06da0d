"""Transfer to many data sets by the protocol of the paper (SimCLR appendix B.8).

    python finetune.py --protocol=transfer --model_dir=SWEEP_DIR --checkpoint=... \\
      --datasets=food101,pets --data_dir=...

The same command goes on where it was killed, and several of them, on one or more machines that
share SWEEP_DIR, divide the work. Results, one JSON file for each fit, and the table beside the
paper's numbers are in SWEEP_DIR.
"""

import dataclasses
import os
import re
from collections.abc import Sequence

from simclr_tf.data.transfer.registry import REGISTRY
from simclr_tf.errors import UserError
from simclr_tf.flag import LARGEST_SEED, check_ranges, flag
from simclr_tf.studies.sharing import duration
from simclr_tf.studies.sweep import Sweep
from simclr_tf.transfer import plan, table
from simclr_tf.transfer.plan import FINETUNE, LINEAR, PROTOCOLS, RANDOM_INIT
from simclr_tf.transfer.progress import Progress
from simclr_tf.transfer.runner import Runner, Settings
from simclr_tf.transfer.tasks import Task

_NAME = re.compile(r"\w[\w.:+-]*(/\w[\w.:+-]*)*")  # of a data set, and of its folder


@dataclasses.dataclass(frozen=True)
class Transfer:
    """What is transferred, to what, and how."""

    protocol: str = flag("transfer", "What finetune.py does.", choices=("transfer",))
    model_dir: str | None = flag(
        None, "The sweep's directory; several processes may share it, and it may hold a part."
    )
    checkpoint: str | None = flag(None, "The network; whatever --checkpoint of run.py accepts.")
    datasets: str = flag(
        "all",
        f"Data sets, separated by commas: {', '.join(REGISTRY)} (all of them: `all`), or others "
        "with splits `train` and `test`. NAME=DIR gives one a directory of its own.",
    )
    data_dir: str | None = flag(
        None, "Directory of the official archives, or with a folder of them for each data set."
    )
    protocols: str = flag(
        LINEAR, f"Protocols, separated by commas, of {', '.join(PROTOCOLS)}; `all` is all of them."
    )
    l2: str | None = flag(None, "Only these values of the grid of `linear`.")
    learning_rate: str | None = flag(None, "Only these values of the grids of the others.")
    weight_decay: str | None = flag(None, "Only these values of the grids of the others.")
    finetune_steps: int = flag(20_000, "Training steps of `finetune`.", at_least=1)
    random_init_steps: int = flag(40_000, "Training steps of `random_init`.", at_least=1)
    batch_size: int = flag(256, "Images of a training step, and shown at a time.", at_least=1)
    image_size: int = flag(
        224, "Height and width of what the network sees.", at_least=8, at_most=8192
    )
    seed: int = flag(0, "Seed of everything random.", at_least=0, at_most=LARGEST_SEED)
    rescale_v1_weights: bool = flag(
        False, "Divide the convolution weights of SimCLRv1's checkpoints by 16.8."
    )
    allow_other_sizes: bool = flag(
        False, "Take data that are not the official ones, by their sizes and checksums."
    )
    max_bad_images: int = flag(
        10, "How many images of a data set that cannot be decoded may be left out.", at_least=0
    )
    dry_run: bool = flag(False, "Print the plan and what it costs, and do nothing.")
    compare: str | None = flag(
        None, "Directory of another sweep: test which differences from it are significant."
    )


@dataclasses.dataclass(frozen=True)
class TransferConfig:
    """The flags of finetune.py with --protocol=transfer."""

    transfer: Transfer = Transfer()


def run(config: TransferConfig, given: frozenset[str] = frozenset()) -> int:
    """Make what is left of a sweep and print its table, or its plan; returns the exit status, 0.

    Raises:
      UserError: something that was given cannot work.
    """
    if not config.transfer.model_dir:
        raise UserError("--model_dir is missing: give the directory of the sweep.")
    print(transfer(config.transfer.model_dir, config.transfer))
    return 0


def transfer(sweep_dir: str, flags: Transfer) -> str:
    """Make what is left of a sweep, write its table, and return it.

    Raises:
      UserError: something that was given cannot work.
    """
    check_ranges(TransferConfig(flags))
    tasks = tasks_of(flags)
    protocols = PROTOCOLS if flags.protocols == "all" else _words("protocols", flags.protocols)
    training = {
        name: _numbers(name, getattr(flags, name))
        for name in ("learning_rate", "weight_decay")
        if getattr(flags, name) is not None
    }
    chosen = {FINETUNE: training, RANDOM_INIT: training}
    if flags.l2 is not None:
        chosen[LINEAR] = {"l2": _numbers("l2", flags.l2)}
    fits = plan.make_plan(list(tasks), protocols, chosen)
    steps = {FINETUNE: flags.finetune_steps, RANDOM_INIT: flags.random_init_steps}
    sweep = Sweep(sweep_dir)
    sweep.settings()  # to hear of what is wrong with the directory before anything is done
    other = _other_sweep(flags.compare, list(tasks)) if flags.compare else None
    if flags.dry_run:
        return describe(sweep, fits, tasks, steps, flags.batch_size)
    if not flags.checkpoint:
        raise UserError("--checkpoint is missing: give the network to transfer.")
    settings = Settings(
        flags.checkpoint,
        flags.image_size,
        flags.batch_size,
        steps,
        flags.seed,
        flags.rescale_v1_weights,
    )
    runner = Runner(sweep, settings, tasks, flags.max_bad_images)
    try:
        runner.run(fits, lambda line: print(line, flush=True))
        with sweep.claim("table", wait=True):  # others may have waited for the last fit too
            rows = table.results(sweep, fits, runner.architecture)
            text = table.write(sweep.path, rows, {})
            if other is None:
                return text
            differences = table.p_values(sweep, other, fits)
            if not differences:
                print(f"{other.path} has finished none of these fits, so nothing is compared.")
            return table.write(sweep.path, rows, differences)
    except OSError as error:  # such as a full disk
        raise UserError(
            f"The sweep stopped: {error}. The fits that are finished are safe in {sweep.path}, and "
            "the same command goes on when this is mended."
        ) from error


def tasks_of(flags: Transfer) -> dict[str, Task]:
    """The data sets by name.

    Raises:
      UserError: none is named, one is twice, or what is given is no name.
    """
    words = list(REGISTRY) if flags.datasets == "all" else _words("datasets", flags.datasets)
    tasks = {}
    for word in words:
        name, equals, folder = word.partition("=")
        if not _NAME.fullmatch(name) or ".." in name or bool(equals) != bool(folder):
            raise UserError(
                f"--datasets is a list such as pets,dtd=FOLDER. It cannot have {word!r} in it."
            )
        if name in tasks:
            raise UserError(f"--datasets names {name} twice: {flags.datasets}.")
        folder = folder or flags.data_dir
        folder = folder and os.path.expanduser(folder)
        tasks[name] = Task(name, folder, flags.seed, not flags.allow_other_sizes)
    return tasks


def _other_sweep(path: str, datasets: Sequence[str]) -> Sweep:
    """The sweep that is compared with.

    Raises:
      UserError: it is none, or one of other data sets.
    """
    other = Sweep(path)
    if other.settings() is None:
        raise UserError(
            f"--compare={path} is no sweep: it has no sweep.json. Give the directory of another "
            "sweep."
        )
    if not any((other.path / name).is_dir() for name in datasets):
        raise UserError(
            f"--compare={path} has none of the data sets {', '.join(datasets)}. Give a sweep of "
            "the same data sets."
        )
    return other


def describe(
    sweep: Sweep,
    fits: Sequence[plan.Fit],
    tasks: dict[str, Task],
    steps: dict[str, int],
    batch_size: int,
) -> str:
    """The plan: how many fits there are, how many are finished, and what they cost.

    Cost is counted in images that the network is shown forwards, and in time as soon as fits of
    the same protocol are finished (features not counted).
    """
    groups: dict[tuple[str, str], list[plan.Fit]] = {}
    for fit in fits:
        groups.setdefault((fit.protocol, fit.dataset), []).append(fit)
    lines = [
        f"{'protocol':<12}{'data set':<14}{'fits':>6}{'finished':>10}{'images':>16}  time left"
    ]
    results = [(fit, sweep.result(fit.id, ["seconds"])) for fit in fits]
    left = [fit for fit, result in results if not result]
    progress = Progress(tasks)
    for fit, result in results:
        if result:
            progress.finish(fit, result["seconds"])
    total = 0
    for (protocol, dataset), group in groups.items():
        images = plan.images_shown(
            protocol, tasks[dataset].sizes(), len(group) - 1, steps.get(protocol, 0), batch_size
        )
        total += images
        of_these = [fit for fit in left if (fit.protocol, fit.dataset) == (protocol, dataset)]
        counts = f"{len(group):>6}{len(group) - len(of_these):>10}{images:>16,}"
        time_left = duration(progress.seconds_left(of_these))
        lines.append(f"{protocol:<12}{dataset:<14}{counts}  {time_left}")
    time_left = duration(progress.seconds_left(left))
    lines.append(f"{len(fits):,} fits, {total:,} images shown in all; time left: {time_left}.")
    return "\n".join(lines)


def _words(name: str, text: str) -> list[str]:
    """What a flag lists, which is something."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words:
        raise UserError(f"--{name} lists nothing. Leave it out, or give some. Received: {text!r}.")
    return words


def _numbers(name: str, text: str) -> list[float]:
    words = _words(name, text)
    try:
        return [float(word) for word in words]
    except ValueError:
        raise UserError(
            f"--{name} is a list of numbers such as 1e-3,1e-2. Received: {text}."
        ) from None
