"""Where the seconds go between a command and its first training step.

    python benchmarks/start.py [--flagfile=configs/digits.cfg] [--repetitions=5]

runs `run.py` as a user would, each time in a process of its own, and prints medians.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import side_by_side

ROOT = pathlib.Path(__file__).parents[1]


def worker(flagfile: str, begin: float) -> None:
    """Make one step, and print the times of what came before it, as JSON."""
    marks = {"the interpreter": time.time()}

    def mark(name):
        marks[name] = time.time()

    import tensorflow  # noqa: F401

    mark("importing TensorFlow")
    from simclr_tf import pretrain
    from simclr_tf.backend import keras
    from simclr_tf.experiment import train
    from simclr_tf.methods import Method

    mark("importing the package")

    def marked(owner, function, name):
        original = getattr(owner, function)

        def measured(*arguments, **options):
            result = original(*arguments, **options)
            mark(name)
            return result

        setattr(owner, function, measured)

    marked(train, "open_inputs", "flags, checks, opening the images")
    marked(train, "_method", "the network and its optimizer")
    marked(train, "first_views", "views, whose program is compiled")
    marked(train, "picture_views", "the run directory and views.png")
    marked(train, "run_summary", "what is printed of the run")
    marked(Method, "train_step", "the pipeline, and tracing the step forwards")

    class FirstStep(keras.callbacks.Callback):
        """Ends the process when the first step is made."""

        def __init__(self, start_step):
            super().__init__()

        def on_train_batch_end(self, batch, logs=None):
            mark("gradients, the graph, and the first step")
            before, spent = begin, {}
            for name, at in marks.items():
                spent[name] = at - before
                before = at
            sys.stdout.write("\n" + json.dumps(spent))
            sys.stdout.flush()
            os._exit(0)

    train.callbacks.StopOnNonFiniteLoss = FirstStep  # the first of the callbacks
    sys.argv = ["run.py", f"--flagfile={flagfile}", f"--model_dir={tempfile.mkdtemp()}"]
    pretrain.main()


def once(flagfile: str) -> dict[str, float]:
    """Seconds of each part, of one process."""
    command = [sys.executable, __file__, f"--flagfile={flagfile}", f"--begin={time.time()}"]
    environment = {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "1"} | os.environ
    environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--flagfile", default="configs/digits.cfg")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--begin", type=float)
    arguments = parser.parse_args()
    if arguments.begin:
        worker(arguments.flagfile, arguments.begin)
    print(side_by_side.describe_machine())
    found = [once(arguments.flagfile) for _ in range(arguments.repetitions)]
    print("| | seconds |\n| --- | ---: |")
    for name in found[0]:
        print(f"| {name} | {statistics.median(times[name] for times in found):.1f} |")
    print(f"| **all** | {statistics.median(sum(times.values()) for times in found):.1f} |")


if __name__ == "__main__":
    main()
