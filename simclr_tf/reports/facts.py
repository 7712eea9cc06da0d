"""What was run: the recipe, the command, the machine, the speed."""

import math

from simclr_tf.checkpoints.stored_network import describe
from simclr_tf.reports import html
from simclr_tf.reports.record import Record
from simclr_tf.training.growing import parsed


def section(record: Record, title: str = "The run") -> str:
    """The facts of a run, its command, and all of its settings."""
    flags = record.flags
    classes = f", {flags['num_classes']} classes" if flags["num_classes"] else ", no labels"
    pairs = [
        ("method", record.method),
        ("network", describe(record.architecture)),
        (
            "data",
            f"{flags['dataset']}, split {flags.get('train_split')}, "
            f"{flags['num_examples']:,} images{classes}",
        ),
        ("views", _views(record)),
        ("length", length(record)),
        ("batch", f"{flags['train_batch_size']} images"),
        (
            "optimizer",
            f"{flags.get('optimizer')}, learning rate {flags.get('learning_rate')} "
            f"({flags.get('learning_rate_scaling')} in the batch), weight decay "
            f"{flags.get('weight_decay')}",
        ),
        ("speed", speed(record)),
        ("time in steps", duration(record.seconds)),
        ("machine", flags.get("machine") or "not recorded by the version that trained"),
        *_results(record),
    ]
    settings = "\n".join(f"--{name}={value}" for name, value in _settings(record).items())
    return html.section(
        title,
        html.facts(pairs),
        f"<pre>{html.text(_command(flags.get('command')))}</pre>",
        f"<details><summary>All settings</summary><pre>{html.text(settings)}</pre></details>",
    )


def _views(record: Record) -> str:
    """The views, and those that were smaller before: "32 px; with 16 px instead up to epoch 60"."""
    shown = ", ".join(map(str, record.recipe()))
    schedule = record.flags.get("image_size_schedule", "")
    grown = [f"with {size} px instead up to epoch {epochs:g}" for size, epochs in parsed(schedule)]
    return "; ".join([shown, *grown])


def length(record: Record) -> str:
    """How far the run has come, in words."""
    planned = record.flags["planned_steps"]
    epochs = record.step * record.flags["train_batch_size"] / max(record.flags["num_examples"], 1)
    done = f"{record.step:,} steps ({epochs:.3g} epochs)"
    if record.step >= planned:
        return done
    return f"{done} of {planned:,}: the run is not finished"


def speed(record: Record) -> str:
    """Images a second, in words."""
    rate = record.images_per_second
    return "not known yet" if rate is None else f"{rate:,.3g} images a second"


def duration(seconds: float | None) -> str:
    """A length of time in words, such as "2 min 5 s"."""
    if seconds is None or not math.isfinite(seconds):
        return "not known yet"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [(hours, "h"), (minutes, "min"), (rest if not hours else 0, "s")]
    return " ".join(f"{number} {unit}" for number, unit in parts if number) or "less than 1 s"


def _command(command: str | None) -> str:
    """A command line with one flag in each line."""
    return " \\\n  --".join((command or "The command was not recorded.").split(" --"))


def _results(record: Record) -> list[tuple[str, str]]:
    """The accuracies that result.json has."""
    return [
        (name.removeprefix("eval/").replace("_", " "), f"{value:.1%}")
        for name, value in (record.result or {}).items()
        if name.endswith("accuracy") and isinstance(value, float)
    ]


def _settings(record: Record) -> dict[str, object]:
    """The flags of the run, without what else run.json remembers."""
    others = ("class_names", "skipped_files", "lengths", "command", "machine")
    return {name: value for name, value in record.flags.items() if name not in others}
