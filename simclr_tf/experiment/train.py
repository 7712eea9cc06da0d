"""One run of run.py, from flags to results; read it from `run` downwards.

What differs between contrastive and supervised training stands in `pretraining` and
`finetuning`; here is what they share.
"""

import contextlib
import dataclasses
import functools

import numpy as np
import tensorflow as tf

from simclr_tf import flag as flags
from simclr_tf import optimizers
from simclr_tf.backend import keras
from simclr_tf.checkpoints.saver import Saver
from simclr_tf.data.broken import naming_bad_images
from simclr_tf.data.pipeline import default_shuffle_buffer, threads_of_this_host
from simclr_tf.data.recipe import Recipe, scaled
from simclr_tf.data.service import require_division, served_batches
from simclr_tf.data.sources import ImageDataset
from simclr_tf.data.subsets import fingerprint, labels_by_number
from simclr_tf.devices import strategies
from simclr_tf.devices.hosts import Hosts, name_lost_host
from simclr_tf.evaluation.results import write_scalars
from simclr_tf.experiment import checks, finetuning, parts, pretraining
from simclr_tf.experiment import config as configuration
from simclr_tf.experiment.config import ExperimentConfig
from simclr_tf.experiment.evaluate import evaluate_knn, evaluate_memory, evaluate_run
from simclr_tf.experiment.inputs import (
    Inputs,
    open_eval_dataset,
    open_inputs,
    record_images,
    remembered,
    require_unclaimed,
)
from simclr_tf.experiment.outputs import export, first_views, picture_views
from simclr_tf.methods import Method
from simclr_tf.reports.summary import run_summary
from simclr_tf.training import callbacks, growing
from simclr_tf.training.growing import Phase
from simclr_tf.training.metrics_log import UNWRITTEN, MetricsLog, ProgressBar, append_row
from simclr_tf.training.plan import Plan

TERMINATED = 128 + 15  # exit status of a program that SIGTERM ended
BUILDERS = {"pretrain": pretraining, "finetune": finetuning}  # by --train_mode


def run(config: ExperimentConfig, given: frozenset[str] = frozenset()) -> int:
    """Do what --mode says.

    Args:
      config: the flags.
      given: names of the flags that were given and not left at their defaults.

    Returns:
      The exit status: 0, or 143 after a SIGTERM.

    Raises:
      UserError: something that the user gave cannot work.
      NonFiniteLossError: training diverged.
      LostHostError: another host of the job is gone.
    """
    config = configuration.with_defaults_of_method(config, given)
    checks.check_flags(config)
    strategy = parts.make_strategy(config)
    with name_lost_host(strategy):
        if config.train.mode == "eval":
            evaluate_run(config, strategy, given)
            return 0
        status = train(config, strategy, given)
        if status == 0 and config.train.mode == "train_then_eval":
            evaluate_run(config, strategy, given)
        return status


def train(config: ExperimentConfig, strategy: tf.distribute.Strategy, given: frozenset[str]) -> int:
    """Train to the planned step, from wherever the run directory stands.

    Everything that can be wrong is found before the directory is touched.
    """
    hosts = Hosts(strategy)
    inputs = open_inputs(config, given)
    config, directory, dataset = inputs.config, inputs.directory, inputs.dataset
    hosts.require_same(
        lambda: int(fingerprint(dataset)[:15], 16) ^ int(dataset.content[:15] or "0", 16),
        "The hosts do not see the same training images: their folders or packed data differ, or "
        "some could not read what others could. Give all of them the same files.",
    )
    plan = parts.plan_of(config, dataset.num_examples, strategy.num_replicas_in_sync, given)
    sizes = growing.phases(config.view.image_size_schedule, config.view.image_size, plan)
    if config.data.data_service:
        require_division(config.data.data_service, plan.batch_size, hosts.number)
    identity = flags.identity(config)
    longer = inputs.earlier is not None and directory.check_length(identity, plan.train_steps)
    if inputs.saved and directory.latest_step >= plan.train_steps:
        if hosts.is_chief:
            export(inputs, directory.latest_step)
        print(
            f"Nothing to do: the run in {directory.path} is finished, at step "
            f"{directory.latest_step} of {plan.train_steps}. Give another --model_dir for a new "
            "run, more --train_epochs to make this one longer, or --overwrite to remove it."
        )
        return 0
    eval_dataset = open_eval_dataset(inputs)
    if dataset.num_classes is None and config.train.train_mode == "pretrain":
        print("The images have no labels: the linear probe and its metrics are off.")
    with contextlib.ExitStack() as until_the_end:
        if hosts.is_chief and inputs.earlier:
            until_the_end.enter_context(directory.locked())
        recipe = BUILDERS[config.train.train_mode].recipe_of(config)
        method = _method(inputs, plan, strategy, given)
        inputs = dataclasses.replace(inputs, source=None, teacher=None)  # the weights are in place
        with naming_bad_images(dataset):
            rows = first_views(config, dataset, recipe, plan.batch_size)
        hosts.wait()  # until all have read what the directory held
        if hosts.is_chief:
            if not inputs.earlier:
                until_the_end.enter_context(directory.locked())
                require_unclaimed(directory, config.run.overwrite)
            command = flags.command(config, given)
            values = flags.to_dict(config) | remembered(inputs, plan.train_steps, command)
            directory.claim(values, method.network.architecture, config.run.overwrite)
            record_images(directory, dataset)
            picture_views(rows, directory)
        if longer and hosts.is_chief:
            _tell_longer(inputs.earlier["planned_steps"], plan)
        step = _fit(inputs, plan, sizes, strategy, hosts, method, recipe, eval_dataset)
        finished = step >= plan.train_steps
        if hosts.is_chief:
            if finished:
                export(inputs, step)
            print(
                f"Finished at step {step}; the run is in {directory.path}."
                if finished
                else f"Stopped by SIGTERM at step {step}; a checkpoint is saved in "
                f"{directory.path}. The same command"
                f"{' without --overwrite' if config.run.overwrite else ''} goes on.",
                flush=True,
            )
    return 0 if finished else TERMINATED


def _method(
    inputs: Inputs, plan: Plan, strategy: tf.distribute.Strategy, given: frozenset[str]
) -> Method:
    """The method with its network and optimizer, before a checkpoint of the run is restored."""
    config = inputs.config
    keras.utils.set_random_seed(config.train.seed)
    builder = BUILDERS[config.train.train_mode]
    if inputs.saved:
        architecture = inputs.directory.architecture()
    else:
        architecture = builder.architecture_of(config, inputs.num_classes, given, inputs.source)
    with strategy.scope():
        method = builder.build(config, architecture, plan, inputs.source, inputs.teacher)
        method.compile(
            optimizer=parts.make_optimizer(config, plan, method),
            steps_per_execution=config.train.steps_per_execution,
            jit_compile=config.train.jit_compile,
        )
        optimizers.create_slots(method.optimizer, method.trained_variables)
    return method


def _tell_longer(before: int, plan: Plan) -> None:
    """Say what making a finished run longer does to its learning rate."""
    rate = float(plan.schedule(before))
    print(
        f"The run was finished at step {before:,} and is made longer, to step "
        f"{plan.train_steps:,}: it goes on from its last checkpoint with the schedule of the new "
        f"length, whose learning rate is {rate:.4g} there, and not what the old one ended with.",
        flush=True,
    )


def _fit(
    inputs: Inputs,
    plan: Plan,
    sizes: tuple[Phase, ...],
    strategy: tf.distribute.Strategy,
    hosts: Hosts,
    method: Method,
    recipe: Recipe,
    eval_dataset: ImageDataset | None,
) -> int:
    """Make the steps that are left, with all that recurs; returns the step that was reached."""
    config, directory, dataset = inputs.config, inputs.directory, inputs.dataset
    start_step = hosts.from_chief(directory.latest_step)
    own = hosts.own_directory(directory.path)
    saver = Saver(method, own, config.run.keep_checkpoint_max)
    if start_step:
        saver.restore(directory.checkpoint(start_step))
    if hosts.is_chief:
        print(
            run_summary(
                method,
                plan,
                dataset=f"{dataset.name}, split {dataset.split}",
                image_size=growing.in_words(sizes),
                start_step=start_step,
                num_replicas=strategy.num_replicas_in_sync,
            ),
            flush=True,
        )

    def batches_of(size: int, first_step: int) -> tf.data.Dataset:
        def make_part(part: int, of_parts: int, threads: int | None = None) -> tf.data.Dataset:
            return parts.training_batches(
                config,
                dataset,
                scaled(recipe, size, config.view.image_size),
                batch_size=plan.batch_size,
                start_step=first_step,
                numbers=method.wants_numbers,
                host_index=part,
                num_hosts=of_parts,
                shuffle_buffer=default_shuffle_buffer(recipe, plan.batch_size),
                threads=threads,
            )

        make_batches = functools.partial(make_part, threads=threads_of_this_host())
        if config.data.data_service:
            make_batches = functools.partial(served_batches, make_part, config.data.data_service)
        return strategies.distribute_batches(strategy, make_batches)

    @functools.cache
    def bank_labels() -> np.ndarray:
        return labels_by_number(dataset)

    def record_knn(step: int) -> None:
        result = evaluate_knn(config, strategy, method.network, dataset, eval_dataset)
        if (memory := method.memory) is not None:
            result |= evaluate_memory(config, strategy, method, memory, bank_labels(), eval_dataset)
        append_row(own / "metrics.jsonl", {"step": step} | result)
        write_scalars(own / "eval", result, step)

    rows = config.run.train_summary_steps
    knn_steps = config.eval.knn_every_epochs * plan.epoch_steps
    knn = callbacks.RunEvery(start_step, knn_steps, plan.train_steps, record_knn)
    progress = ProgressBar(start_step, plan.train_steps, shown=hosts.is_chief)
    stop = callbacks.StopOnSignal(start_step, saver.save, hosts.any)
    every = [  # in this order, after each step
        callbacks.StopOnNonFiniteLoss(start_step),
        parts.collapse_warning(method, plan, start_step, rows or UNWRITTEN),
        progress,
        MetricsLog(start_step, own, rows, plan),
        *([knn] if knn_steps else []),  # before the checkpoint, so that a kill loses no row
        callbacks.RunEvery(start_step, plan.checkpoint_steps, plan.train_steps, saver.save),
        stop,
    ]
    with naming_bad_images(dataset), contextlib.closing(progress), stop.listening():
        for phase in sizes:  # one, where views do not grow
            if stop.stopped or stop.step >= phase.end:
                continue
            # Else the step of the size before is traced again, for images of any size.
            method.make_train_function(force=True)
            method.fit(
                batches_of(phase.image_size, stop.step),
                steps_per_epoch=phase.end - stop.step,
                callbacks=every,
                verbose=0,
            )
    return stop.step
