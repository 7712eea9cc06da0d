"""Losses: pure functions on tensors, computed in float32, gathering over replicas by themselves."""

from simclr_tf.losses.nt_xent import chance_level, contrastive_metrics, nt_xent
from simclr_tf.losses.supervised import supervised_loss

__all__ = ["chance_level", "contrastive_metrics", "nt_xent", "supervised_loss"]
