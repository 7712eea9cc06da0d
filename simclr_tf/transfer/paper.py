"""What the SimCLR paper reports (arXiv 2002.05709): table 8 for a ResNet-50 (4x), B.5 for (1x).

Percent, by width of the ResNet-50, protocol and kind of pretraining.
"""

from collections.abc import Mapping

from simclr_tf.data.transfer.registry import REGISTRY
from simclr_tf.models import Architecture
from simclr_tf.transfer.plan import FINETUNE, LINEAR, RANDOM_INIT

_ROWS = {
    (4, LINEAR, "SimCLR"): "76.9 95.3 80.2 48.4 65.9 60.0 61.2 84.2 78.9 89.2 93.9 95.0",
    (4, LINEAR, "supervised"): "75.2 95.7 81.2 56.4 64.9 68.8 63.8 83.8 78.7 92.3 94.1 94.2",
    (4, FINETUNE, "SimCLR"): "89.4 98.6 89.0 78.2 68.1 92.1 87.0 86.6 77.8 92.1 94.1 97.6",
    (4, FINETUNE, "supervised"): "88.7 98.3 88.7 77.8 67.0 91.4 88.0 86.5 78.8 93.2 94.2 98.0",
    (4, RANDOM_INIT, "random"): "88.3 96.0 81.9 77.0 53.7 91.3 84.8 69.4 64.1 82.7 72.5 92.5",
    (1, LINEAR, "SimCLR"): "68.4 90.6 71.6 37.4 58.8 50.3 50.3 80.5 74.5 83.6 90.3 91.2",
    (1, LINEAR, "supervised"): "72.3 93.6 78.3 53.7 61.9 66.7 61.0 82.8 74.9 91.5 94.5 94.7",
    (1, FINETUNE, "SimCLR"): "88.2 97.7 85.9 75.9 63.5 91.3 88.1 84.1 73.2 89.2 92.1 97.0",
    (1, FINETUNE, "supervised"): "88.3 97.5 86.4 75.8 64.3 92.1 86.0 85.0 74.6 92.1 93.3 97.6",
    (1, RANDOM_INIT, "random"): "86.9 95.9 80.2 76.1 53.6 91.4 85.9 67.3 64.8 81.5 72.6 92.0",
}


def reported(architecture: Architecture, protocol: str) -> Mapping[str, Mapping[str, float]]:
    """The paper's numbers for the same encoder: percent by data set, by kind of pretraining.

    Empty where the paper has none: it transfers the ResNet-50 (1x) and (4x).
    """
    a = architecture
    if a.encoder != "resnet" or a.resnet_depth != 50 or a.sk_ratio or a.se_ratio or a.cifar_stem:
        return {}
    return {
        kind: dict(zip(REGISTRY, map(float, row.split()), strict=True))
        for (width, of_protocol, kind), row in _ROWS.items()
        if (width, of_protocol) == (a.width_multiplier, protocol)
    }
