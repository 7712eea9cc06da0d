"""One run of run.py, from flags to results; read it from `run` downwards.

What differs between contrastive and supervised training stands in `pretrain` and
`finetune`; here is what they share.
"""

import tensorflow as tf

from simclr_tf import assemble, callbacks, distribute, finetune, optimizers, pretrain
from simclr_tf import config as configuration
from simclr_tf.backend import keras
from simclr_tf.checkpoints.run_directory import RunDirectory
from simclr_tf.checkpoints.saver import Saver
from simclr_tf.config import ExperimentConfig
from simclr_tf.data.sources import ImageDataset
from simclr_tf.errors import UserError
from simclr_tf.evaluate import evaluate_knn, evaluate_run
from simclr_tf.evaluation.record import write_scalars
from simclr_tf.export import export_saved_model, keep_newest
from simclr_tf.losses import chance_level
from simclr_tf.methods import Method
from simclr_tf.plan import Plan
from simclr_tf.reports.metrics_log import MetricsLog, ProgressBar, append_row
from simclr_tf.reports.summary import run_summary
from simclr_tf.reports.views_picture import save_views

TERMINATED = 128 + 15  # exit status of a program that SIGTERM ended
PICTURED = 8  # images in views.png


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
    """
    assemble.check_flags(config)
    strategy = assemble.make_strategy(config)
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
    directory = RunDirectory(config.run.model_dir)
    resume, overwrite = config.run.resume, config.run.overwrite
    identity = configuration.identity(config)
    directory.check(identity, resume, overwrite)
    goes_on = directory.holds_run() and not overwrite
    dataset = assemble.open_dataset(
        config,
        config.data.train_split,
        known_bad=directory.config()["skipped_files"] if goes_on else None,
    )
    directory.check(identity | {"num_examples": dataset.num_examples}, resume, overwrite)
    plan = assemble.plan_of(
        config, dataset.num_examples, strategy.num_replicas_in_sync, explicit
    )
    if goes_on and directory.latest_step >= plan.train_steps:
        print(
            f"Nothing to do: the run in {directory.path} is finished, at step "
            f"{directory.latest_step} of {plan.train_steps}. Give another --model_dir for a new "
            "run, or --overwrite to remove this one."
        )
        return 0
    eval_dataset = open_eval_dataset(config)
    if dataset.num_classes is None:
        print("The images have no labels: the linear probe and its metrics are off.")

    keras.utils.set_random_seed(config.train.seed)
    if config.train.train_mode == "finetune":
        architecture = finetune.architecture_of(config, dataset.num_classes, explicit)
    else:
        architecture = pretrain.architecture_of(config, dataset.num_classes)
    builder = finetune if config.train.train_mode == "finetune" else pretrain
    with strategy.scope():
        method = builder.build(config, architecture)
        method.compile(
            optimizer=assemble.make_optimizer(config, plan, method.network),
            steps_per_execution=config.train.steps_per_execution,
        )
        optimizers.create_slots(method.optimizer, method.trainable_variables)

    directory.claim(configuration.to_dict(config) | facts(dataset, plan), architecture, overwrite)
    saver = Saver(method, directory, config.run.keep_checkpoint_max)
    start_step = saver.restore()
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
    picture_views(config, dataset, method, directory)

    def make_batches(host: int, hosts: int) -> tf.data.Dataset:
        return assemble.training_batches(
            config,
            dataset,
            method,
            batch_size=plan.batch_size,
            start_step=start_step,
            host_index=host,
            num_hosts=hosts,
        )

    def record_knn(step: int) -> None:
        result = evaluate_knn(config, strategy, method.network, dataset, eval_dataset)
        append_row(directory / "metrics.jsonl", {"step": step} | result)
        write_scalars(directory / "eval", result, step)

    stop = callbacks.StopOnSignal(start_step, saver.save)
    every = [
        callbacks.StopOnNonFiniteLoss(start_step),
        ProgressBar(start_step, plan.train_steps),
        MetricsLog(start_step, directory.path, config.run.train_summary_steps, plan),
        callbacks.RunEvery(start_step, plan.checkpoint_steps, plan.train_steps, saver.save),
    ]
    if config.train.train_mode == "pretrain":
        chance = chance_level(plan.batch_size)
        every.insert(1, callbacks.WarnAtChance(start_step, max(plan.warmup_steps, 100), chance))
    if config.eval.knn_every_epochs:
        interval = config.eval.knn_every_epochs * plan.epoch_steps
        every.append(callbacks.RunEvery(start_step, interval, plan.train_steps, record_knn))
    method.fit(
        distribute.distribute_batches(strategy, make_batches),
        steps_per_epoch=plan.train_steps - start_step,
        callbacks=[*every, stop],
        verbose=0,
    )
    if stop.stopped:
        print(
            f"Stopped by SIGTERM at step {stop.step}; a checkpoint is saved in {directory.path}. "
            "The same command goes on."
        )
        return TERMINATED
    export(config, method, directory, dataset, plan.train_steps)
    return 0


def open_eval_dataset(config: ExperimentConfig) -> ImageDataset | None:
    """The evaluation split, opened before training if it is needed during it or after."""
    if not config.eval.knn_every_epochs and config.train.mode == "train":
        return None
    dataset = assemble.open_dataset(config, config.data.eval_split)
    if dataset.num_classes is None:
        raise UserError(
            f"Evaluation and kNN need labels, and {dataset.name} has none. Give --mode=train and "
            "--knn_every_epochs=0."
        )
    return dataset


def facts(dataset: ImageDataset, plan: Plan) -> dict:
    """What a run directory remembers besides the flags."""
    return {
        "num_examples": dataset.num_examples,
        "num_classes": dataset.num_classes,
        "class_names": dataset.class_names and list(dataset.class_names),
        "skipped_files": list(dataset.skipped_files),
        "planned_steps": plan.train_steps,
    }


def picture_views(
    config: ExperimentConfig, dataset: ImageDataset, method: Method, directory: RunDirectory
) -> None:
    """Save the views of the first images of the run as views.png and to TensorBoard."""
    batches = assemble.training_batches(
        config, dataset, method, batch_size=min(PICTURED, dataset.num_examples)
    )
    (views, *_) = next(iter(batches))
    picture = save_views([view.numpy() for view in views], directory / "views.png")
    writer = tf.summary.create_file_writer(str(directory.path))
    with writer.as_default(step=0):
        tf.summary.image("views", picture[None])
    writer.close()


def export(
    config: ExperimentConfig,
    method: Method,
    directory: RunDirectory,
    dataset: ImageDataset,
    step: int,
) -> None:
    """Write saved_model/STEP and remove the oldest beyond --keep_hub_module_max."""
    exported = directory / "saved_model"
    if (exported / str(step)).exists():
        return  # of a run that was killed right after its export
    export_saved_model(
        method.network,
        exported / str(step),
        image_size=config.view.image_size,
        class_names=dataset.class_names,
        card={"step": step, "dataset": dataset.name, "train_mode": config.train.train_mode},
    )
    keep_newest(exported, config.run.keep_hub_module_max)
