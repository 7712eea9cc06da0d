"""Recipes and the commands of the original, README and docs mean what they are meant to mean."""

import importlib.util
import pathlib
import re
import shlex

import pytest
from commands import ROOT, config_of, parsed, read_command, shell_lines

import simclr_tf
from simclr_tf.data.pack import PackConfig
from simclr_tf.errors import UserError
from simclr_tf.experiment import checks, parts, pretraining, protocols
from simclr_tf.experiment import config as configuration
from simclr_tf.experiment.config import FinetuneConfig
from simclr_tf.features import FeaturesConfig
from simclr_tf.flag import check_ranges, to_dict
from simclr_tf.methods import DEFAULT_METHOD, METHODS
from simclr_tf.predict import PredictConfig
from simclr_tf.probe import ProbeConfig
from simclr_tf.report import ReportConfig
from simclr_tf.study import StudyConfig
from simclr_tf.transfer.program import TransferConfig

RECIPES = sorted((ROOT / "configs").glob("*.cfg"))

CIFAR10, IMAGENET, DIGITS = 50_000, 1_281_167, 1_438  # images of the training splits
ONE_PERCENT, TEN_PERCENT = 12_811, 128_116  # of ImageNet, the official lists

# Images, steps, warm-up steps and peak learning rate, by hand:
# images * epochs // batch + 1; int(warm-up epochs * images // batch); lr * batch / 256 or
# lr * sqrt(batch).
PLANS = {
    "cifar10": (CIFAR10, 97_657, 976, 2.0),
    "cifar10_linear": (CIFAR10, 9_766, 0, 0.2),
    "cifar10_paper": (CIFAR10, 48_829, 488, 4.0),
    "cifar10_v2": (CIFAR10, 97_657, 976, 4.525483),
    "digits": (DIGITS, 250, 22, 0.25),
    "cifar10_barlow_twins": (CIFAR10, 19_532, 0, 0.24),
    "cifar10_byol": (CIFAR10, 195_313, 1_953, 2.0),
    "cifar10_clsa": (CIFAR10, 19_532, 0, 0.24),
    "cifar10_clsa_byol": (CIFAR10, 195_313, 1_953, 2.0),
    "cifar10_clsa_simclr": (CIFAR10, 97_657, 976, 2.0),
    "cifar10_infomin": (CIFAR10, 19_532, 0, 0.24),
    "cifar10_cmc": (CIFAR10, 78_126, 0, 0.03),
    "cifar10_instdisc": (CIFAR10, 78_126, 0, 0.03),
    "cifar10_moco": (CIFAR10, 19_532, 0, 0.24),
    "cifar10_moco_v1": (CIFAR10, 19_532, 0, 0.06),
    "cifar10_predictive": (CIFAR10, 78_126, 0, 0.03),
    "cifar10_simclr_memory": (CIFAR10, 97_657, 976, 4.525483),
    "cifar10_simsiam": (CIFAR10, 78_126, 0, 0.06),
    "cifar10_swav": (CIFAR10, 195_313, 1_953, 0.6),
    "cifar10_vicreg": (CIFAR10, 97_657, 976, 0.24),
    "imagenet_barlow_twins": (IMAGENET, 625_570, 6_255, 1.6),
    "imagenet_barlow_twins_linear": (IMAGENET, 500_456, 0, 0.3),
    "imagenet_byol": (IMAGENET, 312_785, 3_127, 3.2),
    "imagenet_byol_linear": (IMAGENET, 100_092, 0, 0.2),
    "imagenet_clsa": (IMAGENET, 1_000_912, 0, 0.03),
    "imagenet_clsa_linear": (IMAGENET, 500_456, 0, 10.0),
    "imagenet_clsa_multi": (IMAGENET, 1_000_912, 0, 0.03),
    "imagenet_infomin": (IMAGENET, 1_000_912, 0, 0.03),
    "imagenet_cmc": (IMAGENET, 2_402_189, 0, 0.03),
    "imagenet_cmc_linear": (IMAGENET, 300_274, 0, 30.0),
    "imagenet_instdisc": (IMAGENET, 1_000_912, 0, 0.03),
    "imagenet_moco": (IMAGENET, 1_000_912, 0, 0.03),
    "imagenet_moco_infomin": (IMAGENET, 1_000_912, 0, 0.03),
    "imagenet_moco_linear": (IMAGENET, 500_456, 0, 30.0),
    "imagenet_moco_v1": (IMAGENET, 1_000_912, 0, 0.03),
    "imagenet_simsiam": (IMAGENET, 250_228, 0, 0.1),
    "imagenet_simsiam_linear": (IMAGENET, 28_151, 0, 1.6),
    "imagenet_swav": (IMAGENET, 250_228, 3_127, 4.8),
    "imagenet_swav_linear": (IMAGENET, 500_456, 0, 0.3),
    "imagenet_swav_small_batch": (IMAGENET, 1_000_912, 0, 0.6),
    "imagenet_v2_memory": (IMAGENET, 250_228, 12_511, 6.4),
    "imagenet_vicreg": (IMAGENET, 625_570, 6_255, 1.6),
    "imagenet_vicreg_linear": (IMAGENET, 500_456, 0, 0.02),
    "imagenet_10pct": (TEN_PERCENT, 939, 0, 0.8),
    "imagenet_1pct": (ONE_PERCENT, 188, 0, 0.8),
    "imagenet_distill": (IMAGENET, 125_114, 6_255, 6.4),
    "imagenet_linear": (IMAGENET, 28_151, 0, 1.6),
    "imagenet_small_batch": (IMAGENET, 250_228, 25_022, 1.697056),
    "imagenet_v1_1x": (IMAGENET, 312_785, 3_127, 4.8),
    "imagenet_v1_2x": (IMAGENET, 312_785, 3_127, 4.8),
    "imagenet_v1_4x": (IMAGENET, 312_785, 3_127, 4.8),
    "imagenet_v2": (IMAGENET, 250_228, 12_511, 6.4),
    "imagenet_v2_10pct": (TEN_PERCENT, 3_754, 0, 0.16),
    "imagenet_v2_1pct": (ONE_PERCENT, 751, 0, 0.16),
    "imagenet_v2_full": (IMAGENET, 37_535, 0, 0.16),
    "supervised": (IMAGENET, 112_603, 6_255, 0.4),
}

# Of no paper, so their rates and heads may be tuned; `test_recipe_on_digits` has what must hold.
ON_DIGITS = {f"digits_{name}": name for name in METHODS if name != DEFAULT_METHOD}
SIZES_ON_DIGITS = dict.fromkeys(("moco", "swav"), [16, 16, 8, 8])
SIZES_ON_DIGITS |= dict.fromkeys(
    ("clsa", "clsa_simclr", "clsa_byol"), [16, *(16, 12, 8), *(16, 12, 8)]
)
ON_DIGITS |= {f"digits_{name}_multi": name for name in SIZES_ON_DIGITS}
DIGITS_STEPS, DIGITS_BATCH = 250, 64
OF_BANKS = {"digits_instdisc": 2000, "digits_cmc": 2000}  # a row is written once in an epoch

# What the sources of the recipes say besides.
V1 = dict(resnet_depth=50, num_proj_layers=2, proj_out_dim=128, temperature=0.1, weight_decay=1e-6)
V1 |= dict(brightness="add", color_jitter_strength=1.0, use_blur=True, sk_ratio=0.0)
LINEAR = dict(mode="train_then_eval", train_mode="finetune", fine_tune_after_block=4)
LINEAR |= dict(optimizer="momentum", zero_init_logits_layer=True, global_bn=False)
TUNED = dict(mode="train_then_eval", train_mode="finetune", fine_tune_after_block=-1)
TUNED |= dict(zero_init_logits_layer=True, weight_decay=0.0, teacher=None)
PAPER = TUNED | dict(optimizer="momentum", momentum=0.9, ft_proj_selector=0)
V2 = TUNED | dict(optimizer="lars", learning_rate_scaling="sqrt")
SETTINGS = {
    "cifar10": dict(resnet_depth=18, temperature=0.5, weight_decay=1e-4, use_blur=False)
    | dict(color_jitter_strength=0.5, eval_split="test", brightness="multiply"),
    "cifar10_linear": LINEAR | dict(weight_decay=0.0, image_size=32, eval_split="test"),
    "cifar10_paper": dict(resnet_depth=50, temperature=0.5, use_blur=False)
    | dict(color_jitter_strength=0.5, num_proj_layers=2, train_batch_size=1024),
    "cifar10_v2": dict(temperature=0.2, num_proj_layers=2, proj_out_dim=64, use_blur=False),
    "digits": dict(dataset="digits", image_size=16, use_blur=False),
    "imagenet_10pct": PAPER | dict(dataset="imagenet2012_subset/10pct"),
    "imagenet_1pct": PAPER | dict(dataset="imagenet2012_subset/1pct"),
    "imagenet_distill": dict(optimizer="lars", weight_decay=1e-4, distillation_temperature=1.0)
    | dict(distillation_alpha=1.0, finetune_augmentation="crop_flip", train_mode="finetune"),
    "imagenet_linear": LINEAR | dict(weight_decay=0.0, momentum=0.9, image_size=224),
    "imagenet_small_batch": dict(temperature=0.2, proj_out_dim=128, train_batch_size=512),
    "imagenet_v1_1x": V1 | dict(width_multiplier=1),
    "imagenet_v1_2x": V1 | dict(width_multiplier=2),
    "imagenet_v1_4x": V1 | dict(width_multiplier=4),
    "imagenet_v2": dict(resnet_depth=50, sk_ratio=0.0625, num_proj_layers=3, temperature=0.1)
    | dict(weight_decay=1e-4, brightness="multiply"),
    "imagenet_v2_10pct": V2 | dict(ft_proj_selector=1, dataset="imagenet2012_subset/10pct"),
    "imagenet_v2_1pct": V2 | dict(ft_proj_selector=1, dataset="imagenet2012_subset/1pct"),
    "imagenet_v2_full": V2 | dict(ft_proj_selector=0, dataset="imagenet2012"),
    "supervised": dict(train_mode="finetune", fine_tune_after_block=-1, optimizer="momentum")
    | dict(momentum=0.9, weight_decay=1e-4, checkpoint=None),
}

FROZEN = dict(mode="train_then_eval", train_mode="finetune", fine_tune_after_block=4)
FROZEN |= dict(zero_init_logits_layer=True)
MOCO = dict(optimizer="sgd", global_bn=False, momentum=0.9, proj_out_dim=128, symmetric=False)
MOCO_IMAGENET = MOCO | dict(weight_decay=1e-4, queue_size=65_536, target_decay=0.999)
MOCO_CIFAR10 = MOCO | dict(weight_decay=5e-4, target_decay=0.99, temperature=0.1, bn_groups=8)
MOCO_CIFAR10 |= dict(use_blur=False, min_crop_area=0.08, schedule="cosine", schedule_by="epoch")
CLSA = dict(method="clsa", optimizer="sgd", global_bn=False, temperature=0.2, weight_decay=1e-4)
CLSA |= dict(divergence_weight=1.0, divergence_temperature=0.2, strong_operations=5)
OUTSIDE = dict(optimizer="lars", lars_rate_outside=True, weight_decay=1e-6, final_rate=0.001)
SWAV = dict(method="swav", optimizer="larc", weight_decay=1e-6, final_rate=0.001, small_crops=6)
SWAV |= dict(prototypes=3000, temperature=0.1, epsilon=0.05, small_crop_size=96)
BANKS = dict(optimizer="sgd", momentum=0.9, global_bn=False, schedule="steps", proj_out_dim=128)
BANKS |= dict(bank_momentum=0.5, shared_negatives=False)
PLAIN = dict(optimizer="sgd", weight_decay=5e-4, final_rate=0.0, use_blur=False)
SETTINGS |= {
    "cifar10_barlow_twins": PLAIN | dict(method="barlow_twins", projector="2048-2048-2048"),
    "cifar10_byol": dict(method="byol", lars_rate_outside=True, weight_decay=1e-6, use_blur=False)
    | dict(target_decay=0.996, min_crop_area=0.2),
    "cifar10_clsa": dict(method="clsa", crop_sizes="", pick_weak="0", pick_strong="1")
    | dict(queue_size=8192, target_decay=0.99, temperature=0.1, weight_decay=5e-4),
    "cifar10_clsa_byol": dict(method="clsa_byol", lars_rate_outside=True, weight_decay=1e-6)
    | dict(target_decay=0.996, min_crop_area=0.2, crop_sizes="", queue_size=8192),
    "cifar10_clsa_simclr": dict(method="clsa_simclr", temperature=0.5, crop_sizes="")
    | dict(weight_decay=1e-4, use_blur=False, color_jitter_strength=0.5),
    "cifar10_infomin": MOCO_CIFAR10
    | dict(method="infomin", infomin=True, jigsaw_weight=0.5, queue_size=8192),
    "cifar10_cmc": BANKS
    | dict(method="cmc", negatives=4096, softmax=True, view_width=0.5, weight_decay=5e-4)
    | dict(temperature=0.1, planes="0-12", color_space="lab", min_crop_area=0.2),
    "cifar10_instdisc": BANKS
    | dict(method="instdisc", negatives=0, flip=False, weight_decay=5e-4, temperature=0.1),
    "cifar10_moco": MOCO_CIFAR10 | dict(method="moco", mlp=True, queue_size=8192),
    "cifar10_moco_v1": MOCO_CIFAR10
    | dict(method="moco_v1", mlp=False, aug_plus=True, queue_size=4096),
    "cifar10_predictive": dict(method="predictive", optimizer="sgd", weight_decay=5e-4)
    | dict(planes="0-12", distance="l1", view_width=1.0, min_crop_area=0.2),
    "cifar10_simclr_memory": dict(method="simclr_memory", queue_size=4096, temperature=0.2),
    "cifar10_simsiam": dict(method="simsiam", num_proj_layers=2, optimizer="sgd", use_blur=False)
    | dict(weight_decay=5e-4, schedule_by="epoch", fix_pred_lr=True),
    "cifar10_swav": dict(method="swav", small_crops=0, prototypes=3000, optimizer="lars")
    | dict(queue_length=3840, queue_start_epoch=50, weight_decay=1e-6),
    "cifar10_vicreg": PLAIN | dict(method="vicreg", projector="2048-2048-2048"),
    "imagenet_barlow_twins": OUTSIDE
    | dict(method="barlow_twins", off_diagonal_weight=0.0051, bias_rate=0.0015),
    "imagenet_barlow_twins_linear": FROZEN | dict(optimizer="sgd", schedule_by="epoch"),
    "imagenet_byol": dict(method="byol", lars_rate_outside=True, weight_decay=1.5e-6)
    | dict(target_decay=0.996, proj_hidden_dim=4096, proj_out_dim=256, predictor_dim=4096),
    "imagenet_byol_linear": FROZEN | dict(optimizer="momentum", weight_decay=0.0),
    "imagenet_clsa": CLSA | dict(crop_sizes="224,96", pick_weak="0", pick_strong="1"),
    "imagenet_clsa_linear": FROZEN | dict(optimizer="sgd", schedule_by="epoch", final_rate=0.001),
    "imagenet_clsa_multi": CLSA | dict(pick_weak="0,1,2,3,4", pick_strong="0,1,2,3,4"),
    "imagenet_infomin": MOCO_IMAGENET
    | dict(method="infomin", temperature=0.15, mlp=True, infomin=True, schedule_by="epoch")
    | dict(jigsaw_weight=0.5, small_crops=0, final_rate=0.001),
    "imagenet_cmc": BANKS
    | dict(method="cmc", negatives=16_384, softmax=False, view_width=1.0, weight_decay=1e-4)
    | dict(temperature=0.07, planes="0-12", color_space="lab", graph="full", train_epochs=240),
    "imagenet_cmc_linear": FROZEN
    | dict(optimizer="sgd", schedule="steps", schedule_milestones="30,40,50", schedule_gamma=0.2),
    "imagenet_instdisc": BANKS
    | dict(method="instdisc", negatives=4096, softmax=False, flip=True, weight_decay=1e-4)
    | dict(temperature=0.07, schedule_milestones="120,160"),
    "imagenet_moco": MOCO_IMAGENET
    | dict(method="moco", temperature=0.2, mlp=True, aug_plus=True, schedule_by="epoch"),
    "imagenet_moco_infomin": MOCO_IMAGENET
    | dict(method="moco", temperature=0.15, mlp=True, infomin=True, schedule_by="epoch")
    | dict(final_rate=0.001),
    "imagenet_moco_linear": FROZEN
    | dict(optimizer="sgd", schedule="steps", schedule_milestones="60,80", weight_decay=0.0),
    "imagenet_moco_v1": MOCO_IMAGENET
    | dict(method="moco_v1", temperature=0.07, mlp=False, aug_plus=False)
    | dict(schedule="steps", schedule_milestones="120,160"),
    "imagenet_simsiam": dict(method="simsiam", optimizer="sgd", schedule_by="epoch")
    | dict(weight_decay=1e-4, proj_out_dim=2048, predictor_dim=512, fix_pred_lr=True),
    "imagenet_simsiam_linear": FROZEN
    | dict(optimizer="larc", schedule_by="epoch", weight_decay=0.0, zero_init_logits_layer=False),
    "imagenet_swav": SWAV | dict(queue_length=0, freeze_prototypes_steps=313, warmup_start=0.0625),
    "imagenet_swav_linear": FROZEN | dict(optimizer="sgd", schedule_by="epoch", weight_decay=1e-6),
    "imagenet_swav_small_batch": SWAV
    | dict(queue_length=3840, queue_start_epoch=15, freeze_prototypes_steps=5005),
    "imagenet_v2_memory": dict(method="simclr_memory", queue_size=65_536, target_decay=0.999)
    | dict(sk_ratio=0.0625, num_proj_layers=3, temperature=0.1, weight_decay=1e-4),
    "imagenet_vicreg": OUTSIDE
    | dict(method="vicreg", invariance_weight=25.0, variance_weight=25.0, covariance_weight=1.0),
    "imagenet_vicreg_linear": FROZEN | dict(optimizer="sgd", schedule_by="epoch"),
}

# The table of flags of the original's run.py. Its use_tpu is True; ours finds the hardware.
ORIGINAL_DEFAULTS = {
    "learning_rate": 0.3,
    "learning_rate_scaling": "linear",
    "warmup_epochs": 10.0,
    "weight_decay": 1e-6,
    "batch_norm_decay": 0.9,
    "train_batch_size": 512,
    "train_split": "train",
    "train_epochs": 100,
    "train_steps": 0,
    "eval_steps": 0,
    "eval_batch_size": 256,
    "checkpoint_epochs": 1,
    "checkpoint_steps": 0,
    "eval_split": "validation",
    "dataset": "imagenet2012",
    "cache_dataset": False,
    "mode": "train",
    "train_mode": "pretrain",
    "lineareval_while_pretraining": True,
    "checkpoint": None,
    "variable_schema": "?!global_step",
    "zero_init_logits_layer": False,
    "fine_tune_after_block": -1,
    "master": None,
    "model_dir": None,
    "data_dir": None,
    "use_tpu": None,
    "tpu_name": None,
    "tpu_zone": None,
    "gcp_project": None,
    "optimizer": "lars",
    "momentum": 0.9,
    "eval_name": None,
    "keep_checkpoint_max": 5,
    "keep_hub_module_max": 1,
    "temperature": 0.1,
    "hidden_norm": True,
    "proj_head_mode": "nonlinear",
    "proj_out_dim": 128,
    "num_proj_layers": 3,
    "ft_proj_selector": 0,
    "global_bn": True,
    "width_multiplier": 1,
    "resnet_depth": 50,
    "sk_ratio": 0.0,
    "se_ratio": 0.0,
    "image_size": 224,
    "color_jitter_strength": 1.0,
    "use_blur": True,
    "train_summary_steps": 100,
}

# The commands of the original's READMEs, with their shell variables filled in, and what they mean.
TPU = "--data_dir=gs://bucket/tfds --use_tpu=True --tpu_name=mine --train_summary_steps=0"
ORIGINAL_COMMANDS = {
    "CIFAR-10": (
        "--train_mode=pretrain --train_batch_size=512 --train_epochs=1000 --learning_rate=1.0 "
        "--weight_decay=1e-4 --temperature=0.5 --dataset=cifar10 --image_size=32 "
        "--eval_split=test --resnet_depth=18 --use_blur=False --color_jitter_strength=0.5 "
        "--model_dir=/tmp/simclr_test --use_tpu=False",
        (CIFAR10, 97_657, 976, 2.0),
        dict(use_tpu=False, use_blur=False, weight_decay=1e-4, temperature=0.5, mode="train"),
    ),
    "CIFAR-10, linear": (
        "--mode=train_then_eval --train_mode=finetune --fine_tune_after_block=4 "
        "--zero_init_logits_layer=True "
        "--variable_schema='(?!global_step|(?:.*/|^)Momentum|head)' --global_bn=False "
        "--optimizer=momentum --learning_rate=0.1 --weight_decay=0.0 --train_epochs=100 "
        "--train_batch_size=512 --warmup_epochs=0 --dataset=cifar10 --image_size=32 "
        "--eval_split=test --resnet_depth=18 --checkpoint=/tmp/simclr_test "
        "--model_dir=/tmp/simclr_test_ft --use_tpu=False",
        (CIFAR10, 9_766, 0, 0.2),
        LINEAR
        | dict(
            variable_schema="(?!global_step|(?:.*/|^)Momentum|head)",
            checkpoint="/tmp/simclr_test",
            weight_decay=0.0,
        ),
    ),
    "ImageNet on TPU": (
        "--train_mode=pretrain --train_batch_size=4096 --train_epochs=100 --temperature=0.1 "
        "--learning_rate=0.075 --learning_rate_scaling=sqrt --weight_decay=1e-4 "
        "--dataset=imagenet2012 --image_size=224 --eval_split=validation --model_dir=/tmp/imagenet "
        + TPU,
        (IMAGENET, 31_279, 3_127, 4.8),
        dict(use_tpu=True, tpu_name="mine", train_summary_steps=0, data_dir="gs://bucket/tfds"),
    ),
    "ImageNet, linear, on TPU": (
        "--mode=train_then_eval --train_mode=finetune --fine_tune_after_block=4 "
        "--zero_init_logits_layer=True "
        "--variable_schema='(?!global_step|(?:.*/|^)Momentum|head)' --global_bn=False "
        "--optimizer=momentum --learning_rate=0.1 --weight_decay=1e-6 --train_epochs=90 "
        "--train_batch_size=4096 --warmup_epochs=0 --dataset=imagenet2012 --image_size=224 "
        "--eval_split=validation --model_dir=/tmp/linear --checkpoint=/tmp/imagenet " + TPU,
        (IMAGENET, 28_151, 0, 1.6),
        LINEAR | dict(weight_decay=1e-6, train_summary_steps=0),
    ),
    "ImageNet, 1% of the labels, on TPU": (
        "--mode=train_then_eval --train_mode=finetune --fine_tune_after_block=-1 "
        "--zero_init_logits_layer=True "
        "--variable_schema='(?!global_step|(?:.*/|^)Momentum|head_supervised)' "
        "--global_bn=True --optimizer=lars --learning_rate=0.005 --learning_rate_scaling=sqrt "
        "--weight_decay=0 --train_epochs=60 --train_batch_size=1024 --warmup_epochs=0 "
        "--dataset=imagenet2012_subset/1pct --image_size=224 --eval_split=validation "
        "--model_dir=/tmp/one_percent --checkpoint=/tmp/imagenet --num_proj_layers=3 "
        "--ft_proj_selector=1 " + TPU,
        (12_811, 751, 0, 0.16),
        dict(optimizer="lars", weight_decay=0.0, ft_proj_selector=1, num_proj_layers=3)
        | dict(dataset="imagenet2012_subset/1pct", global_bn=True, fine_tune_after_block=-1)
        | dict(variable_schema="(?!global_step|(?:.*/|^)Momentum|head_supervised)"),
    ),
}


def assert_means(config, plan, settings):
    """The configuration passes the checks of run.py, and has this plan and these settings."""
    checks.check_flags(config)
    num_examples, steps, warmup_steps, rate = plan
    found = parts.plan_of(config, num_examples, num_replicas=1)
    assert (found.train_steps, found.warmup_steps) == (steps, warmup_steps)
    assert found.peak_learning_rate == pytest.approx(rate, rel=1e-6)
    values = to_dict(config)
    assert {name: values[name] for name in settings} == settings


def program_of(path):
    """The program that a recipe is for."""
    return "finetune.py" if "\n--protocol=" in path.read_text() else "run.py"


def config_of_recipe(path):
    """What a recipe and its command give, the protocol's or the method's flags among them."""
    arguments = [f"--flagfile={path}", "--model_dir=runs/test"]
    if program_of(path) == "run.py":
        return configuration.with_defaults_of_method(*parsed(*arguments))
    source = "teacher" if path.stem == "imagenet_distill" else "checkpoint"
    return config_of_finetuning(*arguments, f"--{source}=runs/source")


def config_of_finetuning(*arguments):
    return protocols.complete(*parsed(*arguments, config_class=FinetuneConfig))


def test_every_recipe_is_tested():
    assert PLANS.keys() == SETTINGS.keys()
    assert {path.stem for path in RECIPES} == PLANS.keys() | ON_DIGITS.keys()


@pytest.mark.parametrize("name", PLANS)
def test_recipe(name):
    path = ROOT / "configs" / f"{name}.cfg"
    assert_means(config_of_recipe(path), PLANS[name], SETTINGS[name])


@pytest.mark.parametrize("name", ON_DIGITS)
def test_recipe_on_digits(name):
    config = config_of_recipe(ROOT / "configs" / f"{name}.cfg")
    checks.check_flags(config)
    plan = parts.plan_of(config, DIGITS, num_replicas=1)
    steps = OF_BANKS.get(name, DIGITS_STEPS)
    assert (plan.train_steps, plan.batch_size) == (steps, DIGITS_BATCH)
    assert plan.warmup_steps < steps
    values = to_dict(config)
    assert (values["method"], values["dataset"]) == (ON_DIGITS[name], "digits")
    assert values.get("queue_size", 0) + DIGITS_BATCH < DIGITS


@pytest.mark.parametrize("name", SIZES_ON_DIGITS)
def test_views_of_several_sizes_on_digits(name):
    config = config_of_recipe(ROOT / "configs" / f"digits_{name}_multi.cfg")
    sizes = [view.size for view in pretraining.recipe_of(config)]
    assert sizes == SIZES_ON_DIGITS[name]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_header_of_a_recipe(path):
    text = path.read_text()
    header = re.match(r"(#.*\n)+", text)[0]
    assert f"python {program_of(path)} --flagfile=configs/{path.name}" in header
    assert "# Hardware: " in header and "# Expected" in header
    of_digits = OF_BANKS.get(path.stem, DIGITS_STEPS)
    steps = of_digits if path.stem in ON_DIGITS else PLANS[path.stem][1]
    batch = config_of_recipe(path).train.train_batch_size
    assert f"{steps:,} steps of {batch:,} images" in header


@pytest.mark.parametrize("flag", ["--brightness=add", "--blur_sigma=batch"])
def test_flags_of_simclrs_views_are_refused_where_they_change_none(flag):
    checks.check_settings(config_of(flag))
    for method in ("moco", "byol", "swav"):
        with pytest.raises(UserError, match=f"{flag} changes nothing .* --method={method}"):
            checks.check_settings(config_of(f"--method={method}", flag))


def test_flags_after_a_recipe_override_it():
    config = config_of(f"--flagfile={ROOT}/configs/cifar10.cfg", "--train_epochs=7")
    assert (config.train.train_epochs, config.train.train_batch_size) == (7, 512)


def test_defaults_are_those_of_the_original():
    defaults = to_dict(config_of())
    assert {name: defaults[name] for name in ORIGINAL_DEFAULTS} == ORIGINAL_DEFAULTS


@pytest.mark.parametrize("name", ORIGINAL_COMMANDS)
def test_command_of_the_original(name):
    command, plan, settings = ORIGINAL_COMMANDS[name]
    assert_means(config_of(*shlex.split(command)), plan, settings)


DOCUMENTS = {ROOT / "README.md", *ROOT.glob("docs/*.md")}
DOCUMENTS -= {ROOT / "docs/distributed.md"}  # whose commands have quotes of several lines
COMMANDS = [words for document in DOCUMENTS for words in shell_lines(document.read_text())]


def test_commands_of_the_documents(monkeypatch):
    monkeypatch.chdir(ROOT)
    of_run = [words[2:] for words in COMMANDS if words[:2] == ["python", "run.py"]]
    of_run = [words for words in of_run if "--help" not in words]
    assert len(of_run) >= 5
    of_run += [words[1:] for words in COMMANDS if words[0] == "simclr-pretrain"]
    for words in of_run:
        checks.check_flags(config_of(*words))
    of_finetune = [words[2:] for words in COMMANDS if words[:2] == ["python", "finetune.py"]]
    of_finetune = [words for words in of_finetune if "--protocol=transfer" not in words]
    assert len(of_finetune) >= 6
    for words in of_finetune:
        checks.check_flags(config_of_finetuning(*words))


PROGRAMS = {  # their flags, and how many other words each is given
    "features": (FeaturesConfig, (1,)),
    "predict": (PredictConfig, (1,)),
    "probe": (ProbeConfig, (1,)),
    "report": (ReportConfig, (1, 2, 3)),
    "data.pack": (PackConfig, (2,)),
    "study": (StudyConfig, (0, 1)),
    "transfer": (TransferConfig, (0,)),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_commands_of_other_programs_in_the_documents(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    config_class, numbers = PROGRAMS[name]
    given = [words[3:] for words in COMMANDS if words[:3] == ["python", "-m", f"simclr_tf.{name}"]]
    if name == "transfer":
        of_finetune = (words for words in COMMANDS if words[:2] == ["python", "finetune.py"])
        given += [words[2:] for words in of_finetune if "--protocol=transfer" in words]
    assert given
    for words in given:
        config, others = read_command(words, config_class)
        check_ranges(config)
        assert len(others) in numbers, words


def test_programs_and_make_targets_of_the_documents_exist():
    modules = {words[2] for words in COMMANDS if words[:2] == ["python", "-m"]}
    ours = {name for name in modules if name.startswith("simclr_tf")}
    assert ours and all(_is_program(name) for name in ours)
    targets = {words[1] for words in COMMANDS if words[0] == "make"}
    makefile = (ROOT / "Makefile").read_text()
    assert targets and all(f"\n{target}:" in makefile for target in targets)


def _is_program(module):
    origin = pathlib.Path(importlib.util.find_spec(module).origin)
    program = origin.with_name("__main__.py") if origin.name == "__init__.py" else origin
    return 'if __name__ == "__main__":' in program.read_text()


def test_names_in_the_python_code_of_the_readme_exist():
    text = (ROOT / "README.md").read_text()
    code = "".join(re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE))
    compile(code, "README.md", "exec")
    names = set(re.findall(r"simclr_tf((?:\.\w+)+)", code))
    assert names
    for name in names:
        found = simclr_tf
        for part in name.split(".")[1:]:
            found = getattr(found, part)
