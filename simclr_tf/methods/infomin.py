"""InfoMin Aug: MoCo v2 with stronger views, and a jigsaw of patches as a second query."""

import dataclasses

import numpy as np
import tensorflow as tf

from simclr_tf.data.recipe import View, torchvision_view
from simclr_tf.devices import replicas
from simclr_tf.flag import flag
from simclr_tf.methods import moco
from simclr_tf.models import Head
from simclr_tf.models.batch_norm import statistics

SIDE = 3  # cells beside each other, and below each other
CELLS = SIDE**2


@dataclasses.dataclass(frozen=True)
class Flags(moco.Flags):
    """InfoMin Aug: its queue, its momentum encoder, its views and its losses."""

    temperature: float = flag(0.15, "Temperature of the contrastive losses.", above=0)
    infomin: bool = flag(
        True, "Let views be those of InfoMin Aug, with strong operations; or those of MoCo."
    )
    jigsaw_weight: float = flag(
        0.5,
        "Weight of the jigsaw's loss; the contrastive loss of views has the rest of 1.",
        at_least=0,
        at_most=1,
    )


class InfoMin(moco.MoCo):
    """InfoMin Aug with its jigsaw branch (arXiv 2005.10243, as its authors' code has it).

    The jigsaw is a further query of the same key: a view is cut into 3 x 3 cells, a patch of each
    goes through the encoder and a head, which all patches share, and another layer maps the nine
    together, in random order, to one row. The nine patches of all images share a forward pass and
    its batch statistics. The momentum encoder sees no patches.
    """

    Flags = Flags
    metrics_of = {
        **moco.MoCo.metrics_of,
        "jigsaw_loss": "the contrastive loss of the jigsaw",
        "jigsaw_acc": "share of jigsaws whose own key is more similar than all of the queue",
    }

    @classmethod
    def recipe(cls, flags, view):
        return (*super().recipe(flags, view), jigsaw_view(view.image_size))

    def __init__(self, network, flags=None, plan=None, **kwargs):
        super().__init__(network, flags, plan, **kwargs)
        structure = self.projector(self.flags)
        self.patch_head = Head(structure, name="patch_head")
        self.patch_head.build((None, network.architecture.feature_dim))
        self.jigsaw_head = Head(structure[-1:], name="jigsaw_head")
        self.jigsaw_head.build((None, CELLS * self.flags.proj_out_dim))

    def embed(self, views):
        *others, whole = views
        return super().embed(tuple(others)) | {"jigsaw": self._jigsaw(whole)}

    def _jigsaw(self, view):
        """What the patches of each image are together: rows (n, d) of length 1."""
        images, number = view.shape[0], replicas.num_replicas()
        start = replicas.replica_id() * images
        draws = tf.gather(self.draw_jigsaws(images * number), start + tf.range(images))
        # Patch after patch, so that those of image i are in the image's group of batch norm.
        cut = patches(view, draws[:, :, :2])
        with statistics(groups=self._groups(number)):
            features = self.network.encoder(tf.reshape(cut, [-1, *cut.shape[2:]]), training=True)
        rows = self.patch_head(tf.cast(features, tf.float32), training=True)[-1]
        of_images = tf.transpose(tf.reshape(rows, [CELLS, images, rows.shape[-1]]), [1, 0, 2])
        order = tf.argsort(draws[:, :, 2], axis=1)
        shuffled = tf.gather(of_images, order, axis=1, batch_dims=1)
        joined = tf.reshape(shuffled, [images, CELLS * rows.shape[-1]])
        return tf.math.l2_normalize(self.jigsaw_head(joined, training=True)[-1], axis=1)

    def draw_jigsaws(self, number: int) -> tf.Tensor:
        """Where patches are cut, and their order; the same in every replica.

        A step that XLA compiles draws others.

        Args:
          number: of images in the batch of all replicas.

        Returns:
          (number, 9, 3) float32 in [0, 1): of each patch how far down and across it lies in its
          cell, see `patches`, and what the patches of an image are sorted by.
        """
        seed = self.seed_of_step(2)  # 0 and 1 are the shuffles of keys
        return tf.random.stateless_uniform((number, CELLS, 3), seed)

    def objective(self, embeddings):
        contrast, values = super().objective(embeddings)
        keys = tf.unstack(embeddings["keys"], axis=1)
        compared = [self.compared(embeddings["jigsaw"], of_view) for of_view in keys]
        losses, found = zip(*compared, strict=True)
        jigsaw, weight = tf.add_n(losses), self.flags.jigsaw_weight
        accuracy = tf.reduce_mean(tf.cast(found, tf.float32))
        values |= {"jigsaw_loss": jigsaw, "jigsaw_acc": accuracy}
        return (1 - weight) * contrast + weight * jigsaw, values


def jigsaw_view(size: int) -> View:
    """The view that is cut into patches: 255 pixels where others have 224; its colours stay.

    Args:
      size: height and width of the other views, in pixels.
    """
    return torchvision_view(
        SIDE * round(size * 85 / 224),
        area=(0.6, 1.0),
        jitter_probability=0.0,
        grayscale_probability=0.0,
        blur_probability=0.0,
    )


def patches(images: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
    """A patch of each of the 3 x 3 cells of images, 64 pixels of 85.

    Cells have whole pixels; what is left of the image, at its right and at its bottom, is in none.

    Args:
      images: (n, size, size, 3).
      places: (n, 9, 2) in [0, 1): how far down and across each patch lies in its cell. 0 is at
        the top or on the left, and all places have the same share of the interval.

    Returns:
      (9, n, patch, patch, 3); cells are counted along rows.
    """
    cell = images.shape[1] // SIDE
    size = max(1, round(cell * 64 / 85))
    corners = tf.constant(cell * np.indices((SIDE, SIDE)).reshape(2, CELLS).T, tf.int32)
    within = tf.cast(places * (cell - size + 1), tf.int32)
    pixels = (corners + within)[..., tf.newaxis] + tf.range(size)
    down, across = tf.unstack(pixels, axis=2)
    rows = tf.gather(images, down, axis=1, batch_dims=1)
    found = tf.gather(rows, across, axis=3, batch_dims=2)
    return tf.transpose(found, [1, 0, 2, 3, 4])
