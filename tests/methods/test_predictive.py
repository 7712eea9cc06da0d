"""Predictive learning against NumPy."""

import every_method
import numpy as np
import pytest
import tensorflow as tf

from simclr_tf.methods.predictive import means_of_cells
from simclr_tf.models.colors import to_planes

pytestmark = pytest.mark.usefixtures("toy_encoder")


@pytest.mark.parametrize("distance", ["l1", "l2"])
def test_the_loss_is_the_distance_of_the_cells_means(distance):
    """The toy's last map has 6 x 6 cells of 12 x 12 pixels."""
    method = every_method.build("predictive", distance=distance)
    views = tuple(map(tf.constant, every_method.views_of("predictive")))
    embeddings = method.embed(views)
    planes = to_planes(views[0], "lab").numpy()[..., 1:]
    means = planes.reshape(16, 6, 2, 6, 2, 2).mean(axis=(2, 4))
    np.testing.assert_allclose(embeddings["planes"], means, rtol=1e-4, atol=1e-5)
    found = method.network.encoder.endpoints(views[0], training=True)["block_group4"].numpy()
    (layer,) = method.network.projection_head.layers
    kernel, bias = (v.numpy() for v in (layer.dense.kernel, layer.dense.bias))
    errors = np.tensordot(found, kernel, 1) + bias - means
    expected = np.abs(errors).mean() if distance == "l1" else np.square(errors).mean()
    loss, values = method.objective(embeddings)
    assert float(loss) == pytest.approx(expected, rel=1e-4) == float(values["prediction_loss"])


def test_a_pixel_between_cells_counts_in_both():
    line = tf.reshape(tf.constant([1.0, 2.0, 4.0]), (1, 1, 3, 1))
    found = means_of_cells(line, 1, 2)
    np.testing.assert_allclose(found[0, 0, :, 0], [(1 + 2 / 2) / 1.5, (2 / 2 + 4) / 1.5], rtol=1e-6)


def test_the_first_planes_are_seen_and_the_others_predicted():
    method = every_method.build("predictive", planes="01-2", color_space="ycbcr")
    assert method.network.architecture.plane_groups == ((0, 1),)
    assert method.network.encoder.streams[0].stem.convolutions[0].kernel.shape == (3, 3, 2, 64)
    assert method.network.projection_head.widths(512) == [512, 1]
