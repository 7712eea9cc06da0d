"""Packed image folders: the same pixels, read by TensorFlow Datasets, whenever they were killed."""

import errno
import io
import os
import shutil
import signal
import subprocess
import sys
import types

import numpy as np
import pytest
import tensorflow as tf
from commands import ROOT
from PIL import Image, ImageOps

from simclr_tf.data import datasets, exif, pack, packed_shards, packing
from simclr_tf.data.broken import naming_bad_images
from simclr_tf.data.decode import decode_image
from simclr_tf.errors import UserError

UPRIGHT = ("a/color.jpg", "a/grey.jpg", "b/color.png", "b/palette.png", "b/wide.jpg")
LOSSLESS = ("a/picture.bmp", "b/picture.gif")  # formats that are stored as PNG
TURNED = "b/turned.jpg"


def photograph(height, width):
    """Smooth colours with a little noise, (height, width, 3) uint8."""
    rng = np.random.default_rng(height * width)
    y, x = np.mgrid[:height, :width].astype(float)
    waves = [np.sin(x / 9 + i) + np.cos(y / (7 + i)) for i in range(3)]
    image = 128 + 55 * np.stack(waves, -1) + rng.normal(0, 3, (height, width, 3))
    return np.clip(image, 0, 255).astype(np.uint8)


def fill(folder):
    """Images of all kinds in two classes, and one that is damaged."""
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
    image = Image.fromarray(photograph(48, 40))
    image.save(folder / "a/color.jpg", quality=90)
    image.convert("L").save(folder / "a/grey.jpg")
    image.save(folder / "b/color.png")
    image.quantize(16).save(folder / "b/palette.png")
    image.save(folder / "a/picture.bmp")
    image.quantize(16).save(folder / "b/picture.gif")
    Image.fromarray(photograph(66, 200)).save(folder / "b/wide.jpg", quality=90)
    orientation = Image.Exif()
    orientation[0x112] = 6
    image.save(folder / TURNED, quality=90, exif=orientation)
    (folder / "a/bad.jpg").write_bytes((folder / "a/color.jpg").read_bytes()[::-1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    fill(folder)
    return folder


@pytest.fixture(scope="module")
def packed(folder, tmp_path_factory):
    """(where the data set is, what was packed)"""
    out = tmp_path_factory.mktemp("packed") / "photos-1"
    return out, packing.pack(str(folder), str(out), holdout_fraction=0.3)


def records(out):
    """{file name: (split, record)} as TensorFlow Datasets reads them, images still encoded."""
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(str(out))
    encoded = {"image": tfds.decode.SkipDecoding()}
    return {
        example["file_name"].decode(): (split, example)
        for split in builder.info.splits
        for example in tfds.as_numpy(builder.as_dataset(split=split, decoders=encoded))
    }


def contents(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def shards_are_small(monkeypatch):
    monkeypatch.setattr(packed_shards, "_SHARD_BYTES", 4000)


def test_upright_images_keep_their_bytes_and_others_their_pixels(folder, packed):
    out, report = packed
    found = records(out)
    assert set(found) == {*UPRIGHT, *LOSSLESS, TURNED}
    assert report.left_out == ("a/bad.jpg",)
    assert report.unchanged == len(UPRIGHT)
    for name in UPRIGHT:
        assert found[name][1]["image"] == (folder / name).read_bytes(), name
    for name in LOSSLESS:
        stored = found[name][1]["image"]
        assert stored.startswith(b"\x89PNG"), name
        expected = decode_image(tf.constant((folder / name).read_bytes()))
        np.testing.assert_array_equal(decode_image(tf.constant(stored)), expected, name)


def test_photographs_are_turned_upright(folder, packed):
    stored = records(packed[0])[TURNED][1]["image"]
    assert exif.orientation(tf.constant(stored)) == 1
    with Image.open(folder / TURNED) as image:
        expected = np.asarray(ImageOps.exif_transpose(image)).astype(float)
    found = decode_image(tf.constant(stored)).numpy()
    assert found.shape == (40, 48, 3)
    assert np.abs(found - expected).mean() < 2.5


def test_splits_labels_and_numbers_are_those_of_the_folder(folder, packed):
    out, report = packed
    found = records(out)
    names = {"train": [], "validation": []}
    for name, (split, record) in found.items():
        assert record["label"] == "ab".index(name[0])
        names[split].append((int(record["number"]), name))
    for split, pairs in names.items():
        opened = datasets.load("image_folder", split, data_dir=str(folder), holdout_fraction=0.3)
        assert report.images[split] == len(pairs) == opened.num_examples
        files = sorted([*opened.file_names, *opened.skipped_files])
        assert all(files[number] == name for number, name in pairs)


def test_tensorflow_datasets_decodes_them_by_itself(folder, packed):
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(str(packed[0]))
    assert builder.info.features["label"].names == ["a", "b"]
    for example in builder.as_dataset(split="all"):
        name = example["file_name"].numpy().decode()
        expected = decode_image(tf.constant((folder / name).read_bytes()))
        if name != TURNED:
            np.testing.assert_array_equal(example["image"], expected, name)


@pytest.mark.parametrize("given", ["path", "name", "address"])
def test_dataset_takes_the_directory(folder, packed, given):
    out = packed[0]
    name, data_dir = {
        "path": (str(out), None),
        "name": (out.name, str(out.parent)),
        "address": (f"file://{out}", "elsewhere"),
    }[given]
    opened = datasets.load(name, "all", data_dir=data_dir)
    assert (opened.num_examples, opened.class_names) == (8, ("a", "b"))
    numbers, images = set(), set()
    for example in opened.examples():
        numbers.add(int(example["number"]))
        images.add((int(example["label"]), example["image"].numpy()))
    assert numbers == set(range(8))
    assert images >= {("ab".index(n[0]), (folder / n).read_bytes()) for n in UPRIGHT}


@pytest.mark.thorough
def test_longer_sides_are_scaled_and_shorter_images_stay(folder, tmp_path):
    packing.pack(str(folder), str(tmp_path / "out"), shorter_side=33)
    found = records(tmp_path / "out")
    for name in (*UPRIGHT, *LOSSLESS, TURNED):
        stored = found[name][1]["image"]
        assert stored.startswith(b"\xff\xd8" if name.endswith(".jpg") else b"\x89PNG")
        with Image.open(folder / name) as image:
            image = ImageOps.exif_transpose(image).convert("RGB")
            ratio = 33 / min(image.size)
            size = tuple(round(ratio * length) for length in image.size)
            expected = np.asarray(image.resize(size, Image.Resampling.BICUBIC)).astype(float)
        pixels = decode_image(tf.constant(stored)).numpy()
        assert pixels.shape == expected.shape and min(pixels.shape[:2]) == 33
        assert np.abs(pixels - expected).mean() < (3.5 if name.endswith(".jpg") else 0.8), name
    packing.pack(str(folder), str(tmp_path / "same"), shorter_side=48)
    found = records(tmp_path / "same")
    kept = [name for name in UPRIGHT if found[name][1]["image"] == (folder / name).read_bytes()]
    assert kept == [name for name in UPRIGHT if name != "b/wide.jpg"]


@pytest.mark.slow
def test_a_killed_process_is_gone_on_with(folder, tmp_path, monkeypatch):
    out = tmp_path / "out"
    code = """if True:
        import os, signal, sys
        from simclr_tf.data import packed_shards, packing
        packed_shards._SHARD_BYTES = 4000
        complete, left = packed_shards.write_complete, [2]
        def write_complete(*arguments):
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            complete(*arguments)
        packed_shards.write_complete = write_complete
        packing.pack(*sys.argv[1:])
    """
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder), str(out)], cwd=ROOT, capture_output=True
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not out.exists()
    unfinished = tmp_path / "out.unfinished"
    states = sorted(path.name for path in unfinished.glob("*.json"))
    assert len(states) == 2
    before = {name: (unfinished / name).stat().st_ino for name in states}
    (unfinished / "images_out-train.tfrecord-00000-of-00009").write_bytes(b"of another plan")

    shards_are_small(monkeypatch)
    written = []
    complete = packed_shards.write_complete
    monkeypatch.setattr(
        packed_shards,
        "write_complete",
        lambda file, content: (written.append(file.name), complete(file, content)),
    )
    packing.pack(str(folder), str(out))
    assert written and not before.keys() & set(written)
    assert not unfinished.exists()
    monkeypatch.setattr(packed_shards, "write_complete", complete)
    whole = tmp_path / "whole" / "out"
    packing.pack(str(folder), str(whole))
    found, expected = contents(out), contents(whole)
    assert found.keys() == expected.keys()
    for name in found:  # in a record, protobuf orders features as it likes in each process
        assert ".tfrecord-" in name or found[name] == expected[name]
    assert list(records(out).items()) == list(records(whole).items())
    assert sum(".tfrecord-" in name for name in contents(out)) > 4


def interrupted(folder, out, monkeypatch):
    """Pack until all shards are written, and no further; returns the unfinished directory."""
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(packing, "_write_metadata", lambda *arguments: raise_interrupt())
        packing.pack(str(folder), str(out))
    return out.with_name(f"{out.name}.unfinished")


def raise_interrupt():
    raise KeyboardInterrupt


@pytest.mark.slow
def test_a_kill_after_all_is_packed_leaves_a_whole_data_set(folder, tmp_path, monkeypatch):
    unlink = type(tmp_path).unlink

    def killed(path, missing_ok=False):
        if path.parent.name == "out":
            raise SystemExit("killed")
        unlink(path, missing_ok)

    command = str(folder), str(tmp_path / "out")
    with monkeypatch.context() as patched, pytest.raises(SystemExit):
        patched.setattr(type(tmp_path), "unlink", killed)
        packing.pack(*command)
    left = list((tmp_path / "out").glob("*.tfrecord*.json"))
    assert left  # of shards; readers ignore them
    assert datasets.load(str(tmp_path / "out"), "train").num_examples == 6
    with pytest.raises(UserError, match="exists already"):
        packing.pack(*command, split_seed=1)
    again = packing.pack(*command)
    assert again == packing.pack(command[0], str(tmp_path / "other"))
    assert contents(tmp_path / "out").keys() == {
        path.name.replace("other", "out") for path in (tmp_path / "other").iterdir()
    }
    with pytest.raises(UserError, match="exists already"):
        packing.pack(*command)


def test_another_tensorflow_looks_again_at_what_was_left_out(folder, tmp_path, monkeypatch):
    split = packed_shards.Split(np.array(["a.png"]), None, None)
    stamps = types.SimpleNamespace(stamps=np.ones((1, 2)))
    digests = set()
    for version in ("2.15.1", "2.21.0", "2.15.1"):
        monkeypatch.setattr(packed_shards.tf, "__version__", version)
        (shard,) = packed_shards.shards_of(tmp_path, "x", "train", split, stamps, None)
        digests.add(shard.digest)
    assert len(digests) == 2


@pytest.mark.thorough
def test_only_shards_of_changed_images_are_made_again(tmp_path, monkeypatch):
    folder = tmp_path / "images"
    fill(folder)
    shards_are_small(monkeypatch)
    unfinished = interrupted(folder, tmp_path / "out", monkeypatch)
    before = {path.name: path.stat().st_ino for path in unfinished.glob("*-of-?????")}
    damaged = folder / "a/bad.jpg"
    damaged.write_bytes((folder / "a/color.jpg").read_bytes())  # is mended
    inodes = {}
    rename = os.replace

    def noted(source, target):
        if str(target) == str(tmp_path / "out"):
            inodes.update((p.name, p.stat().st_ino) for p in unfinished.glob("*-of-?????"))
        rename(source, target)

    monkeypatch.setattr(packing.os, "replace", noted)
    assert packing.pack(str(folder), str(tmp_path / "out")).left_out == ()
    again = [name for name in before if inodes.get(name) != before[name]]
    assert len(again) == 1 and len(before) > 4
    assert "a/bad.jpg" in records(tmp_path / "out")


def test_without_classes(tmp_path):
    for i, folder in enumerate(("a", "b", "b/of/others")):
        (tmp_path / "images" / folder).mkdir(parents=True)
        Image.fromarray(photograph(8, 9)).save(tmp_path / "images" / folder / f"caf\udce9{i}.png")
    report = packing.pack(str(tmp_path / "images"), str(tmp_path / "out"), labels="none")
    assert report.images == {"train": 3}
    opened = datasets.load(str(tmp_path / "out"), "train")
    assert opened.num_classes is None and opened.num_examples == 3


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("a", "exists already. Give another directory"),
        ("new", "lies in the folder that is packed"),
        ("gs://bucket/new", "is an address|Nothing opens"),
    ],
)
def test_a_place_that_cannot_be(folder, out, message):
    with pytest.raises(UserError, match=message):
        packing.pack(str(folder), out if "://" in out else str(folder / out))
    assert sorted(os.listdir(folder)) == ["a", "b"]


@pytest.mark.parametrize("kind", ["folder", "link"])
def test_a_folder_named_like_an_unfinished_one_is_not_emptied(tmp_path, kind):
    images = tmp_path / ("out.unfinished" if kind == "folder" else "images")
    images.mkdir()
    Image.fromarray(photograph(8, 9)).save(images / "a.png")
    if kind == "link":
        (tmp_path / "out.unfinished").symlink_to(images)
    with pytest.raises(UserError, match="is made in .*out.unfinished, which lies in the folder"):
        packing.pack(str(images), str(tmp_path / "out"))
    assert os.listdir(images) == ["a.png"]


def test_what_no_packing_wrote_is_not_removed(folder, tmp_path):
    unfinished = tmp_path / "out.unfinished"
    (unfinished / "notes").mkdir(parents=True)
    of_ours = unfinished / "images_out-train.tfrecord-00000-of-00009.part"
    of_ours.write_bytes(b"")
    with pytest.raises(UserError, match="out.unfinished/notes is no part of a data set"):
        packing.pack(str(folder), str(tmp_path / "out"))
    assert of_ours.exists() and (unfinished / "notes").is_dir()
    (unfinished / "notes").rmdir()
    of_ours.unlink()
    (unfinished / ".simclr_tf-lock").unlink()
    unfinished.rmdir()
    unfinished.write_text("a file")
    with pytest.raises(UserError, match="out.unfinished, where .*out is made, is no directory"):
        packing.pack(str(folder), str(tmp_path / "out"))


def test_another_process_ends_while_this_one_looks_at_the_folder(folder, tmp_path, monkeypatch):
    scan = packing.scan

    def scanned(*arguments, **options):
        (tmp_path / "out").mkdir()
        return scan(*arguments, **options)

    monkeypatch.setattr(packing, "scan", scanned)
    with pytest.raises(UserError, match="out exists already"):
        packing.pack(str(folder), str(tmp_path / "out"))


def test_a_folder_at_an_address(tmp_path):
    with pytest.raises(UserError, match="ram://images is an address. Copy the images"):
        packing.pack("ram://images", str(tmp_path / "out"))


def test_too_many_damaged_files(folder, tmp_path):
    with pytest.raises(UserError, match="max_bad_images=0: a/bad.jpg. Mend"):
        packing.pack(str(folder), str(tmp_path / "out"), max_bad_images=0)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("all/a", "no splits named 'all'"),
        ("tr-ain/a", "no splits named 'tr-ain'"),
        ("train/a ", "no classes named 'a '"),
        ("train/caf\udce9", r"no classes named 'caf\\xe9'"),
    ],
)
def test_names_that_tensorflow_datasets_does_not_take(tmp_path, path, message):
    for name in (path, f"{path.split('/')[0]}/other"):
        (tmp_path / "images" / name).mkdir(parents=True)
        Image.fromarray(photograph(8, 8)).save(tmp_path / "images" / name / "x.png")
    with pytest.raises(UserError, match=message):
        packing.pack(str(tmp_path / "images"), str(tmp_path / "out"))


def test_two_processes_at_once(folder, tmp_path):
    with (
        packing._unfinished(packing.LocalPath(tmp_path / "out")),
        pytest.raises(UserError, match="Another process is packing .*out. Wait"),
    ):
        packing.pack(str(folder), str(tmp_path / "out"))


def test_an_address_that_cannot_be_read(monkeypatch):
    def denied(path):
        raise tf.errors.PermissionDeniedError(None, None, "no credentials")

    monkeypatch.setattr(tf.io.gfile, "stat", denied)
    with pytest.raises(UserError, match="--dataset=ram://bucket/packed cannot be read: no cred"):
        datasets.load("ram://bucket/packed", "train")


def test_a_damaged_data_set(packed, tmp_path):
    (tmp_path / "dataset_info.json").write_text("{")
    with pytest.raises(UserError, match="holds no data set that TensorFlow Datasets opens .*again"):
        datasets.load(str(tmp_path), "train")
    with pytest.raises(UserError, match="no split 'test'; it has train, validation"):
        datasets.load(str(packed[0]), "test")


@pytest.mark.parametrize("harm", ["missing", "cut"])
@pytest.mark.parametrize("cache", [False, True])
def test_a_data_set_that_was_copied_in_part(packed, tmp_path, harm, cache):
    copy = tmp_path / packed[0].name
    shutil.copytree(packed[0], copy)
    (file,) = copy.glob("*-train.tfrecord-*")
    if harm == "missing":
        file.unlink()
        message = f"1 of the 1 files of data set .* are missing, the first is {file}"
    else:
        file.write_bytes(file.read_bytes()[:-300])
        message = "A file of the data set is damaged: .*truncated record.* Copy or prepare"
    with pytest.raises(UserError, match=message):
        dataset = datasets.load(str(copy), "train", cache=cache)
        with naming_bad_images(dataset):
            list(dataset.examples())
    others = datasets.load(str(copy), "validation", cache=cache)
    assert others.num_examples == packed[1].images["validation"]


def test_data_that_are_packed_otherwise_are_told_apart(folder, packed, tmp_path):
    copy, other = tmp_path / "copy", tmp_path / "other"
    shutil.copytree(packed[0], copy)
    packing.pack(str(folder), str(other), holdout_fraction=0.3, shorter_side=20)
    same, copied, changed = (datasets.load(str(d), "train") for d in (packed[0], copy, other))
    assert same.content == copied.content != changed.content


def test_the_program_says_what_was_packed(folder, tmp_path, capsys):
    flags = pack.PackConfig(pack.Pack(shorter_side=48))
    assert pack.program(str(folder), str(tmp_path / "an out"), flags, frozenset()) == 0
    assert capsys.readouterr().out == (
        "Packed 8 images (train 6, validation 2), 4 of them as their files have them. Files left "
        f"out: 1. Read them with --dataset='{tmp_path}/an out'.\n"
    )
    with pytest.raises(UserError, match="--shorter_side"):
        pack.program("a", "b", pack.PackConfig(pack.Pack(shorter_side=0)), frozenset())


def test_a_file_that_only_looks_like_a_png_is_left_out(tmp_path):
    (tmp_path / "images").mkdir()
    whole = io.BytesIO()
    Image.fromarray(photograph(9, 9)).save(whole, "PNG")
    (tmp_path / "images/good.png").write_bytes(whole.getvalue())
    (tmp_path / "images/half.png").write_bytes(whole.getvalue()[:-60])
    os.mkfifo(tmp_path / "images/fifo.png")
    report = packing.pack(str(tmp_path / "images"), str(tmp_path / "out"))
    assert report.left_out == ("fifo.png", "half.png")
    assert report.images == {"train": 1}


def test_a_file_that_nobody_may_read_is_left_out(tmp_path, monkeypatch):
    folder = tmp_path / "images"
    fill(folder)

    def forbidden(path, mode):
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(packed_shards, "open", forbidden, raising=False)  # root may read all
    (folder / "b" / "color.png").write_bytes(b"")
    packed = packing.pack(str(folder), str(tmp_path / "out"), holdout_fraction=0.3)
    assert packed.left_out == ("a/bad.jpg", "b/color.png")


@pytest.mark.thorough
def test_an_image_that_could_not_be_read_once_is_not_left_out(tmp_path, monkeypatch):
    """Reading it failed, and looking for the reason finds none."""
    folder, out = tmp_path / "images", tmp_path / "out"
    fill(folder)
    packed_image = packed_shards.packed_image

    def failing_once(content, longest):
        if tf.executing_eagerly():  # where the reason is looked for
            return packed_image(content, longest)
        failing = tf.equal(tf.strings.length(content), (folder / "b/color.png").stat().st_size)
        with tf.control_dependencies([tf.debugging.assert_equal(failing, False)]):
            return packed_image(tf.identity(content), longest)

    monkeypatch.setattr(packed_shards, "packed_image", failing_once)
    with pytest.raises(UserError, match="b/color.png could not be read for a while, and can be"):
        packing.pack(str(folder), str(out), holdout_fraction=0.3)
    monkeypatch.undo()
    assert packing.pack(str(folder), str(out), holdout_fraction=0.3).left_out == ("a/bad.jpg",)


@pytest.mark.thorough
def test_a_broken_disk_leaves_nothing_out(tmp_path, monkeypatch):
    folder = tmp_path / "images"
    fill(folder)

    def broken(path, mode):
        raise OSError(errno.EIO, "Input/output error", path)

    monkeypatch.setattr(packed_shards, "open", broken, raising=False)
    (folder / "b" / "color.png").write_bytes(b"")
    with pytest.raises(UserError, match="cannot be read now: Input/output error"):
        packing.pack(str(folder), str(tmp_path / "out"), holdout_fraction=0.3)


@pytest.mark.thorough
def test_files_that_were_away_are_packed_when_they_are_back(tmp_path, monkeypatch):
    folder, out = tmp_path / "images", tmp_path / "out"
    fill(folder)
    monkeypatch.setattr(  # the class goes away after all files were looked at
        packing, "_remove_others", lambda *_: (folder / "b").rename(tmp_path / "b")
    )
    with pytest.raises(UserError, match="was there when packing began .* Put it back"):
        packing.pack(str(folder), str(out), holdout_fraction=0.3)
    monkeypatch.undo()
    (tmp_path / "b").rename(folder / "b")
    bad = folder / "a" / "bad.jpg"
    content = bad.read_bytes()
    with pytest.raises(UserError, match="bad.jpg"):
        packing.pack(str(folder), str(out), holdout_fraction=0.3, max_bad_images=0)
    times = bad.stat()
    bad.write_bytes((folder / "a" / "color.jpg").read_bytes())  # as after a passing error
    os.truncate(bad, len(content))
    os.utime(bad, ns=(times.st_atime_ns, times.st_mtime_ns))
    packed = packing.pack(str(folder), str(out), holdout_fraction=0.3)
    assert packed.left_out == () and sum(packed.images.values()) == 9
