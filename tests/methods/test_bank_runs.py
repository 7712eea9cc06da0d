"""Whole runs with a bank of rows: files that are left out, records in sequence, and going on."""

import shutil

import numpy as np
import pytest
import tensorflow as tf
import training

from simclr_tf.data.packing import pack

pytestmark = pytest.mark.usefixtures("toy_encoder")

READABLE = 11  # of which a batch of 4 takes some twice where one epoch ends and the next begins
FLAGS = {"method": "instdisc", "negatives": 5, "train_batch_size": 4, "image_size": 12}
FLAGS |= {"train_steps": 8, "checkpoint_steps": 2}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of eleven images and a file that is none."""
    folder, draws = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for i in range(READABLE):
        pixels = draws.integers(0, 256, (16, 16, 3)).astype(np.uint8)
        (folder / "ab"[i % 2]).mkdir(exist_ok=True)
        (folder / "ab"[i % 2] / f"{i}.png").write_bytes(tf.io.encode_png(pixels).numpy())
    (folder / "a" / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    return folder


def bank_of(directory, step):
    """The rows of the bank in a checkpoint."""
    reader = tf.train.load_checkpoint(str(directory / f"ckpt-{step}"))
    (name,) = [n for n in reader.get_variable_to_shape_map() if "bank" in n and "rows" in n]
    return reader.get_tensor(name)


def check(data, tmp_path):
    """A bank has a row for every image that can be read, and is the same after a kill."""
    values = FLAGS | data
    whole = tmp_path / "whole"
    assert training.run(whole, **values) == 0
    banks = [bank_of(whole, step) for step in (2, 4, 6, 8)]
    assert {bank.shape[0] for bank in banks} == {READABLE}
    np.testing.assert_allclose(np.linalg.norm(banks[-1], axis=1), 1, atol=0.2)
    changed = [np.any(a != b, axis=1).sum() for a, b in zip(banks, banks[1:], strict=False)]
    assert all(4 <= number <= 8 for number in changed)  # of two steps
    assert np.any(banks[0] != banks[-1], axis=1).all()

    directory = shutil.copytree(whole, tmp_path / "killed")
    for file in [*directory.glob("ckpt-6.*"), *directory.glob("ckpt-8.*")]:
        file.unlink()
    assert training.run(directory, **values) == 0  # from step 4, in the second epoch
    np.testing.assert_allclose(bank_of(directory, 8), banks[-1], rtol=1e-5, atol=1e-6)


@pytest.mark.thorough
def test_a_folder_with_a_file_that_is_left_out(photos, tmp_path):
    check({"dataset": "image_folder", "data_dir": str(photos), "train_split": "all"}, tmp_path)


@pytest.mark.slow
def test_records_that_are_read_in_sequence(photos, tmp_path):
    packed = pack(str(photos), str(tmp_path / "packed"), labels="none")
    assert sum(packed.images.values()) == READABLE
    check({"dataset": str(tmp_path / "packed"), "train_split": "train"}, tmp_path)
