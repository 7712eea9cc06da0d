"""The summary, the rows of metrics and the picture of the views."""

import json

import numpy as np
import pytest
import tensorflow as tf
from test_plan import CIFAR

from simclr_tf import optimizers
from simclr_tf.methods import SimCLR
from simclr_tf.models import Architecture, Dense, Network
from simclr_tf.reports import summary
from simclr_tf.reports.summary import run_summary
from simclr_tf.reports.views_picture import save_views
from simclr_tf.training.metrics_log import MetricsLog, append_row, read_rows
from simclr_tf.training.plan import make_plan


def test_the_summary_says_what_is_trained():
    network = Network(Architecture(resnet_depth=18, cifar_stem=True, num_classes=10))
    plan = make_plan(**CIFAR)
    method = SimCLR(network, weight_decay=1e-4, optimizer_decays=True)
    method.compile(
        optimizers.build("lars", 1.0, weight_decay=1e-4, exclude=network.supervised_head.weights)
    )
    text = run_summary(
        method, plan, dataset="cifar10, train", image_size="32 px", start_step=98, num_replicas=1
    )
    # 11,173,056 of the encoder, 592,000 of the projection head, 5,130 of the supervised head
    assert "11,770,186 trainable" in text
    assert "projection head  nonlinear [512, 512, 128]\n" in text
    assert "views            32 px\n" in text
    assert "9,766, of them 976 warm-up" in text and "peak learning rate 2" in text
    # 21 convolutions and 3 dense layers are decayed; 42 + 5 of batch norm and 2 of the head not.
    assert "0.0001 on 24 variables; 49 (batch norm" in text
    assert "contrast_loss 13.8610" in text  # 2 ln(2 * 512 - 1)
    assert "resumed          at step 98" in text


@pytest.mark.parametrize(
    "name, ending", [("sgd", "are not decayed"), ("larc", "are neither decayed nor adapted")]
)
def test_the_summary_of_what_decays_every_weight(name, ending):
    network = Network(Architecture(resnet_depth=18, cifar_stem=True, num_classes=10))
    method = SimCLR(network)
    exclude = network.supervised_head.weights
    method.compile(optimizers.build(name, 1.0, weight_decay=1e-4, exclude=exclude))
    text = run_summary(
        method, make_plan(**CIFAR), dataset="-", image_size="32 px", start_step=0, num_replicas=1
    )
    assert f"0.0001 on 71 variables; 2 (supervised head) {ending}" in text


@pytest.mark.thorough
@pytest.mark.parametrize("emulated", [True, False])
def test_the_summary_warns_of_emulated_bfloat16(monkeypatch, emulated):
    monkeypatch.setattr(summary, "emulates_bfloat16", lambda: emulated)
    projector = (Dense(bias=True, norm=False), Dense(8, norm=False, relu=False))
    network = Network(Architecture(18, cifar_stem=True, projector=projector), "bfloat16")
    method = SimCLR(network)
    method.compile(optimizers.build("lars", 1.0))
    text = run_summary(
        method, make_plan(**CIFAR), dataset="-", image_size="32 px", start_step=0, num_replicas=1
    )
    assert ("bfloat16         is emulated" in text) == emulated
    assert "head  dense as wide as the input with bias, ReLU; dense to 8\n" in text


def test_rows_after_the_restored_step_and_a_cut_off_row_are_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    for step in (10, 20, 30):
        append_row(path, {"step": step})
    with path.open("a") as file:
        file.write('{"step": 4')
    assert [row["step"] for row in read_rows(path)] == [10, 20, 30]
    MetricsLog(20, tmp_path, 10, make_plan(**CIFAR))
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [10, 20]


@pytest.mark.parametrize("sizes", [(16, 16), (16, 16, 8), (32, 16, 16, 8, 8)])
def test_the_picture_shows_every_view_in_a_row(tmp_path, sizes):
    shades = np.linspace(0.2, 0.8, len(sizes))
    rows = {
        f"view {i}: {size} px": np.full((4, size, size, 3), shade, np.float32)
        for i, (size, shade) in enumerate(zip(sizes, shades))
    }
    picture = save_views(rows, tmp_path / "views.png")
    assert np.array_equal(picture, tf.io.decode_png((tmp_path / "views.png").read_bytes(), 4))
    height, width = picture.shape[0] // len(sizes), picture.shape[1]
    assert width == pytest.approx(6 * height, abs=3)  # a label of two columns, and four images
    for i, (size, shade) in enumerate(zip(sizes, shades)):
        row = picture[i * height : (i + 1) * height, :, 0]
        assert (row[:, : width // 3] < 100).any()  # the label
        images = np.abs(row[:, width // 3 :] / 255.0 - shade) < 0.02
        share = images.sum() / images.size
        assert share == pytest.approx((0.94 * size / max(sizes)) ** 2, rel=0.1)
