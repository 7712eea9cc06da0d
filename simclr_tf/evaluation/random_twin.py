"""The untrained network that a trained one is compared with."""

import tensorflow as tf

from simclr_tf.backend import keras
from simclr_tf.models import Architecture, Network
from simclr_tf.models.batch_norm import BatchNormalization

IMAGES = 2048  # that the statistics are taken from, at most
BATCH = 128


def random_twin(architecture: Architecture, batches: tf.data.Dataset, *, seed: int) -> Network:
    """A network with random weights in which every layer does something.

    Training begins with gamma 0 at the end of each residual branch and with moving statistics
    that are those of no images, so that an untrained network is no more than its stem and
    shortcuts. Here every gamma is 1, and the moving statistics are what batch norm sees in
    training: the means over batches of 128 images of the batches' means and variances, each
    layer's where all layers before it normalise by the statistics of the batch.

    Args:
      architecture: of the trained network.
      batches: of images (batch, height, width, 3) float32 in [0, 1], of any size. The first
        2,048 images are taken.
      seed: of the weights; Keras' global generators are set to it.

    Returns:
      A new Network; with the same seed and images always the same.
    """
    keras.utils.set_random_seed(seed)
    network = Network(architecture)
    kinds = BatchNormalization | keras.layers.BatchNormalization
    norms = [layer for layer in network.submodules if isinstance(layer, kinds)]
    decays = [norm.momentum for norm in norms]
    for norm in norms:
        if norm.gamma is not None:
            norm.gamma.assign(tf.ones_like(norm.gamma))
    seen = 0
    for images in batches.unbatch().take(IMAGES).batch(BATCH):
        rows = len(images)
        seen += rows
        for norm in norms:
            norm.momentum = 1 - rows / seen  # the mean so far, and this batch by its share
        network(images, training=True)
    for norm, decay in zip(norms, decays, strict=True):
        norm.momentum = decay
    return network
