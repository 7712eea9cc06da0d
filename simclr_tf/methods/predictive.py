"""Predictive learning: an encoder of some planes of an image's colours predicts the others."""

import dataclasses

import numpy as np
import tensorflow as tf

from simclr_tf.flag import flag
from simclr_tf.methods.base import Method
from simclr_tf.methods.cmc import CMC, PlaneFlags, fields_of_planes, plane_view
from simclr_tf.models import Dense
from simclr_tf.models.colors import to_planes


@dataclasses.dataclass(frozen=True)
class Flags(PlaneFlags):
    """Predictive learning: what is predicted of what, and how it is measured."""

    distance: str = flag("l1", "Distance of planes and predictions.", choices=("l1", "l2"))


class Predictive(Method):
    """The baseline that CMC is set against (arXiv 1906.05849, section 3.1).

    The planes of the first of --planes are seen, all others predicted: by default ab of L. Here
    each cell of the encoder's last map predicts their mean over the cell, so that no decoder is
    needed.
    """

    Flags = Flags
    DEFAULTS = CMC.DEFAULTS
    metrics_of = {"prediction_loss": "distance of the planes from what is predicted"}
    zero_residuals = False

    @classmethod
    def recipe(cls, flags, view):
        return (plane_view(view.image_size),)

    @classmethod
    def encoder_fields(cls, flags):
        fields = fields_of_planes(flags)
        return fields | {"plane_groups": fields["plane_groups"][:1]}

    @classmethod
    def projector(cls, flags):
        width = len(_predicted(flags))
        return (Dense(width, bias=True, norm=False, relu=False, start="uniform"),)

    def embed(self, views):
        network, (images,) = self.network, views
        found = network.encoder.endpoints(images, training=True)
        cells = network.projection_head(found["block_group4"], training=True)[-1]
        features = network.projection_head(found["final_avg_pool"], training=True)
        planes = tf.gather(
            to_planes(images, self.flags.color_space), _predicted(self.flags), axis=-1
        )
        return {
            "features": tf.cast(features[network.probed_layer], tf.float32)[:, tf.newaxis],
            "predictions": tf.cast(cells, tf.float32),
            "planes": means_of_cells(planes, *cells.shape[1:3]),
        }

    def objective(self, embeddings):
        errors = embeddings["predictions"] - embeddings["planes"]
        loss = tf.reduce_mean(tf.abs(errors) if self.flags.distance == "l1" else errors**2)
        return loss, {"prediction_loss": loss}


def means_of_cells(planes: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """The mean of every cell, where a pixel counts as far as it lies in the cell.

    Args:
      planes: (n, pixels, pixels, k) float32.
      height: how many cells lie one below the other.
      width: and beside each other.

    Returns:
      (n, height, width, k) float32.
    """
    down, across = _shares(planes.shape[1], height), _shares(planes.shape[2], width)
    return tf.einsum("ip,npqk,jq->nijk", down, planes, across)


def _shares(pixels, cells):
    """(cells, pixels): the share that each pixel of a line has in each cell."""
    edges, places = np.linspace(0, pixels, cells + 1)[:, np.newaxis], np.arange(pixels)
    inside = np.minimum(edges[1:], places + 1) - np.maximum(edges[:-1], places)
    return tf.constant(np.maximum(inside, 0) * cells / pixels, tf.float32)


def _predicted(flags: Flags) -> list[int]:
    """The planes that are predicted."""
    return [plane for group in fields_of_planes(flags)["plane_groups"][1:] for plane in group]
