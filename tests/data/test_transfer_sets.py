"""The transfer data sets: from official archives to decoded examples, labels and splits."""

import functools
import hashlib
import logging

import numpy as np
import official_archives
import pytest
from official_archives import MAKERS, expect_md5, values

from simclr_tf.data import datasets
from simclr_tf.data.decode import decode_image
from simclr_tf.data.transfer import opening, registry
from simclr_tf.data.transfer.listing import Examples, hold_out
from simclr_tf.data.transfer.registry import REGISTRY
from simclr_tf.data.transfer.unpacking import unpack
from simclr_tf.errors import UserError

HELD_OUT = [name for name, entry in REGISTRY.items() if not entry.official_validation]


def load(name, split, folder, **options):
    return opening.load(name, split, data_dir=str(folder), check=False, **options)


def splits_of(name, folder, **options):
    return {split: values(load(name, split, folder, **options)) for split in opening.SPLITS}


@pytest.mark.parametrize("name", list(REGISTRY))
def test_from_archive_to_examples(name, tmp_path):
    made = MAKERS[name](tmp_path)
    found = splits_of(name, tmp_path)
    assert load(name, "test", tmp_path).class_names == tuple(made.class_names)
    assert found["train+validation"] == found["train"] | found["validation"]
    assert not found["train"].keys() & found["validation"].keys()
    if made.validation is not None:
        assert found["train"] == made.train
        assert found["validation"] == made.validation
        assert found["test"] == made.test
    elif name == "caltech101":
        assert found["train+validation"] | found["test"] == made.train
        assert not found["train+validation"].keys() & found["test"].keys()
        assert sorted(found["test"].values()) == [0] * 3 + [1] * 2
    else:
        assert found["train+validation"] == made.train
        assert found["test"] == made.test


@pytest.mark.thorough
@pytest.mark.parametrize("name", HELD_OUT)
def test_the_share_that_is_held_out_is_even_and_follows_the_seed(name, tmp_path):
    MAKERS[name](tmp_path)
    entry = REGISTRY[name]
    total = load(name, "train+validation", tmp_path).num_examples
    held = [values(load(name, "validation", tmp_path, seed=seed)) for seed in range(4)]
    expected = round(total * entry.validation / (entry.train + entry.validation))
    for found in held:
        counts = np.bincount(list(found.values()), minlength=2)
        assert counts.sum() == expected
        assert np.ptp(counts) <= 1
    assert len({tuple(sorted(found)) for found in held}) > 1


def test_holding_out_takes_exactly_so_many_of_uneven_classes():
    labels = np.repeat(np.arange(3), [70, 20, 10])
    examples = Examples(np.array([str(i) for i in range(100)]), labels, np.arange(100))
    chosen = hold_out(examples, 17, seed=0)
    # Shares 11.9, 3.4 and 1.7: the largest remainders are rounded up.
    np.testing.assert_array_equal(np.bincount(labels[chosen]), [12, 3, 2])


def test_the_registry_is_the_table_of_the_protocol():
    sizes = {n: (e.num_classes, e.train, e.validation, e.test) for n, e in REGISTRY.items()}
    assert sizes == {
        "food101": (101, 68175, 7575, 25250),
        "cifar10": (10, 45000, 5000, 10000),
        "cifar100": (100, 44933, 5067, 10000),
        "birdsnap": (500, 42405, 4981, 2443),
        "sun397": (397, 15880, 3970, 19850),
        "cars": (196, 6494, 1650, 8041),
        "aircraft": (100, 3334, 3333, 3333),
        "voc2007": (20, 2501, 2510, 4952),
        "dtd": (47, 1880, 1880, 1880),
        "pets": (37, 2940, 740, 3669),
        "caltech101": (102, 2550, 510, 6084),
        "flowers": (102, 1020, 1020, 6149),
    }
    by_metric = {m: [n for n, e in REGISTRY.items() if e.metric == m] for m in (
        registry.MEAN_PER_CLASS, registry.MEAN_AVERAGE_PRECISION)}  # fmt: skip
    assert by_metric[registry.MEAN_PER_CLASS] == ["aircraft", "pets", "caltech101", "flowers"]
    assert by_metric[registry.MEAN_AVERAGE_PRECISION] == ["voc2007"]
    official = [n for n, e in REGISTRY.items() if e.official_validation]
    assert official == ["aircraft", "voc2007", "dtd", "flowers"]


def test_images_with_several_labels_are_for_pretraining_alone(tmp_path, monkeypatch):
    made = MAKERS["voc2007"](tmp_path)
    unchecked = functools.partial(opening.load, check=False)
    monkeypatch.setattr(datasets.transfer, "load", unchecked)
    dataset = datasets.load("transfer/voc2007", "train", data_dir=str(tmp_path))
    assert (dataset.num_classes, dataset.class_names) == (None, None)
    assert dataset.num_examples == len(made.train)
    assert next(iter(dataset.examples())).keys() == {"position", "number", "image"}


def test_unpacked_files_do_as_well_as_archives(tmp_path):
    made = MAKERS["food101"](tmp_path)
    unpack(tmp_path / "food-101.tar.gz", tmp_path / "elsewhere")
    for folder in ("elsewhere", "elsewhere/food-101"):
        assert values(load("food101", "test", tmp_path / folder)) == made.test
    assert not (tmp_path / "unpacked").exists()


def test_archives_are_unpacked_once(tmp_path):
    made = MAKERS["food101"](tmp_path)
    load("food101", "train", tmp_path)
    (tmp_path / "food-101.tar.gz").write_bytes(b"damaged in the meantime")
    assert values(load("food101", "test", tmp_path)) == made.test


def test_a_folder_for_each_data_set(tmp_path):
    for name in ("dtd", "flowers"):
        (tmp_path / name).mkdir()
        made = MAKERS[name](tmp_path / name)
        assert values(load(name, "test", tmp_path)) == made.test


def test_cifar10_as_class_folders(tmp_path):
    for i, path in enumerate(["train/airplane", "train/dog", "test/dog", "test/airplane"]):
        (tmp_path / path).mkdir(parents=True)
        (tmp_path / path / "0001.jpg").write_bytes(official_archives.jpeg(i))
    assert values(load("cifar10", "train+validation", tmp_path)) == {0: 0, 1: 1}
    assert values(load("cifar10", "test", tmp_path)) == {2: 1, 3: 0}


def test_cifar_keeps_its_channels(tmp_path):
    MAKERS["cifar100"](tmp_path)
    (example, *_) = load("cifar100", "test", tmp_path).examples()
    image = decode_image(example["image"]).numpy()
    assert image.shape == (32, 32, 3)
    np.testing.assert_array_equal(image[7, 9], [60, 61, 62])


def test_the_banner_of_aircraft_is_cut_off(tmp_path):
    MAKERS["aircraft"](tmp_path)
    for example in load("aircraft", "train", tmp_path).examples():
        image = decode_image(example["image"]).numpy()
        assert image.shape == (32, 8, 3)
        assert image.max() < 255


def test_missing_images_of_birdsnap_are_reported(tmp_path, caplog):
    made = official_archives.birdsnap(tmp_path, gone=(3, 60))
    with caplog.at_level(logging.WARNING, logger="absl"):
        train, test = (load("birdsnap", s, tmp_path) for s in ("train+validation", "test"))
    assert values(train) == {v: label for v, label in made.train.items() if v != 3}
    assert values(test) == {61: 0}
    assert train.skipped_files == ("Blue_Jay/903.jpg",)
    assert test.skipped_files == ("Blue_Jay/960.jpg",)
    assert "1 of Birdsnap's 20 images for train are missing in " in caplog.text
    assert "the first is Blue_Jay/903.jpg;" in caplog.text


def test_missing_images_of_others_are_an_error(tmp_path):
    MAKERS["food101"](tmp_path)
    load("food101", "train", tmp_path)
    gone = next((tmp_path / "unpacked").glob("*/food-101/images/sushi/*.jpg"))
    gone.unlink()
    with pytest.raises(UserError, match=f"1 of the .* are missing .*{gone.name}"):
        load("food101", "train", tmp_path)


def test_other_sizes_than_the_official_ones_are_an_error(tmp_path):
    MAKERS["dtd"](tmp_path)
    unpack(tmp_path / "dtd-r1.0.1.tar.gz", tmp_path / "dtd-files")
    with pytest.raises(
        UserError,
        match="should have 47 classes and 1880 images for test, .* has 2 classes and 2 images",
    ):
        datasets.load("transfer/dtd", "train", data_dir=str(tmp_path / "dtd-files"))


def test_the_sum_of_an_archive_is_checked(tmp_path, monkeypatch):
    MAKERS["dtd"](tmp_path)
    with pytest.raises(UserError, match="is not the official file: its MD5 sum is"):
        datasets.load("transfer/dtd", "train", data_dir=str(tmp_path))
    assert not (tmp_path / "unpacked").exists()
    digest = hashlib.md5((tmp_path / "dtd-r1.0.1.tar.gz").read_bytes()).hexdigest()
    expect_md5(monkeypatch, "dtd", digest)
    with pytest.raises(UserError, match="should have 47 classes"):
        datasets.load("transfer/dtd", "train", data_dir=str(tmp_path))


@pytest.mark.parametrize(
    ("name", "split", "message"),
    [
        ("food102", "train", "Unknown transfer data set 'food102'.*Did you mean: food101"),
        ("food101", "val", "no split 'val'; it has train, validation, test, train.validation"),
        ("food101", "train", "needs food-101/meta, which is neither in .*http"),
        ("birdsnap", "train", "needs birdsnap/images.txt"),
    ],
)
def test_what_is_not_there_is_one_clear_line(tmp_path, name, split, message):
    with pytest.raises(UserError, match=message):
        datasets.load(f"transfer/{name}", split, data_dir=str(tmp_path))


def test_a_directory_that_is_not_there_is_one_clear_line(tmp_path):
    with pytest.raises(UserError, match="is no directory"):
        datasets.load("transfer/birdsnap", "train", data_dir=str(tmp_path / "nowhere"))
