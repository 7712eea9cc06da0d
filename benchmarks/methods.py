"""The training step of every method, beside the same method of lightly's modules and losses.

python benchmarks/methods.py --lightly_python=PATH [--methods simclr moco ...] [--jit_compile]
    [--steps 2] [--repetitions 5] [--batch_size 64] [--output=FILE.md or FILE.json] [--profile]

PATH is a Python that has lightly, torchvision, and PyTorch for CPUs. Both train a ResNet-18 with
the CIFAR stem at 32 pixels, on two views of noise that lie in memory, with PyTorch's SGD with
momentum and weight decay (lightly has no LARS), all cores, heads of the same widths, and as many
passes through the network; neither has a linear probe. Ours reports its metrics besides. A step
is what `fit` runs; with --jit_compile there are columns of the step that XLA compiles. With
--profile nothing is compared, and of each row the kinds of operation, one at a time, are listed.

Where both are not the same:
- simclr_memory: the nearest of lightly has the negatives of its memory alone, ours those of the
  batch too. Both have a momentum encoder.
- moco_v1, moco: lightly has one batch norm for the batch. So has ours with bn_groups=1; bn_groups=8
  is our default.
"""

import argparse
import dataclasses
import json
import math
import pathlib
import statistics
import subprocess
import sys
from collections.abc import Callable

import side_by_side

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

SIZE = 32  # pixels
SHARED = {
    "size": SIZE,
    "queue_size": 4096,
    "target_decay": 0.99,
    "rate": 0.0075,  # small: views of noise are learned by heart
    "weight_decay": 5e-4,
}
EXAMPLES = 50_000

# Where a method has one of these flags, it has this value; all others are its defaults.
FLAGS = {
    "image_size": SIZE,
    "resnet_depth": 18,
    "lineareval_while_pretraining": False,
    "optimizer": "sgd",
    "learning_rate_scaling": "linear",
    "train_epochs": 200,
    "warmup_epochs": 0.0,
    "weight_decay": SHARED["weight_decay"],
    "queue_size": SHARED["queue_size"],
    "target_decay": SHARED["target_decay"],
    "projector": "2048-2048-2048",
    "bias_rate": 1.0,
}
LAYERS = {"simclr": 2, "simclr_memory": 2}  # of projection heads, as lightly has them
MISSING = (
    "Give --lightly_python=PATH, a Python after: pip install lightly torch torchvision "
    "--extra-index-url https://download.pytorch.org/whl/cpu"
)


def ours(method: str, batch_size: int, jit_compile: bool, flags: dict) -> Callable:
    """A function that makes a step and returns the loss."""
    import tensorflow as tf

    from simclr_tf import optimizers
    from simclr_tf.backend import keras
    from simclr_tf.experiment import config as configuration
    from simclr_tf.experiment import parts, pretraining

    keras.utils.set_random_seed(0)
    values = FLAGS | flags | {"method": method, "jit_compile": jit_compile}
    values |= {"train_batch_size": batch_size, "learning_rate": SHARED["rate"] * 256 / batch_size}
    if method in LAYERS:
        values["num_proj_layers"] = LAYERS[method]
    config = configuration.with_defaults_of_method(configuration.from_dict(values), values)
    plan = parts.plan_of(config, EXAMPLES, num_replicas=1)
    model = pretraining.build(config, pretraining.architecture_of(config, None), plan)
    model.compile(parts.make_optimizer(config, plan, model))
    optimizers.create_slots(model.optimizer, model.trained_variables)
    step = tf.function(model.train_step, autograph=False, jit_compile=jit_compile)
    shape = [batch_size, SIZE, SIZE, 3]
    views = tuple(tf.random.stateless_uniform(shape, seed=[0, i]) for i in (0, 1))
    return lambda: step((views,))["total_loss"].numpy()


def worker(
    contestant: str, method: str, batch_size: int, steps: int, profiled: bool = False, **of_ours
) -> None:
    """Measure one contestant; see side_by_side. Or print the milliseconds of its operations."""
    if profiled and contestant != "lightly":
        import tensorflow as tf

        tf.config.threading.set_inter_op_parallelism_threads(1)
    if contestant == "lightly":
        import lightly_peer

        step = lightly_peer.build(method, batch_size, **SHARED)
    else:
        step = ours(method, batch_size, **of_ours)

    def work():
        for _ in range(steps):
            loss = step()
        if not math.isfinite(loss):
            raise SystemExit(f"{contestant}, {method}: the loss is {loss}.")

    if profiled:
        step()
        print(json.dumps(times_of_operations(contestant, step, steps)), flush=True)
        return
    step()  # is traced, or compiled; then all is done once more before it is measured
    side_by_side.serve(work, steps)


def times_of_operations(contestant: str, step: Callable, steps: int) -> dict[str, float]:
    """The milliseconds of each kind of operation in a step, the longest first."""
    if contestant == "lightly":
        import lightly_peer

        times, of_unit = lightly_peer.times_of_operations(step, steps), 1e3
    else:
        import where_time_goes

        times, of_unit = where_time_goes.times_of_operations(step, steps), 1e9
    ordered = sorted(times.items(), key=lambda item: -item[1])
    return {kind: time / of_unit / steps for kind, time in ordered}


def rows(methods: list[str] | None) -> dict[str, tuple[str, dict]]:
    """The rows of the table: of each its method, and flags of ours."""
    from lightly_peer import METHODS as OF_LIGHTLY

    from simclr_tf.methods import METHODS

    found = {}
    for method in methods or OF_LIGHTLY:
        if method not in OF_LIGHTLY:
            raise SystemExit(f"--methods are of {', '.join(OF_LIGHTLY)}. Received: {method}.")
        if "bn_groups" in {field.name for field in dataclasses.fields(METHODS[method].Flags)}:
            for groups in (1, 8):
                found[f"{method}, bn_groups={groups}"] = method, {"bn_groups": groups}
        else:
            found[method] = method, {}
    return found


def versions(python: str | None) -> str:
    """Those of what the peer is made of; without it, the end."""
    code = "import lightly, torch, torchvision as v; "
    code += "print(f'lightly {lightly.__version__}, PyTorch {torch.__version__}')"
    try:
        return subprocess.check_output([python or "", "-c", code], text=True).strip()
    except (OSError, subprocess.CalledProcessError):
        raise SystemExit(MISSING) from None


def in_words(values: list[float], digits: int = 0) -> str:
    """The median, with the least and the most."""
    middle, least, most = (f(values) for f in (statistics.median, min, max))
    return f"{middle:.{digits}f} ({least:.{digits}f} to {most:.{digits}f})"


def main() -> None:
    """Compare both for each method."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lightly_python", metavar="PATH")
    parser.add_argument("--methods", nargs="*")
    parser.add_argument("--jit_compile", action="store_true")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--output", type=pathlib.Path, metavar="FILE")
    arguments = side_by_side.parse(parser, worker)
    if arguments.output and arguments.output.suffix not in (".md", ".json"):
        raise SystemExit(f"--output is FILE.md or FILE.json. Received: {arguments.output}.")
    kinds = {"ours": False} | ({"compiled": True} if arguments.jit_compile else {})
    lines = [
        f"{side_by_side.describe_machine()}; {versions(arguments.lightly_python)}",
        f"ResNet-18, {SIZE} px, batch {arguments.batch_size}; the median of "
        f"{arguments.repetitions} rounds of {arguments.steps} steps, with the least and the most.",
        "",
        "| | lightly, ms |" + "".join(f" {k}, ms | lightly / {k} | CPU |" for k in kinds),
        "| --- | ---: |" + " ---: | ---: | ---: |" * len(kinds),
    ]
    found = {}
    if arguments.profile:
        for row, (method, flags) in rows(arguments.methods).items():
            print(profiles(row, method, flags, arguments), flush=True)
        return
    print("\n".join(lines[1:]), flush=True)
    for row, (method, flags) in rows(arguments.methods).items():
        found[row] = alternate(method, flags, kinds, arguments)
        lines.append(line_of(row, found[row], kinds))
        print(lines[-1], flush=True)
    if arguments.output and arguments.output.suffix == ".json":
        text = {"machine": lines[0], "what": lines[1], "milliseconds": found}
        arguments.output.write_text(json.dumps(text, indent=1) + "\n")
    elif arguments.output:
        arguments.output.write_text("\n".join(lines) + "\n")


def alternate(method: str, flags: dict, kinds: dict, arguments: argparse.Namespace) -> dict:
    """Milliseconds of a step in every round: "wall" and "cpu" of each contestant."""
    options = {"method": method, "batch_size": arguments.batch_size, "steps": arguments.steps}
    contestants = {
        kind: {"contestant": kind, "jit_compile": jit_compile, "flags": flags} | options
        for kind, jit_compile in kinds.items()
    }
    contestants["lightly"] = {"contestant": "lightly"} | options
    pythons = {"lightly": arguments.lightly_python}
    _, answers = side_by_side.alternate(__file__, contestants, arguments.repetitions, pythons)
    return {
        name: {key: [1000 * a[key] / arguments.steps for a in rounds] for key in ("wall", "cpu")}
        for name, rounds in answers.items()
    }


def profiles(row: str, method: str, flags: dict, arguments: argparse.Namespace) -> str:
    """A table of the kinds of operation of both, in the order of their times."""
    options = {"method": method, "batch_size": arguments.batch_size, "steps": arguments.steps}
    options |= {"profiled": True}
    of_ours = {"contestant": "ours", "jit_compile": False, "flags": flags}
    pythons = {"lightly": arguments.lightly_python, "ours": sys.executable}
    lines = [f"\n| {row} | ms of a step | share |", "| --- | ---: | ---: |"]
    for name, given in {"lightly": {"contestant": "lightly"}, "ours": of_ours}.items():
        times = side_by_side.answer_once(pythons[name], __file__, given | options)
        total = sum(times.values())
        lines.append(f"| **{name}** | {total:.0f} | |")
        shown = {kind: time for kind, time in times.items() if time > 0.01 * total}
        shown["all others"] = total - sum(shown.values())
        lines += [f"| {kind} | {time:.0f} | {time / total:.1%} |" for kind, time in shown.items()]
    return "\n".join(lines)


def line_of(row: str, times: dict, kinds: dict) -> str:
    """A line of the table; ratios are those of one round, in which both ran after one another."""

    def ratio(kind, key):
        pairs = zip(times["lightly"][key], times[kind][key], strict=True)
        return in_words([theirs / of_ours for theirs, of_ours in pairs], 2)

    cells = [row, in_words(times["lightly"]["wall"])]
    for kind in kinds:
        cells += [in_words(times[kind]["wall"]), ratio(kind, "wall"), ratio(kind, "cpu")]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
