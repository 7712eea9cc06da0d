"""What a run leaves besides checkpoints and metrics: a picture of its views, and a SavedModel."""

import numpy as np
import tensorflow as tf

from simclr_tf.checkpoints.run_directory import RunDirectory
from simclr_tf.data.pipeline import default_shuffle_buffer, images_at_once
from simclr_tf.data.recipe import Recipe, unchanged
from simclr_tf.data.sources import ImageDataset
from simclr_tf.evaluation.trained import open_trained
from simclr_tf.experiment import parts
from simclr_tf.experiment.config import ExperimentConfig
from simclr_tf.experiment.inputs import Inputs
from simclr_tf.export import export_saved_model, keep_newest
from simclr_tf.reports.views_picture import save_views

PICTURED = 8  # images in views.png


def first_views(
    config: ExperimentConfig, dataset: ImageDataset, recipe: Recipe, batch_size: int
) -> dict[str, np.ndarray]:
    """A few images and their views, each (PICTURED, size, size, 3), by what they are.

    Views are made of as many images at once as in training with this batch, whose program is then
    compiled already.
    """
    number = min(PICTURED, dataset.num_examples)
    made = max(number, images_at_once(recipe, batch_size))

    def shown(views: Recipe) -> list[np.ndarray]:
        batches = parts.training_batches(
            config,
            dataset,
            views,
            batch_size=made,
            shuffle_buffer=default_shuffle_buffer(recipe, number),
        )
        return [view[:number].numpy() for view in next(iter(batches))[0]]

    names = [f"view {i}: {view}" for i, view in enumerate(recipe, 1)]
    (images,) = shown(unchanged(recipe[0].size))
    return {"image": images} | dict(zip(names, shown(recipe), strict=True))


def picture_views(rows: dict[str, np.ndarray], directory: RunDirectory) -> None:
    """Save images and views as views.png and to TensorBoard."""
    picture = save_views(rows, directory / "views.png")
    writer = tf.summary.create_file_writer(str(directory.path))
    with writer.as_default(step=0):
        tf.summary.image("views", picture[None])
    writer.close()


def export(inputs: Inputs, step: int) -> None:
    """Write saved_model/STEP and remove the oldest beyond --keep_hub_module_max."""
    config, directory = inputs.config, inputs.directory
    exported = directory / "saved_model"
    if not (exported / str(step) / "saved_model.pb").is_file():  # not killed right after it
        # Read back: that is work of one host, whatever the strategy.
        trained = open_trained(str(directory.path))
        export_saved_model(
            trained.network,
            exported / str(step),
            image_size=config.view.image_size,
            class_names=trained.stored.class_names,
            upright=trained.stored.upright,
            card=trained.stored.about() | {"train_mode": config.train.train_mode},
        )
    keep_newest(exported, config.run.keep_hub_module_max)
