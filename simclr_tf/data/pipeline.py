"""From a data set to batches: order, decoding, views, hosts, padding.

What an image becomes is decided in `views`, where it comes from in `datasets`.
"""

from collections.abc import Callable

import tensorflow as tf

from simclr_tf.data import views
from simclr_tf.data.decode import decode_image
from simclr_tf.data.sources import ImageDataset, Positions
from simclr_tf.errors import UserError

AUGMENTATIONS = ("pretrain", "finetune", "none")
_BLUR_STREAM = 1  # folded into a batch's seed, so that it differs from every image's seed


def training_dataset(
    dataset: ImageDataset,
    *,
    batch_size: int,
    image_size: int,
    seed: int,
    start_step: int = 0,
    augmentation: str = "pretrain",
    number_of_views: int = 2,
    color_jitter_strength: float = 1.0,
    use_blur: bool = True,
    blur_sigma: str = "image",
    brightness: str = "multiply",
    host_index: int = 0,
    num_hosts: int = 1,
    shuffle_buffer: int | None = None,
) -> tf.data.Dataset:
    """Endless batches of random views, a pure function of seed and step.

    Starting at `start_step` gives exactly what follows after that many batches, and
    the batches of all hosts, joined in the order of the hosts, are the batch that a
    single host gets.

    Args:
      dataset: what to read.
      batch_size: over all hosts.
      image_size: height and width of the views.
      seed: of the order and of the augmentations.
      start_step: number of batches that were consumed before.
      augmentation: "pretrain"; "finetune": one view, crop and flip alone; or "none": one view,
        as evaluation shows it.
      number_of_views: of each image, in pretraining.
      color_jitter_strength, use_blur, blur_sigma, brightness: the recipe of
        `views.pretraining_view`, in pretraining.
      host_index: number of this host.
      num_hosts: number of hosts that share the batch.
      shuffle_buffer: encoded images held in memory to shuffle data sets that are
        read sequentially; None is the original's batch_size * 50 for views of 32
        pixels and below, else batch_size * 10.

    Returns:
      A dataset of (views, labels), or (views,) without labels. `views` is a tuple of
      float32 (batch_size / num_hosts, image_size, image_size, 3) in [0, 1]; `labels`
      is (batch_size / num_hosts,) int64.

    Raises:
      UserError: if the batch cannot be divided among the hosts, or an argument has
        none of its allowed values.
    """
    if augmentation not in AUGMENTATIONS:
        raise UserError(f"augmentation must be one of {AUGMENTATIONS}, not {augmentation!r}.")
    blur_batches = augmentation == "pretrain" and use_blur and blur_sigma == "batch"
    if shuffle_buffer is None:
        shuffle_buffer = batch_size * (50 if image_size <= views.MAX_UNCROPPED_SIZE else 10)

    def make_views(image: tf.Tensor, image_seed: tf.Tensor) -> tuple[tf.Tensor, ...]:
        if augmentation == "none":
            return (views.evaluation_view(image, image_size),)
        if augmentation == "finetune":
            return (views.finetuning_view(image, image_seed, image_size),)
        return views.pretraining_views(
            image,
            image_seed,
            image_size,
            number_of_views,
            color_jitter_strength=color_jitter_strength,
            use_blur=use_blur,
            blur_sigma=blur_sigma,
            brightness=brightness,
        )

    def prepare(example: dict[str, tf.Tensor]) -> dict:
        image_seed = tf.stack([tf.constant(seed, tf.int64), example["position"]])
        image_views = make_views(decode_image(example["image"]), image_seed)
        rest = {key: value for key, value in example.items() if key != "image"}
        return {"views": image_views} | rest

    def finish(batch: dict) -> tuple:
        batch_views = batch["views"]
        if blur_batches:
            step = batch["position"][0] // batch_size
            batch_seed = tf.stack([tf.constant(seed, tf.int64), step])
            batch_seed = tf.random.experimental.stateless_fold_in(batch_seed, _BLUR_STREAM)
            batch_views = views.blur_batch(
                batch_views, batch_seed, image_size, batch_size, share.offset
            )
        return (batch_views, batch["label"]) if "label" in batch else (batch_views,)

    share = _share(batch_size, host_index, num_hosts, start_step)
    examples = dataset.examples(share, seed=seed, shuffle_buffer=shuffle_buffer)
    batches = _map(examples, prepare).batch(share.length, drop_remainder=True)
    # Told that the data never end, strategies keep static shapes and do not ask at every step.
    endless = tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)
    return _deterministic(_map(batches, finish).apply(endless))


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
        image = views.evaluation_view(decode_image(example["image"]), image_size)
        return image, example.get("label", tf.constant(-1, tf.int64)), tf.constant(1.0)

    share = _share(batch_size, host_index, num_hosts)
    num_batches = -(-dataset.num_examples // batch_size)
    missing = num_batches * share.length - share.count(dataset.num_examples)
    black = tf.zeros((image_size, image_size, 3))
    filling = tf.data.Dataset.from_tensors((black, tf.constant(-1, tf.int64), tf.constant(0.0)))
    images = _map(dataset.examples(share), prepare).concatenate(filling.repeat(missing))
    return _deterministic(images.batch(share.length, drop_remainder=True))


def _share(batch_size: int, host_index: int, num_hosts: int, start_step: int = 0) -> Positions:
    """The positions of one host: a slice of every batch."""
    if batch_size % num_hosts:
        raise UserError(
            f"The batch of {batch_size} images cannot be divided among {num_hosts} hosts."
        )
    length = batch_size // num_hosts
    return Positions(start_step * batch_size, batch_size, host_index * length, length)


def _map(dataset: tf.data.Dataset, function: Callable) -> tf.data.Dataset:
    return dataset.map(function, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)


def _deterministic(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Prefetch, and keep the order; hosts have their share, so nothing shards again."""
    options = tf.data.Options()
    options.deterministic = True
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return dataset.with_options(options).prefetch(tf.data.AUTOTUNE)
