"""Batches: resuming, hosts, seeds, padding."""

import dataclasses
import itertools
import os

import numpy as np
import pytest
import recipes
import reference
import scipy.optimize
import tensorflow as tf

from simclr_tf.data import datasets, pipeline, subsets, views
from simclr_tf.data.decode import decode_image
from simclr_tf.data.recipe import View, ViewFlags
from simclr_tf.errors import UserError

N = 23


@pytest.fixture(params=["folder", "tfds"])
def dataset(request, tmp_path):
    """23 images of different values and sizes, three classes."""
    if request.param == "tfds":
        return datasets.load("tiny_greys", "train", data_dir=request.getfixturevalue("greys_dir"))
    rng = np.random.default_rng(0)
    for i in range(N):
        os.makedirs(tmp_path / "train" / f"class{i % 3}", exist_ok=True)
        image = rng.integers(0, 256, (11 + i, 17, 3), dtype=np.uint8)
        path = tmp_path / "train" / f"class{i % 3}" / f"{i}.png"
        path.write_bytes(tf.io.encode_png(image).numpy())
    return datasets.load("image_folder", "train", data_dir=str(tmp_path))


@pytest.fixture
def digits():
    return datasets.load("digits", "test")


def batches(dataset, count, **options):
    """The first batches, as lists of arrays: views and then the labels."""
    options = {"batch_size": 6, "seed": 0, "shuffle_buffer": 8} | options
    names = {"image_size", "number", *(field.name for field in dataclasses.fields(ViewFlags))}
    of_views = {"image_size": 12} | {n: options.pop(n) for n in names & options.keys()}
    recipe = options.pop("recipe", None) or recipes.simclr(**of_views)
    stream = pipeline.training_dataset(dataset, recipe, **options).take(count)
    return [[np.asarray(part) for part in (*batch[0], *batch[1:])] for batch in stream]


def assert_equal(left, right):
    assert len(left) == len(right)
    for a, b in zip(left, right):
        for x, y in zip(a, b):
            np.testing.assert_array_equal(x, y)


def test_form_of_a_training_batch(digits):
    spec = pipeline.training_dataset(
        digits, recipes.simclr(12, number=3), batch_size=6, seed=0
    ).element_spec
    view = tf.TensorSpec((6, 12, 12, 3), tf.float32)
    assert spec == ((view, view, view), tf.TensorSpec((6,), tf.int64))
    (batch,) = batches(digits, 1)
    assert len(batch) == 3 and batch[0].min() >= 0 and batch[0].max() <= 1
    assert not np.array_equal(batch[0], batch[1])


@pytest.mark.slow
def test_large_photographs_are_decoded_smaller_where_it_is_asked_for(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (90, 80, 3), np.uint8)
    (tmp_path / "noise.jpg").write_bytes(tf.io.encode_jpeg(pixels).numpy())
    dataset = datasets.load("image_folder", "train", data_dir=str(tmp_path))
    whole = (View(10, area=None),)
    plain, same, reduced = (
        batches(dataset, 1, batch_size=1, recipe=whole, **options)[0][0]
        for options in ({}, {"reduced_decoding": False}, {"reduced_decoding": True})
    )
    np.testing.assert_array_equal(plain, same)
    assert reduced.std() < 0.5 * plain.std()  # an average of many pixels, not one of them


@pytest.mark.thorough
def test_form_without_labels(tmp_path):
    for i in range(4):
        (tmp_path / f"{i}.png").write_bytes(tf.io.encode_png(np.zeros((5, 5, 3), "u1")).numpy())
    dataset = datasets.load("image_folder", "train", data_dir=str(tmp_path))
    stream = pipeline.training_dataset(dataset, recipes.simclr(8), batch_size=4, seed=0)
    view = tf.TensorSpec((4, 8, 8, 3), tf.float32)
    assert stream.element_spec == ((view, view),)
    ((_, labels, weights),) = pipeline.evaluation_dataset(dataset, batch_size=4, image_size=8)
    assert labels.numpy().tolist() == [-1] * 4 and weights.numpy().tolist() == [1] * 4


# By default; the other kind of data set is slow.
of_a_folder = pytest.mark.parametrize(
    "dataset", ["folder", pytest.param("tfds", marks=pytest.mark.slow)], indirect=True
)


# Views of 20 pixels are finished one by one, 4 at a time, or a batch of 6.
def finished_in_parts(*default):
    """All combinations; those that are not the default are slow."""
    combinations = itertools.product(("folder", "tfds"), ((0, "image"), (4, "batch"), (6, "image")))
    params = [
        pytest.param(*c, marks=() if c == default else pytest.mark.slow) for c in combinations
    ]
    return pytest.mark.parametrize(("dataset", "blur_sigma"), params, ids=str, indirect=True)


@pytest.fixture
def blur_sigma(request, monkeypatch):
    at_once, sigma = request.param
    monkeypatch.setattr(pipeline, "_PIXELS_AT_ONCE", at_once * 20 * 20)
    return sigma


@finished_in_parts("folder", (0, "image"))
def test_resumed_stream_is_the_tail_of_the_whole(dataset, blur_sigma):
    whole = batches(dataset, 9, blur_sigma=blur_sigma, image_size=20)
    for step in (3, 7):  # in the first and in the second epoch
        tail = batches(dataset, 9 - step, blur_sigma=blur_sigma, image_size=20, start_step=step)
        assert_equal(tail, whole[step:])


@pytest.mark.thorough
@finished_in_parts("tfds", (4, "batch"))
def test_hosts_together_see_the_global_batch(dataset, blur_sigma):
    options = {"image_size": 20, "blur_sigma": blur_sigma}
    whole = batches(dataset, 5, **options)
    hosts = [batches(dataset, 5, host_index=h, num_hosts=3, **options) for h in range(3)]
    assert hosts[0][0][0].shape == (2, 20, 20, 3)
    joined = [[np.concatenate(parts) for parts in zip(*batch)] for batch in zip(*hosts)]
    assert_equal(joined, whole)


@pytest.mark.slow
@of_a_folder
def test_views_finished_one_by_one_are_those_finished_together(dataset, monkeypatch):
    together = batches(dataset, 2, image_size=20)
    monkeypatch.setattr(pipeline, "_PIXELS_AT_ONCE", 0)
    alone = batches(dataset, 2, image_size=20)
    for a, b in zip(together, alone, strict=True):
        assert len(a) == len(b) == 3
        for x, y in zip(a, b, strict=True):
            np.testing.assert_allclose(x, y, rtol=0, atol=1e-5)


@pytest.mark.thorough
@of_a_folder
def test_views_of_224_pixels(dataset):
    ((first, second, labels),) = batches(dataset, 1, image_size=224, batch_size=4)
    assert first.shape == second.shape == (4, 224, 224, 3) and labels.shape == (4,)
    (tail,) = batches(dataset, 1, image_size=224, batch_size=2, start_step=1)
    np.testing.assert_array_equal(tail[0], first[2:])


@pytest.mark.slow
def test_streams_of_other_seeds_differ(digits):
    first, second = batches(digits, 2, seed=0), batches(digits, 2, seed=1)
    assert not np.array_equal(first[0][2], second[0][2])
    assert not np.array_equal(first[0][0], second[0][0])
    assert_equal(first, batches(digits, 2, seed=0))


@pytest.mark.slow
def test_an_image_is_augmented_anew_in_every_epoch(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (30, 30, 3), dtype=np.uint8)
    (tmp_path / "a.png").write_bytes(tf.io.encode_png(image).numpy())
    dataset = datasets.load("image_folder", "train", data_dir=str(tmp_path))
    seen = batches(dataset, 3, batch_size=1)
    for a, b in itertools.combinations([view for batch in seen for view in batch], 2):
        assert not np.array_equal(a, b)


@pytest.mark.parametrize(
    "recipe",
    [
        pytest.param(
            recipes.simclr(12, color_jitter_strength=0.7, brightness="add"),
            marks=pytest.mark.thorough,
        ),
        recipes.finetuning(12),
        (View(16), View(8, area=(0.05, 0.14), covered=0.0), View(12, None)),
    ],
    ids=["simclr", "finetuning", "several sizes"],
)
def test_views_are_those_of_the_recipe_at_the_seed_of_the_position(digits, recipe):
    (batch,) = batches(digits, 1, recipe=recipe, seed=5)
    assert len(batch) == len(recipe) + 1
    for i, example in enumerate(digits.examples(seed=5).take(6)):
        image, seed = decode_image(example["image"]), tf.constant([5, i], tf.int64)
        for view, known in zip(batch, views.make_views(image, seed, recipe)):
            np.testing.assert_allclose(view[i], known, atol=1e-6)
        assert batch[-1][i] == int(example["label"])


def sigma_of(sharp, view):
    """The sigma that made `view` (40, 40, 3) of a sharp one, or None if it is not blurred."""
    if np.array_equal(sharp, view):
        return None

    def difference(sigma):
        return np.square(reference.gaussian_blur(sharp, 4, sigma) - view).mean()

    found = scipy.optimize.minimize_scalar(
        difference, bounds=(0.1, 2), method="bounded", options={"xatol": 1e-4}
    )
    assert found.fun < 1e-9
    return found.x


def sigmas(dataset, **options):
    """Of three batches of 16 images with two views: an array for each batch and view."""
    options |= {"batch_size": 16, "image_size": 40}
    sharp = batches(dataset, 3, use_blur=False, **options)
    blurred = batches(dataset, 3, **options)
    found = []
    for a, b in itertools.product(range(3), range(2)):
        every = [sigma_of(x, y) for x, y in zip(sharp[a][b], blurred[a][b], strict=True)]
        found.append(np.array([sigma for sigma in every if sigma is not None]))
    assert 30 < sum(map(len, found)) < 66  # half of the 96 views
    return found


# Sigmas are found again to 1e-3 where they blur enough to be seen.
@pytest.mark.slow
def test_blur_per_batch_has_one_sigma_for_each_view_of_a_batch(digits):
    found = sigmas(digits, blur_sigma="batch", seed=1)
    assert max(np.ptp(one) for one in found) < 2e-3
    means = np.sort([one.mean() for one in found])
    assert np.diff(means).min() > 0.01  # another one for every view and every batch
    assert np.ptp(means) > 0.5


@pytest.mark.slow
def test_blur_per_image_has_a_sigma_for_each_image(digits):
    for one in sigmas(digits, blur_sigma="image", seed=1):
        seen = np.sort(one[one > 0.4])
        assert len(seen) > 3 and np.diff(seen).min() > 2e-3
        assert np.ptp(seen) > 0.5


def numbers_of(dataset, steps, **options):
    """The numbers of the images of some batches, with one view each, and those views."""
    options = {"recipe": recipes.finetuning(8, "none"), "numbers": True} | options
    return [(numbers, views) for views, _, numbers in batches(dataset, steps, **options)]


@pytest.mark.thorough
@of_a_folder
def test_the_number_of_an_image_is_its_own_in_every_epoch_and_on_every_host(dataset):
    """What it shows in evaluation tells the image: batches of 6 of 23, over three epochs."""
    images = {}
    found = numbers_of(dataset, 12)
    for numbers, views_of_batch in found:
        for number, view in zip(numbers, views_of_batch, strict=True):
            images.setdefault(int(number), set()).add(view.tobytes())
    assert images.keys() == set(range(N))
    assert all(len(seen) == 1 for seen in images.values())
    assert len(set.union(*images.values())) == N
    in_order = [view for batch in evaluated(dataset) for view in batch]
    assert all(in_order[number].tobytes() in seen for number, seen in images.items())
    for host in range(3):
        own = numbers_of(dataset, 12, host_index=host, num_hosts=3)
        for (numbers, _), (whole, _) in zip(own, found, strict=True):
            np.testing.assert_array_equal(numbers, whole[2 * host : 2 * host + 2])
    for (numbers, _), (whole, _) in zip(numbers_of(dataset, 5, start_step=7), found[7:]):
        np.testing.assert_array_equal(numbers, whole)


@pytest.mark.slow
def test_labels_by_number_are_those_of_the_batches(dataset):
    by_number = subsets.labels_by_number(dataset)
    for _, labels, numbers in batches(
        dataset, 4, recipe=recipes.finetuning(8, "none"), numbers=True
    ):
        np.testing.assert_array_equal(by_number[numbers], labels)


def evaluated(dataset):
    """The images by their numbers, as evaluation shows them."""
    shown = {}
    for example in dataset.examples():
        image = views.evaluation_view(decode_image(example["image"]), 8)
        shown[int(example["number"])] = image.numpy()
    return [[shown[i] for i in range(N)]]


@pytest.mark.slow
def test_numbers_of_a_folder_are_the_same_when_a_run_goes_on_without_a_bad_file(tmp_path):
    for i in range(6):
        image = np.full((9, 9, 3), 40 * i, np.uint8)
        (tmp_path / f"{i}.png").write_bytes(tf.io.encode_png(image).numpy())
    (tmp_path / "2.png").write_bytes(b"no image")
    first = datasets.load("image_folder", "train", data_dir=str(tmp_path))
    again = datasets.load(
        "image_folder", "train", data_dir=str(tmp_path), known_bad=first.skipped_files
    )
    for dataset in (first, again):
        found = numbers_of(dataset, 3, batch_size=5)
        greys = {
            int(number): round(255 * float(view.mean()) / 40)
            for numbers, shown in found
            for number, view in zip(numbers, shown, strict=True)
        }
        assert greys == {0: 0, 1: 1, 2: 3, 3: 4, 4: 5}


@pytest.mark.slow
def test_numbers_without_labels_have_labels_of_minus_one(tmp_path):
    for i in range(4):
        (tmp_path / f"{i}.png").write_bytes(tf.io.encode_png(np.zeros((5, 5, 3), "u1")).numpy())
    dataset = datasets.load("image_folder", "train", data_dir=str(tmp_path))
    ((_, labels, numbers),) = batches(
        dataset, 1, recipe=recipes.finetuning(8), batch_size=4, numbers=True
    )
    assert labels.tolist() == [-1] * 4 and sorted(numbers) == [0, 1, 2, 3]


@pytest.mark.thorough
def test_training_epoch_counts_every_image_once(digits):
    stream = pipeline.training_dataset(digits, recipes.simclr(8), batch_size=359, seed=0)
    ((_, labels),) = stream.take(1)
    known = [int(example["label"]) for example in digits.examples()]
    assert np.bincount(labels).tolist() == np.bincount(known).tolist()


@pytest.mark.thorough
def test_default_shuffle_buffer_is_the_originals(digits, monkeypatch):
    asked = []
    records = type(digits.source).records

    def spy(self, positions, seed, shuffle_buffer):
        asked.append(shuffle_buffer)
        return records(self, positions, seed, shuffle_buffer)

    monkeypatch.setattr(type(digits.source), "records", spy)
    for size in (32, 33):
        pipeline.training_dataset(digits, recipes.simclr(size), batch_size=4, seed=0)
    assert asked == [200, 40]


@pytest.mark.slow
def test_threads_of_its_own_change_nothing_about_a_stream(digits):
    shared, own = (
        pipeline.training_dataset(digits, recipes.simclr(16), batch_size=4, seed=0, threads=threads)
        for threads in (None, pipeline.threads_of_this_host())
    )
    assert not shared.options().threading.private_threadpool_size
    assert own.options().threading.private_threadpool_size > os.cpu_count()
    for batch, expected in zip(own.take(3), shared.take(3), strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, batch, expected)


@pytest.mark.parametrize(
    ("dataset", "batch_size", "num_hosts"),
    [
        ("folder", 6, 1),
        pytest.param("folder", 48, 3, marks=pytest.mark.thorough),
        pytest.param("tfds", 23, 1, marks=pytest.mark.thorough),
        ("tfds", 64, 1),
        pytest.param("tfds", 6, 3, marks=pytest.mark.thorough),
    ],
    indirect=["dataset"],
)
def test_evaluation_counts_every_image_once(dataset, batch_size, num_hosts):
    reference = {}
    for example in dataset.examples():
        image = views.evaluation_view(decode_image(example["image"]), 16).numpy()
        reference[image.round(4).tobytes()] = int(example["label"])
    assert len(reference) == N
    seen, lengths = [], []
    for host in range(num_hosts):
        stream = list(
            pipeline.evaluation_dataset(
                dataset,
                batch_size=batch_size,
                image_size=16,
                host_index=host,
                num_hosts=num_hosts,
            )
        )
        lengths.append(len(stream))
        for images, labels, weights in stream:
            assert images.shape == (batch_size // num_hosts, 16, 16, 3)
            for image, label, weight in zip(images.numpy(), labels.numpy(), weights.numpy()):
                if weight == 1:
                    assert reference[image.round(4).tobytes()] == label
                    seen.append(image.round(4).tobytes())
                else:
                    assert weight == 0 and label == -1 and not image.any()
    assert lengths == [-(-N // batch_size)] * num_hosts
    assert sorted(seen) == sorted(reference)


def test_evaluation_keeps_the_order_of_the_data(digits):
    stream = pipeline.evaluation_dataset(digits, batch_size=100, image_size=8)
    labels = np.concatenate([labels for _, labels, _ in stream])[: digits.num_examples]
    assert labels.tolist() == [int(example["label"]) for example in digits.examples()]


def test_arguments_that_cannot_work(digits):
    with pytest.raises(UserError, match="among 4 hosts"):
        batches(digits, 1, num_hosts=4)


# Upright images


@pytest.fixture
def turned_folder(tmp_path):
    """A class of JPEGs that EXIF says to turn, and one of the same pixels that are upright."""
    grid = np.add.outer(np.arange(30) * 6, np.arange(50) * 1)
    stored = np.stack([grid, grid.T[:30, :30].repeat(2, 1)[:, :50], grid * 0], -1).astype(np.uint8)
    encoded = tf.io.encode_jpeg(stored, quality=95).numpy()
    tiff = b"MM\0*\0\0\0\x08" + b"\0\1" + b"\x01\x12\0\3\0\0\0\1\0\6\0\0" + bytes(4)
    exif = b"\xff\xe1" + (len(tiff) + 8).to_bytes(2, "big") + b"Exif\0\0" + tiff
    upright = tf.image.rot90(decode_image(tf.constant(encoded)), k=3)
    for name, data in {
        "a": encoded[:2] + exif + encoded[2:],
        "b": tf.io.encode_png(upright).numpy(),
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.jpg").write_bytes(data)
    return str(tmp_path)


@pytest.mark.parametrize("upright", [True, False])
def test_evaluation_shows_images_upright(turned_folder, upright):
    dataset = datasets.load("image_folder", "all", data_dir=turned_folder, upright=upright)
    ((images, _, _),) = pipeline.evaluation_dataset(dataset, batch_size=2, image_size=40)
    assert np.array_equal(images[0], images[1]) == upright


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "upright"),
    [
        (recipes.simclr(40), True),
        (recipes.simclr(40), False),
        (recipes.finetuning(40), True),
        (recipes.finetuning(40), False),
        (recipes.finetuning(40, "none"), True),
        (recipes.finetuning(40, "none"), False),
    ],
)
def test_training_shows_images_upright(turned_folder, recipe, upright):
    """Both files are one image, so the views of the one are those of the other."""
    both = datasets.load("image_folder", "all", data_dir=turned_folder, upright=upright)
    one, other = (subsets.restrict(both, np.array([i])) for i in (0, 1))
    seen, expected = (batches(d, 1, recipe=recipe) for d in (one, other))
    different = [np.abs(a - b).max() > 1e-5 for a, b in zip(seen[0][:-1], expected[0][:-1])]
    assert different == [not upright] * len(different)
