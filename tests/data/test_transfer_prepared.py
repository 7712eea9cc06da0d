"""Transfer data sets as TensorFlow Datasets prepared them, and our own builders for it."""

import dataclasses
import logging

import numpy as np
import official_archives
import pytest
from official_archives import expect_md5, values

from simclr_tf.data import datasets, tfds_source
from simclr_tf.data.decode import decode_image
from simclr_tf.data.sources import Positions
from simclr_tf.data.transfer import opening
from simclr_tf.data.transfer.registry import REGISTRY
from simclr_tf.errors import UserError


def load(name, split, folder, **options):
    return opening.load(name, split, data_dir=str(folder), check=False, **options)


@pytest.mark.parametrize(
    ("name", "split", "asked"),
    [
        ("food101", "train", ("food101", "train")),
        ("food101", "validation", ("food101", "train")),
        ("food101", "train+validation", ("food101", "train")),
        ("food101", "test", ("food101", "validation")),
        ("dtd", "train+validation", ("dtd", "train+validation")),
        ("dtd", "validation", ("dtd", "validation")),
        ("pets", "test", ("oxford_iiit_pet", "test")),
        ("aircraft", "validation", ("fgvc_aircraft", "validation")),
        ("birdsnap", "validation", ("birdsnap", "train")),
        ("voc2007", "train+validation", ("voc/2007", "train+validation")),
        ("sun397", "test", ("sun397/standard-part1-120k", "test")),
    ],
)
def test_tfds_is_asked_without_a_directory_or_with_one_of_its_own(
    tmp_path, monkeypatch, name, split, asked
):
    calls = []

    def load(name, split, **_):
        calls.append((name, split))
        raise UserError("It cannot be prepared.")

    monkeypatch.setattr(tfds_source, "load", load)
    (first, *_) = REGISTRY[name].downloads
    message = f"It cannot be prepared. Or give --data_dir, a directory with {first.file} .http"
    with pytest.raises(UserError, match=message):
        datasets.load(f"transfer/{name}", split)
    prepared = tmp_path / asked[0] / "3.0.0"
    prepared.mkdir(parents=True)
    (prepared / "dataset_info.json").write_text("{}")
    with pytest.raises(UserError, match=message):
        datasets.load(f"transfer/{name}", split, data_dir=str(tmp_path))
    assert calls == [asked, asked]


@pytest.fixture
def prepared_greys(greys_dir, monkeypatch):
    """The 23 + 5 images of `tiny_greys` in the place of Food-101 in TensorFlow Datasets."""
    entry = dataclasses.replace(
        REGISTRY["food101"],
        tfds="tiny_greys",
        tfds_test="test",
        num_classes=3,
        train=18,
        validation=5,
        test=5,
    )
    monkeypatch.setitem(REGISTRY, "food101", entry)
    return greys_dir


@pytest.mark.slow
def test_of_what_tfds_prepared_the_seed_holds_out_the_same_share_of_every_class(prepared_greys):
    def load_greys(split, seed=0):
        return opening.load("food101", split, data_dir=prepared_greys, seed=seed)

    everything = values(load_greys("train+validation"))
    assert everything == {i: i % 3 for i in range(23)}
    held = [values(load_greys("validation", seed)) for seed in range(4)]
    for seed, validation in enumerate(held):
        # Shares of 8, 8 and 7 images: 1.74, 1.74 and 1.52.
        assert np.bincount(list(validation.values())).tolist() == [2, 2, 1]
        train = load_greys("train", seed)
        assert (train.split, train.num_examples, train.num_classes) == ("train", 18, 3)
        assert not values(train).keys() & validation.keys()
        assert values(train) | validation == everything
    assert len({tuple(sorted(validation)) for validation in held}) > 1
    assert values(load_greys("validation", 2)) == held[2]


@pytest.mark.slow
def test_the_rest_of_what_tfds_prepared_is_read_in_sequence(prepared_greys):
    train = opening.load("food101", "train", data_dir=prepared_greys)
    grey = [decode_image(e["image"])[0, 0, 0].numpy() for e in train.examples(seed=1).take(50)]
    assert sorted(grey[:18]) == sorted(grey[18:36]) == sorted(values(train))
    assert grey[:18] != grey[18:36]
    later = train.examples(Positions(start=25), seed=1).take(25)
    assert [decode_image(e["image"])[0, 0, 0].numpy() for e in later] == grey[25:]
    cached = opening.load("food101", "train", data_dir=prepared_greys, cache=True)
    assert values(cached) == values(train)


def test_sizes_of_what_tfds_prepared_are_checked(prepared_greys, monkeypatch):
    few = dataclasses.replace(REGISTRY["food101"], train=16)
    monkeypatch.setitem(REGISTRY, "food101", few)
    with pytest.raises(
        UserError,
        match="3 classes and 21 images for train.validation, .* 3 classes and 23 images for train",
    ):
        opening.load("food101", "train", data_dir=prepared_greys)
    assert opening.load("food101", "test", data_dir=prepared_greys).num_examples == 5
    load("food101", "train", prepared_greys)


def test_images_that_are_gone_are_reported_and_not_refused(prepared_greys, monkeypatch, caplog):
    lacking = dataclasses.replace(REGISTRY["food101"], train=20, lacks_images=True)
    monkeypatch.setitem(REGISTRY, "food101", lacking)
    with caplog.at_level(logging.WARNING, logger="absl"):
        assert (
            opening.load("food101", "train+validation", data_dir=prepared_greys).num_examples == 23
        )
    assert "2 of the 25 images for train+validation of food101 are missing" in caplog.text
    monkeypatch.setitem(REGISTRY, "food101", dataclasses.replace(lacking, train=16))
    with pytest.raises(UserError, match="23 images for train"):
        opening.load("food101", "train", data_dir=prepared_greys)


def test_voc_as_tfds_prepared_it(tmp_path):
    import tensorflow_datasets as tfds

    made = official_archives.voc2007(tmp_path)
    several = tfds.features.Sequence(tfds.features.ClassLabel(names=made.class_names))

    def example(value, labels):
        return {
            "image": np.full((6, 5, 3), value, np.uint8),
            "labels": [i for i, label in enumerate(labels) if label],
            "labels_no_difficult": [i for i, label in enumerate(labels) if label == 1],
        }

    splits = {"train": made.train, "validation": made.validation, "test": made.test}
    tfds.dataset_builders.store_as_tfds_dataset(
        name="voc",
        config="2007",
        version="5.0.0",
        features=tfds.features.FeaturesDict(
            {"image": tfds.features.Image(), "labels": several, "labels_no_difficult": several}
        ),
        split_datasets={
            split: [(str(v), example(v, labels)) for v, labels in images.items()]
            for split, images in splits.items()
        },
        data_dir=tmp_path / "tfds",
    )
    for split, images in splits.items():
        dataset = load("voc2007", split, tmp_path / "tfds")
        assert dataset.class_names == made.class_names
        assert values(dataset) == images
    assert values(load("voc2007", "train+validation", tmp_path / "tfds")) == (
        made.train | made.validation
    )


def prepared(name, manual_dir, data_dir):
    """A builder after it has prepared its files."""
    import tensorflow_datasets as tfds

    from simclr_tf.data.transfer import builders  # noqa: F401

    builder = tfds.builder(name, data_dir=data_dir)
    config = tfds.download.DownloadConfig(manual_dir=manual_dir)
    builder.download_and_prepare(download_config=config)
    return builder


@pytest.mark.slow
def test_our_builder_of_aircraft(tmp_path, monkeypatch):
    expect_md5(monkeypatch, "aircraft", None)
    made = official_archives.aircraft(tmp_path)
    data_dir = tmp_path / "tfds"
    builder = prepared("fgvc_aircraft", tmp_path, data_dir)
    assert tuple(builder.info.features["label"].names) == made.class_names
    for split in ("train", "validation", "test"):
        dataset = load("aircraft", split, data_dir)
        assert dataset.name == "fgvc_aircraft"
        assert values(dataset) == getattr(made, split)
        for example in dataset.examples():
            assert decode_image(example["image"]).shape[0] == 32


def test_our_builder_of_birdsnap(tmp_path, caplog):
    made = official_archives.birdsnap(tmp_path, gone=(3,))
    data_dir = tmp_path / "tfds"
    with caplog.at_level(logging.WARNING, logger="absl"):
        prepared("birdsnap", tmp_path, data_dir)
    assert "the first is Blue_Jay/903.jpg;" in caplog.text
    test = load("birdsnap", "test", data_dir)
    assert values(test) == made.test
    train = load("birdsnap", "train+validation", data_dir)
    assert values(train) == {v: label for v, label in made.train.items() if v != 3}


def test_aircraft_is_downloaded_where_it_is_not_at_hand(tmp_path, monkeypatch):
    expect_md5(monkeypatch, "aircraft", None)
    from simclr_tf.data.transfer.builders import FgvcAircraft

    official_archives.aircraft(tmp_path)
    (tmp_path / "fgvc-aircraft-2013b.tar.gz").rename(tmp_path / "downloaded.AbC.gz")

    class Downloads:
        @property
        def manual_dir(self):
            raise AssertionError("Manual directory does not exist")

        def download(self, url):
            assert url.endswith("/fgvc-aircraft/archives/fgvc-aircraft-2013b.tar.gz")
            return tmp_path / "downloaded.AbC.gz"

    parts = FgvcAircraft(data_dir=tmp_path / "tfds")._split_generators(Downloads())
    assert [key for key, _ in parts["validation"]] == ["1030", "1031", "1032"]
