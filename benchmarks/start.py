"""Where the seconds go between a command and its first training step.

    python benchmarks/start.py [--flagfile=configs/digits.cfg] [--repetitions=5]

runs `run.py` as a user would, each time in a process of its own, and prints medians.
"""

import argparse
import json
import os
import pathlib
import statistics
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
            print(json.dumps(spent), file=answer, flush=True)
            os._exit(0)

    train.callbacks.StopOnNonFiniteLoss = FirstStep  # the first of the callbacks
    sys.argv = ["run.py", f"--flagfile={flagfile}", f"--model_dir={tempfile.mkdtemp()}"]
    answer, sys.stdout = sys.stdout, sys.stderr  # where the run prints
    pretrain.main()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--flagfile", default=str(ROOT / "configs" / "digits.cfg"))
    arguments = side_by_side.parse(parser, worker)
    found = [
        side_by_side.answer_once(
            sys.executable, __file__, {"flagfile": arguments.flagfile, "begin": time.time()}
        )
        for _ in range(arguments.repetitions)
    ]
    print("| | seconds |\n| --- | ---: |")
    for name in found[0]:
        print(f"| {name} | {statistics.median(times[name] for times in found):.1f} |")
    print(f"| **all** | {statistics.median(sum(times.values()) for times in found):.1f} |")


if __name__ == "__main__":
    main()
