"""MoCo v1: MoCo with a linear projection, and the views and the temperature of InstDisc."""

import dataclasses

from simclr_tf.flag import flag
from simclr_tf.methods import moco


@dataclasses.dataclass(frozen=True)
class Flags(moco.Flags):
    """MoCo v1: its queue, its momentum encoder and its loss."""

    temperature: float = flag(0.07, "Temperature of the contrastive loss.", above=0)
    mlp: bool = flag(False, "Whether the projection head has a hidden layer.")
    aug_plus: bool = flag(False, "Whether views are those of MoCo v2, or of v1.")


class MoCoV1(moco.MoCo):
    """Momentum contrast as in its first paper (arXiv 1911.05722)."""

    Flags = Flags
    DEFAULTS = {
        **moco.MoCo.DEFAULTS,
        "schedule": "steps",
        "schedule_milestones": "120,160",
        "schedule_by": "step",
    }
