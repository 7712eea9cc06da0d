"""What h and z tell of the transform that a view has undergone: table 3 of the SimCLR paper.

The paper trains MLPs on h and on z and says no more of them. Ours have one hidden layer of 512
units, on standardised features. The images are views as in pretraining, but the
transform that is asked for is drawn here.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from simclr_tf.data import augment, pipeline, studied
from simclr_tf.data.broken import naming_bad_images
from simclr_tf.data.recipe import View
from simclr_tf.data.sources import ImageDataset
from simclr_tf.errors import UserError
from simclr_tf.evaluation.features import require_finite
from simclr_tf.experiment.config import ExperimentConfig
from simclr_tf.experiment.pretraining import recipe_of
from simclr_tf.models import Network
from simclr_tf.studies.grid import Measure

TOLD_BY_H = Measure("told_by_h", "told by h, %")
TOLD_BY_Z = Measure("told_by_z", "told by z, %")
CHANCE = Measure("told_by_chance", "by chance, %")
_HIDDEN = 512


@dataclasses.dataclass(frozen=True)
class Question:
    """What was done to an image: one of several answers.

    Attributes:
      shares: how often each answer is right; the first is that nothing was done.
      changes: for each other answer, the change of planes (3, height, width), given a number.
      without: what the view of pretraining is to leave to the question.
    """

    shares: tuple[float, ...]
    changes: tuple[Callable[[tf.Tensor, tf.Tensor], tf.Tensor], ...]
    without: dict[str, float]

    def change(self, images: tf.Tensor, answers: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
        """Change images (n, height, width, 3) as the answers (n,) say, given (n,) numbers."""

        def changed(given):
            image, answer, number = given
            planes = augment.to_planes(image)
            branches = [functools.partial(change, planes, number) for change in self.changes]
            planes = tf.switch_case(answer, [lambda: planes, *branches])
            return augment.from_planes(augment.clip(planes))

        return tf.map_fn(changed, (images, answers, numbers), fn_output_signature=images.dtype)


def _noisy(planes, number):
    seed = tf.stack([number, tf.zeros_like(number)])
    return planes + View(1).noise_deviation * studied.noise(planes.shape, seed)


# By --added_transform; without one, about the greyscale that a fifth of SimCLR's views undergo.
QUESTIONS = {
    "none": Question(
        (0.8, 0.2),
        (lambda planes, _: augment.to_grayscale(planes),),
        {"grayscale_probability": 0.0},
    ),
    "rotate": Question(
        (0.25,) * 4,
        tuple(lambda planes, _, k=k: studied.turned(planes, k) for k in (1, 2, 3)),
        {"rotation_probability": 0.0},
    ),
    "noise": Question((0.5, 0.5), (_noisy,), {"noise_probability": 0.0}),
    "sobel": Question(
        (0.5, 0.5), (lambda planes, _: studied.sobel(planes),), {"sobel_probability": 0.0}
    ),
}


def tell(
    config: ExperimentConfig,
    network: Network,
    bank: ImageDataset,
    queries: ImageDataset,
    folder: pathlib.Path,
) -> dict[str, float]:
    """Accuracy of classifiers that are asked which transform a view has undergone.

    Args:
      config: the flags; --added_transform says what is asked for.
      network: in inference mode, with a projection head.
      bank: images that the classifiers are fitted to.
      queries: images that they are measured on.
      folder: of the cell; nothing is left there.

    Raises:
      UserError: there are too few images, see `require_enough`, or h or z are not finite.
    """
    del folder
    require_enough(config, bank)
    question = QUESTIONS[config.method.added_transform]
    view = dataclasses.replace(recipe_of(config)[0], **question.without)
    (h, z, answers), (unseen_h, unseen_z, right) = (
        _embedded(config, network, dataset, question, view) for dataset in (bank, queries)
    )
    most_frequent = np.bincount(answers).argmax()
    return {
        TOLD_BY_H.key: classified(h, answers, unseen_h, right),
        TOLD_BY_Z.key: classified(z, answers, unseen_z, right),
        CHANCE.key: float((right == most_frequent).mean()),
    }


def require_enough(config: ExperimentConfig, bank: ImageDataset) -> None:
    """Refuse so few images that the classifiers cannot be fitted to them; needs no network.

    Args:
      config: see `tell`.
      bank: see `tell`.

    Raises:
      UserError: one image alone has some answer, or the tenth of the images that says when to
        stop has fewer images than there are answers.
    """
    question = QUESTIONS[config.method.added_transform]
    answers = np.concatenate([some for some, _ in _drawn(config, question, bank)])
    found, counts = np.unique(answers[: bank.num_examples], return_counts=True)
    if counts.min() < 2 or bank.num_examples <= 10 * max(len(found) - 1, 1):
        raise UserError(
            f"The study asks h and z of {bank.num_examples} images which of "
            f"{len(question.shares)} transforms each has undergone, and these are too few to learn "
            "it from. Give hundreds: more in --train_split, or a larger --probe_images."
        )


def _drawn(
    config: ExperimentConfig, question: Question, dataset: ImageDataset
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Answers and numbers of batches of images; the last batch may begin another epoch.

    Those of an image depend on the seed, the number of images, and its position alone.
    """
    size = _batch_size(config, dataset)
    count = -(-dataset.num_examples // size) * size
    of_answers, of_numbers = (
        np.random.default_rng([config.train.seed, dataset.num_examples, i]) for i in (0, 1)
    )
    answers = of_answers.choice(len(question.shares), count, p=question.shares).astype(np.int32)
    numbers = of_numbers.integers(2**24, size=count).astype(np.float32)
    for start in range(0, count, size):
        yield answers[start : start + size], numbers[start : start + size]


def _batch_size(config: ExperimentConfig, dataset: ImageDataset) -> int:
    return min(config.eval.eval_batch_size, dataset.num_examples)


def _embedded(
    config: ExperimentConfig,
    network: Network,
    dataset: ImageDataset,
    question: Question,
    view: View,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """h and z of one changed view of each image, and the right answers."""
    drawn = list(_drawn(config, question, dataset))

    @tf.function
    def step(images, answers, numbers):
        h, *_, z = network.projections(question.change(images, answers, numbers))
        return h, z

    rows: Sequence[list[np.ndarray]] = [], [], []
    batches = pipeline.training_dataset(
        dataset, (view,), batch_size=_batch_size(config, dataset), seed=config.train.seed
    ).take(len(drawn))
    with naming_bad_images(dataset):
        for ((images,), *_), (answers, numbers) in zip(batches, drawn, strict=True):
            for found, row in zip((*step(images, answers, numbers), answers), rows):
                row.append(np.asarray(found))
    h, z, answers = (np.concatenate(row)[: dataset.num_examples] for row in rows)
    for features in (h, z):
        require_finite(features)
    return h, z, answers


def classified(
    features: np.ndarray, answers: np.ndarray, unseen: np.ndarray, right: np.ndarray
) -> float:
    """Accuracy of an MLP with one hidden layer, always the same for the same numbers.

    Args:
      features: (n, d) float, that it is fitted to; a tenth of them says when to stop.
      answers: (n,) int.
      unseen: (m, d) float, that it is measured on.
      right: (m,) int.
    """
    from sklearn.neural_network import MLPClassifier  # takes a second, and is needed only here

    mean, deviation = features.mean(axis=0), features.std(axis=0) + 1e-6
    classifier = MLPClassifier((_HIDDEN,), early_stopping=True, random_state=0)
    classifier.fit((features - mean) / deviation, answers)
    return float(classifier.score((unseen - mean) / deviation, right))
