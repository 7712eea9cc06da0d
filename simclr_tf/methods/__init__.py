"""How views become a loss: one method in each file."""

from simclr_tf.methods.base import Method, l2_variables
from simclr_tf.methods.simclr import SimCLR
from simclr_tf.methods.supervised.classes import Supervised
from simclr_tf.methods.supervised.distillation import Distillation

__all__ = ["Distillation", "Method", "SimCLR", "Supervised", "l2_variables"]
