"""Image folders: layouts, formats, files that cannot be decoded."""

import hashlib
import io
import logging
import os
import socket

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from simclr_tf.data import datasets
from simclr_tf.data.decode import decode_image
from simclr_tf.data.holdout import held_out
from simclr_tf.errors import UserError


def write_png(path, value, size=(9, 7)):
    """Write an RGB PNG whose pixels all have one value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.full((*size, 3), value, np.uint8)
    path.write_bytes(tf.io.encode_png(image).numpy())


@pytest.fixture
def class_folder(tmp_path):
    """CLASS/image.png: 10 cats (values 0 to 9) and 5 dogs (values 10 to 14)."""
    for i in range(15):
        write_png(tmp_path / ("cat" if i < 10 else "dog") / f"{i:02d}.png", i)
    return tmp_path


def load(folder, split="train", **options):
    return datasets.load("image_folder", split, data_dir=str(folder), **options)


def values(dataset):
    """{value of the image: its label} in one pass."""
    return {
        int(decode_image(e["image"])[0, 0, 0]): int(e["label"]) if "label" in e else None
        for e in dataset.examples()
    }


def test_split_class_layout(tmp_path):
    for i, path in enumerate(["train/b", "train/a", "val/b", "val/a", "extra/b"]):
        write_png(tmp_path / path / "x.png", i)
    train, val, extra = (load(tmp_path, split) for split in ("train", "val", "extra"))
    assert train.class_names == val.class_names == extra.class_names == ("a", "b")
    assert train.num_classes == 2
    assert values(train) == {0: 1, 1: 0}
    assert values(val) == {2: 1, 3: 0}
    assert values(extra) == {4: 1}


@pytest.mark.slow
def test_class_layout_holds_out_a_share_of_every_class(class_folder):
    train = load(class_folder, holdout_fraction=0.2)
    held = load(class_folder, "validation", holdout_fraction=0.2)
    assert (train.num_examples, held.num_examples) == (12, 3)
    assert train.class_names == ("cat", "dog")
    assert sorted([*values(train), *values(held)]) == list(range(15))
    assert sorted(values(held).values()) == [0, 0, 1]
    assert all(label == (value >= 10) for value, label in values(train).items())
    assert values(load(class_folder, "test", holdout_fraction=0.2)) == values(held)


@pytest.mark.thorough
def test_what_is_held_out_follows_the_seed(class_folder):
    chosen = {
        seed: tuple(sorted(values(load(class_folder, "test", split_seed=seed))))
        for seed in range(3)
    }
    assert len(set(chosen.values())) > 1
    assert tuple(sorted(values(load(class_folder, "test", split_seed=2)))) == chosen[2]


@pytest.mark.thorough
def test_what_is_held_out_stays_so_when_a_file_is_damaged(class_folder):
    held = values(load(class_folder, "test", holdout_fraction=0.4))
    damaged = next(i for i in range(15) if i not in held)
    (class_folder / ("cat" if damaged < 10 else "dog") / f"{damaged:02d}.png").write_bytes(b"")
    assert values(load(class_folder, "test", holdout_fraction=0.4)) == held


def test_single_image_of_a_class_is_trained_on(class_folder):
    write_png(class_folder / "emu" / "only.png", 15)
    assert values(load(class_folder))[15] == 2
    assert 15 not in values(load(class_folder, "test"))


def test_flat_folder_has_no_labels(tmp_path):
    for i in range(3):
        write_png(tmp_path / f"{i}.png", i)
    dataset = load(tmp_path)
    assert dataset.num_classes is None and dataset.class_names is None
    assert values(dataset) == {0: None, 1: None, 2: None}
    with pytest.raises(UserError, match="no split 'validation'; it has train"):
        load(tmp_path, "validation")


@pytest.mark.thorough
def test_other_and_hidden_files_are_ignored(class_folder):
    (class_folder / "notes.txt").write_text("x")
    (class_folder / "cat" / ".hidden.png").write_bytes(b"x")
    write_png(class_folder / ".thumbnails" / "deep" / "er" / "a.png", 99)
    assert set(values(load(class_folder))) < set(range(15))
    assert load(class_folder).skipped_files == ()


def test_formats_that_cannot_be_read_are_named_and_left_out(class_folder, caplog):
    names = ["cat/b.TIF", "cat/a.heic", "dog/c.tiff", "dog/d.heif"]
    for name in names:
        (class_folder / name).write_bytes(b"image")
    with caplog.at_level(logging.WARNING):
        assert load(class_folder, "all").num_examples == 15
    assert (
        f"Below {class_folder}, HEIC and TIFF images cannot be read: cat/a.heic, cat/b.TIF, "
        "dog/c.tiff, and 1 more. Convert them to PNG or JPEG." in caplog.text
    )


def test_a_folder_of_tiff_says_so(tmp_path):
    (tmp_path / "a.tif").write_bytes(b"image")
    with pytest.raises(UserError, match="no images.* TIFF images cannot be read: a.tif. Convert"):
        load(tmp_path)
    (tmp_path / "b.JFIF").write_bytes(b"image")
    with pytest.raises(
        UserError, match="JFIF and TIFF .*: a.tif, b.JFIF. .* names that end in .jpg"
    ):
        load(tmp_path)


@pytest.mark.thorough
def test_links_are_followed(class_folder, tmp_path_factory):
    linked = tmp_path_factory.mktemp("linked")
    os.symlink(class_folder / "cat", linked / "cat")
    (linked / "dog").mkdir()
    os.symlink(class_folder / "dog" / "10.png", linked / "dog" / "a.png")
    assert sorted([*values(load(linked)), *values(load(linked, "test"))]) == [*range(10), 10]


@pytest.mark.thorough
def test_cache_keeps_the_images_when_files_are_gone(class_folder):
    kept = load(class_folder, cache=True)
    expected = values(load(class_folder))
    for path in class_folder.glob("*/*.png"):
        path.unlink()
    assert values(kept) == expected


# The formats

PIXELS = np.random.default_rng(0).integers(0, 256, (21, 37, 3), dtype=np.uint8)
GREY = PIXELS[..., 0]


def encoded(image, format, **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def webp_is_read():
    try:
        decode_image(encoded(Image.fromarray(PIXELS), "WEBP"))
    except tf.errors.InvalidArgumentError:
        return False
    return True


LOSSLESS = {
    "rgb.png": (encoded(Image.fromarray(PIXELS), "PNG"), PIXELS),
    "grey.png": (encoded(Image.fromarray(GREY), "PNG"), np.stack([GREY] * 3, -1)),
    "rgba.PNG": (encoded(Image.fromarray(np.dstack([PIXELS, GREY])), "PNG"), PIXELS),
    "16.png": (tf.io.encode_png(PIXELS.astype(np.uint16) * 256 + 77).numpy(), PIXELS),
    "grey16.png": (
        tf.io.encode_png(GREY[..., None].astype(np.uint16) * 256).numpy(),
        np.stack([GREY] * 3, -1),
    ),
    "palette.png": (
        encoded(Image.fromarray(PIXELS).quantize(16), "PNG"),
        np.asarray(Image.fromarray(PIXELS).quantize(16).convert("RGB")),
    ),
    "rgb.bmp": (encoded(Image.fromarray(PIXELS), "BMP"), PIXELS),
    "grey.bmp": (encoded(Image.fromarray(GREY), "BMP"), np.stack([GREY] * 3, -1)),
    "named.jpg": (encoded(Image.fromarray(PIXELS), "PNG"), PIXELS),
}
if webp_is_read():
    webp = encoded(Image.fromarray(PIXELS), "WEBP", lossless=True)
    LOSSLESS["rgb.webp"] = (webp, PIXELS)


@pytest.fixture(scope="module")
def lossless(tmp_path_factory):
    """The images of a folder with all of them, by name."""
    folder = tmp_path_factory.mktemp("lossless")
    for name, (data, _) in LOSSLESS.items():
        (folder / name).write_bytes(data)
    dataset = load(folder)
    images = [decode_image(example["image"]) for example in dataset.examples()]
    return dict(zip(dataset.file_names, images, strict=True))


@pytest.mark.parametrize("name", LOSSLESS)
def test_lossless_formats(lossless, name):
    np.testing.assert_array_equal(lossless[name], LOSSLESS[name][1])


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_jpeg(tmp_path, mode):
    smooth = np.add.outer(np.arange(20) * 4, np.arange(50) * 2)[..., None] + [0, 20, 50]
    smooth = Image.fromarray(smooth.astype(np.uint8)).convert(mode)
    (tmp_path / "a.JPEG").write_bytes(encoded(smooth, "JPEG", quality=95))
    (example,) = load(tmp_path).examples()
    image = decode_image(example["image"])
    assert image.dtype == tf.uint8 and image.shape == (20, 50, 3)
    np.testing.assert_allclose(image, np.asarray(smooth.convert("RGB")).astype(int), atol=4)


@pytest.mark.thorough
def test_animation_gives_its_first_frame(tmp_path):
    frames = [Image.fromarray(np.full((5, 6), value, np.uint8)) for value in (10, 200)]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    (tmp_path / "a.gif").write_bytes(data)
    (example,) = load(tmp_path).examples()
    np.testing.assert_array_equal(decode_image(example["image"]), np.full((5, 6, 3), 10))


@pytest.mark.thorough
@pytest.mark.skipif(webp_is_read(), reason="this TensorFlow reads WebP")
def test_webp_is_reported_where_it_cannot_be_read(class_folder):
    (class_folder / "cat" / "a.webp").write_bytes(encoded(Image.fromarray(PIXELS), "WEBP"))
    skipped = load(class_folder).skipped_files + load(class_folder, "test").skipped_files
    assert skipped == ("cat/a.webp",)


# Files that cannot be decoded


@pytest.fixture
def damaged_folder(tmp_path):
    """Four good and four bad images of one class."""
    jpeg = encoded(Image.fromarray(PIXELS), "JPEG")
    for i in range(4):
        write_png(tmp_path / "a" / f"good{i}.png", i)
    (tmp_path / "a" / "half.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    (tmp_path / "a" / "empty.png").write_bytes(b"")
    (tmp_path / "a" / "text.bmp").write_bytes(b"this is no image at all")
    os.symlink(tmp_path / "nowhere", tmp_path / "a" / "dangling.png")
    return tmp_path


BAD = {"a/half.jpg", "a/empty.png", "a/text.bmp", "a/dangling.png"}


def whole(folder, **options):
    """Both parts of a class folder: a pair of data sets."""
    return [load(folder, split, holdout_fraction=0.5, **options) for split in ("train", "test")]


def test_bad_files_are_reported_by_path_and_left_out(damaged_folder, caplog):
    with caplog.at_level(logging.WARNING):
        parts = whole(damaged_folder)
    assert {name for part in parts for name in part.skipped_files} == BAD
    assert sorted(value for part in parts for value in values(part)) == [0, 1, 2, 3]
    assert sum(part.num_examples for part in parts) == 4
    lines = [record.getMessage() for record in caplog.records if "Cannot decode" in record.message]
    assert len(lines) == 4 and not any("\n" in line or "{{" in line for line in lines)
    (half,) = [line for line in lines if "half.jpg" in line]
    assert str(damaged_folder / "a" / "half.jpg") in half and "Invalid JPEG data" in half
    (dangling,) = [line for line in lines if "dangling.png" in line]
    assert "No such file" in dangling


def test_too_many_bad_files_stop_with_the_list(damaged_folder):
    train, _ = whole(damaged_folder, max_bad_images=4)
    limit = len(train.skipped_files) - 1
    with pytest.raises(UserError, match=f"--max_bad_images={limit}: ") as error:
        load(damaged_folder, holdout_fraction=0.5, max_bad_images=limit)
    assert all(name in str(error.value) for name in train.skipped_files)
    assert "\n" not in str(error.value)


@pytest.mark.thorough
def test_known_bad_files_are_not_checked_again(damaged_folder, monkeypatch):
    checked = whole(damaged_folder)

    def fail(*_):
        raise AssertionError("checked again")

    monkeypatch.setattr("simclr_tf.data.image_folder.check_files_once", fail)
    for part in checked:
        again = load(damaged_folder, part.split, holdout_fraction=0.5, known_bad=part.skipped_files)
        assert values(again) == values(part)
        assert again.skipped_files == part.skipped_files


# What cannot work


@pytest.mark.parametrize(
    ("files", "split", "message"),
    [
        (["a.png", "cat/b.png"], "train", r"as image, CLASS/image.*found a.png and cat/b.png"),
        (["cat/a.png", "train/cat/b.png"], "train", r"found cat/a.png and train/cat/b.png"),
        (["train/cat/images/a.png"], "train", r"found train/cat/images/a.png"),
        (["readme.txt"], "train", r"Found no images below"),
        (["cat/a.png", "dog/a.txt"], "train", r"Class folder .*dog has no images"),
        (["train/cat/a.png", "train/dog/a.txt"], "train", r"Class folder .*dog has no images"),
        (["train/a.png", "test/b.png"], "train", r"named like splits \(test, train\)"),
        (
            ["train/cat/a.png", "test/emu/b.png"],
            "train",
            r"train has no image of class emu, .*test/emu/b.png",
        ),
        (["train/cat/a.png", "test/cat/b.png"], "tests", r"'tests'.*test, train.*Did you mean: t"),
        (["cat/a.png", "cat/b.png"], "dev", r"no split 'dev'; it has train, validation, test"),
    ],
)
def test_layouts_that_cannot_work(tmp_path, files, split, message):
    for file in files:
        write_png(tmp_path / file, 0)
    with pytest.raises(UserError, match=message) as error:
        load(tmp_path, split)
    assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)


def test_folder_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match="Cannot read .*absent: No such file or directory"):
        load(tmp_path / "absent")
    write_png(tmp_path / "a.png", 0)
    with pytest.raises(UserError, match="Cannot read .*a.png: Not a directory"):
        load(tmp_path / "a.png")
    with pytest.raises(UserError, match="--data_dir"):
        datasets.load("image_folder", "train")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_folder_without_permission(tmp_path):
    tmp_path.chmod(0)
    with pytest.raises(UserError, match="Permission denied"):
        load(tmp_path)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1])
def test_share_to_hold_out_must_leave_both_sides(class_folder, fraction):
    with pytest.raises(UserError, match="holdout_fraction"):
        load(class_folder, holdout_fraction=fraction)


def test_nothing_readable_is_left(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(UserError, match="has no readable images"):
        load(tmp_path)


# What is no regular file


@pytest.fixture
def strange_folder(class_folder):
    """Class `cat` has things besides its ten images that are named like images and are none."""
    cat = class_folder / "cat"
    os.mkfifo(cat / "fifo.jpg")
    os.symlink("/dev/zero", cat / "zero.jpg")
    os.symlink(cat / "fifo.jpg", cat / "link.png")
    os.symlink(cat / "circle.png", cat / "circle.png")
    (cat / "folder.gif" / "empty").mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(cat / "socket.bmp"))
    with open(cat / "huge.png", "wb") as file:
        file.truncate(2**30 + 1)
    return class_folder


STRANGE = {
    "cat/fifo.jpg": "a FIFO",
    "cat/zero.jpg": "a device",
    "cat/link.png": "a FIFO",
    "cat/circle.png": "symbolic links",
    "cat/folder.gif": "a directory",
    "cat/socket.bmp": "a socket",
    "cat/huge.png": "1,073,741,825 bytes",
}


def test_what_is_no_regular_file_is_named_and_left_out(strange_folder, caplog):
    with caplog.at_level(logging.WARNING):
        dataset = load(strange_folder, "all")
    assert set(dataset.skipped_files) == set(STRANGE)
    assert sorted(values(dataset)) == list(range(15))
    for name, reason in STRANGE.items():
        lines = [record.getMessage() for record in caplog.records]
        (line,) = [line for line in lines if str(strange_folder / name) in line]
        assert reason in line


def test_it_counts_as_an_image_that_cannot_be_decoded(strange_folder):
    with pytest.raises(UserError, match="7 of 22 image files .* more than --max_bad_images=6: "):
        load(strange_folder, "all", max_bad_images=6)


def test_a_fifo_of_a_run_that_goes_on_fails_when_it_is_read(strange_folder):
    dataset = load(strange_folder, "all", known_bad=list(STRANGE)[1:])
    assert dataset.num_examples == 16 and "cat/fifo.jpg" in dataset.file_names
    with pytest.raises(tf.errors.FailedPreconditionError, match="Not a directory"):
        list(dataset.examples())


@pytest.mark.thorough
def test_a_folder_named_like_an_image_may_hold_images(tmp_path):
    write_png(tmp_path / "cat.png" / "a.png", 1)
    write_png(tmp_path / "dog.png" / "b.png", 2)
    dataset = load(tmp_path, "all")
    assert dataset.class_names == ("cat.png", "dog.png") and values(dataset) == {1: 0, 2: 1}
    (tmp_path / "emu.png").mkdir()
    with pytest.raises(UserError, match="Class folder .*emu.png has no images"):
        load(tmp_path)


def test_links_of_folders_in_a_circle_end(tmp_path):
    write_png(tmp_path / "cat" / "a.png", 1)
    os.symlink(tmp_path, tmp_path / "cat" / "again")
    os.symlink(tmp_path / "nowhere", tmp_path / "cat" / "nowhere")
    with pytest.raises(UserError, match="must all lie as"):
        load(tmp_path)


@pytest.mark.parametrize("address", ["gs://bucket/photos", "s3://bucket", "file:///photos"])
def test_addresses_are_refused(address):
    with pytest.raises(UserError, match=f"--data_dir={address} is an address.*copy the images"):
        load(address)


# Names


NAMES = [
    b"caf\xe9.png",
    b"caf\xc3\xa9.png",  # composed
    b"cafe\xcc\x81.png",  # decomposed
    b"two\nlines.png",
    b"tab\t.png",
    b"[0].png",
    b"*.png",
    b"what?.png",
    b"--flag.png",
    b"back\\slash.png",
    b"n" * 250 + b".png",
    b" .png",
]


@pytest.mark.parametrize(
    "layout",
    [
        b"",
        pytest.param(b"ca\xfft", marks=pytest.mark.slow),
        pytest.param(b"train/ca\xfft", marks=pytest.mark.slow),
        b"sp\xfelit/c[a]t",
    ],
)
def test_names_of_all_kinds(tmp_path, layout):
    """Whatever a file, class or split is called: it is read, and keeps its name."""
    folder = os.path.join(os.fsencode(tmp_path), layout)
    split = os.fsdecode(layout.split(b"/")[0]) if b"/" in layout else "all"
    os.makedirs(folder, exist_ok=True)
    for i, name in enumerate(NAMES):
        with open(os.path.join(folder, name), "wb") as file:
            file.write(tf.io.encode_png(np.full((3, 3, 3), i, np.uint8)).numpy())
    if layout:
        os.makedirs(os.path.join(os.path.dirname(folder), b"zoo"))
        write_png(tmp_path / os.fsdecode(os.path.dirname(layout)) / "zoo" / "z.png", len(NAMES))
    with open(os.path.join(folder, b"b\xe4d\n.png"), "wb"):
        pass
    dataset = load(tmp_path, split)
    found = dict(zip(dataset.file_names, dataset.examples(), strict=True))
    for i, name in enumerate(NAMES):
        example = found[os.fsdecode(os.path.join(layout, name))]
        assert int(decode_image(example["image"])[0, 0, 0]) == i
    assert dataset.skipped_files == (os.fsdecode(os.path.join(layout, b"b\xe4d\n.png")),)
    if layout:
        assert dataset.class_names == (os.fsdecode(os.path.basename(layout)), "zoo")
    again = load(tmp_path, split, known_bad=dataset.skipped_files)
    assert again.file_names == dataset.file_names


@pytest.mark.thorough
def test_names_are_escaped_in_messages(tmp_path, caplog):
    write_png(tmp_path / "a.png", 0)
    with open(os.path.join(os.fsencode(tmp_path), b"b\xe4d\n.png"), "wb"):
        pass
    with caplog.at_level(logging.WARNING):
        load(tmp_path)
    assert f"Cannot decode {tmp_path}/b\\xe4d\\n.png and leave it out" in caplog.text
    with pytest.raises(UserError, match=r"max_bad_images=0: b\\xe4d\\n.png\."):
        load(tmp_path, max_bad_images=0)


def test_what_is_held_out_of_names_that_are_not_utf8():
    keys = [os.fsdecode(b"caf%c" % i) for i in range(200, 240)]
    held = held_out(keys, np.zeros(40, int), 0.25, 0)
    assert held.sum() == 10
    hashes = [hashlib.blake2b(b"0/caf%c" % i).digest() for i in range(200, 240)]
    assert set(np.flatnonzero(held)) == set(np.argsort(np.array(hashes))[:10])


# A single class


@pytest.mark.thorough
@pytest.mark.parametrize("layout", ["images", "train/images"])
def test_a_single_class_is_no_label(tmp_path, layout, caplog):
    for i in range(10):
        write_png(tmp_path / layout / f"{i}.png", i)
    if "/" in layout:
        write_png(tmp_path / "test" / "images" / "a.png", 10)
    with caplog.at_level(logging.WARNING):
        train = load(tmp_path, holdout_fraction=0.3)
    said = f"All images of {tmp_path} lie in one folder, images, so they count as images without"
    assert caplog.text.count(said) == 1
    test = load(tmp_path, "test", holdout_fraction=0.3)
    assert train.num_classes is None and train.class_names is None and test.num_classes is None
    assert set((values(train) | values(test)).values()) == {None}
    assert (train.num_examples, test.num_examples) == ((10, 1) if "/" in layout else (7, 3))
    assert all(name.startswith(layout) for name in train.file_names)
    (tmp_path / os.path.dirname(layout) / "zoo").mkdir()
    with pytest.raises(UserError, match="Class folder .*zoo has no images"):
        load(tmp_path)


def test_what_is_held_out_of_a_single_class_stays_what_it_was(tmp_path):
    for i in range(20):
        write_png(tmp_path / "images" / f"{i:02d}.png", i)
    held = load(tmp_path, "test", holdout_fraction=0.2, split_seed=3)
    assert held.file_names == ("images/01.png", "images/05.png", "images/15.png", "images/19.png")


# What is said of images that are read


def test_turned_images_are_counted_and_shown_upright(tmp_path, caplog):
    smooth = np.add.outer(np.arange(20) * 4, np.arange(50) * 2).astype(np.uint8)
    for i, orientation in enumerate((1, 6, 3)):
        about = Image.Exif()
        about[0x112] = orientation
        data = encoded(Image.fromarray(smooth), "JPEG", quality=95, exif=about)
        (tmp_path / f"{i}.jpg").write_bytes(data)
    write_png(tmp_path / "3.png", 0)
    with caplog.at_level(logging.WARNING):
        dataset = load(tmp_path)
    said = "2 of 4 images are turned upright, as their EXIF orientation says."
    assert dataset.upright and caplog.text.count(said) == 1
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        assert not load(tmp_path, upright=False).upright
    assert "upright" not in caplog.text


def write_png_of_16_bits(path, largest):
    pixels = np.linspace(0, largest, 48).astype(np.uint16).reshape(6, 8, 1)
    path.write_bytes(tf.io.encode_png(pixels).numpy())


def test_pngs_of_16_bits_that_are_almost_black(tmp_path, caplog):
    write_png_of_16_bits(tmp_path / "a.png", 4095)
    write_png_of_16_bits(tmp_path / "b.png", 1023)
    write_png_of_16_bits(tmp_path / "c.png", 65535)
    write_png(tmp_path / "d.png", 200)
    with caplog.at_level(logging.WARNING):
        load(tmp_path)
    assert "3 of 4 images are PNGs of 16 bits, with values up to 65535 of 65535" in caplog.text
    assert "2 of these are almost black: their values end at 4095" in caplog.text
    assert "at 15 of 255" in caplog.text


def test_pngs_of_16_bits_that_are_not(tmp_path, caplog):
    write_png_of_16_bits(tmp_path / "a.png", 50000)
    with caplog.at_level(logging.WARNING):
        load(tmp_path)
    assert "1 of 1 images are PNGs of 16 bits, with values up to 50000" in caplog.text
    assert "black" not in caplog.text
