"""Losses: pure functions on tensors, computed in float32, gathering over replicas by themselves."""

from simclr_tf.losses.clustering import sinkhorn, swapped_prediction
from simclr_tf.losses.distillation import distillation_loss
from simclr_tf.losses.divergence import divergence
from simclr_tf.losses.info_nce import info_nce
from simclr_tf.losses.multi_label import multi_label_loss
from simclr_tf.losses.nce import instance_softmax, nce
from simclr_tf.losses.nt_xent import (
    chance_level,
    contrastive_metrics,
    nt_xent,
    nt_xent_with_metrics,
)
from simclr_tf.losses.redundancy import barlow_twins, vicreg
from simclr_tf.losses.regression import byol, simsiam
from simclr_tf.losses.supervised import mean_over_labelled, supervised_loss
from simclr_tf.losses.triplets import margin_triplet, nt_logistic

__all__ = [
    "barlow_twins",
    "byol",
    "chance_level",
    "contrastive_metrics",
    "distillation_loss",
    "divergence",
    "info_nce",
    "instance_softmax",
    "margin_triplet",
    "mean_over_labelled",
    "multi_label_loss",
    "nce",
    "nt_logistic",
    "nt_xent",
    "nt_xent_with_metrics",
    "simsiam",
    "sinkhorn",
    "supervised_loss",
    "swapped_prediction",
    "vicreg",
]
