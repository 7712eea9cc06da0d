"""Measures contestants alternately, each in a process of its own, and prints a table.

A benchmark is a script that runs itself with --worker=JSON for each contestant; there it
calls `serve` with a function that does the work once.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping

# As our programs do, for every contestant; TensorFlow reads it when it is imported.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

Contestants = dict[str, dict]


def peak_megabytes() -> float:
    """The most memory that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def serve(work: Callable, items: int, start: Callable | None = None) -> None:
    """Do `work`, which handles `items`, once to warm up, then once for every line read.

    It is given what `start` returns, which is not measured. Answers are JSON lines on the standard
    output.
    """
    base = peak_megabytes()
    work(*([start()] if start else []))
    print(json.dumps({"items": items}), flush=True)
    for _ in sys.stdin:
        given = [start()] if start else []
        wall, cpu = time.perf_counter(), time.process_time()
        work(*given)
        answer = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        del given  # with what it may go on to do while others are measured
        print(json.dumps(answer | {"peak": peak_megabytes() - base}), flush=True)


def serve_processes(command: list[str], items: int) -> None:
    """As `serve`, with the work in one process a core, all at the same time.

    Each runs `command`, which calls `serve_part`; together they handle `items`.
    """
    parts = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(os.cpu_count())
    ]

    def work():
        for part in parts:
            part.stdin.write("\n")
            part.stdin.flush()
        return [json.loads(part.stdout.readline()) for part in parts]

    work()
    print(json.dumps({"items": items}), flush=True)
    for _ in sys.stdin:
        begin = time.perf_counter()
        answers = work()
        sums = {key: sum(answer[key] for answer in answers) for key in ("cpu", "peak")}
        print(json.dumps({"wall": time.perf_counter() - begin} | sums), flush=True)
    for part in parts:
        part.stdin.close()
        part.wait()


def serve_part(stream: Iterator, batches: int) -> None:
    """One process of `serve_processes`: so many batches of the stream for every line read."""
    base = peak_megabytes()
    for _ in sys.stdin:
        begin = time.process_time()
        for _ in range(batches):
            next(stream)
        answer = {"cpu": time.process_time() - begin, "peak": peak_megabytes() - base}
        print(json.dumps(answer), flush=True)


def parse(parser: argparse.ArgumentParser, worker: Callable) -> argparse.Namespace:
    """The arguments, --repetitions among them; a --worker does its work here and ends."""
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--worker", type=json.loads)
    arguments = parser.parse_args()
    if arguments.worker:
        worker(**arguments.worker)
        sys.exit()
    print(describe_machine())
    return arguments


def alternate(
    script: str,
    contestants: Contestants,
    repetitions: int,
    pythons: Mapping[str, str] | None = None,
) -> tuple[dict[str, int], dict[str, list[dict]]]:
    """Run the contestants (name -> arguments of its worker), one repetition of each in turn.

    `pythons` names the interpreters of those that are not run by this one.

    Returns the items that each handles at a time, and what it answered in each repetition.
    """
    workers, items = {}, {}
    for name, arguments in contestants.items():
        workers[name] = _start((pythons or {}).get(name, sys.executable), script, arguments)
        items[name] = _answer(name, workers[name])["items"]  # after it has warmed up
    results = {name: [] for name in workers}
    for _ in range(repetitions):
        for name, worker in workers.items():
            worker.stdin.write("\n")
            worker.stdin.flush()
            results[name].append(_answer(name, worker))
    for worker in workers.values():
        worker.stdin.close()
        worker.wait()
    return items, results


def answer_once(python: str, script: str, arguments: dict) -> dict:
    """The one answer of a worker that measures by itself."""
    worker = _start(python, script, arguments)
    answer = _answer(script, worker)
    worker.stdin.close()
    worker.wait()
    return answer


def measure(
    script: str,
    contestants: Contestants,
    repetitions: int,
    pythons: Mapping[str, str] | None = None,
) -> None:
    """Run the contestants, see `alternate`, and print what they took.

    The first is what the others are compared with. Ratios are medians of the ratios of
    one repetition, in which all ran one after the other.
    """
    items, results = alternate(script, contestants, repetitions, pythons)
    reference = next(iter(results))
    print("| | wall, ms | CPU, ms | wall : first | CPU : first | items/s | peak memory, MB |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, answers in results.items():
        wall, cpu = (statistics.median(a[key] for a in answers) for key in ("wall", "cpu"))
        ratios = [
            statistics.median(
                (a[key] / items[name]) / (b[key] / items[reference])
                for a, b in zip(answers, results[reference], strict=True)
            )
            for key in ("wall", "cpu")
        ]
        print(
            f"| {name} | {1000 * wall:.1f} | {1000 * cpu:.1f} | {ratios[0]:.2f} | "
            f"{ratios[1]:.2f} | {items[name] / wall:.1f} | {answers[-1]['peak']:.0f} |",
            flush=True,
        )


def describe_machine() -> str:
    """Processor, cores, and versions, on one line."""
    import tensorflow as tf

    with open("/proc/cpuinfo") as file:
        models = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
    return (
        f"{models[0] if models else platform.processor()}, {os.cpu_count()} cores, "
        f"load {os.getloadavg()[0]:.1f}; TensorFlow {tf.__version__}, "
        f"Python {platform.python_version()}"
    )


def _start(python, script, arguments):
    return subprocess.Popen(
        [python, script, f"--worker={json.dumps(arguments)}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _answer(name, worker):
    line = worker.stdout.readline()
    if not line:
        raise SystemExit(f"{name} ended with status {worker.wait()}; its errors stand above.")
    return json.loads(line)
