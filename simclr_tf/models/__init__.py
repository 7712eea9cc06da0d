"""Encoders and heads."""

from simclr_tf.models.architecture import Architecture
from simclr_tf.models.heads import Dense, Head, SupervisedHead, simclr_projector
from simclr_tf.models.network import Network
from simclr_tf.models.resnet import ResNet, resnet

__all__ = [
    "Architecture",
    "Dense",
    "Head",
    "Network",
    "ResNet",
    "SupervisedHead",
    "resnet",
    "simclr_projector",
]
