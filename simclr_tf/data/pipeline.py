"""From a data set to batches: order, decoding, views, hosts, padding.

What an image becomes is decided in `views`, where it comes from in `datasets`.
"""

import os

import tensorflow as tf

from simclr_tf.data import views
from simclr_tf.data.decode import decode_for_crops, decode_image
from simclr_tf.data.recipe import Recipe
from simclr_tf.data.sources import ImageDataset, Positions, Transform
from simclr_tf.errors import UserError

_BATCH_STREAM = 1  # folded into a batch's seed, so that it differs from every image's seed
# One call finishes views of so many pixels: of several small images, since a call costs as much as
# 20 images of 32 pixels, or of one large image, which then stays in the cache.
_PIXELS_AT_ONCE = 32 * 32 * 32
# The order is kept, so images that are finished wait for slower ones before them.
_CALLS_PER_THREAD = 4


def training_dataset(
    dataset: ImageDataset,
    recipe: Recipe,
    *,
    batch_size: int,
    seed: int,
    start_step: int = 0,
    numbers: bool = False,
    host_index: int = 0,
    num_hosts: int = 1,
    shuffle_buffer: int | None = None,
    threads: int | None = None,
    reduced_decoding: bool = False,
) -> tf.data.Dataset:
    """Endless batches of views, a pure function of seed and step.

    Starting at `start_step` gives exactly what follows after that many batches, and
    the batches of all hosts, joined in the order of the hosts, are the batch that a
    single host gets.

    Args:
      dataset: what to read.
      recipe: the views of each image.
      batch_size: over all hosts.
      seed: of the order and of the views.
      start_step: number of batches that were consumed before.
      numbers: whether the number of each image comes along, see `ImageDataset.examples`.
      host_index: number of this host.
      num_hosts: number of hosts that share the batch.
      shuffle_buffer: encoded images held in memory to shuffle data sets that are read
        sequentially; None is `default_shuffle_buffer`.
      threads: that the dataset has for itself, see `threads_of_this_host`. None leaves it to
        tf.data where the dataset is read, which may be a server with other cores.
      reduced_decoding: whether a JPEG is decoded at a half or less of its size where all its crops
        are as much larger than the views, see `decode_for_crops`.

    Returns:
      A dataset of (views, labels), or (views,) without labels, or (views, labels, numbers).
      `views` is a tuple of float32 (batch_size / num_hosts, size, size, 3) in [0, 1]; `labels`
      and `numbers` are int64 (batch_size / num_hosts,); with numbers, the label of an image
      without one is -1.

    Raises:
      UserError: if the batch cannot be divided among the hosts.
    """
    sizes = [view.size for view in recipe] if reduced_decoding else None
    if shuffle_buffer is None:
        shuffle_buffer = default_shuffle_buffer(recipe, batch_size)
    share = _share(batch_size, host_index, num_hosts, start_step)
    calls_at_once = tf.data.AUTOTUNE if threads is None else _CALLS_PER_THREAD * threads
    sigma_of_batch = any(view.blur_sigma_per == "batch" for view in recipe)

    def examples(transform: Transform) -> tf.data.Dataset:
        return dataset.examples(
            share,
            seed=seed,
            shuffle_buffer=shuffle_buffer,
            transform=transform,
            calls_at_once=calls_at_once,
        )

    def crops(example: dict[str, tf.Tensor]) -> tuple:
        image_seed = tf.stack([tf.constant(seed, tf.int64), example["position"]])

        def draw(image_shape: tf.Tensor) -> tuple[tf.Tensor, views.Draws]:
            return views.draw_views(image_shape, image_seed, recipe)

        image, boxes, draws = decode_for_crops(example["image"], draw, dataset.upright, sizes)
        if sigma_of_batch:
            batch_seed = tf.stack([tf.constant(seed, tf.int64), example["position"] // batch_size])
            batch_seed = tf.random.experimental.stateless_fold_in(batch_seed, _BATCH_STREAM)
            draws = views.share_sigmas(draws, batch_seed, recipe)
        return views.resized_crops(image, boxes, recipe), draws, *_known(example, numbers)

    @tf.autograph.experimental.do_not_convert
    def finish(crops: tuple[tf.Tensor, ...], draws: views.Draws, *known: tf.Tensor) -> tuple:
        return views.finish_views(crops, draws, recipe), *known

    def finished(example: dict[str, tf.Tensor]) -> tuple:
        return finish(*tf.nest.map_structure(lambda one: one[tf.newaxis], crops(example)))

    at_once = images_at_once(recipe, batch_size)  # the same on all hosts
    if at_once > 1:
        several = examples(crops).batch(at_once, drop_remainder=True)
        several = several.map(finish, num_parallel_calls=calls_at_once, deterministic=True)
        batches = several.rebatch(share.length, drop_remainder=True)
    else:
        batches = examples(finished).rebatch(share.length, drop_remainder=True)
    # Told that the data never end, strategies keep static shapes and do not ask at every step.
    endless = tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)
    return _deterministic(batches.apply(endless), threads)


def images_at_once(recipe: Recipe, batch_size: int) -> int:
    """How many images one call finishes; its program is compiled for this number.

    Args:
      recipe: the views of each image.
      batch_size: images of a step.
    """
    largest = max(view.size for view in recipe)
    return max(1, min(_PIXELS_AT_ONCE // largest**2, batch_size))


def default_shuffle_buffer(recipe: Recipe, batch_size: int) -> int:
    """The original's: 50 batches of images for --image_size of 32 and below, else 10.

    Args:
      recipe: whose first view has that size.
      batch_size: images of a step.
    """
    return batch_size * (50 if recipe[0].size <= views.MAX_UNCROPPED_SIZE else 10)


def threads_of_this_host() -> int:
    """How many threads to give a training dataset that this host reads.

    Two more than there are cores: a thread waits at times until others have done their part of
    a compiled program, and a core would be idle.
    """
    return os.cpu_count() + 2


def evaluation_dataset(
    dataset: ImageDataset,
    *,
    batch_size: int,
    image_size: int,
    host_index: int = 0,
    num_hosts: int = 1,
) -> tf.data.Dataset:
    """Every image once, in a fixed order, in batches of one size.

    The last batch is filled up with black images of weight 0. All hosts get the same
    number of batches, and each image goes to one of them.

    Args:
      dataset: what to read.
      batch_size: over all hosts; may be larger than the data set.
      image_size: height and width of the images.
      host_index: number of this host.
      num_hosts: number of hosts that share the batch.

    Returns:
      A dataset of (images, labels, weights): float32 (batch_size / num_hosts,
      image_size, image_size, 3) in [0, 1]; int64, -1 where there is no label;
      float32, 1 for an image and 0 for filling.

    Raises:
      UserError: if the batch cannot be divided among the hosts.
    """

    def prepare(example: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        image = views.evaluation_view(decode_image(example["image"], dataset.upright), image_size)
        return image, example.get("label", tf.constant(-1, tf.int64)), tf.constant(1.0)

    share = _share(batch_size, host_index, num_hosts)
    num_batches = -(-dataset.num_examples // batch_size)
    missing = num_batches * share.length - share.count(dataset.num_examples)
    black = tf.zeros((image_size, image_size, 3))
    filling = tf.data.Dataset.from_tensors((black, tf.constant(-1, tf.int64), tf.constant(0.0)))
    images = dataset.examples(share, transform=prepare).concatenate(filling.repeat(missing))
    return _deterministic(images.batch(share.length, drop_remainder=True))


def _known(example: dict[str, tf.Tensor], numbers: bool) -> tuple:
    """(label,), () where there is none, or (label, number)."""
    if numbers:
        return example.get("label", tf.constant(-1, tf.int64)), example["number"]
    return (example["label"],) if "label" in example else ()


def _share(batch_size: int, host_index: int, num_hosts: int, start_step: int = 0) -> Positions:
    """The positions of one host: a slice of every batch."""
    if batch_size % num_hosts:
        raise UserError(
            f"The batch of {batch_size} images cannot be divided among {num_hosts} hosts."
        )
    length = batch_size // num_hosts
    return Positions(start_step * batch_size, batch_size, host_index * length, length)


def _deterministic(dataset: tf.data.Dataset, threads: int | None = None) -> tf.data.Dataset:
    """Prefetch, and keep the order; hosts have their share, so nothing shards again."""
    options = tf.data.Options()
    if threads is not None:
        options.threading.private_threadpool_size = threads
    options.deterministic = True
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return dataset.with_options(options).prefetch(tf.data.AUTOTUNE)
