"""The probe of a run: what it prints and writes."""

import json
import subprocess
import types

import numpy as np
import pytest
import toy
import training

from simclr_tf import checkpoints, probe
from simclr_tf.checkpoints.run_directory import RunDirectory
from simclr_tf.data import subsets
from simclr_tf.errors import UserError
from simclr_tf.evaluation.random_twin import random_twin
from simclr_tf.experiment import config as configuration
from simclr_tf.experiment import parts
from simclr_tf.experiment.probing import features_of, limit_images
from simclr_tf.models import Architecture, Network

pytestmark = pytest.mark.usefixtures("toy_encoder")


@pytest.mark.slow
def test_a_run_beside_its_random_twin(tmp_path):
    assert training.run(tmp_path / "run", train_steps=3) == 0
    config = configuration.from_dict({"model_dir": str(tmp_path / "run")})
    weights = [w.numpy() for w in checkpoints.load(tmp_path / "run").weights]
    table = probe.compare(str(tmp_path / "run"), config, frozenset())
    written = json.loads((tmp_path / "run" / "probe.json").read_text())
    assert set(written) == {"step", "settings", "images", "pretrained", "random weights"}
    assert written["step"] == 3
    assert written["images"] == {"fitted_to": 1438, "of": 1438, "measured_on": 359}

    config = configuration.from_dict(RunDirectory(tmp_path / "run").config())
    trained = checkpoints.load(tmp_path / "run")
    for a, b in zip(weights, trained.weights, strict=True):
        np.testing.assert_array_equal(a, b)
    splits = probe.open_splits(config)
    images = probe.shuffled_images(config, splits[0])
    twin = random_twin(trained.architecture, images, seed=config.train.seed)
    for name, network in (("pretrained", trained), ("random weights", twin)):
        for metric, value in probe.probe(config, network, *splits).items():
            assert written[name][metric] == pytest.approx(value, abs=0.01)
            assert f"{written[name][metric]:.1%}" in table
    assert "random weights: gamma 1 in batch norm, whose statistics are those of up to " in table
    assert written["random weights"]["linear_probe_top_1_accuracy"] > 0.5

    words = [str(tmp_path / "run"), "--probe_images=50"]
    subprocess.run([*toy.command("simclr_tf/probe.py"), *words], cwd=training.ROOT, check=True)
    few = json.loads((tmp_path / "run" / "probe.json").read_text())["pretrained"]
    expected = probe.probe(config, trained, limit_images(splits[0], 50), splits[1])
    assert few == pytest.approx(expected, abs=0.01) and few != written["pretrained"]


def test_what_was_measured_is_written(tmp_path, monkeypatch):
    architecture = Architecture(18, cifar_stem=True)
    training.write_run(tmp_path, Network(architecture), 4, class_names=[str(i) for i in range(10)])
    fitted_to = []

    def fake(config, network, bank, queries):
        fitted_to.append((bank.split, bank.num_examples, queries.split, queries.num_examples))
        return {"linear_probe_top_1_accuracy": 0.5, "knn_top_1_accuracy": 0.25}

    monkeypatch.setattr(probe, "probe", fake)
    monkeypatch.setattr(probe, "random_twin", lambda *arguments, seed: None)
    given = {"model_dir": str(tmp_path), "eval_split": "train", "knn_k": 3}
    config = configuration.from_dict(given)
    probe.compare(str(tmp_path), config, frozenset(given) - {"model_dir"}, probe_images=50)
    assert fitted_to == [("train", 50, "train", 1438)] * 2
    written = json.loads((tmp_path / "probe.json").read_text())
    assert written["step"] == 4 and written["pretrained"]["knn_top_1_accuracy"] == 0.25
    assert written["images"] == {"fitted_to": 50, "of": 1438, "measured_on": 1438}
    assert written["settings"] == {
        "data_dir": None,
        "eval_split": "train",
        "probe_images": 50,
        "knn_k": 3,
        "knn_temperature": 0.1,
    }


def test_features_that_are_not_finite_are_refused():
    config = configuration.from_dict(training.SMALL)
    images = subsets.restrict(parts.open_dataset(config, "train"), np.arange(40))
    network = types.SimpleNamespace(features=lambda images: images[:, :, 0, 0] / 0.0)
    with pytest.raises(UserError, match="features of the checkpoint are not finite"):
        features_of(config, network, images)


@pytest.mark.slow
def test_the_twin_is_shown_images_of_all_classes_in_random_order():
    config = configuration.from_dict(
        {"dataset": "digits", "image_size": 8, "eval_batch_size": 100, "seed": 4}
    )
    dataset = parts.open_dataset(config, "train")
    batches = list(probe.shuffled_images(config, dataset))
    assert len(batches) == 14  # of 1438 images; the last 38 are left out
    shown = np.concatenate([images.numpy() for images in batches])
    everything = np.concatenate(
        [
            images.numpy()[weights.numpy() > 0]
            for images, _, weights in parts.evaluation_batches(config, dataset)
        ]
    )
    rows = {image.tobytes() for image in everything}
    assert all(image.tobytes() in rows for image in shown)
    assert not np.array_equal(shown[:100], everything[:100])
