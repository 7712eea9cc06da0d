"""What the tests of every method share: which methods, how each is built small, and its views."""

import pathlib

import numpy as np
import tensorflow as tf
from example_method import Example

from simclr_tf import optimizers
from simclr_tf.backend import keras
from simclr_tf.data.recipe import Recipe
from simclr_tf.experiment import config as configuration
from simclr_tf.experiment import parts, pretraining
from simclr_tf.methods import METHODS, Method
from simclr_tf.models.batch_norm import BatchNormalization

HERE, ROOT = pathlib.Path(__file__).parent, pathlib.Path(__file__).parents[2]
IMAGES, CLASSES = 16, 3
LABELS = np.arange(IMAGES) % (CLASSES + 1) - 1  # some have none
NAMES = (*METHODS, "example")

# Where a method has one of these flags, it is this small.
SMALL = {
    "resnet_depth": 18,
    "image_size": 12,
    "train_batch_size": IMAGES,
    "train_steps": 60,
    "warmup_epochs": 0.0,
    "proj_out_dim": 16,
    "proj_hidden_dim": 24,
    "predictor_dim": 8,
    "projector": "24-16",
    "bn_groups": 2,
    "num_proj_layers": 2,
    "temperature": 0.5,
    "queue_size": 36,
    "prototypes": 12,
    "freeze_prototypes_steps": 1,
    "queue_length": 2 * IMAGES,
    "queue_start_epoch": 0,
    "small_crops": 1,
    "small_crop_size": 8,
    "crop_sizes": "12,8",
}
# Likewise of one method, where another has a flag of that name.
SMALL_OF = {"instdisc": {"negatives": 20}, "cmc": {"negatives": 20}}


def register(name: str) -> None:
    """Make the method of the tests one of METHODS."""
    if name == "example":
        METHODS[name] = Example


def recipe_file(name: str) -> pathlib.Path:
    """The method's recipe for the digits."""
    if name == "example":
        return HERE / "example.cfg"
    return ROOT / "configs" / ("digits.cfg" if name == "simclr" else f"digits_{name}.cfg")


def config_of(name: str, **flags) -> configuration.ExperimentConfig:
    """The flags of a small run, with the method's defaults."""
    values = SMALL | SMALL_OF.get(name, {}) | {"method": name} | flags
    config = configuration.from_dict(values)
    return configuration.with_defaults_of_method(config, values)


def recipe_of(config: configuration.ExperimentConfig) -> Recipe:
    """The views that the method wants."""
    return pretraining.recipe_of(config)


def is_global(name: str, kind: str) -> bool:
    """Whether batch statistics are those of all replicas: usually the method's default."""
    return config_of(name).model.global_bn == (kind == "usual")


def build(name: str, **flags) -> Method:
    """The method with its network and optimizer, ready for a step; always the same weights."""
    keras.utils.set_random_seed(0)
    config = config_of(name, **flags)
    plan = parts.plan_of(config, 10 * IMAGES, num_replicas=1)
    architecture = pretraining.architecture_of(config, CLASSES)
    method = pretraining.build(config, architecture, plan)
    for layer in method.submodules:  # so that nothing is multiplied by 0
        if isinstance(layer, BatchNormalization) and layer.gamma is not None:
            layer.gamma.assign(tf.ones_like(layer.gamma))
    method.compile(parts.make_optimizer(config, plan, method))
    optimizers.create_slots(method.optimizer, method.trained_variables)
    return method


def views_of(name: str, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Views of IMAGES images, of the sizes that the method wants: its image, and noise."""
    draws = np.random.default_rng(seed)
    images = draws.uniform(size=(IMAGES, 3, 3, 3))
    views = []
    for view in recipe_of(config_of(name)):
        enlarged = tf.image.resize(images, (view.size, view.size)).numpy()
        views.append(np.float32(enlarged + draws.uniform(-0.1, 0.1, size=enlarged.shape)))
    return tuple(np.clip(view, 0, 1) for view in views)
