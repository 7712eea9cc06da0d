"""Small training runs, in process and as a program, for the tests that need them."""

import contextlib
import json
import os
import pathlib
import subprocess
import unittest.mock

import programs
import tensorflow as tf
import toy

from simclr_tf.checkpoints.run_directory import RunDirectory
from simclr_tf.experiment import config as configuration
from simclr_tf.experiment import logistic, protocols, train
from simclr_tf.flag import to_dict

ROOT = pathlib.Path(__file__).parent.parent

# The smallest run there is: ResNet-18 on 8-pixel digits.
SMALL = {
    "dataset": "digits",
    "eval_split": "test",
    "image_size": 8,
    "resnet_depth": 18,
    "train_batch_size": 16,
    "train_steps": 6,
    "warmup_epochs": 0.0,
    "learning_rate": 1.0,
    "use_blur": False,
    "checkpoint_steps": 3,
    "train_summary_steps": 2,
    "proj_out_dim": 16,
    "num_proj_layers": 2,
}

# What of it stays in fine-tuning by a protocol.
FINETUNING = {
    name: SMALL[name]
    for name in ("dataset", "eval_split", "image_size", "train_batch_size", "train_steps")
}


def run(model_dir, *, exported: bool = False, pictured: bool = False, **flags) -> int:
    """Run an experiment in this process with SMALL and these flags; returns its status.

    The SavedModel, two thirds of the time, is written only where `exported` asks for it, and
    views.png, a quarter of the rest, where `pictured` does.
    """
    values = SMALL | {"model_dir": str(model_dir)} | flags
    with _exporting(exported), _picturing(pictured):
        return train.run(configuration.from_dict(values), frozenset(values))


@contextlib.contextmanager
def _exporting(exported):
    with contextlib.ExitStack() as patches:
        for module in () if exported else (train, logistic):
            nothing = unittest.mock.patch.object(module, "export", lambda inputs, step: None)
            patches.enter_context(nothing)
        yield


@contextlib.contextmanager
def _picturing(pictured):
    with contextlib.ExitStack() as patches:
        for name in () if pictured else ("first_views", "picture_views"):
            nothing = unittest.mock.patch.object(train, name, lambda *arguments: None)
            patches.enter_context(nothing)
        yield


def start(model_dir, *, environment=None, **flags) -> subprocess.Popen:
    """Start run.py with SMALL and these flags; output is text, stderr goes into stdout.

    It has the toy encoder where this process has it.
    """
    values = SMALL | {"model_dir": str(model_dir)} | flags
    arguments = [f"--{name}={value}" for name, value in values.items() if value is not None]
    process = subprocess.Popen(
        [*toy.command("run.py"), *arguments],
        cwd=ROOT,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"} | (environment or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    programs.STARTED.append(process)
    return process


def rows(model_dir) -> list[dict]:
    """The rows of metrics of a run."""
    text = (pathlib.Path(model_dir) / "metrics.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def finetune(model_dir, *, exported: bool = False, **flags) -> int:
    """What finetune.py does, in this process; a flag that is None counts as not given.

    For `exported` see `run`.
    """
    values = FINETUNING | {"model_dir": str(model_dir)} | flags
    values = {name: value for name, value in values.items() if value is not None}
    config = configuration.from_dict(values, configuration.FinetuneConfig)
    with _exporting(exported), _picturing(False):
        return protocols.run(config, frozenset(values))


def write_run(path, network, step, **values) -> None:
    """Write a run directory with one checkpoint of a network, as a run with SMALL leaves it."""
    facts = {
        "num_examples": 1438,
        "num_classes": None,
        "class_names": None,
        "skipped_files": [],
        "planned_steps": step,
    }
    flags = to_dict(configuration.from_dict(SMALL))
    RunDirectory(path).claim(flags | facts | values, network.architecture, False)
    checkpoint = tf.train.Checkpoint(method=tf.train.Checkpoint(network=network))
    manager = tf.train.CheckpointManager(checkpoint, str(path), None, checkpoint_name="ckpt")
    manager.save(checkpoint_number=step)
