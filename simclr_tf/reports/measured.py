"""What a checkpoint makes of some images of its run, and what random weights make of them."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from simclr_tf.data.broken import naming_bad_images
from simclr_tf.data.classes import with_classes_of
from simclr_tf.data.decode import decode_image
from simclr_tf.data.pipeline import default_shuffle_buffer
from simclr_tf.data.recipe import Recipe
from simclr_tf.data.sources import ImageDataset, Positions
from simclr_tf.data.views import evaluation_view, make_views
from simclr_tf.errors import UserError
from simclr_tf.evaluation.features import require_finite
from simclr_tf.evaluation.overlap import require_apart
from simclr_tf.evaluation.random_twin import random_twin
from simclr_tf.evaluation.trained import Trained
from simclr_tf.models import Network
from simclr_tf.reports.record import PRETRAINED, RANDOM, Record

THUMBNAIL = 96  # pixels, at most
PAIRS = 500  # images whose views are embedded, at most
PICTURED = 6  # images whose views are shown
_BATCH = 128
_BATCHES_OF_TWIN = 4  # that its statistics are taken from; as in training, which is slow
_PROGRESS_BAR_AFTER = 10  # seconds

Layers = dict[str, np.ndarray]  # "h" (n, d) and, where there is a projection head, "z" (n, width)


@dataclasses.dataclass(frozen=True)
class Shown:
    """Some images of a split.

    Attributes:
      name: of the data set and split, in words.
      of: how many images the split has.
      thumbnails: (n, size, size, 3) uint8.
      labels: (n,) int64, -1 without label.
    """

    name: str
    of: int
    thumbnails: np.ndarray
    labels: np.ndarray


@dataclasses.dataclass(frozen=True)
class Embedded:
    """What an encoder makes of the images.

    Attributes:
      bank: of the training images.
      queries: of the test images.
      views: of two views of the first test images.
    """

    bank: Layers
    queries: Layers
    views: tuple[Layers, Layers]


@dataclasses.dataclass(frozen=True)
class Measured:
    """The images, and what both encoders make of them.

    Attributes:
      bank: training images.
      queries: test images; no image is in both.
      class_names: None where there are no labels.
      encoders: by PRETRAINED and RANDOM.
      rows: the first training images and their views as step 0 draws them, of the size at the end
        of the training and from images that are decoded whole, by their names: each
        (n, size, size, 3) float32 in [0, 1].
      note: in a sentence, what is otherwise than the run's flags say; or None.
    """

    bank: Shown
    queries: Shown
    class_names: tuple[str, ...] | None
    encoders: dict[str, Embedded]
    rows: dict[str, np.ndarray]
    note: str | None


@dataclasses.dataclass(frozen=True)
class Splits:
    """The images of a run, opened as it saw them.

    Attributes:
      bank: the training images.
      queries: the test images.
      start: where the latter begin, where both are the training split and come from one stream.
      note: see `Measured`.
    """

    bank: ImageDataset
    queries: ImageDataset
    start: int = 0
    note: str | None = None


def open_splits(record: Record, trained: Trained) -> Splits:
    """Open training and test images; a fifth of the former, where there is no split to test on.

    Raises:
      UserError: the data cannot be opened, have other classes than they had, or are one image.
    """
    flags = record.flags

    def opened(split: str, known_bad: Sequence[str] | None = None) -> ImageDataset:
        return trained.dataset(
            split,
            flags["dataset"],
            flags["data_dir"],
            max_bad_images=flags.get("max_bad_images", 100),
            known_bad=known_bad,
        )

    bank = opened(flags.get("train_split", "train"), flags["skipped_files"])
    try:
        queries = opened(flags.get("eval_split", "validation"))
        require_apart(bank.split, bank.file_names, queries)
        if queries.split == bank.split:
            raise UserError(f"--eval_split={queries.split} is the split that was trained on.")
    except UserError as error:
        if bank.num_examples < 2:
            raise
        kept = bank.num_examples - max(1, bank.num_examples // 5)
        note = f"A fifth of the training images takes the place of test images: {error}"
        return Splits(bank, bank, kept, note)
    queries = with_classes_of(queries, bank.class_names, bank.num_classes, "the training data")
    return Splits(bank, queries)


def measure(record: Record, network: Network, splits: Splits, images: int) -> Measured:
    """Show images to the network of a run, and to its random twin.

    Args:
      record: of the run.
      network: of its checkpoint.
      splits: see `open_splits`.
      images: how many of each split, at most.

    Raises:
      UserError: the images cannot be read, or the features are not finite.
    """
    bank, queries, start = splits.bank, splits.queries, splits.start
    size, seed = record.flags["image_size"], record.flags.get("seed", 0)
    recipe = record.recipe()
    # As in training: orders of sharded data depend on it, and no image is to be in two samples.
    shuffle_buffer = default_shuffle_buffer(recipe, record.flags["train_batch_size"])

    def sample(dataset: ImageDataset, begin: int, count: int, views: Recipe = ()):
        examples = functools.partial(
            dataset.examples, Positions(begin), seed=seed, shuffle_buffer=shuffle_buffer
        )
        return _sample(examples, dataset.upright, views, size, count=count, seed=seed)

    count = min(images, start or bank.num_examples)
    query_count = min(images, queries.num_examples - start)
    pairs = min(PAIRS, query_count)
    in_bank = sample(bank, 0, count)
    in_queries = sample(queries, start, query_count)
    in_pairs = sample(queries, start, pairs, (recipe * 2)[:2])
    with naming_bad_images(bank, queries):
        of_twin = in_bank.take(_BATCHES_OF_TWIN).map(lambda image, views, label: image)
        networks = {
            PRETRAINED: network,
            RANDOM: random_twin(network.architecture, of_twin, seed=seed),
        }
        shown, of_bank = _embed(networks, in_bank, count, "training images")
        shown_queries, of_queries = _embed(networks, in_queries, query_count, "test images")
        _, of_views = _embed(networks, in_pairs, pairs, "views")
        rows = _rows(sample(bank, 0, PICTURED, recipe), recipe)
    labelled = bank.num_classes is not None and queries.num_classes is not None
    labelled = labelled and all((labels >= 0).any() for _, labels in (shown, shown_queries))
    names = bank.class_names or tuple(map(str, range(bank.num_classes or 0)))
    return Measured(
        Shown(f"{bank.name}, split {bank.split}", bank.num_examples, *shown),
        Shown(f"{queries.name}, split {queries.split}", queries.num_examples, *shown_queries),
        names if labelled else None,
        {
            name: Embedded(of_bank[name][0], of_queries[name][0], tuple(of_views[name]))
            for name in networks
        },
        rows,
        splits.note,
    )


def _sample(
    examples: Callable[..., tf.data.Dataset],
    upright: bool,
    recipe: Recipe,
    size: int,
    *,
    count: int,
    seed: int,
) -> tf.data.Dataset:
    """Batches of (image, views, label) of the first `count` examples."""

    def prepare(example):
        image = decode_image(example["image"], upright)
        view_seed = tf.stack([tf.constant(seed, tf.int64), example["position"]])
        views = make_views(image, view_seed, recipe) if recipe else ()
        label = example.get("label", tf.constant(-1, tf.int64))
        return evaluation_view(image, size), views, label

    return examples(transform=prepare).take(count).batch(_BATCH).prefetch(tf.data.AUTOTUNE)


def _embed(
    networks: dict[str, Network],
    batches: tf.data.Dataset,
    count: int,
    what: str,
) -> tuple[tuple[np.ndarray, np.ndarray], dict[str, list[Layers]]]:
    """Thumbnails and labels, and the layers that each network makes of the images or their views.

    Raises:
      UserError: features are not finite.
    """
    thumbnails, labels, parts = [], [], {name: [] for name in networks}
    with tqdm(desc=f"Embedding {what}", total=count, delay=_PROGRESS_BAR_AFTER) as progress:
        for image, views, label in batches:
            thumbnails.append(_thumbnails(image))
            labels.append(label.numpy())
            for name, network in networks.items():
                parts[name].append([_layers(network, rows) for rows in views or (image,)])
            progress.update(len(label))
    found = {name: list(_joined(of_network)) for name, of_network in parts.items()}
    for layers in found[PRETRAINED]:
        for rows in layers.values():
            require_finite(rows)
    return (np.concatenate(thumbnails), np.concatenate(labels)), found


def _layers(network: Network, images: tf.Tensor) -> Layers:
    if not network.projection_head.layers:
        return {"h": network.features(images).numpy()}
    h, *_, z = network.projections(images)
    return {"h": h.numpy(), "z": z.numpy()}


def _joined(batches: list[list[Layers]]) -> Iterator[Layers]:
    for of_kind in zip(*batches, strict=True):
        yield {name: np.concatenate([part[name] for part in of_kind]) for name in of_kind[0]}


def _thumbnails(images: tf.Tensor) -> np.ndarray:
    """(n, size, size, 3) float in [0, 1] -> uint8, of THUMBNAIL pixels at most."""
    if images.shape[1] > THUMBNAIL:
        images = tf.image.resize(images, (THUMBNAIL, THUMBNAIL), antialias=True)
    return tf.image.convert_image_dtype(images, tf.uint8, saturate=True).numpy()


def _rows(batches: tf.data.Dataset, recipe: Recipe) -> dict[str, np.ndarray]:
    image, views, _ = next(iter(batches))
    names = [f"view {i}: {view}" for i, view in enumerate(recipe, 1)]
    return {"image": image.numpy()} | {n: v.numpy() for n, v in zip(names, views, strict=True)}
