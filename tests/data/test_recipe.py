"""Recipes: what a view may be, how flags change it, and how often its operations are drawn."""

import dataclasses
import pathlib

import numpy as np
import pytest
import recipes
import tensorflow as tf

from simclr_tf.data import augment, distort, pipeline, sources, views
from simclr_tf.data.recipe import View, ViewFlags, adjusted, unchanged
from simclr_tf.errors import UserError

FOLDER = pathlib.Path(__file__).parents[1] / "golden"
# Pixels of views that were recorded before recipes were data; the keys name flags and sizes.
RECORDED = dict(np.load(FOLDER / "simclr_views.npz"))
# What the code of BYOL, and PIL and torchvision, make of an image; some rows of it.
OTHERS = dict(np.load(FOLDER / "other_views.npz"))
AUGMENT = dict(np.load(FOLDER / "augment.npz"))

FLAGS = {
    "pretrain": {},
    "half_add": {"color_jitter_strength": 0.5, "brightness": "add"},
    "strength_0": {"color_jitter_strength": 0.0},
    "crop_alone": {"color_jitter_strength": 0.0, "use_blur": False},
    "no_blur": {"use_blur": False},
    "batch_sigma": {"blur_sigma": "batch"},
    "three": {},
}
NUMBERS = {"crop_alone": 1, "three": 3}

# The recipes of others, by their code.
BYOL = View(
    24,
    fit="clamp",
    clip_crop=True,
    jitter=(0.4, 0.4, 0.2, 0.1),
    brightness="add",
    blur_probability=1.0,
)
BYOL_2 = dataclasses.replace(BYOL, blur_probability=0.1, solarize_probability=0.2)
PIL = View(
    24,
    fit="tries",
    antialias=True,
    clip_crop=True,
    jitter=(0.4, 0.4, 0.2, 0.1),
    colors="blend",
    blur_radius=10,
    blur_border="edge",
)
BARLOW = dataclasses.replace(PIL, blur_probability=1.0)
BARLOW_2 = dataclasses.replace(PIL, blur_probability=0.1, solarize_probability=0.2)
MOCO_V1 = dataclasses.replace(
    PIL,
    area=(0.2, 1.0),
    interpolation="bilinear",
    jitter_probability=1.0,
    jitter=(0.4,) * 4,
    blur_probability=0.0,
    order=("grayscale", "jitter", "blur", "solarize"),
)
SMALL = dataclasses.replace(PIL, size=12, area=(0.05, 0.14), interpolation="bilinear")


def data_set(*images):
    encoded = tf.stack([tf.io.encode_png(image) for image in images])
    source = sources.indexed(encoded, None)
    return sources.ImageDataset("x", "train", len(images), None, None, source)


# Of these every part is in another one that is quick, or in a smaller one.
LONG = (
    *("three/40", "no_blur/40", "strength_0/40", "half_add/40", "pretrain/96", "batch_sigma/40"),
    *("pretrain/12", "crop_alone/40", "crop_flip/40"),
)


@pytest.mark.parametrize(
    "key", [pytest.param(k, marks=pytest.mark.slow) if k in LONG else k for k in RECORDED]
)
def test_views_are_those_of_before(key):
    name, size = key.split("/")
    if name in ("crop_flip", "none"):
        recipe = recipes.finetuning(int(size), name)
    else:
        recipe = recipes.simclr(int(size), NUMBERS.get(name, 2), **FLAGS[name])
    dataset = data_set(AUGMENT["eval/in0"], AUGMENT["eval/in3"])
    seed = 2**31 + 11
    stream = pipeline.training_dataset(dataset, recipe, batch_size=6, seed=seed, start_step=3)
    ((found,),) = stream.take(1)
    step = int(size) // 4
    shown = np.stack([view.numpy()[:, 1::step, 1::step] for view in found])
    np.testing.assert_allclose(shown, RECORDED[key], rtol=0, atol=2e-6)


def test_strength_and_blur_change_every_recipe():
    flags = ViewFlags(color_jitter_strength=0.5, use_blur=False, brightness="add")
    one, other = adjusted((BYOL, BYOL_2), flags)
    assert one == dataclasses.replace(BYOL, jitter=one.jitter, blur_probability=0.0)
    np.testing.assert_allclose(one.jitter, (0.2, 0.2, 0.1, 0.05), rtol=1e-7)
    assert other.solarize_probability == 0.2 and other.blur_probability == 0
    (off,) = adjusted((MOCO_V1,), ViewFlags(color_jitter_strength=0.0))
    assert off.grayscale_probability == off.jitter_probability == 0
    kept = adjusted((BARLOW_2,), ViewFlags())[0]
    assert dataclasses.replace(kept, jitter=BARLOW_2.jitter) == BARLOW_2


def test_the_least_area_changes_every_crop_and_leaves_the_view_of_evaluation():
    flags = ViewFlags(image_size=24, min_crop_area=0.3)
    cropped, whole = adjusted((MOCO_V1, *unchanged(32)), flags)
    assert cropped.area == (0.3, MOCO_V1.area[1]) and whole.area is None
    assert adjusted((MOCO_V1, *unchanged(32)), ViewFlags())[0].area == MOCO_V1.area


# Operations, eagerly and inside Dataset.map


def planes_of(operation, image, mapped):
    """An operation on an image (height, width, 3), float in [0, 1]."""

    def work(image):
        return augment.from_planes(operation(augment.to_planes(image)))

    image = tf.constant(image, tf.float32)
    if mapped:
        return next(tf.data.Dataset.from_tensors(image).map(work).as_numpy_iterator())
    return work(image).numpy()


BRIGHTNESS, CONTRAST, SATURATION, HUE = map(
    float, OTHERS["byol/brightness_contrast_saturation_hue"]
)
BYOL_OPERATIONS = {
    "b": lambda x: augment.adjust_brightness(x, BRIGHTNESS, "add"),
    "c": lambda x: augment.adjust_contrast(x, CONTRAST),
    "s": lambda x: augment.adjust_saturation(x, SATURATION),
    "h": lambda x: augment.adjust_hue(x, HUE),
}


def blurred(planes, radius, sigma, border):
    taps = augment.blur_taps(radius, sigma)
    return augment.blur_across(augment.blur_down(planes, taps, border), taps, border)


def in_order(operations):
    def work(planes):
        for operation in operations:
            planes = augment.clip(operation(planes))
        return planes

    return work


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize(
    "key, operation",
    [
        *((f"only_{name}_unclipped", BYOL_OPERATIONS[name]) for name in "bcsh"),
        *(
            (f"jitter_{order}", in_order([BYOL_OPERATIONS[name] for name in order]))
            for order in ("bcsh", "hscb", "csbh")
        ),
        ("gray", augment.to_grayscale),
        ("solarize", augment.solarize),
        ("blur_sigma0.4", lambda x: blurred(x, 24 // 10 // 2, 0.4, "zeros")),
        ("blur_sigma1.7", lambda x: blurred(x, 24 // 10 // 2, 1.7, "zeros")),
    ],
)
def test_operations_of_byol(key, operation, mapped):
    found = planes_of(operation, OTHERS["byol/image_hwc"], mapped)
    np.testing.assert_allclose(found[::6], OTHERS[f"byol/{key}"], rtol=0, atol=2e-6)


PIL_OPERATIONS = {
    "brightness": augment.adjust_brightness,
    "contrast": augment.blend_contrast,
    "saturation": augment.blend_saturation,
    "hue": augment.adjust_hue,
}


# In grey levels of 255. PIL rounds after every operation.
@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("amount", [0.6, 1.4])
@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_operations_of_pil(name, amount, mapped):
    operation = in_order([lambda x: PIL_OPERATIONS[name](x, amount)])
    found = planes_of(operation, OTHERS["pil/image"] / 255, mapped)[::2]
    np.testing.assert_allclose(255 * found, OTHERS[f"pil/{name}_{amount}"], rtol=0, atol=1.1)


@pytest.mark.parametrize("amount", [-0.4, 0.1])
def test_the_hue_of_pil(amount):
    """PIL rounds the hue to 8 bits, which is seen where it turns fast."""
    found = planes_of(lambda x: augment.adjust_hue(x, amount), OTHERS["pil/image"] / 255, False)
    difference = np.abs(255 * found[::2] - OTHERS[f"pil/hue_{amount}"])
    assert difference.mean() < 2 and np.quantile(difference, 0.95) < 8


def test_a_whole_jitter_of_pil():
    amounts = {"contrast": 1.3, "hue": -0.1, "brightness": 0.7, "saturation": 1.4}
    steps = [lambda x, n=n, a=a: PIL_OPERATIONS[n](x, a) for n, a in amounts.items()]
    found = planes_of(in_order(steps), OTHERS["pil/image"] / 255, False)[::2]
    expected = OTHERS["pil/jitter_contrast_hue_brightness_saturation_1.3_-0.1_0.7_1.4"]
    assert np.abs(255 * found - expected).mean() < 1.5


@pytest.mark.parametrize("sigma", [0.1, 0.8, 2.0])
def test_blurs_with_repeated_and_reflected_borders(sigma):
    image = OTHERS["pil/image"] / 255
    edge = planes_of(lambda x: blurred(x, 10, sigma, "edge"), image, False)[::2]
    # PIL approximates the Gaussian by boxes.
    assert np.abs(255 * edge - OTHERS[f"pil/pil_blur_{sigma}"]).mean() < 1.5
    reflect = planes_of(lambda x: blurred(x, 11, sigma, "reflected"), image, False)[::2]
    expected = OTHERS[f"pil/pycontrast_blur_{sigma}"]
    np.testing.assert_allclose(255 * reflect, expected, rtol=0, atol=1.1)


@pytest.mark.parametrize("key", [k for k in OTHERS if k.startswith("torchvision/crop")])
def test_crops_with_antialiasing(key):
    name, interpolation, size = key.removeprefix("torchvision/crop").split("_")
    box = OTHERS["torchvision/boxes_top_left_height_width"][int(name)]
    size = int(size.removeprefix("to"))
    found = augment.resized_crop(
        OTHERS["torchvision/image"], tf.constant(box, tf.int32), (size, size), interpolation, True
    )
    difference = np.abs(np.clip(found, 0, 255)[:: size // len(OTHERS[key])] - OTHERS[key])
    # PIL resizes rows and then columns, and cuts off what overshoots between them too.
    assert np.quantile(difference, 0.99) < 1.6 and difference.mean() < 0.6


# Boxes


def boxes(view, shape, number=3000):
    """(y, x, height, width), each (number,), of the view's crops."""

    def box(index):
        return views.draw_views(tf.constant(shape), tf.stack([index, 7]), (view,))[0][0]

    return next(tf.data.Dataset.range(number).map(box).batch(number).as_numpy_iterator()).T


@pytest.mark.parametrize("view", [BYOL, PIL], ids=["clamp", "tries"])
def test_boxes_of_a_uniform_area_and_a_log_uniform_aspect(view):
    view = dataclasses.replace(view, area=(0.1, 0.5))  # all of which fit
    y, x, height, width = boxes(view, (300, 300))
    area, aspect = height * width / 300**2, np.log(width / height)
    for found, low, high in ((area, 0.1, 0.5), (aspect, np.log(3 / 4), np.log(4 / 3))):
        assert low - 0.02 < found.min() and found.max() < high + 0.02
        assert found.mean() == pytest.approx((low + high) / 2, abs=4 * (high - low) / 190)
        assert found.var() == pytest.approx((high - low) ** 2 / 12, rel=0.06)
    for begin, side in ((y, height), (x, width)):
        place = (begin + 0.5) / (300 - side + 1)
        assert 0 < place.min() and place.max() < 1
        assert place.mean() == pytest.approx(0.5, abs=0.022)


def test_sides_that_do_not_fit():
    y, x, height, width = boxes(BYOL, (20, 200))  # clamped
    assert height.max() == 20 and (height == 20).mean() > 0.8
    assert (width <= 200).all() and (x + width <= 200).all() and (y + height <= 20).all()
    wide = np.array([(0, 87, 20, 27)] * 3000).T  # 20 * 4 / 3 in the middle
    found = np.stack(boxes(dataclasses.replace(PIL, area=(0.9, 1.0)), (20, 200)))
    np.testing.assert_array_equal(found, wide[[0, 1, 2, 3]] - np.array([[0], [1], [0], [0]]))
    found = np.stack(boxes(PIL, (60, 200)))
    assert len(np.unique(found, axis=1).T) > 1000
    assert (found[2] <= 60).all() and (found[0] + found[2] <= 60).all()


def test_small_crops_need_no_covered_share():
    small = View(12, area=(0.05, 0.14))
    for covered, share in ((0.1, 0.0), (0.0, 0.61)):
        _, _, height, width = boxes(dataclasses.replace(small, covered=covered), (224, 224))
        area = height * width / 224**2
        assert (area < 0.1).mean() == pytest.approx(share, abs=0.04)
        assert area.max() < 0.145


# How often


def plan_of(view, number=4000):
    """By the name of an operation, (number,) bool: which of so many images undergo it."""

    def drawn(index):
        seed = tf.stack([index, 3])
        return distort.draw(seed, 1)[0], distort.draw_further(seed, 1)[0]

    rows = tf.data.Dataset.range(number).map(drawn).batch(number).get_single_element()
    steps, count, *_ = distort._plan(view, *rows)
    done = np.arange(steps.shape[1]) < count.numpy()[:, None]
    names = list(distort._operations(view))
    return {name: ((steps.numpy() == i) & done).any(1) for i, name in enumerate(names)}


@pytest.mark.parametrize(
    "view",
    [View(24), BYOL, BYOL_2, BARLOW, BARLOW_2, MOCO_V1, SMALL],
    ids=["simclr", "byol", "byol_2", "barlow", "barlow_2", "moco_v1", "small"],
)
def test_operations_are_drawn_as_often_as_the_view_says(view):
    drawn = plan_of(view)
    blurs = [found for name, found in drawn.items() if name.startswith("blur down")]
    drawn["blur"] = np.logical_or.reduce(blurs) if blurs else np.zeros(4000, bool)
    for name, probability in {
        "flip": view.flip_probability,
        **{f"jitter {i}": view.jitter_probability for i in range(4)},
        "grayscale": view.grayscale_probability,
        "blur": view.blur_probability,
        "solarize": view.solarize_probability,
    }.items():
        if probability == 0:
            assert not drawn.get(name, np.zeros(1)).any()
        else:
            deviation = np.sqrt(probability * (1 - probability) / 4000)
            assert abs(drawn[name].mean() - probability) <= 4 * deviation, name


def shown(image, view, number, seed=0):
    """Views of one image, in all of which the whole image is seen unflipped."""
    whole = {"fit": "clamp", "area": (1.0, 1.0), "aspect": (1.0, 1.0), "flip_probability": 0.0}
    view = dataclasses.replace(view, **whole)
    stream = pipeline.training_dataset(data_set(image), (view,), batch_size=number, seed=seed)
    ((found,),) = stream.take(1)
    return found[0].numpy()


@pytest.mark.parametrize("first", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_greyscale_before_the_jitter_and_after_it(first):
    """Red at 200 is cut at 255 where it is brightened before it becomes grey, and not after."""
    order = ("grayscale", "jitter", "blur", "solarize")
    view = View(
        16,
        jitter_probability=1.0,
        jitter=(0.9, 0.0, 0.0, 0.0),
        grayscale_probability=1.0,
        blur_probability=0.0,
        order=order if first else (order[1], order[0], *order[2:]),
    )
    levels = shown(np.uint8([[[200, 0, 0]]]).repeat(16, 0).repeat(16, 1), view, 300)[:, 8, 8]
    np.testing.assert_allclose(levels, levels[:, :1].repeat(3, 1), atol=1e-6)
    grey = 0.2989 * 200 / 255
    highest = 1.9 * grey if first else 0.2989
    assert levels.max() == pytest.approx(highest, abs=0.01)
    assert levels.min() == pytest.approx(0.1 * grey, abs=0.01)


def test_solarising_comes_after_the_blur():
    view = View(
        24,
        jitter_probability=0.0,
        grayscale_probability=0.0,
        blur_probability=1.0,
        blur_sigmas=(1.0, 1.0),
        solarize_probability=1.0,
    )
    image = np.full((24, 24, 3), 230, np.uint8)
    (found,) = shown(image, view, 1)
    taps = np.exp(-np.square([-1, 0, 1]) / 2)
    side = taps[1:].sum() / taps.sum()  # what is not outside, at the border
    np.testing.assert_allclose(found[8:16, 8:16], 1 - 230 / 255, atol=1e-5)
    np.testing.assert_allclose(found[0, 8:16], 1 - side * 230 / 255, atol=1e-5)
    np.testing.assert_allclose(found[0, 0], side**2 * 230 / 255, atol=1e-5)  # below one half


@pytest.mark.slow
@pytest.mark.parametrize(
    "recipe",
    [
        (BYOL_2, SMALL),
        (BYOL_2, BARLOW_2, MOCO_V1, SMALL),
    ],
    ids=["two", "four"],
)
def test_views_of_several_families_and_sizes_in_one_recipe(recipe):
    image = AUGMENT["eval/in3"]
    stream = pipeline.training_dataset(data_set(image), recipe, batch_size=30, seed=3)
    ((found,),) = stream.take(1)
    assert [view.shape[1] for view in found] == [24] * (len(recipe) - 1) + [12]
    assert all(0 <= view.numpy().min() and view.numpy().max() <= 1 for view in found)
    assert len({view.numpy()[i].tobytes() for view in found for i in range(30)}) == 30 * len(recipe)
    for i in (0, 7):
        with recipes.not_compiled():
            expected = views.make_views(image, tf.constant([3, i], tf.int64), recipe)
        for view, known in zip(found, expected, strict=True):
            np.testing.assert_allclose(view[i], known, rtol=0, atol=1e-5)


def test_wide_blurs_have_wide_kernels():
    assert distort.blur_radii(View(224)) == (3, 6, 9)
    assert distort.blur_radii(View(96)) == (3, 4)
    assert distort.blur_radii(View(224, blur_radius=11)) == (3, 6, 9)
    assert distort.blur_radii(View(224, blur_radius=11, blur_sigmas=(0.1, 2.4))) == (3, 6, 9, 11)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"colors": "pil"}, "colors of a view is one of hsv, blend. Received: pil"),
        ({"brightness": "divide"}, "brightness of a view is one of multiply, add. Received: div"),
        ({"flip_probability": 1.1}, r"flip_probability of a view lies in \[0, 1\]"),
        ({"area": (0.5, 0.2)}, "area"),
        ({"order": ("jitter",)}, "order"),
        ({"jitter": (0.8, 1.1, 0.8, 0.2)}, r"jitter of a view lies in \[0, 1\].*--color_jitter_st"),
        ({"jitter": (0.8, 0.8, 0.8, 0.6)}, r"hue's in \[0, 0.5\]. Received: .*0.6"),
        ({"blur_sigmas": (0.0, 1.0)}, "blur_sigmas of a view rise above 0"),
    ],
)
def test_values_that_cannot_work(change, message):
    with pytest.raises(UserError, match=message):
        View(32, **change)


def test_a_strength_with_negative_factors_is_refused():
    with pytest.raises(UserError, match="no factor is negative"):
        recipes.simclr(32, color_jitter_strength=1.3)


def test_further_numbers_leave_the_others_as_they_are():
    seed = tf.constant([4, 2])
    numbers, further = distort.draw(seed, 2), distort.draw_further(seed, 2)
    assert numbers.shape == (2, 13) and further.shape == (2, 1)
    assert not np.isin(further, numbers).any()
