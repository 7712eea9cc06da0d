"""The ranges of flags, for every program, and values that are read from files."""

import dataclasses
import math

import pytest

from simclr_tf.errors import UserError
from simclr_tf.experiment import config as configuration
from simclr_tf.experiment.config import ExperimentConfig, FinetuneConfig
from simclr_tf.features import FeaturesConfig
from simclr_tf.flag import Range, check_ranges, check_types, flag, flag_fields
from simclr_tf.predict import PredictConfig
from simclr_tf.transfer.program import TransferConfig

PROGRAMS = (FinetuneConfig, PredictConfig, FeaturesConfig, TransferConfig)
NUMBERS = [
    (program, group, field)
    for program in PROGRAMS
    for group, field in flag_fields(program)
    if {int, float} & set(getattr(field.type, "__args__", (field.type,)))
]


def with_value(program, group, name, value):
    groups = {f.name: f.default for f in dataclasses.fields(program)}
    return program(**{group: dataclasses.replace(groups[group], **{name: value})})


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_defaults_lie_in_their_ranges(program):
    check_ranges(program())


@pytest.mark.parametrize(
    ("program", "group", "field"),
    NUMBERS,
    ids=lambda x: getattr(x, "name", getattr(x, "__name__", x)),
)
def test_no_number_is_nan_infinite_or_absurd(program, group, field):
    is_float = float in getattr(field.type, "__args__", (field.type,))
    absurd = [math.nan, math.inf, -math.inf] if is_float else [10**400, -(10**400), 2**62]
    for value in absurd:
        with pytest.raises(UserError, match=rf"^--{field.name} .*Received: "):
            check_ranges(with_value(program, group, field.name, value))


@pytest.mark.parametrize(
    ("name", "outside", "inside"),
    [
        ("temperature", 0.0, 1e-3),
        ("momentum", 1.0, 0.0),
        ("batch_norm_decay", -0.1, 0.999),
        ("distillation_alpha", 0.0, 1.0),
        ("holdout_fraction", 1.0, 0.5),
        ("label_fraction", 1.01, 1.0),
        ("image_size", 7, 8),
        ("micro_batch_size", -2, -1),
        ("fine_tune_after_block", 5, 4),
        ("seed", 2**32, 2**32 - 1),
        ("split_seed", -1, 0),
        ("label_seed", -1, 0),
        ("color_jitter_strength", 1.26, 1.25),
    ],
)
def test_bounds_belong_to_a_range_or_do_not(name, outside, inside):
    check_ranges(configuration.from_dict({name: inside}))
    with pytest.raises(UserError, match=f"--{name} "):
        check_ranges(configuration.from_dict({name: outside}))


def test_a_range_says_what_it_allows():
    assert str(Range(at_least=0, below=1)) == "lies in [0, 1)"
    assert str(Range(above=0, at_most=1)) == "lies in (0, 1]"
    assert str(Range(above=0)) == "is above 0"
    assert str(Range(at_least=8)) == "is at least 8"
    assert str(Range(at_most=4)) == "is at most 4"
    assert str(Range()) == "is a finite number"


def test_switches_and_what_is_not_given_have_no_range():
    @dataclasses.dataclass(frozen=True)
    class Group:
        switch: bool = flag(True, "A switch.", at_least=5)
        nothing: int | None = flag(None, "A number.", at_least=5)

    @dataclasses.dataclass(frozen=True)
    class Config:
        group: Group = Group()

    check_ranges(Config())


@pytest.mark.parametrize(
    "values",
    [
        {"temperature": "0.1"},
        {"image_size": 32.5},
        {"image_size": True},
        {"use_blur": 1},
        {"optimizer": "sgdm"},
        {"resnet_depth": 19},
        {"model_dir": ["x"]},
        {"seed": None},
    ],
)
def test_values_from_a_file_have_the_types_and_choices_of_their_flags(values):
    with pytest.raises(UserError, match=f"run.json is damaged .*--{next(iter(values))}"):
        check_types(values, ExperimentConfig, "run.json")


def test_right_values_from_a_file():
    values = {"temperature": 1, "data_dir": None, "use_tpu": None, "label_seed": 3, "unknown": {}}
    check_types(values, ExperimentConfig, "run.json")
