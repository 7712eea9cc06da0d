"""Strong operations: as PIL computes them, drawn as often and as far as the code of CLSA does."""

import dataclasses
import math
import pathlib

import numpy as np
import PIL.Image
import pytest
import scipy.stats
import sklearn.datasets
import tensorflow as tf

from simclr_tf.data import augment, distort, pipeline, sources, strong, strong_plan, views
from simclr_tf.data.rand_augment import (
    StrongOperations,
    clsa_operations,
    infomin_operations,
)
from simclr_tf.data.recipe import View, torchvision_view
from simclr_tf.errors import UserError

# What the code of CLSA and of InfoMin makes of an image, every third row of it:
# FAMILY/NAME/level or magnitude[/sign].
RECORDED = dict(np.load(pathlib.Path(__file__).parents[1] / "golden" / "strong_operations.npz"))
FAMILIES = {"clsa": clsa_operations(draws=1), "infomin": infomin_operations()}
FAMILIES["infomin"] = dataclasses.replace(FAMILIES["infomin"], draws=1)
NAMES = {
    "AutoContrast": "autocontrast",
    "PosterizeTpu": "posterize",
    "ShearX": "shear_x",
    "ShearY": "shear_y",
    "SolarizeAdd": "solarize_add",
    "TranslateX": "translate_x",
    "TranslateXRel": "translate_x",
    "TranslateY": "translate_y",
    "TranslateYRel": "translate_y",
}
CHINA = sklearn.datasets.load_sample_images().images[0]
MOVES = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")


def named(key):
    """(name, level, sign) of a recording."""
    _, name, level, *sign = key.split("/")
    level = float(level.removeprefix("level").removeprefix("magnitude"))
    return NAMES.get(name, name.lower()), level, float(*sign or (1,))


def row(drawn, name, level, sign):
    """The uniform numbers by which this is drawn."""
    numbers = np.zeros(strong_plan.NUM_DRAWS, np.float32)
    numbers[strong_plan.WHICH] = (drawn.names.index(name) + 0.5) / len(drawn.names)
    numbers[strong_plan.LEVEL] = (level - 0.5) / 9 if drawn.levels == (1, 9) else 0.5
    numbers[strong_plan.DEVIATION] = scipy.stats.norm.cdf((level - 10) / 0.5)
    numbers[strong_plan.SIGN] = 0.75 if sign > 0 else 0.25
    return numbers


def planned(family, shape):
    """(key, operation, its numbers) of each recording, as a view would draw them."""
    drawn = FAMILIES[family]
    height, width, _ = shape
    keys = [key for key in RECORDED if key.startswith(family) and not key.endswith("image")]
    rows = tf.constant([row(drawn, *named(key)) for key in keys])
    plans = {size: strong_plan.plan(drawn, rows, size) for size in (height, width)}
    operations = list(strong_plan.operations(drawn).values())
    for i, key in enumerate(keys):
        name, level, sign = named(key)
        applied, places, numbers = plans[height if name.endswith("y") else width]
        assert applied[i, 0] == (name != "identity")
        operation, own = operations[places[i, 0]], numbers[i, 0]
        if name == "identity":
            operation = no_change
        elif name == "rotate":  # of an image that is no square
            own = tf.stack(strong.rotation(3 * sign * level, height, width))
        yield key, operation, own


def no_change(planes, _):
    return planes


# In grey levels of 255. PIL cuts fractions off, twice where it makes a grey or smooth image first.
TOLERANCES = {"equalize": 0, "posterize": 0, "solarize": 0, "invert": 0, "identity": 0}
TOLERANCES |= {"color": 1.5, "sharpness": 1.5}
EXACT = 1e-4  # 255 * (x / 255) in float32


@pytest.mark.parametrize("mapped", [False, pytest.param(True, marks=pytest.mark.thorough)])
@pytest.mark.parametrize("family", FAMILIES)
def test_operations_are_those_recorded(family, mapped):
    image = tf.constant(RECORDED[f"{family}/image"], tf.float32) / 255
    plans = list(planned(family, image.shape))
    if mapped:
        plans = list({named(plan[0])[0]: plan for plan in plans}.values())  # one of each name

    def work(image):
        planes = augment.to_planes(image)
        return {
            key: 255 * augment.from_planes(operation(planes, numbers))[::3]
            for key, operation, numbers in plans
        }

    found = work(image)
    if mapped:
        found = tf.data.Dataset.from_tensors(image).map(work).get_single_element()
    expected = {"clsa": (51, 14), "infomin": (40, 15)}
    assert len(found) == expected[family][mapped]
    for key, levels in found.items():
        name, *_ = named(key)
        nearest = family == "clsa" and name in MOVES
        tolerance = EXACT + (0 if nearest else TOLERANCES.get(name, 1))
        np.testing.assert_allclose(levels, RECORDED[key], rtol=0, atol=tolerance, err_msg=key)


def test_bicubic_interpolation_is_that_of_pil():
    image, matrix = CHINA[100:148, 200:256], (0.91, 0.31, 5.04, -0.3, 0.91, 9.03)
    expected = PIL.Image.fromarray(image).transform(
        (56, 48), PIL.Image.Transform.AFFINE, matrix, PIL.Image.BICUBIC, fillcolor=(124, 116, 104)
    )
    planes = augment.to_planes(tf.constant(image, tf.float32) / 255)
    found = strong.transform(planes, tf.constant(matrix), "bicubic", (124, 116, 104))
    difference = 255 * augment.from_planes(found) - np.float32(expected)
    assert (
        np.abs(difference).max() < 1.01 and (np.float32(expected)[-1, -1] == (124, 116, 104)).all()
    )


def test_planes_of_one_level_stay_as_they_are():
    planes = tf.constant([[[0.2]], [[0.0]], [[1.0]]]) + tf.zeros((3, 12, 12))
    nearly = planes * (1 - 1e-6 * np.eye(12, dtype=np.float32))
    for operation in (strong.autocontrast, strong.equalize):
        np.testing.assert_allclose(operation(nearly), planes, rtol=0, atol=2e-6)


@pytest.mark.parametrize("size", [32, 96, 128, 160, 192, 224])
def test_translations_of_clsa_are_by_whole_pixels(size):
    drawn = FAMILIES["clsa"]
    rows = [row(drawn, "translate_x", level, 1) for level in range(1, 10)]
    *_, numbers = strong_plan.plan(drawn, tf.constant(rows), size)
    expected = [int(0.3 * level / 10 * size) for level in range(1, 10)]
    np.testing.assert_array_equal(numbers[:, 0, 2], expected)


# How often


def uniform_rows(view, number=2000):
    """The numbers that the first view of so many images draws: (number, columns)."""

    def further(index):
        _, (_, numbers) = views.draw_views([32, 32], tf.stack([index, 11]), (view, view))
        return numbers[0]

    rows = tf.data.Dataset.range(number).map(further).batch(number).get_single_element()
    return rows[:, distort.NUM_FURTHER :]


def test_operations_of_clsa_are_drawn_as_often_as_in_its_code():
    drawn = clsa_operations()
    rows = uniform_rows(torchvision_view(32, strong=drawn))
    assert rows.shape == (2000, 5 * strong_plan.NUM_DRAWS)
    columns = rows.numpy().reshape(-1, strong_plan.NUM_DRAWS).T
    applied, places, numbers = (of.numpy() for of in strong_plan.plan(drawn, rows, 32))
    assert applied.shape == places.shape == (2000, 5) and numbers.shape == (2000, 5, 6)
    operations = list(strong_plan.operations(drawn))
    which = (14 * columns[strong_plan.WHICH]).astype(int)
    for i, name in enumerate(drawn.names):
        assert_share(which == i, 1 / 14)
        kind = "nearest" if name in MOVES else name
        shown = applied.ravel() & (which == i)
        assert_share(shown, 0.0 if name == "identity" else 1 / 28)
        assert {operations[place] for place in places.ravel()[shown]} <= {kind}
    levels = strong_plan.level_of(
        drawn, columns[strong_plan.LEVEL], columns[strong_plan.DEVIATION]
    ).numpy()
    for level in range(1, 10):
        assert_share(levels == level, 1 / 9)
    assert set(levels) == set(range(1, 10))
    shears = numbers[..., 1].ravel()[which == drawn.names.index("shear_x")]
    assert set(np.round(np.abs(shears) / 0.03, 3)) == set(range(1, 10))
    assert_share(shears > 0, 0.5)
    correlation = np.corrcoef(rows.numpy().T) - np.eye(rows.shape[1])
    assert np.abs(correlation).max() < 0.1


def assert_share(drawn, probability):
    deviation = math.sqrt(probability * (1 - probability) / len(drawn))
    assert abs(drawn.mean() - probability) <= 4 * deviation


def test_operations_of_infomin_have_levels_up_to_ten():
    drawn = infomin_operations()
    rows = uniform_rows(torchvision_view(32, strong=drawn))
    applied, places, numbers = (of.numpy() for of in strong_plan.plan(drawn, rows, 32))
    assert_share(applied.ravel(), 0.5)
    names = list(strong_plan.operations(drawn))
    for name, share in [("invert", 1), ("bilinear", 2.5), ("bicubic", 2.5), ("color", 1)]:
        assert_share(places.ravel() == names.index(name), share / 15)
    factors = numbers[..., 0][places == names.index("color")]
    assert_share(factors == np.float32(1.9), 0.5)
    below = (factors[factors < 1.9] - 1.9) / 0.09  # 0.18 * 0.5
    assert np.abs(below).mean() == pytest.approx(math.sqrt(2 / math.pi), abs=0.2)
    assert factors.min() > 1.9 - 0.09 * 4.5


# In views


@pytest.mark.slow
def test_a_view_is_its_operations_one_after_the_other():
    """And the same in batches that begin elsewhere: all is a function of seed and position."""
    drawn = StrongOperations(
        (("posterize", 4, 8), ("invert", 0, 0), ("shear_x", 0, 0.3), ("identity", 0, 0)), 5
    )
    quiet = dict(jitter_probability=0.0, grayscale_probability=0.0, blur_probability=0.0)
    view = View(16, area=(1.0, 1.0), aspect=(1.0, 1.0), fit="clamp", strong=drawn, **quiet)
    image = CHINA[100:116, 200:216]
    source = sources.indexed(tf.stack([tf.io.encode_png(image)]), None)
    dataset = sources.ImageDataset("x", "train", 1, None, None, source)
    stream = pipeline.training_dataset(dataset, (view,), batch_size=8, seed=3)
    (((first,),), ((second,),)) = stream.take(2)
    again = pipeline.training_dataset(dataset, (view,), batch_size=8, seed=3, start_step=1)
    (((found,),),) = again.take(1)
    np.testing.assert_array_equal(found, second)
    operations = list(strong_plan.operations(drawn).values())
    changed = 0
    for position, shown in enumerate(first):
        seed = tf.constant([3, position], tf.int64)
        _, (draws, further) = views.draw_views([16, 16], seed, (view,))
        planes = augment.to_planes(tf.constant(image, tf.float32) / 255)
        if draws[0, distort.FLIP] < 0.5:
            planes = tf.reverse(planes, axis=[2])
        plan = strong_plan.plan(drawn, further[:, distort.NUM_FURTHER :], 16)
        for applied, place, numbers in zip(*(of[0] for of in plan), strict=True):
            if applied:
                planes = operations[int(place)](planes, numbers)
                changed += 1
        np.testing.assert_allclose(shown, augment.from_planes(planes), rtol=0, atol=1e-5)
    assert 8 < changed < 25  # 15 expected


@pytest.mark.parametrize("last", [True, False])
def test_greyscale_comes_after_strong_operations_where_the_order_says_so(last):
    moved = StrongOperations((("translate_x", 0.5, 0.5),), 1, 1.0, fill=(255, 0, 0))
    order = {} if last else {"order": ("jitter", "blur", "solarize", "strong", "grayscale")}
    view = View(
        16, jitter_probability=0.0, grayscale_probability=1.0, blur_probability=0.0, strong=moved
    )
    view = dataclasses.replace(view, **order)
    (shown,) = views.make_views(CHINA[:16, :16], tf.constant([1, 2]), (view,))
    expected = (1.0, 0.0, 0.0) if last else (0.2989,) * 3
    sides = [np.abs(side - expected).max() for side in (shown[:, :8], shown[:, 8:])]
    assert min(sides) < 1e-5 < max(sides)


@pytest.mark.thorough
def test_strong_operations_leave_other_numbers_and_views_as_they_are():
    seed = tf.constant([4, 2])
    numbers, few = distort.draw_further(seed, 2, strong_draws=5), distort.draw_further(seed, 2)
    assert numbers.shape == (2, 1 + 5 * strong_plan.NUM_DRAWS)
    np.testing.assert_array_equal(numbers[:, :1], few)
    assert len(np.unique(numbers)) == numbers.shape.num_elements()
    assert not np.isin(numbers, distort.draw(seed, 2)).any()
    weak = torchvision_view(16, blur_probability=0.0, jitter_probability=0.0)
    moved = StrongOperations((("rotate", 30, 30),), draws=1, probability=1.0)
    both = (weak, dataclasses.replace(weak, strong=moved))
    alone = views.make_views(CHINA, seed, (weak, weak))
    found = views.make_views(CHINA, seed, both)
    np.testing.assert_array_equal(found[0], alone[0])
    assert np.abs(found[1] - alone[1]).mean() > 0.05
    assert str(both[1]) == "16 px, 20-100%, strong"


@pytest.mark.parametrize(
    "change, message",
    [
        ({"ranges": (("blur", 0, 1),)}, "name of a strong operation is one of .* Received: blur"),
        ({"ranges": ()}, "name of a strong operation"),
        ({"interpolations": ("cubic",)}, "is one of nearest, bilinear, bicubic. Received: cubic"),
        ({"draws": 0}, r"draws 1 strong operation or more.* Received: 0, 0.5"),
        ({"probability": 1.5}, r"in \[0, 1\]. Received: 5, 1.5"),
        ({"levels": (1, 11)}, r"levels of strong operations lie in \[0, 10\]: \(1, 11\)"),
    ],
)
def test_strong_operations_that_cannot_be(change, message):
    with pytest.raises(UserError, match=message):
        dataclasses.replace(clsa_operations(), **change)


def test_an_order_has_strong_once():
    with pytest.raises(UserError, match="each once, and may have recrop, .*strong"):
        View(32, order=("jitter", "strong", "grayscale", "blur", "solarize", "strong"))
