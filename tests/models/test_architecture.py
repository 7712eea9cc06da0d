"""Architectures as JSON: there and back, those that earlier versions wrote, damaged ones."""

import json
import math

import pytest

from simclr_tf.errors import UserError
from simclr_tf.models import Architecture, Dense, simclr_projector

# What model.json held until heads were lists of layers.
EARLIER = """{
  "resnet_depth": 18,
  "width_multiplier": 1,
  "sk_ratio": 0.0,
  "se_ratio": 0.0,
  "cifar_stem": true,
  "proj_head_mode": "nonlinear",
  "num_proj_layers": 2,
  "proj_out_dim": 64,
  "kept_proj_layers": 1,
  "ft_proj_selector": 1,
  "num_classes": 10,
  "batch_norm_decay": 0.9,
  "global_bn": true
}"""


def test_an_architecture_comes_back_from_json():
    projector = (
        Dense(4096, bias=True, start="truncated"),
        Dense(center=False, scale=False),
        Dense(256, norm=False, relu=False),
    )
    architecture = Architecture(50, 2, 0.1, 0.2, True, projector, 2, 1, 7, 0.8, False)
    values = json.loads(json.dumps(architecture.to_json()))
    assert values["projector"][0] == {
        "units": 4096,
        "bias": True,
        "norm": True,
        "center": True,
        "scale": True,
        "relu": True,
        "start": "truncated",
    }
    assert Architecture.from_json(values, "a file") == architecture
    assert architecture.kept_projector == projector[:2]


def test_architectures_of_earlier_versions_are_read():
    values = json.loads(EARLIER)
    middle, last = Dense(), Dense(64, center=False, relu=False)
    expected = Architecture(
        18,
        cifar_stem=True,
        projector=(middle, last),
        kept_proj_layers=1,
        ft_proj_selector=1,
        num_classes=10,
    )
    assert Architecture.from_json(values, "a file") == expected
    linear = Architecture.from_json(values | {"proj_head_mode": "linear"}, "a file")
    assert linear.projector == (last,)
    none = values | {"proj_head_mode": "none", "ft_proj_selector": 0}
    assert Architecture.from_json(none, "a file").projector == ()
    few = Architecture.from_json({"resnet_depth": 34, "proj_out_dim": 64}, "a file")
    assert few == Architecture(34, projector=simclr_projector("nonlinear", 3, 64))


def test_what_is_subtracted_from_images_comes_back_from_json():
    architecture = Architecture(
        18,
        input_mean=(0.485, 0.456, 0.1 + 0.2),
        input_deviation=(1, 1e-3, 0.229),
        pool_padding="symmetric",
    )
    values = json.loads(json.dumps(architecture.to_json()))
    assert values["input_mean"] == [0.485, 0.456, 0.1 + 0.2]
    assert Architecture.from_json(values, "a file") == architecture
    assert Architecture.from_json(json.loads(EARLIER), "a file").input == (None, None, "same")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"input_mean": [0.5, 0.5, 0.5]}, "a mean and a deviation of its input, or neither"),
        ({"input_mean": [0, 0], "input_deviation": [1, 1]}, "three numbers each"),
        ({"input_mean": [0, 0, 0], "input_deviation": [1, 0, 1]}, "deviations above 0"),
        ({"input_mean": [0, 0, math.nan], "input_deviation": [1, 1, 1]}, "three numbers each"),
        ({"input_mean": 0.5, "input_deviation": "abc"}, "three numbers each"),
        ({"pool_padding": "valid"}, "one of same, symmetric. Received: valid"),
        ({"pool_padding": 1}, "'pool_padding' is 1"),
    ],
)
def test_damaged_inputs_of_architectures(change, said):
    with pytest.raises(UserError, match=f"model.json is damaged.*{said}"):
        Architecture.from_json(json.loads(EARLIER) | change, "model.json")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"lab_views": 1, "method": "cmc"}, "it has lab_views, method"),
        ({"projector": []}, "it has num_proj_layers, proj_head_mode, proj_out_dim"),
        ({"resnet_depth": "50"}, "'resnet_depth' is \"50\""),
        ({"resnet_depth": 51}, "'resnet_depth' is 51, which no network has"),
        ({"ft_proj_selector": 9}, "'ft_proj_selector' is 9, which no network has"),
        ({"num_classes": 0}, "'num_classes' is 0, which no network has"),
        ({"proj_out_dim": "64"}, "'proj_out_dim' is \"64\""),
        ({"proj_head_mode": "mlp"}, "one of none, linear, nonlinear. Received: mlp"),
    ],
)
def test_damaged_architectures_of_earlier_versions(change, said):
    with pytest.raises(UserError, match=said):
        Architecture.from_json(json.loads(EARLIER) | change, "model.json")


@pytest.mark.parametrize(
    ("projector", "said"),
    [
        (None, "'projector' is no list of layers"),
        (3, "'projector' is no list of layers"),
        (["dense"], "'projector' is no list of layers"),
        ([{"units": 8}, {"dropout": 0.5}], "does not know: it has dropout"),
        ([{"units": 8.5}], "'units' is 8.5"),
        ([{"bias": 1}], "'bias' is 1"),
        ([{"units": 0}], "at least one unit. Received: 0"),
        ([{"start": "zeros"}], "Received: zeros"),
    ],
)
def test_damaged_projectors(projector, said):
    with pytest.raises(UserError, match=f"model.json .*{said}"):
        Architecture.from_json({"projector": projector}, "model.json")
