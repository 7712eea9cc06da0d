"""Transforms of figure 5 and table 3: equal to NumPy and SciPy, and drawn as it should be."""

import dataclasses
import pathlib

import numpy as np
import pytest
import recipes
import scipy.ndimage
import scipy.stats
import tensorflow as tf

from simclr_tf.data import augment, distort, pipeline, sources, strong_plan, studied, views
from simclr_tf.data.recipe import ORDER, View, ViewFlags, adjusted, simclr_recipe
from simclr_tf.errors import UserError
from simclr_tf.experiment import config as configuration
from simclr_tf.experiment import pretraining
from simclr_tf.methods import METHODS
from simclr_tf.methods.studied_views import TRANSFORMS, StudiedViewFlags, studied_recipe

IMAGE = dict(np.load(pathlib.Path(__file__).parents[1] / "golden" / "augment.npz"))["eval/in0"]
PIXELS = np.random.default_rng(0).uniform(size=(16, 16, 3)).astype(np.float32)
PLAIN = {f"{name}_probability": 0.0 for name in ("flip", "jitter", "grayscale", "blur")}
EVERY = View(
    16,
    **PLAIN,
    recrop_probability=0.9,
    cutout_probability=0.4,
    sobel_probability=0.5,
    noise_probability=0.3,
    rotation_probability=0.75,
)


def applied(name, numbers=(), view=EVERY):
    """An operation on PIXELS."""
    numbers = np.float32([*numbers, *[0] * (strong_plan.NUM_ARGUMENTS - len(numbers))])
    operation = studied.operations(view)[name]
    planes = operation(augment.to_planes(tf.constant(PIXELS)), tf.constant(numbers))
    return augment.from_planes(planes).numpy()


def planned(stage, view=EVERY, number=4000):
    """What so many views draw of a stage, as arrays."""
    seeds = tf.data.Dataset.range(number).map(lambda i: tf.stack([i, 3]))
    rows = seeds.map(lambda seed: distort.draw_further(seed, 1, with_studied=True)[0])
    uniform = rows.batch(number).get_single_element()[:, -studied.NUM_DRAWS :]
    return [np.asarray(found) for found in studied.plan(stage, view, uniform)]


def test_cutout_is_a_grey_square():
    expected = PIXELS.copy()
    expected[3:11, 8:16] = 0.5
    np.testing.assert_array_equal(applied("cutout", (3, 8)), expected)


def test_sobel_is_the_gradient_of_each_channel():
    channels = np.moveaxis(PIXELS.astype(np.float64), -1, 0)
    slopes = [[scipy.ndimage.sobel(c, a, mode="mirror") for c in channels] for a in (0, 1)]
    expected = np.moveaxis(np.hypot(*slopes), 0, -1)
    planes = augment.to_planes(tf.constant(PIXELS))
    np.testing.assert_allclose(augment.from_planes(studied.sobel(planes)), expected, atol=1e-5)
    np.testing.assert_allclose(applied("sobel"), np.minimum(expected, 1), atol=1e-5)


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_turns_are_counterclockwise(quarters):
    name = "rotation" if quarters == 1 else f"rotation {90 * quarters}"
    np.testing.assert_array_equal(applied(name), np.rot90(PIXELS, quarters))


def test_noise_is_normal_and_belongs_to_its_seed():
    shape = (3, 64, 64)
    found = [studied.noise(shape, tf.constant([s, 5.0])).numpy() for s in (1.0, 2.0**24 - 1)]
    for numbers in found:
        assert scipy.stats.kstest(numbers.ravel(), "norm").pvalue > 0.01
    assert abs(np.corrcoef(*(n.ravel() for n in found))[0, 1]) < 0.03
    noisy = applied("noise", (1.0, 5.0), dataclasses.replace(EVERY, noise_deviation=0.2))
    added = studied.noise((3, 16, 16), tf.constant([1.0, 5.0])).numpy().transpose(1, 2, 0)
    np.testing.assert_allclose(noisy, np.clip(PIXELS + 0.2 * added, 0, 1), atol=1e-6)


@pytest.mark.parametrize("flipped", [False, True])
def test_a_second_crop_is_a_bilinear_resize_of_a_box(flipped):
    # Of area, aspect (0.5 is a square), place down and across, and whether it is flipped
    share = (0.36 - 0.08) / 0.92
    uniform = np.zeros((1, studied.NUM_DRAWS), np.float32)
    uniform[0, studied.AREA : studied.FLIP + 1] = share, 0.5, 0.25, 1.0, 0.2 if flipped else 0.7
    _, which, numbers = studied.plan("recrop", EVERY, tf.constant(uniform))
    assert which.numpy() == [0]
    side, top, left = 0.6 * 16, 0.25 * 0.4 * 16, 0.4 * 16
    centers = (np.arange(16) + 0.5) / 16 * side - 0.5  # pixel centers lie at whole numbers
    rows, columns = np.meshgrid(top + centers, left + centers, indexing="ij")
    expected = np.stack(
        [
            scipy.ndimage.map_coordinates(PIXELS[..., c], (rows, columns), order=1, mode="nearest")
            for c in range(3)
        ],
        axis=-1,
    )
    expected = expected[:, ::-1] if flipped else expected
    np.testing.assert_allclose(applied("recrop", numbers[0].numpy()), expected, atol=1e-4)


def test_second_crops_have_the_areas_and_aspects_of_the_view():
    _, _, (a, b, c, d, e, f, *_) = (found.T for found in planned("recrop"))
    width, height = np.abs(a), e
    assert (b == 0).all() and (d == 0).all() and (a < 0).mean() == pytest.approx(0.5, abs=0.03)
    whole = (width < 1) & (height < 1)
    area, ratio = (width * height)[whole], np.log(width / height)[whole]
    assert 0.08 <= area.min() < 0.082 and area.max() > 0.97 and area.mean() < 0.54
    assert np.abs(ratio).max() == pytest.approx(np.log(4 / 3), abs=1e-3)
    assert ratio.var() == pytest.approx(np.log(4 / 3) ** 2 / 3, rel=0.1)
    left = np.where(a < 0, c - 16 * width, c)
    assert min(left.min(), f.min()) > -1e-4
    assert max((left / 16 + width).max(), (f / 16 + height).max()) < 1 + 1e-5
    assert (left / 16 / (1 - width + 1e-9))[whole].mean() == pytest.approx(0.5, abs=0.03)


def test_squares_and_turns_are_drawn_evenly():
    _, _, numbers = planned("cutout")
    places, counts = np.unique(numbers[:, :2], axis=0, return_counts=True)
    assert len(places) == 81 and places.min() == 0 and places.max() == 8  # 9 times 9 of them
    assert scipy.stats.chisquare(counts).pvalue > 0.001
    _, which, _ = planned("rotation")
    assert scipy.stats.chisquare(np.bincount(which)).pvalue > 0.001 and which.max() == 2
    _, _, seeds = planned("noise")
    assert len(np.unique(seeds[:, :2], axis=0)) == 4000 and (seeds == np.floor(seeds)).all()


def test_transforms_are_drawn_as_often_as_the_view_says():
    seeds = tf.data.Dataset.range(4000).map(lambda i: tf.stack([i, 3]))
    rows = seeds.map(
        lambda seed: (distort.draw(seed, 1)[0], distort.draw_further(seed, 1, 0, True)[0])
    )
    steps, count, *_ = distort._plan(EVERY, *rows.batch(4000).get_single_element())
    done = np.arange(steps.shape[1]) < count.numpy()[:, None]
    names = np.array(list(distort._operations(EVERY)))
    applied = {name: ((names[steps] == name) & done).any(1) for name in names}
    turned = [applied.pop(f"rotation{angle}") for angle in ("", " 180", " 270")]
    assert np.sum(turned, axis=0).max() == 1
    applied["rotation"] = np.any(turned, axis=0)
    shares = {name: studied.probability(name, EVERY) for name in studied.PROBABILITIES}
    assert applied.keys() == shares.keys()
    for name, share in shares.items():
        assert abs(applied[name].mean() - share) < 4 * np.sqrt(share * (1 - share) / 4000), name


def test_numbers_of_other_views_stay_what_they_are():
    seed = tf.constant([4, 2])
    few, more = (distort.draw_further(seed, 2, 3, with_studied=s) for s in (False, True))
    assert more.shape[1] - few.shape[1] == studied.NUM_DRAWS
    np.testing.assert_array_equal(more[:, : few.shape[1]], few)
    assert not np.isin(more[:, few.shape[1] :], few).any()


def recipe_of(**flags):
    view = ViewFlags(16)
    return adjusted(studied_recipe(StudiedViewFlags(**flags), simclr_recipe(view)[0]), view)


def test_without_flags_the_views_are_simclrs():
    assert recipe_of() == recipes.simclr(16)
    flags = METHODS["simclr"].Flags()
    assert METHODS["simclr"].recipe(flags, ViewFlags(16)) == simclr_recipe(ViewFlags(16))


@pytest.mark.parametrize("name", TRANSFORMS)
def test_one_transform_alone(name):
    stages = {"crop": "recrop", "rotate": "rotation"}
    fields = {
        "color": {"jitter_probability": 1.0, "grayscale_probability": 0.2},
        "rotate": {"rotation_probability": 0.75},
    }.get(name, {f"{stages.get(name, name)}_probability": 1.0})
    one, other = recipe_of(transforms=name)
    jitter, order = one.jitter, (stages.get(name, name), *ORDER)
    if name in ("blur", "color"):
        order = {"blur": ("blur", "jitter", "grayscale", "solarize"), "color": ORDER}[name]
    plain = View(16, **PLAIN, jitter=jitter, shared_crop=True)
    assert other == plain and not distort.changes_anything(other)
    own = {"shared_crop": False, "order": order, "blur_radius": 1}
    assert one == dataclasses.replace(plain, **own | fields)


def test_a_transform_is_added_to_simclrs_views():
    (plain, _), more = recipe_of(), {"rotate": ("rotation", 0.75)}
    for name in ("rotate", "noise", "sobel"):
        field, share = more.get(name, (name, 0.5))
        view = dataclasses.replace(plain, **{f"{field}_probability": share})
        assert recipe_of(added_transform=name) == (view, view)


def test_both_views_show_the_same_crop_and_one_is_changed():
    """As the pipeline makes them: turned, and then cut out or the other way round."""
    recipe = recipe_of(transforms="rotate,cutout")
    boxes, _ = views.draw_views(tf.constant([300, 200]), tf.constant([1, 2]), recipe)
    own, _ = views.draw_views(tf.constant([300, 200]), tf.constant([1, 2]), recipes.simclr(16))
    np.testing.assert_array_equal(boxes, [own[0]] * 2)
    encoded = tf.stack([tf.io.encode_png(IMAGE)])
    dataset = sources.ImageDataset("x", "train", 1, None, None, sources.indexed(encoded, None))
    stream = pipeline.training_dataset(dataset, recipe, batch_size=64, seed=3)
    (((first, second),),) = [batch[:1] for batch in stream.take(1)]
    quarters = []
    for one, other in zip(first.numpy(), second.numpy(), strict=True):
        grey = (one == 0.5).all(-1)
        assert grey.sum() >= 64
        same = [np.abs(np.rot90(other, k) - one)[~grey].max() < 1e-6 for k in range(4)]
        quarters += np.flatnonzero(same).tolist()[:1]
    assert len(quarters) == 64 and np.bincount(quarters).min() >= 6  # 16 expected


@pytest.mark.parametrize(
    "flags, message",
    [
        ({"transforms": "crop,colour"}, "Received: crop,colour. Did you mean: color"),
        ({"transforms": "crop,crop"}, "names each transform once"),
        ({"transforms": "crop", "added_transform": "noise"}, "without --added_transform. Received"),
    ],
)
def test_flags_that_do_not_fit(flags, message):
    with pytest.raises(UserError, match=message):
        recipe_of(**flags)


@pytest.mark.parametrize(
    "flags, message",
    [
        ({"transforms": "crop,blur", "use_blur": False}, "names blur, which --use_blur=False"),
        ({"transforms": "color", "color_jitter_strength": 0.0}, "which --color_jitter_strength=0"),
    ],
)
def test_flags_that_switch_a_transform_off(flags, message):
    with pytest.raises(UserError, match=message):
        pretraining.recipe_of(configuration.from_dict(flags))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"cutout_side": 0.0}, r"cutout_side of a view lies in \(0, 1\]"),
        ({"noise_deviation": -1.0}, "noise_deviation is not negative. Received: 0.5 and -1.0"),
        ({"order": (*ORDER, "turn")}, "may have recrop, cutout, sobel, noise, rotation, strong"),
    ],
)
def test_views_that_cannot_be(change, message):
    with pytest.raises(UserError, match=message):
        View(16, **change)
