"""Files that were decoded before are not decoded again, as long as they are the same."""

import os

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf.data import datasets, remembered


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Where it is remembered; whatever was written before now counts as settled."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(remembered, "_SETTLED_AFTER", 0)
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path):
    """Two classes: a PNG of 16 bits, a JPEG to be turned, some others, and a damaged one."""
    folder = tmp_path / "images"
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        for i in range(3):
            pixels = tf.constant(40 * i, tf.uint8, (6, 5, 3))
            (folder / name / f"{i}.png").write_bytes(tf.io.encode_png(pixels).numpy())
    deep = tf.constant(1023, tf.uint16, (4, 4, 3))
    (folder / "a/deep.png").write_bytes(tf.io.encode_png(deep).numpy())
    jpeg = tf.io.encode_jpeg(tf.zeros((6, 5, 3), tf.uint8)).numpy()
    tag = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    exif = b"\xff\xe1" + (2 + len(tag)).to_bytes(2, "big") + tag
    (folder / "a/turned.jpg").write_bytes(jpeg[:2] + exif + jpeg[2:])
    (folder / "b/bad.png").write_bytes(b"\x89PNG")
    return folder


@pytest.fixture
def looked_at(monkeypatch):
    """The names of the files that are decoded."""
    names = []
    check = remembered.check_files

    def noted(paths):
        names.extend(os.path.basename(path) for path in paths)
        return check(paths)

    monkeypatch.setattr(remembered, "check_files", noted)
    return names


def opened(folder, looked_at, split="all", **options):
    """(the data set, the files that were decoded to open it)"""
    looked_at.clear()
    dataset = datasets.load("image_folder", split, data_dir=str(folder), **options)
    return dataset, sorted(looked_at)


def test_a_second_look_finds_the_same_and_decodes_what_was_bad_alone(
    folder, cache, looked_at, caplog
):
    caplog.set_level("WARNING")
    first, all_files = opened(folder, looked_at)
    assert len(all_files) == 9
    said = caplog.messages[:]
    assert [s.split("%")[0] for s in said] and any("of 9 images are turned" in s for s in said)
    assert any("values end at 1023" in s for s in said)
    caplog.clear()
    second, again = opened(folder, looked_at)
    assert again == ["bad.png"]
    assert caplog.messages == said
    assert second.skipped_files == first.skipped_files == ("b/bad.png",)
    assert second.file_names == first.file_names


@pytest.mark.slow
def test_splits_share_what_is_remembered(folder, cache, looked_at):
    held = opened(folder, looked_at, "test", holdout_fraction=0.4)[1]
    assert 0 < len(held) < 9
    train = opened(folder, looked_at, "train", holdout_fraction=0.4)[1]
    assert len(held) + len(train) == 9
    assert set(opened(folder, looked_at)[1]) == {"bad.png"}


def test_a_photograph_that_is_dated_in_the_future_is_remembered(folder, cache, looked_at):
    os.utime(folder / "a/0.png", (4e9, 4e9))
    opened(folder, looked_at)
    assert opened(folder, looked_at)[1] == ["bad.png"]


def test_a_file_that_changed_is_looked_at_again(folder, cache, looked_at):
    opened(folder, looked_at)
    times = os.stat(folder / "a/0.png")
    content = (folder / "a/0.png").read_bytes()
    (folder / "a/0.png").write_bytes(content[:-30] + bytes(30))
    os.utime(folder / "a/0.png", ns=(times.st_atime_ns, times.st_mtime_ns))  # same size and time
    (folder / "b/1.png").write_bytes(b"")
    (folder / "b/bad.png").write_bytes(content)
    (folder / "b/new.png").write_bytes(content)
    dataset, again = opened(folder, looked_at)
    assert again == ["0.png", "1.png", "bad.png", "new.png"]
    assert dataset.skipped_files == ("a/0.png", "b/1.png")
    assert opened(folder, looked_at)[1] == ["0.png", "1.png"]


@pytest.mark.slow
def test_a_file_whose_state_was_not_known_is_not_remembered(folder, cache, looked_at, monkeypatch):
    ask = remembered.states_of

    def failing(paths):
        states = ask(paths)
        states.stamps[0] = -1  # as where the file system gave no answer, this once
        return states

    monkeypatch.setattr(remembered, "states_of", failing)
    opened(folder, looked_at)
    assert opened(folder, looked_at)[1] == ["0.png", "bad.png"]


@pytest.mark.slow
def test_a_file_that_changed_just_now_is_not_trusted(folder, cache, looked_at, monkeypatch):
    monkeypatch.setattr(remembered, "_SETTLED_AFTER", 3600 * 10**9)
    opened(folder, looked_at)
    assert not cache.exists()
    assert len(opened(folder, looked_at)[1]) == 9


def damaged(content):
    return content[: len(content) // 2]


def flipped(content):
    place = content.index(b"NUMPY", content.index(b"stamps")) + 200
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@pytest.mark.thorough
@pytest.mark.parametrize(
    "harm",
    [
        damaged,
        pytest.param(flipped, marks=pytest.mark.slow),
        pytest.param(lambda _: b"", marks=pytest.mark.slow),
        pytest.param(lambda _: b"{}", marks=pytest.mark.slow),
    ],
)
def test_a_damaged_memory_is_as_good_as_none(folder, cache, looked_at, harm):
    opened(folder, looked_at)
    (file,) = (cache / "simclr_tf/checked_images").iterdir()
    file.write_bytes(harm(file.read_bytes()))
    assert len(opened(folder, looked_at)[1]) == 9
    assert opened(folder, looked_at)[1] == ["bad.png"]  # it has been replaced


@pytest.mark.thorough
@pytest.mark.parametrize(
    "change",
    [
        {"format": "1, TensorFlow 1.0"},
        {"turned": np.zeros(3, bool)},
        pytest.param({"names": np.zeros(8, np.uint64)}, marks=pytest.mark.slow),
        pytest.param({"turned": np.zeros(8, object)}, marks=pytest.mark.slow),
        pytest.param({"stamps": np.zeros((8, 2), np.int64)}, marks=pytest.mark.slow),
        pytest.param({"largest": None}, marks=pytest.mark.slow),
    ],
)
def test_a_memory_of_another_kind_is_as_good_as_none(folder, cache, looked_at, change):
    opened(folder, looked_at)
    (file,) = (cache / "simclr_tf/checked_images").iterdir()
    stored = dict(np.load(file)) | change
    np.savez(file, **{name: value for name, value in stored.items() if value is not None})
    assert len(opened(folder, looked_at)[1]) == 9


@pytest.mark.slow
def test_where_nobody_may_write(folder, cache, looked_at):
    cache.write_text("a file")
    for _ in range(2):
        assert len(opened(folder, looked_at)[1]) == 9


def test_two_processes_at_once(folder, cache, looked_at, monkeypatch):
    """Another writes between reading and writing: one of the two is kept, whole."""
    write = remembered._write

    def after_another(place, memory):
        write(place, remembered._NOTHING)
        write(place, memory)

    monkeypatch.setattr(remembered, "_write", after_another)
    opened(folder, looked_at)
    assert opened(folder, looked_at)[1] == ["bad.png"]
    assert len(os.listdir(cache / "simclr_tf/checked_images")) == 1
