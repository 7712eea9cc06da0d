"""How views become a loss: one method in each file.

METHODS is what --method chooses from; no other place names the methods.
"""

from simclr_tf.methods.base import Method
from simclr_tf.methods.simclr import SimCLR

DEFAULT_METHOD = "simclr"
METHODS: dict[str, type[Method]] = {"simclr": SimCLR}

__all__ = ["DEFAULT_METHOD", "METHODS", "Method", "SimCLR"]
