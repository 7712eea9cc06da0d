"""One run of run.py, from flags to results; read it from `run` downwards.

What differs between contrastive and supervised training stands in `pretrain` and
`finetune`; here is what they share.
"""

import functools

import numpy as np
import tensorflow as tf

from simclr_tf import assemble, callbacks, checkpoints, distribute, finetune, optimizers, pretrain
from simclr_tf import config as configuration
from simclr_tf.backend import keras
from simclr_tf.checkpoints.run_directory import RunDirectory, write_json
from simclr_tf.checkpoints.saver import Saver
from simclr_tf.config import ExperimentConfig
from simclr_tf.data.pipeline import threads_of_this_host
from simclr_tf.data.service import served_batches
from simclr_tf.data.sources import ImageDataset
from simclr_tf.errors import UserError
from simclr_tf.evaluate import evaluate_knn, evaluate_run
from simclr_tf.evaluation.record import write_scalars
from simclr_tf.export import export_saved_model, keep_newest
from simclr_tf.hosts import Hosts, name_lost_host
from simclr_tf.losses import chance_level
from simclr_tf.methods import Method
from simclr_tf.reports.metrics_log import MetricsLog, ProgressBar, append_row
from simclr_tf.reports.summary import run_summary
from simclr_tf.reports.views_picture import save_views

TERMINATED = 128 + 15  # exit status of a program that SIGTERM ended
PICTURED = 8  # images in views.png
BUILDERS = {"pretrain": pretrain, "finetune": finetune}  # by --train_mode


def run(config: ExperimentConfig, explicit: frozenset[str] = frozenset()) -> int:
    """Do what --mode says.

    Args:
      config: the flags.
      explicit: names of the flags that were given and not left at their defaults.

    Returns:
      The exit status: 0, or 143 after a SIGTERM.

    Raises:
      UserError: something that the user gave cannot work.
      NonFiniteLossError: training diverged.
      LostHostError: another host of the job is gone.
    """
    assemble.check_flags(config)
    tf.get_logger().setLevel("WARNING")  # strategies tell of each collective
    strategy = assemble.make_strategy(config)
    with name_lost_host(strategy):
        if config.train.mode == "eval":
            evaluate_run(config, strategy, explicit)
            return 0
        status = train(config, strategy, explicit)
        if status == 0 and config.train.mode == "train_then_eval":
            evaluate_run(config, strategy, explicit)
        return status


def train(
    config: ExperimentConfig, strategy: tf.distribute.Strategy, explicit: frozenset[str]
) -> int:
    """Train to the planned step, from wherever the run directory stands.

    Everything that can be wrong is found before the directory is touched.
    """
    hosts = Hosts(strategy)
    directory = RunDirectory(config.run.model_dir)
    resume, overwrite = config.run.resume, config.run.overwrite
    identity = configuration.identity(config)
    directory.check(identity, resume, overwrite)
    goes_on = directory.holds_run() and not overwrite
    dataset = assemble.open_training_dataset(
        config, known_bad=directory.config()["skipped_files"] if goes_on else None
    )
    directory.check(identity | {"num_examples": dataset.num_examples}, resume, overwrite)
    plan = assemble.plan_of(config, dataset.num_examples, strategy.num_replicas_in_sync, explicit)
    if goes_on and directory.latest_step >= plan.train_steps:
        if hosts.is_chief:
            export(config, directory, dataset, directory.latest_step)
        print(
            f"Nothing to do: the run in {directory.path} is finished, at step "
            f"{directory.latest_step} of {plan.train_steps}. Give another --model_dir for a new "
            "run, or --overwrite to remove this one."
        )
        return 0
    eval_dataset = open_eval_dataset(config, dataset)
    if dataset.num_classes is None and config.train.train_mode == "pretrain":
        print("The images have no labels: the linear probe and its metrics are off.")

    keras.utils.set_random_seed(config.train.seed)
    builder = BUILDERS[config.train.train_mode]
    saved = goes_on and directory.latest_checkpoint is not None
    if saved:  # --checkpoint has done its work, and need not be there any more
        architecture = directory.architecture()
    else:
        architecture = builder.architecture_of(config, dataset.num_classes, explicit)
    with strategy.scope():
        method = builder.build(config, architecture, load=not saved)
        method.compile(
            optimizer=assemble.make_optimizer(config, plan, method.network),
            steps_per_execution=config.train.steps_per_execution,
            jit_compile=config.train.jit_compile,
        )
        optimizers.create_slots(method.optimizer, method.trainable_variables)

    views = first_views(config, dataset, method)
    remembered = facts(dataset, plan.train_steps, configuration.command(config, explicit))
    hosts.wait()  # until all have read what the directory held
    if hosts.is_chief:
        directory.claim(configuration.to_dict(config) | remembered, architecture, overwrite)
        record_labelled(directory, dataset)
    start_step = hosts.from_chief(directory.latest_step)
    own = hosts.place(directory.path)
    saver = Saver(method, own, config.run.keep_checkpoint_max)
    if start_step:
        saver.restore(directory.checkpoint(start_step))
    if hosts.is_chief:
        print(
            run_summary(
                method,
                plan,
                dataset=f"{dataset.name}, split {dataset.split}",
                start_step=start_step,
                num_replicas=strategy.num_replicas_in_sync,
            ),
            flush=True,
        )
        picture_views(views, directory)

    def make_part(part: int, parts: int, threads: int | None = None) -> tf.data.Dataset:
        return assemble.training_batches(
            config,
            dataset,
            method,
            batch_size=plan.batch_size,
            start_step=start_step,
            host_index=part,
            num_hosts=parts,
            threads=threads,
        )

    make_batches = functools.partial(make_part, threads=threads_of_this_host())
    if config.data.data_service:
        make_batches = functools.partial(served_batches, make_part, config.data.data_service)

    def record_knn(step: int) -> None:
        result = evaluate_knn(config, strategy, method.network, dataset, eval_dataset)
        append_row(own / "metrics.jsonl", {"step": step} | result)
        write_scalars(own / "eval", result, step)

    stop = callbacks.StopOnSignal(start_step, saver.save, hosts.any)
    rows = config.run.train_summary_steps
    every = [
        callbacks.StopOnNonFiniteLoss(start_step),
        ProgressBar(start_step, plan.train_steps, shown=hosts.is_chief),
        MetricsLog(start_step, own, rows, plan),
        callbacks.RunEvery(start_step, plan.checkpoint_steps, plan.train_steps, saver.save),
        stop,
    ]
    if config.train.train_mode == "pretrain":
        after, chance = max(plan.warmup_steps, 100), chance_level(plan.batch_size)
        every.insert(1, callbacks.WarnAtChance(start_step, after, rows, chance))
    if config.eval.knn_every_epochs:  # before the checkpoint, so that a kill loses no row
        interval = config.eval.knn_every_epochs * plan.epoch_steps
        every.insert(-2, callbacks.RunEvery(start_step, interval, plan.train_steps, record_knn))
    method.fit(
        distribute.distribute_batches(strategy, make_batches),
        steps_per_epoch=plan.train_steps - start_step,
        callbacks=every,
        verbose=0,
    )
    finished = stop.step >= plan.train_steps
    if hosts.is_chief:
        if finished:
            export(config, directory, dataset, plan.train_steps)
        print(
            f"Finished at step {stop.step}; the run is in {directory.path}."
            if finished
            else f"Stopped by SIGTERM at step {stop.step}; a checkpoint is saved in "
            f"{directory.path}. The same command goes on.",
            flush=True,
        )
    return 0 if finished else TERMINATED


def open_eval_dataset(config: ExperimentConfig, training_data: ImageDataset) -> ImageDataset | None:
    """The evaluation split, opened before training if it is needed during it or after.

    Raises:
      UserError: it cannot be opened, or the images have no labels.
    """
    if not config.eval.knn_every_epochs and config.train.mode == "train":
        return None
    if training_data.num_classes is None and not config.distillation.teacher:
        raise UserError(
            f"Evaluation and kNN need labels, and {training_data.name} has none. Give "
            "--mode=train and --knn_every_epochs=0."
        )
    return assemble.open_dataset(config, config.data.eval_split)


def facts(dataset: ImageDataset, planned_steps: int, command: str) -> dict:
    """What a run directory remembers besides the flags."""
    return {
        "num_examples": dataset.num_examples,
        "num_classes": dataset.num_classes,
        "class_names": dataset.class_names and list(dataset.class_names),
        "skipped_files": list(dataset.skipped_files),
        "planned_steps": planned_steps,
        "fraction": 1.0 if dataset.labelled is None else float(dataset.labelled.mean()),
        "command": command,
    }


def record_labelled(directory: RunDirectory, dataset: ImageDataset) -> None:
    """Write label_subset.json, when not all images were chosen to be labelled."""
    if dataset.labelled is not None:
        indices = np.flatnonzero(dataset.labelled).tolist()
        values = {"images": len(indices), "of": len(dataset.labelled), "indices": indices}
        write_json(directory / "label_subset.json", values)


def first_views(
    config: ExperimentConfig, dataset: ImageDataset, method: Method
) -> list[np.ndarray]:
    """The views of a few images, each (PICTURED, height, width, 3)."""
    batches = assemble.training_batches(
        config, dataset, method, batch_size=min(PICTURED, dataset.num_examples)
    )
    (views, *_) = next(iter(batches))
    return [view.numpy() for view in views]


def picture_views(views: list[np.ndarray], directory: RunDirectory) -> None:
    """Save views as views.png and to TensorBoard."""
    picture = save_views(views, directory / "views.png", images=PICTURED)
    writer = tf.summary.create_file_writer(str(directory.path))
    with writer.as_default(step=0):
        tf.summary.image("views", picture[None])
    writer.close()


def export(
    config: ExperimentConfig, directory: RunDirectory, dataset: ImageDataset, step: int
) -> None:
    """Write saved_model/STEP and remove the oldest beyond --keep_hub_module_max."""
    exported = directory / "saved_model"
    if not (exported / str(step) / "saved_model.pb").exists():  # not killed right after it
        export_saved_model(
            checkpoints.load(directory.path),  # read back: work of one host, whatever the strategy
            exported / str(step),
            image_size=config.view.image_size,
            class_names=dataset.class_names,
            card={"step": step, "dataset": dataset.name, "train_mode": config.train.train_mode},
        )
    keep_newest(exported, config.run.keep_hub_module_max)
