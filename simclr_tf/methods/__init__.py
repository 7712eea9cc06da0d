"""How views become a loss: one method in each file.

METHODS is what --method chooses from; no other place names the methods.
"""

from simclr_tf.methods.barlow_twins import BarlowTwins
from simclr_tf.methods.base import Method
from simclr_tf.methods.byol import BYOL
from simclr_tf.methods.clsa import CLSA
from simclr_tf.methods.clsa_byol import CLSABYOL
from simclr_tf.methods.clsa_simclr import CLSASimCLR
from simclr_tf.methods.cmc import CMC
from simclr_tf.methods.infomin import InfoMin
from simclr_tf.methods.instdisc import InstDisc
from simclr_tf.methods.moco import MoCo
from simclr_tf.methods.moco_v1 import MoCoV1
from simclr_tf.methods.predictive import Predictive
from simclr_tf.methods.simclr import SimCLR
from simclr_tf.methods.simclr_memory import SimCLRMemory
from simclr_tf.methods.simsiam import SimSiam
from simclr_tf.methods.swav import SwAV
from simclr_tf.methods.vicreg import VICReg

DEFAULT_METHOD = "simclr"
METHODS: dict[str, type[Method]] = {
    "simclr": SimCLR,
    "simclr_memory": SimCLRMemory,
    "instdisc": InstDisc,
    "cmc": CMC,
    "predictive": Predictive,
    "moco_v1": MoCoV1,
    "moco": MoCo,
    "infomin": InfoMin,
    "byol": BYOL,
    "simsiam": SimSiam,
    "barlow_twins": BarlowTwins,
    "vicreg": VICReg,
    "swav": SwAV,
    "clsa": CLSA,
    "clsa_simclr": CLSASimCLR,
    "clsa_byol": CLSABYOL,
}

__all__ = [
    "BYOL",
    "CLSA",
    "CLSABYOL",
    "CLSASimCLR",
    "CMC",
    "DEFAULT_METHOD",
    "METHODS",
    "BarlowTwins",
    "InfoMin",
    "InstDisc",
    "Method",
    "MoCo",
    "MoCoV1",
    "Predictive",
    "SimCLR",
    "SimCLRMemory",
    "SimSiam",
    "SwAV",
    "VICReg",
]
