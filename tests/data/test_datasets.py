"""Data sets by name, and the order of their streams."""

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf.data import datasets, subsets
from simclr_tf.data.decode import decode_image
from simclr_tf.data.sources import ImageDataset, IndexedSource, Positions
from simclr_tf.errors import UserError


@pytest.fixture(params=["indexed", "tfds", pytest.param("tfds_cached", marks=pytest.mark.thorough)])
def dataset(request):
    """23 images; image i has value i."""
    if request.param == "indexed":
        pngs = tf.stack([tf.io.encode_png(np.full((4, 4, 3), i, np.uint8)) for i in range(23)])
        source = IndexedSource(lambda i: pngs[i], 23, np.arange(23) % 3)
        return ImageDataset("greys", "train", 23, 3, None, source)
    return datasets.load(
        "tiny_greys",
        "train",
        data_dir=request.getfixturevalue("greys_dir"),
        cache=request.param == "tfds_cached",
    )


def numbers(dataset, count, positions=Positions(), seed=0):
    """[(position, number of the image)] of the first `count` examples."""
    found = []
    for example in dataset.examples(positions, seed=seed, shuffle_buffer=8).take(count):
        value = int(decode_image(example["image"])[0, 0, 0])
        assert int(example["label"]) == value % 3
        found.append((int(example["position"]), value))
    return found


def test_positions_of_a_host():
    positions = Positions(start=12, period=6, offset=2, length=3)
    first = [positions.at(i) for i in range(5)]
    assert first == [14, 15, 16, 20, 21]
    assert [positions.at(i) for i in range(positions.count(21))] == [14, 15, 16, 20]
    expected = {12: 0, 14: 0, 15: 1, 17: 3, 18: 3, 20: 3, 21: 4}
    assert {stop: positions.count(stop) for stop in expected} == expected
    kept = [p for p in range(12, 22) if positions.contain(tf.constant(p, tf.int64))]
    assert kept == first


def test_images_are_still_encoded_in_the_stream(dataset):
    spec = dataset.examples(seed=0).element_spec
    assert spec == {
        "position": tf.TensorSpec((), tf.int64),
        "number": tf.TensorSpec((), tf.int64),
        "image": tf.TensorSpec((), tf.string),
        "label": tf.TensorSpec((), tf.int64),
    }


def test_every_epoch_has_every_image_in_another_order(dataset):
    stream = numbers(dataset, 69)
    assert [position for position, _ in stream] == list(range(69))
    epochs = [[value for _, value in stream[i : i + 23]] for i in (0, 23, 46)]
    assert all(sorted(epoch) == list(range(23)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert list(range(23)) not in epochs


def test_order_follows_the_seed_and_nothing_else(dataset):
    tf.random.set_seed(1)
    first = numbers(dataset, 30, seed=0)
    after = tf.random.uniform(()).numpy()
    tf.random.set_seed(2)
    assert numbers(dataset, 30, seed=0) == first
    assert numbers(dataset, 30, seed=1) != first
    tf.random.set_seed(1)
    assert tf.random.uniform(()).numpy() == after  # the stream left the global seed alone


@pytest.mark.parametrize(
    "start", [1, 23, 60, *(pytest.param(n, marks=pytest.mark.slow) for n in (22, 40))]
)
def test_stream_resumes_at_any_position(dataset, start):
    assert numbers(dataset, 70 - start, Positions(start)) == numbers(dataset, 70)[start:]


def test_hosts_share_the_stream(dataset):
    whole = numbers(dataset, 48)
    shares = [numbers(dataset, 24, Positions(0, 8, offset, 4)) for offset in (0, 4)]
    assert sorted(shares[0] + shares[1]) == whole
    assert [position for position, _ in shares[1][:5]] == [4, 5, 6, 7, 12]


def test_without_seed_every_image_comes_once_in_one_order(dataset):
    stream = numbers(dataset, -1, seed=None)
    assert sorted(value for _, value in stream) == list(range(23))
    assert numbers(dataset, -1, seed=None) == stream
    assert numbers(dataset, -1, Positions(20), seed=None) == stream[20:]


@pytest.mark.thorough
def test_cache_does_not_change_the_order(greys_dir):
    read, cached = (
        datasets.load("tiny_greys", "train", data_dir=greys_dir, cache=cache)
        for cache in (False, True)
    )
    assert numbers(read, 50) == numbers(cached, 50)


def test_tfds_data_set(greys_dir):
    dataset = datasets.load("tiny_greys", "test", data_dir=greys_dir)
    assert (dataset.num_examples, dataset.num_classes) == (5, 3)
    assert dataset.class_names == ("black", "grey", "white")
    sliced = datasets.load("tiny_greys", "train[4:10]", data_dir=greys_dir)
    assert sliced.num_examples == 6
    assert sorted(value for _, value in numbers(sliced, 6)) == sorted(
        value for _, value in numbers(sliced, -1, seed=None)
    )


def test_digits():
    train, test = datasets.load("digits", "train"), datasets.load("digits", "test")
    assert (train.num_examples, test.num_examples) == (1438, 359)
    assert train.num_classes == 10 and train.class_names == tuple("0123456789")
    labels = {d.split: [int(e["label"]) for e in d.examples()] for d in (train, test)}
    tested = np.bincount(labels["test"])
    assert tested.tolist() == [36, 36, 35, 37, 36, 36, 36, 36, 35, 36]  # a fifth of every class
    everything = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert (np.bincount(labels["train"]) + tested).tolist() == everything
    images = np.stack([decode_image(e["image"]) for e in test.examples()])
    assert images.shape == (359, 8, 8, 3) and images.max() == 255 and images.min() == 0
    validation = datasets.load("digits", "validation", split_seed=5)
    again = np.stack([decode_image(e["image"]) for e in validation.examples()])
    np.testing.assert_array_equal(images, again)


def test_digits_keep_their_pixels():
    from sklearn.datasets import load_digits

    known = {np.rint(image * 255 / 16).astype(np.uint8).tobytes() for image in load_digits().images}
    for example in datasets.load("digits", "train").examples().take(50):
        assert decode_image(example["image"])[..., 0].numpy().tobytes() in known


@pytest.mark.parametrize(
    ("name", "split", "message"),
    [
        ("cifar11", "train", r"Unknown data set 'cifar11'.*Did you mean:.* cifar10"),
        ("cifar-10", "train", r"Unknown data set 'cifar-10'.*Did you mean: cifar10"),
        ("cifar10/nope", "train", r"Unknown data set 'cifar10/nope'.*Did you mean:.* cifar10"),
        ("image_foldr", "train", r"Did you mean: image_folder"),
        ("digits", "trian", r"no split 'trian'; it has train, test, validation\. Did you mean: tr"),
        ("tiny_greys", "tst", r"no split 'tst'; it has test, train\. Did you mean: test"),
        ("tiny_greys", "train[", r"no split 'train\['; it has test, train\."),
        ("tiny_greys", "train[:0]", r"has no examples"),
    ],
)
def test_unknown_names_are_one_clear_line(greys_dir, name, split, message):
    with pytest.raises(UserError, match=message) as error:
        datasets.load(name, split, data_dir=greys_dir)
    assert "\n" not in str(error.value)


def test_data_that_cannot_be_prepared(tmp_path, monkeypatch):
    import tensorflow_datasets as tfds

    def offline(self, **_):
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", offline)
    with pytest.raises(UserError, match=r"ConnectionError: no route to host.*--data_dir") as error:
        datasets.load("cifar10", "train", data_dir=str(tmp_path))
    assert str(tmp_path) in str(error.value) and "image_folder" in str(error.value)


def test_data_that_another_process_prepared_meanwhile(greys_dir, monkeypatch):
    import tensorflow_datasets as tfds

    def late(self, **_):
        raise FileExistsError("Cannot rename tiny_greys.incomplete: it already exists")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", late)
    assert datasets.load("tiny_greys", "train", data_dir=greys_dir).num_examples > 0


def test_tfds_data_set_without_images(tmp_path):
    import tensorflow_datasets as tfds

    tfds.dataset_builders.store_as_tfds_dataset(
        name="only_words",
        version="1.0.0",
        features=tfds.features.FeaturesDict({"word": tfds.features.Text()}),
        split_datasets={"train": [(0, {"word": "a"})]},
        data_dir=tmp_path,
    )
    with pytest.raises(UserError, match="only_words has no feature `image`; it has word"):
        datasets.load("only_words", "train", data_dir=str(tmp_path))


def store(data_dir, name, label, labels):
    """A TFDS data set of small images with these labels."""
    import tensorflow_datasets as tfds

    image = np.zeros((4, 4, 3), np.uint8)
    features = {"image": tfds.features.Image(shape=(None, None, 3)), "label": label}
    tfds.dataset_builders.store_as_tfds_dataset(
        name=name,
        version="1.0.0",
        features=tfds.features.FeaturesDict(features),
        split_datasets={"train": [(i, {"image": image, "label": v}) for i, v in enumerate(labels)]},
        data_dir=data_dir,
    )
    return datasets.load(name, "train", data_dir=str(data_dir))


def test_a_split_whose_labels_are_all_minus_one_has_none(tmp_path, caplog):
    import tensorflow_datasets as tfds

    label = tfds.features.ClassLabel(names=["a", "b"])
    found = store(tmp_path, "without", label, [-1] * 6)
    assert found.num_classes is None and found.class_names is None
    assert "label" not in next(iter(found.examples()))
    assert "are -1" in caplog.text and "images without labels" in caplog.text
    mixed = store(tmp_path, "mixed", label, [-1, 1, -1, 0, 1, -1])
    assert mixed.num_classes == 2
    labels = subsets.labels_of(mixed)
    assert sorted(labels) == [-1, -1, -1, 0, 1, 1]
    chosen = subsets.choose(labels, 2, per_class=1)
    assert sorted(labels[chosen]) == [0, 1]


def test_integer_labels_that_are_no_class_label_are_not_called_none(tmp_path, caplog):
    import tensorflow_datasets as tfds

    label = tfds.features.Scalar(np.int64)
    found = store(tmp_path, "numbered", label, [0, 1, 2, 0])
    assert found.num_classes is None
    assert "is no ClassLabel but" in caplog.text and "int64" in caplog.text
