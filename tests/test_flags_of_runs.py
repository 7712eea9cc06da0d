"""Flags of run.py reach what they are about, and go on without --method."""

import pytest

from simclr_tf import flag
from simclr_tf.data.recipe import cropped, unchanged
from simclr_tf.errors import UserError
from simclr_tf.experiment import checks, finetuning, outputs, parts, pretraining
from simclr_tf.experiment import config as configuration
from simclr_tf.experiment.config import config_class, with_defaults_of_method
from simclr_tf.methods import METHODS
from simclr_tf.models import Network


def config_of(**flags):
    return configuration.from_dict(flags)


@pytest.mark.parametrize("name", METHODS)
def test_a_run_that_goes_on_without_its_method_has_its_defaults(name):
    """The flags are those of the method in the run directory, and its name is not given."""
    assert configuration.method_of(config_class(name)) == name
    config = with_defaults_of_method(flag.from_dict({}, config_class(name)), set())
    expected = config_of(method=name)
    expected = with_defaults_of_method(expected, {"method"})
    assert config == expected
    assert config.train.method == name


def test_a_flag_of_other_views_is_refused_there_too():
    config = flag.from_dict({"blur_sigma": "batch"}, config_class("byol"))
    config = with_defaults_of_method(config, {"blur_sigma"})
    with pytest.raises(UserError, match="changes nothing in the views of --method=byol"):
        checks.check_settings(config)


def test_flags_of_the_network():
    given = {"width_multiplier": 2, "sk_ratio": 0.0625, "se_ratio": 0.25, "batch_norm_decay": 0.7}
    config = config_of(proj_head_mode="linear", **given)
    architecture = pretraining.architecture_of(config, 10)
    assert {name: getattr(architecture, name) for name in given} == given
    assert len(architecture.projector) == 1
    for name in ("simclr_memory", "simsiam"):
        method = METHODS[name]
        layers = [len(method.projector(method.Flags(num_proj_layers=n))) for n in (2, 3)]
        assert layers == [2, 3]


def test_without_a_linear_probe_there_are_no_classes():
    found = [
        pretraining.architecture_of(config_of(lineareval_while_pretraining=value), 10).num_classes
        for value in (True, False)
    ]
    assert found == [10, None]


def test_flags_of_the_views_of_a_fine_tuning():
    views = {
        shown: finetuning.recipe_of(config_of(finetune_augmentation=shown, image_size=48))
        for shown in ("crop_flip", "none", "pretrain")
    }
    assert views["crop_flip"] == cropped(48) and views["none"] == unchanged(48)
    assert views["pretrain"] == pretraining.recipe_of(config_of(image_size=48))[:1]
    assert len(set(views.values())) == 3


@pytest.mark.usefixtures("toy_encoder")
def test_flags_of_a_distillation(monkeypatch):
    given = {"distillation_temperature": 3.0, "distillation_alpha": 0.5}
    config = config_of(train_mode="finetune", resnet_depth=18, teacher="x", image_size=8, **given)
    architecture = finetuning.architecture_of(config, 3)
    monkeypatch.setattr(finetuning, "network_of", lambda *_: Network(architecture))
    method = finetuning.build(config, architecture, teacher="what it holds")
    assert (method.temperature, method.alpha) == (3.0, 0.5)


def test_flags_of_the_data(monkeypatch):
    opened, made = {}, {}
    monkeypatch.setattr(parts.datasets, "load", lambda *_, **how: opened.update(how))
    monkeypatch.setattr(parts.pipeline, "training_dataset", lambda *_, **how: made.update(how))
    given = {"upright": False, "max_bad_images": 7, "labels": "none", "split_seed": 3}
    given |= {"holdout_fraction": 0.2}
    config = config_of(cache_dataset=True, reduced_decoding=True, seed=5, **given)
    parts.open_dataset(config, "train")
    assert given.items() <= opened.items() and opened["cache"]
    parts.training_batches(config, None, None, batch_size=4)
    assert made == {"seed": 5, "reduced_decoding": True, "batch_size": 4}


def test_checkpoints_by_epochs():
    config = config_of(train_batch_size=10, warmup_epochs=0.0, checkpoint_epochs=3)
    plan = parts.plan_of(config, 100, num_replicas=1)
    assert (plan.epoch_steps, plan.checkpoint_steps) == (10, 30)


def test_as_many_exports_are_kept_as_are_said(tmp_path, monkeypatch):
    (tmp_path / "saved_model" / "4").mkdir(parents=True)
    (tmp_path / "saved_model" / "4" / "saved_model.pb").touch()
    kept = []
    monkeypatch.setattr(outputs, "keep_newest", lambda _, number: kept.append(number))
    directory = outputs.RunDirectory(str(tmp_path))
    inputs = outputs.Inputs(
        *(config_of(keep_hub_module_max=2), directory, None, True, None, None, None, None, None)
    )
    outputs.export(inputs, 4)
    assert kept == [2]
