"""The numbers of a run: steps, warm-up, and what does not fit together."""

import pytest

from simclr_tf.errors import UserError
from simclr_tf.training.plan import make_plan

CIFAR = dict(
    num_examples=50_000,
    batch_size=512,
    train_epochs=100,
    train_steps=0,
    warmup_epochs=10.0,
    checkpoint_epochs=1,
    checkpoint_steps=0,
    learning_rate=1.0,
    learning_rate_scaling="linear",
    num_replicas=1,
)
STEPS = {"schedule": "steps"}


def test_cifar_as_the_original_counts_it():
    plan = make_plan(**CIFAR)
    # 50,000 * 100 // 512 + 1, 500,000 // 512, round(50,000 / 512), 512 / 256
    assert plan.train_steps == 9766 and plan.warmup_steps == 976
    assert plan.epoch_steps == plan.checkpoint_steps == 98
    assert plan.peak_learning_rate == 2.0
    assert float(plan.schedule(976)) == pytest.approx(2.0)
    assert float(plan.schedule(9766)) == 0.0


def test_steps_win_over_epochs():
    plan = make_plan(**CIFAR | {"train_steps": 2000, "checkpoint_steps": 7})
    assert (plan.train_steps, plan.warmup_steps, plan.checkpoint_steps) == (2000, 976, 7)


def test_a_warmup_that_is_too_long():
    short = CIFAR | {"train_steps": 200}
    with pytest.raises(UserError, match="--warmup_epochs=10 are 976 steps, the training has 200"):
        make_plan(**short)
    assert make_plan(**short, shorten_warmup=True).warmup_steps == 20  # 10 of 100 epochs
    with pytest.raises(UserError, match="warm-up is longer"):
        make_plan(**CIFAR | {"train_epochs": 5}, shorten_warmup=True)


def test_schedules():
    """An epoch has 97.66 steps, by epoch 98 of one rate, and the peak is 2."""
    changes = {
        "cosine to 0.01 of the peak": {"final_rate": 0.005},
        "cosine by epoch": {"schedule_by": "epoch", "warmup_epochs": 0.0},
        "steps": {"schedule": "steps", "schedule_milestones": "20, 30", "schedule_gamma": 0.5},
        "constant": {"schedule": "constant", "warmup_start": 0.25},
    }
    expected = {
        "cosine to 0.01 of the peak": {0: 0, 488: 1, 976: 2, 9766: 0.01},
        "cosine by epoch": {0: 2, 97: 2, 98: 1.9995066, 4900: 1, 9765: 0.000493},
        "steps": {0: 0, 488: 1, 976: 2, 1952: 2, 1953: 1, 2928: 1, 2929: 0.5, 9766: 0.5},
        "constant": {0: 0.5, 975: 2, 976: 2, 9766: 2},
    }
    for name, change in changes.items():
        schedule = make_plan(**CIFAR | change).schedule
        for step, rate in expected[name].items():
            assert float(schedule(step)) == pytest.approx(rate, rel=1e-3), (name, step)


def test_milestones_of_a_training_that_is_given_in_steps_may_come_too_late():
    """A recipe that is cut short by --train_steps keeps its milestones."""
    late = CIFAR | {"schedule": "steps", "schedule_milestones": "120,160"}
    plan = make_plan(**late | {"train_steps": 2000})
    assert plan.milestones == (11_718, 15_625)  # an epoch has 97.66 steps
    assert float(plan.schedule(1999)) == 2.0


def test_milestones_where_an_epoch_has_few_steps():
    few = CIFAR | {"num_examples": 800, "train_epochs": 200, "warmup_epochs": 0}
    plan = make_plan(**few | {"schedule": "steps", "schedule_milestones": "120,160"})
    assert (plan.train_steps, plan.milestones) == (313, (187, 250))
    assert plan.steps_of(120) == 187


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_milestones_are_of_the_schedule_that_has_them(schedule):
    """A method's own, of 200 epochs, do not hinder 100 epochs under another schedule."""
    plan = make_plan(**CIFAR | {"schedule": schedule, "schedule_milestones": "120,160"})
    assert plan == make_plan(**CIFAR | {"schedule": schedule})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 0}, "--train_batch_size is at least 1"),
        ({"batch_size": 50_001}, "--train_batch_size=50001, but there are 50000 images"),
        ({"num_replicas": 3}, "not divisible by the 3 replicas. The next one that is: 513"),
        ({"train_epochs": 0}, "--train_epochs is at least 1"),
        ({"warmup_epochs": -1.0}, "--warmup_epochs is not negative"),
        ({"learning_rate_scaling": "log"}, "linear"),
        ({"schedule": "linear"}, "--schedule is one of cosine, steps, constant"),
        (STEPS, "--schedule=steps needs --schedule_milestones"),
        (STEPS | {"schedule_milestones": "60 80"}, "whole numbers.*Received: 60 80"),
        (STEPS | {"schedule_milestones": "60,"}, "whole numbers.*Received: 60,"),
        (STEPS | {"schedule_milestones": "80,60"}, "grow from at least 1"),
        (STEPS | {"schedule_milestones": "0,60"}, "grow from at least 1"),
        (STEPS | {"schedule_milestones": "1" + "0" * 25}, "up to 1,000,000"),
        (
            STEPS | {"schedule_milestones": "60,100"},
            "=60,100 are not all within the training: it has 100 .* these are the method's",
        ),
    ],
)
def test_numbers_that_do_not_fit(change, message):
    with pytest.raises(UserError, match=message):
        make_plan(**CIFAR | change)
