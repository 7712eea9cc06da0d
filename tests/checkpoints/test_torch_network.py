"""A plain PyTorch network computes with converted weights what ours computes."""

import json

import numpy as np
import pytest
import recorded

from simclr_tf import checkpoints
from simclr_tf.checkpoints import layout, restore
from simclr_tf.checkpoints.convert import convert
from simclr_tf.checkpoints.description import Description
from simclr_tf.models import Architecture, Dense, Network, simclr_projector

torch = pytest.importorskip("torch")

ARCHITECTURES = {
    "r18_cifar": Architecture(
        18, cifar_stem=True, projector=simclr_projector(num_layers=2), num_classes=10
    ),
    "r18_deep": Architecture(18, sk_ratio=0.0625, projector=simclr_projector("linear")),
    "r18_others": Architecture(
        18,
        projector=(),
        input_mean=(0.485, 0.456, 0.406),
        input_deviation=(0.229, 0.224, 0.225),
        pool_padding="symmetric",
    ),
    "r50": Architecture(50, num_classes=7),
    "r50_sk_se": Architecture(50, sk_ratio=0.0625, se_ratio=0.25),
    "r50_sk_cifar": Architecture(50, sk_ratio=0.0625, cifar_stem=True, projector=()),
    "r18_bias": Architecture(
        18,
        cifar_stem=True,
        projector=(
            Dense(24, bias=True),
            Dense(bias=True, norm=False),
            Dense(8, scale=False, center=False, relu=False),
        ),
    ),
    "r18_wide": Architecture(18, width_multiplier=2, projector=simclr_projector(num_layers=1)),
}


SLOW = {name: [pytest.mark.slow] if name.startswith("r50") else [] for name in ARCHITECTURES}


@pytest.mark.parametrize("name", [pytest.param(n, marks=SLOW[n]) for n in ARCHITECTURES])
def test_features_projections_and_logits_are_the_same(name, tmp_path):
    from torch_resnet import ResNet

    architecture = ARCHITECTURES[name]
    network = Network(architecture)
    restore.assign(network, recorded.random_arrays(layout.network_variables(architecture)))
    convert(network, "torch", f"{tmp_path}/net.pt", Description(architecture))

    plain = ResNet(**json.loads((tmp_path / "net.json").read_text())["architecture"]).eval()
    plain.load_state_dict(torch.load(tmp_path / "net.pt"), strict=True)
    # The second size is odd after the stem, where padding differs.
    for images in (recorded.random_images()[:4], recorded.random_images()[:2, :50, :58]):
        with torch.no_grad():
            h, z, logits = plain(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()))
        close(h, network.features(images))
        if architecture.projector:
            close(z, network.projections(images)[-1])
        if architecture.num_classes:
            close(logits, network.logits(images))

    back = restore.variable_paths(checkpoints.load(tmp_path / "net.pt"))
    for path, variable in restore.variable_paths(network).items():
        np.testing.assert_array_equal(back[path], variable)


def close(actual, expected):
    expected = np.asarray(expected)
    np.testing.assert_allclose(actual.numpy(), expected, atol=1e-4 * np.abs(expected).max())
