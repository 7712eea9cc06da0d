"""The fine-tuning protocol, and training from random weights by the same settings."""

import dataclasses

import numpy as np

from simclr_tf.backend import keras
from simclr_tf.checkpoints.loading import load_stored_into
from simclr_tf.checkpoints.stored_network import StoredNetwork
from simclr_tf.data import pipeline
from simclr_tf.data.broken import naming_bad_images
from simclr_tf.data.recipe import cropped
from simclr_tf.data.sources import ImageDataset
from simclr_tf.methods.supervised.classes import Supervised
from simclr_tf.methods.supervised.multi_label import MultiLabel
from simclr_tf.models import Architecture, Network
from simclr_tf.optimizers import warmup_cosine
from simclr_tf.transfer.tasks import shown_batches

TEST_RESIZE = 256 / 224  # shorter side before the central crop, relative to the crop
_MOMENTUM = 0.9


@dataclasses.dataclass(frozen=True)
class FitSettings:
    """What all fits of fine-tuning share (SimCLR appendix B.8.2; 40,000 steps in B.8.3).

    Attributes:
      steps: of training.
      batch_size: images of a step.
      image_size: height and width of what the network sees.
      seed: of the order, the augmentations and the new head's weights.
    """

    steps: int = 20_000
    batch_size: int = 256
    image_size: int = 224
    seed: int = 0


def batch_norm_momentum(num_examples: int, batch_size: int) -> float:
    """max(1 - 10 / s, 0.9), with s steps in an epoch (B.8.2)."""
    return max(1 - 10 * batch_size / num_examples, 0.9)


def train(
    architecture: Architecture,
    stored: StoredNetwork | None,
    dataset: ImageDataset,
    settings: FitSettings,
    *,
    learning_rate: float,
    weight_decay: float,
    rescale_v1_weights: bool = False,
    source: str = "the checkpoint",
) -> Network:
    """Train a whole network: Nesterov momentum 0.9, cosine schedule, random crops and flips.

    The paper does not name the schedule; a cosine without warm-up is that of Kornblith et al.
    (arXiv 1805.08974), whose protocol it follows. A step changes a weight w by learning_rate
    times (weight_decay / learning_rate) w, so weight_decay is what is taken off by each step
    at the beginning.

    Args:
      architecture: of the network in the checkpoint; its heads play no part.
      stored: what the encoder begins with, as `checkpoints.read` found it; None for random
        weights.
      dataset: the training images.
      settings: see `FitSettings`.
      learning_rate: of the first step.
      weight_decay: before it is divided by the learning rate.
      rescale_v1_weights: see `checkpoints.load_into`.
      source: where `stored` was read, for messages.
    """
    keras.utils.set_random_seed(settings.seed)
    network = Network(
        dataclasses.replace(
            architecture,
            num_classes=dataset.num_classes,
            kept_proj_layers=0,
            ft_proj_selector=0,
            batch_norm_decay=batch_norm_momentum(dataset.num_examples, settings.batch_size),
        )
    )
    if stored is not None:
        load_stored_into(
            network,
            stored,
            source,
            supervised_head=False,
            rescale_v1_weights=rescale_v1_weights,
        )
    several = _label_rank(dataset) == 1
    method = (MultiLabel if several else Supervised)(
        network, weight_decay=weight_decay / learning_rate
    )
    schedule = warmup_cosine(learning_rate, settings.steps)
    method.compile(optimizer=keras.optimizers.SGD(schedule, _MOMENTUM, nesterov=True))
    batches = pipeline.training_dataset(
        dataset,
        cropped(settings.image_size),
        batch_size=settings.batch_size,
        seed=settings.seed,
    )
    with naming_bad_images(dataset):
        method.fit(batches, epochs=1, steps_per_epoch=settings.steps, verbose=0)
    return network


def predict(
    network: Network, dataset: ImageDataset, settings: FitSettings
) -> tuple[np.ndarray, np.ndarray]:
    """Logits (n, classes) and labels of every image: shorter side to 256, central 224 pixels.

    With another image size both are in proportion.
    """
    batches = shown_batches(
        dataset,
        shorter_side=round(TEST_RESIZE * settings.image_size),
        image_size=settings.image_size,
        batch_size=settings.batch_size,
    )
    with naming_bad_images(dataset):
        found = [(network.logits(images).numpy(), labels.numpy()) for images, labels in batches]
    logits, labels = zip(*found, strict=True)
    return np.concatenate(logits), np.concatenate(labels)


def _label_rank(dataset: ImageDataset) -> int:
    return dataset.examples().element_spec["label"].shape.rank
