"""How long a sweep will take, from what is finished of it."""

import pytest

from simclr_tf.studies.sharing import duration
from simclr_tf.transfer import plan
from simclr_tf.transfer.progress import Progress
from simclr_tf.transfer.tasks import Task


def progress_of(names):
    return Progress({name: Task(name) for name in names})


def test_linear_fits_take_as_long_as_their_images_and_classes_say():
    fits = plan.make_plan(["pets", "dtd"], ["linear"], {})
    progress = progress_of(["pets", "dtd"])
    assert progress.seconds_left(fits) is None
    for fit in fits[:10]:
        progress.finish(fit, 2.0)
    of_dtd = 2.0 * (1880 * 47) / (2940 * 37)  # by sizes and classes of the two
    assert progress.seconds_left(fits[10:]) == pytest.approx(36 * 2 + 46 * of_dtd)
    progress.show(100, 50.0)  # half a second for each of dtd's 3 * 1880 images, which are to come
    features = 0.5 * 3 * 1880
    assert progress.seconds_left(fits[10:]) == pytest.approx(36 * 2 + 46 * of_dtd + features)
    progress.finish(fits[46], of_dtd)  # features of dtd are there
    rate = (20 + of_dtd) / (10 * 2940 * 37 + 1880 * 47)
    expected = rate * (36 * 2940 * 37 + 45 * 1880 * 47)
    assert progress.seconds_left(fits[10:46] + fits[47:]) == pytest.approx(expected)
    assert progress.seconds_left([]) == 0


def test_training_takes_as_long_on_every_data_set():
    fits = plan.make_plan(["pets", "food101"], ["finetune", "random_init"], {})
    progress = progress_of(["pets", "food101"])
    progress.finish(fits[0], 100.0)
    progress.finish(fits[1], 140.0)
    assert progress.seconds_left(fits[2:114]) == pytest.approx(112 * 120)
    assert progress.seconds_left(fits[2:]) is None  # nothing of the other protocol is finished


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "not known yet"), (0.04, "0.0 s"), (99, "99.0 s"), (720, "12 min"), (9000, "2.5 h")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text
