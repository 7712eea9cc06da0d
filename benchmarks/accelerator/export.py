"""Write a training step, from two views to new weights, as a program that XLA compiles anywhere.

python benchmarks/accelerator/export.py PROGRAM [--depth 50] [--image_size 224]
    [--batch_size 256] [--dtype bfloat16]
    [--exact]      float32 products in float32, where a device has faster ones (TF32)
    [--losses 5]   the losses of so many steps on this machine, for run.py to compare with

PROGRAM.hlo is the program, a few MB, and PROGRAM.json says what it takes. It is the step that
--jit_compile compiles where TensorFlow sees a GPU; none is needed here.
"""

import argparse
import json
import pathlib
import sys
from unittest import mock

import tensorflow as tf

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import training_step
import values

from simclr_tf.backend import keras
from simclr_tf.devices import strategies
from simclr_tf.methods import SimCLR


def program(method: SimCLR, batch_size: int, image_size: int) -> tuple[bytes, list[tf.Variable]]:
    """The step of a method in XLA's format, and the variables that it takes.

    It takes two views, labels, and the variables; it returns the loss and the variables that
    changed, and says of each whose place it takes.
    """
    shape = (batch_size, image_size, image_size, 3)
    view, labels = tf.TensorSpec(shape, tf.float32), tf.TensorSpec(shape[:1], tf.int64)

    @tf.function(jit_compile=True, autograph=False, input_signature=[view, view, labels])
    def step(first, second, labels):
        return loss_of_step(method, (first, second), labels)

    # The layers choose other operations where TensorFlow sees a GPU.
    with mock.patch.object(strategies, "has_gpu", lambda: True):
        concrete = step.get_concrete_function()
    found = {id(variable.handle): variable for variable in concrete.graph.variables}
    variables = [found[id(handle)] for handle in concrete.captured_inputs]
    compiler_ir = step.experimental_get_compiler_ir(view, view, labels)
    return compiler_ir(stage="hlo_serialized"), variables


def losses(method: SimCLR, batch_size: int, image_size: int, steps: int) -> list[float]:
    """The losses of the first steps on this machine, without XLA."""
    step = tf.function(loss_of_step, autograph=False)
    views, labels = values.batch(batch_size, image_size, training_step.CLASSES)
    views = tuple(map(tf.constant, views))
    return [float(step(method, views, tf.constant(labels))) for _ in range(steps)]


def loss_of_step(method: SimCLR, views: tuple[tf.Tensor, ...], labels: tf.Tensor) -> tf.Tensor:
    """Make a step; its loss alone, where `train_step` returns the mean of all steps so far."""
    method.reset_means()
    return method.train_step((views, labels))["total_loss"]


def main() -> None:
    """Write the two files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("--depth", type=int, default=50)
    parser.add_argument("--image_size", type=int, default=224)
    parser.add_argument("--batch_size", type=int, default=256)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--exact", action="store_true")
    parser.add_argument("--losses", type=int, default=0)
    arguments = parser.parse_args()
    tf.config.experimental.enable_tensor_float_32_execution(not arguments.exact)
    keras.utils.set_random_seed(values.SEED)
    method = training_step.method(arguments.depth, arguments.image_size, arguments.dtype)
    sizes = arguments.batch_size, arguments.image_size
    hlo, variables = program(method, *sizes)
    described = values.describe([variable.numpy() for variable in variables])
    for variable, value in zip(variables, values.draw(described), strict=True):
        variable.assign(value)
    facts = {k: v for k, v in vars(arguments).items() if k != "program"} | {
        "classes": training_step.CLASSES,
        "architecture": method.network.architecture.to_json(),
        "variables": described,
        "losses": losses(method, *sizes, arguments.losses),
    }
    arguments.program.with_suffix(".hlo").write_bytes(hlo)
    arguments.program.with_suffix(".json").write_text(json.dumps(facts))
    print(f"{arguments.program}: {len(hlo) / 1e6:.2f} MB; losses here {facts['losses']}")


if __name__ == "__main__":
    main()
