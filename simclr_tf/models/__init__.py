"""Encoders and heads."""

from simclr_tf.models.heads import ProjectionHead, SupervisedHead
from simclr_tf.models.network import Architecture, Network
from simclr_tf.models.resnet import ResNet, resnet

__all__ = ["Architecture", "Network", "ProjectionHead", "ResNet", "SupervisedHead", "resnet"]
