"""What pretraining was worth: the encoder of a run beside the same encoder with random weights.

    python -m simclr_tf.probe RUN_DIR [flags of run.py]

Both are frozen; exact logistic regression and kNN are fitted to the features of the
training split, or of --probe_images of it, without augmentation, and measured on --eval_split.
The table goes to the screen and to probe.json in the run directory.

The random encoder has the weights that training begins with, but gamma 1 in all of its batch
norm layers, and for their moving statistics those of up to 2,048 images of the training split:
as training begins, with gamma 0 at the end of every residual branch and statistics of no
images, an encoder is no more than its stem and shortcuts. Its weights depend on the run's
--seed alone. probe.json holds `step`, the step of the checkpoint; `settings`, the flags that
decided the numbers; `images`, how many of how many training images both were fitted to, and how
many they were measured on; and under `pretrained` and `random weights` what `probe` returns for
each encoder.
"""

import dataclasses

import tensorflow as tf

from simclr_tf import checkpoints, cli
from simclr_tf.checkpoints.run_directory import RunDirectory, checkpoint_step, write_json
from simclr_tf.data import pipeline
from simclr_tf.data.broken import naming_bad_images
from simclr_tf.data.recipe import unchanged
from simclr_tf.data.sources import ImageDataset
from simclr_tf.errors import UserError
from simclr_tf.evaluation.overlap import require_unseen
from simclr_tf.evaluation.random_twin import IMAGES, random_twin
from simclr_tf.experiment.config import ExperimentConfig
from simclr_tf.experiment.evaluate import completed
from simclr_tf.experiment.probing import ProbeFlags, limit_images, open_splits, probe
from simclr_tf.flag import check_ranges, to_dict
from simclr_tf.outputs import require_writable


@dataclasses.dataclass(frozen=True)
class ProbeConfig(ExperimentConfig):
    """The flags of this program."""

    probe: ProbeFlags = ProbeFlags()


def shuffled_images(config: ExperimentConfig, dataset: ImageDataset) -> tf.data.Dataset:
    """Batches of images as evaluation shows them, in random order, as `random_twin` wants.

    In the order of an image folder, the first ones might all be of one class.
    """
    batch_size = min(config.eval.eval_batch_size, dataset.num_examples)
    batches = pipeline.training_dataset(
        dataset,
        unchanged(config.view.image_size),
        batch_size=batch_size,
        seed=config.train.seed,
    )
    whole = batches.take(dataset.num_examples // batch_size)
    return whole.map(lambda views, *labels: views[0])


def compare(
    run_dir: str, config: ExperimentConfig, given: frozenset[str], probe_images: int = 0
) -> str:
    """Probe the encoder of a run and a random one, write probe.json, and return the table.

    Flags that were not given are those of the run; for `probe_images` see `ProbeFlags`.
    """
    check_ranges(config)
    directory = RunDirectory(run_dir)
    config = completed(config, directory.config(), given)
    prefix = directory.latest_checkpoint  # read once: the run may go on beside
    if prefix is None:
        raise UserError(f"The run directory {directory.path} has no checkpoint yet.")
    require_writable(directory / "probe.json", str(directory.path))
    step = checkpoint_step(prefix)
    trained = checkpoints.load(prefix)
    bank, queries = open_splits(config)
    require_unseen(directory.path, queries, to_dict(config))
    with naming_bad_images(bank, queries):
        images = shuffled_images(config, bank)
        random = random_twin(trained.architecture, images, seed=config.train.seed)
        fitted = limit_images(bank, probe_images)
    networks = {"pretrained": trained, "random weights": random}
    results = {name: probe(config, network, fitted, queries) for name, network in networks.items()}
    about = {
        "settings": {
            "data_dir": config.data.data_dir,
            "eval_split": config.data.eval_split,
            "probe_images": probe_images,
            "knn_k": config.eval.knn_k,
            "knn_temperature": config.eval.knn_temperature,
        },
        "images": {
            "fitted_to": fitted.num_examples,
            "of": bank.num_examples,
            "measured_on": queries.num_examples,
        },
    }
    write_json(directory / "probe.json", {"step": step, **about, **results})
    exported = directory / "saved_model" / str(step)
    lines = [
        f"{'encoder':<16}{'linear probe':>14}{'kNN':>9}",
        *(
            f"{name:<16}{result['linear_probe_top_1_accuracy']:>14.1%}"
            f"{result['knn_top_1_accuracy']:>9.1%}"
            for name, result in results.items()
        ),
        "",
        "random weights: gamma 1 in batch norm, whose statistics are those of up to "
        f"{IMAGES:,} training images",
        "",
        f"run directory   {directory.path}",
        f"checkpoint      {prefix}",
        f"SavedModel      {exported if exported.exists() else 'none'}",
    ]
    return "\n".join(lines)


def program(run_dir: str, config: ProbeConfig, given: frozenset[str]) -> int:
    """Print the comparison of a run with random weights; returns the exit status."""
    print(compare(run_dir, config, given, config.probe.probe_images))
    return 0


def main() -> None:
    cli.run(program, ProbeConfig, about=__doc__, argument="RUN_DIR")


if __name__ == "__main__":
    main()
