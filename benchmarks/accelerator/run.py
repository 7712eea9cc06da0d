"""The programs that export.py wrote, beside PyTorch's step of the same network, on one device.

python benchmarks/accelerator/run.py PROGRAM [PROGRAM ...] [--steps 10] [--repetitions 5]
    [--contestants PyTorch "PyTorch, compiled" ours]

Needs JAX, PyTorch and NumPy, no TensorFlow. JAX runs a program on the first device that it finds.
PyTorch runs on a GPU where it finds one, with autocast where the program is in bfloat16, images in
the layout channels_last, and convolutions by whichever algorithm cuDNN finds fastest. Both may
compute products of float32 in TF32, and neither does where the program is exact. PyTorch has SGD,
ours LARS, which is more work. Ratios are to the first row. With JAX_COMPILATION_CACHE_DIR=DIR a
second call compiles nothing, and holds no memory in which algorithms were tried.
"""

import argparse
import json
import os
import pathlib
import statistics
import sys
import time
from collections.abc import Callable

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import side_by_side
import values

CONTESTANTS = ("PyTorch", "PyTorch, compiled", "ours")
FIRST_STEPS = 5
GIB = 2**30


def ours(path: str, facts: dict) -> tuple[Callable, Callable, str]:
    """Two functions and the name of the device.

    The first makes steps and returns the loss of the last. The second gives back the memory that
    can be had again, and returns how many GiB were in use at most.
    """
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    import jax
    import xla_program

    step, changed = xla_program.load(f"{path}.hlo")
    views, labels = values.batch(facts["batch_size"], facts["image_size"], facts["classes"])
    inputs = [jax.numpy.asarray(value) for value in (*views, labels)]
    variables = [jax.numpy.asarray(value) for value in values.draw(facts["variables"])]

    def work(steps):
        for _ in range(steps):
            loss, *new = step(*inputs, *variables)
            for place, value in zip(changed, new, strict=True):
                variables[place - len(inputs)] = value
        return float(loss)

    device = jax.devices()[0]

    def rest():
        return (device.memory_stats() or {"peak_bytes_in_use": 0})["peak_bytes_in_use"] / GIB

    return work, rest, f"{device.device_kind}, JAX {jax.__version__}"


def pytorch(facts: dict, compiled: bool) -> tuple[Callable, Callable, str]:
    """As `ours`."""
    import torch
    from torch.nn import functional

    sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "tests" / "checkpoints"))
    from torch_resnet import ResNet

    gpu = torch.cuda.is_available()
    device = torch.device("cuda" if gpu else "cpu")
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = not facts["exact"]
    torch.backends.cuda.matmul.allow_tf32 = not facts["exact"]
    network = ResNet(**facts["architecture"]).to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9, fused=True)
    views, labels = values.batch(facts["batch_size"], facts["image_size"], facts["classes"])
    views = torch.cat([torch.from_numpy(v) for v in views]).to(device).permute(0, 3, 1, 2)
    labels = torch.from_numpy(labels).to(device).repeat(2)
    positives = torch.arange(len(views), device=device).roll(len(views) // 2)
    itself = torch.eye(len(views), dtype=torch.bool, device=device)
    half = facts["dtype"] == "bfloat16"

    def loss_of(views):
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            h, z, _ = network(views)
            logits = network.fc(h.detach())
        z = functional.normalize(z.float())
        similarities = (z @ z.T / 0.1).masked_fill(itself, -1e9)
        return functional.cross_entropy(similarities, positives) + functional.cross_entropy(
            logits.float(), labels
        )

    if compiled:
        loss_of = torch.compile(loss_of)

    def work(steps):
        for _ in range(steps):
            optimizer.zero_grad()
            loss = loss_of(views)
            loss.backward()
            optimizer.step()
        return loss.item()

    def rest():
        torch.cuda.empty_cache()
        return torch.cuda.max_memory_allocated() / GIB if gpu else 0

    name = torch.cuda.get_device_name() if gpu else "cpu"
    return work, rest, f"{name}, PyTorch {torch.__version__}"


def worker(contestant: str, path: str, steps: int) -> None:
    """Answer `side_by_side.alternate`; a step that is not timed precedes every repetition."""
    facts = _facts(path)
    if contestant == "ours":
        work, rest, device = ours(path, facts)
    else:
        work, rest, device = pytorch(facts, contestant == "PyTorch, compiled")
    begin = time.perf_counter()
    losses = [work(1) for _ in range(FIRST_STEPS)]
    about = {"device": device, "first": time.perf_counter() - begin, "losses": losses}
    rest()
    print(json.dumps({"items": facts["batch_size"]}), flush=True)
    for _ in sys.stdin:
        work(1)
        begin = time.perf_counter()
        work(steps)
        seconds = (time.perf_counter() - begin) / steps
        print(json.dumps(about | {"seconds": seconds, "memory": rest()}), flush=True)


def report(path: str, results: dict[str, list[dict]]) -> None:
    """Print what the contestants took, and the first losses beside those of export.py."""
    facts = _facts(path)
    precision = facts["dtype"] + " without TF32" * facts["exact"]
    print(
        f"\nResNet-{facts['depth']}, {facts['image_size']} px, batch {facts['batch_size']}, "
        f"{precision}\n\n"
        "| | ms a step | of all repetitions | images/s | ratio | GiB | first steps, s | |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |"
    )
    reference = [answer["seconds"] for answer in next(iter(results.values()))]
    for name, answers in results.items():
        seconds = [answer["seconds"] for answer in answers]
        median, last = statistics.median(seconds), answers[-1]
        ratio = statistics.median(a / b for a, b in zip(reference, seconds, strict=True))
        print(
            f"| {name} | {1000 * median:.1f} | {1000 * min(seconds):.1f} to "
            f"{1000 * max(seconds):.1f} | {facts['batch_size'] / median:.0f} | {ratio:.2f} | "
            f"{last['memory']:.1f} | {last['first']:.0f} | {last['device']} |"
        )
    if facts["losses"] and "ours" in results:
        print(f"\nlosses here: {results['ours'][0]['losses']}\nlosses there: {facts['losses']}")
    sys.stdout.flush()


def _facts(path):
    return json.loads(pathlib.Path(f"{path}.json").read_text())


def main() -> None:
    """Compare the contestants on one program after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("programs", nargs="*")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--contestants", nargs="+", choices=CONTESTANTS, default=CONTESTANTS)
    parser.add_argument("--worker", type=json.loads)
    arguments = parser.parse_args()
    if arguments.worker:
        worker(**arguments.worker)
        return
    for path in arguments.programs:
        contestants = {
            name: {"contestant": name, "path": path, "steps": arguments.steps}
            for name in arguments.contestants
        }
        _, results = side_by_side.alternate(__file__, contestants, arguments.repetitions)
        report(path, results)


if __name__ == "__main__":
    main()
