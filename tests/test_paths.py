"""Paths and URLs: what is understood, and that both kinds behave alike."""

import csv
import os
import pathlib
import zipfile

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf.errors import UserError
from simclr_tf.paths import as_path, is_local, local_copy
from simclr_tf.remote import tensorflow_file_errors


@pytest.fixture(params=["local", "remote"])
def root(request, tmp_path):
    """A directory of each kind."""
    if request.param == "local":
        return as_path(tmp_path)
    url = as_path(f"ram://paths/{tmp_path.name}")
    url.mkdir(parents=True)
    return url


def test_local_paths(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert str(as_path("~/a")) == f"{tmp_path}/a"
    assert str(as_path("file:///a/b c")) == "/a/b c"
    assert str(as_path(pathlib.Path("a/../b"))) == "a/../b"
    # What lies in a folder that is called like a bucket is local.
    for text in ("/gs/bucket/x", "runs/x://y", "a:/b", "~nobody_of_this_name/x"):
        assert is_local(as_path(text)) and "://" not in str(as_path(text))


def test_urls():
    url = as_path("gs://bucket/run/")
    assert not is_local(url)
    assert (str(url), url.name, str(url.parent)) == ("gs://bucket/run", "run", "gs://bucket")
    assert os.fspath(url / "a" / "b.tar.gz") == "gs://bucket/run/a/b.tar.gz"
    assert (url / "b.tar.gz").suffix == ".gz"
    assert str((url / "b").with_name("c")) == "gs://bucket/run/c"
    bucket = as_path("gs://bucket")
    assert (bucket.name, bucket.parent) == ("", bucket)
    assert as_path(url) == url and {as_path(url)} == {url} and url != bucket


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nothing://bucket/x", "Nothing opens nothing:// here. URLs begin with file://, gs://"),
        ("GS://bucket/x", "Nothing opens GS://"),
        ("://x", "Nothing opens ://"),
        ("gs:/bucket/x", "A URL has two slashes: gs://bucket/x"),
        ("file://x", "begins with file:///"),
        ("caf\udce9", r"Received: caf\\xe9"),
        ("gs://bucket/caf\udce9", "UTF-8"),
        ("a\0b", "UTF-8"),
    ],
)
def test_what_cannot_be_opened(text, message):
    with pytest.raises(UserError, match=message):
        as_path(text)


def test_both_kinds_are_read_and_written_alike(root):
    folder = root / "a" / "b"
    folder.mkdir(parents=True, exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "f.txt"
    assert not file.exists() and not file.is_file() and not file.is_dir()
    file.write_text("größe\n")
    with file.open("a") as opened:
        opened.write("2\n")
    assert file.read_text(encoding="utf-8") == "größe\n2\n"
    assert file.read_bytes() == "größe\n2\n".encode()
    assert file.is_file() and not file.is_dir() and folder.is_dir() and not folder.is_file()
    with file.open("wb") as opened:
        opened.write(b"new")
    (folder / "g").write_bytes(b"")
    assert {path.name for path in folder.iterdir()} == {"f.txt", "g"}
    (folder / "g").replace(file)
    assert file.read_bytes() == b"" and [str(p) for p in folder.iterdir()] == [str(file)]
    file.unlink()
    file.unlink(missing_ok=True)
    with pytest.raises(FileNotFoundError):
        file.unlink()
    with pytest.raises(FileNotFoundError):
        file.read_bytes()
    with pytest.raises(FileNotFoundError):
        list((root / "nowhere").iterdir())
    (root / "a").rmtree()
    assert not (root / "a").exists() and list(root.iterdir()) == []


def test_text_has_line_ends_and_bytes_as_they_are_given(root):
    rows = [["a", "caf\udce9"], ["b\n", "größe"]]
    with (root / "x.csv").open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        csv.writer(file).writerows(rows)
    content = (root / "x.csv").read_bytes()
    assert content == b'a,caf\xe9\r\n"b\n",gr\xc3\xb6\xc3\x9fe\r\n'
    with (root / "x.csv").open("r", encoding="utf-8", errors="surrogateescape", newline="") as file:
        assert list(csv.reader(file)) == rows


def test_archives_of_numpy(root):
    values = np.random.default_rng(0).normal(size=(100_000,))
    with (root / "x.npz").open("wb") as file:
        np.savez(file, values=values)
    with (root / "x.npz").open("rb") as file, np.load(file) as stored:
        np.testing.assert_array_equal(stored["values"], values)
    with (root / "x.npz").open("rb") as file, zipfile.ZipFile(file) as archive:
        assert archive.testzip() is None
    with local_copy(root / "x.npz") as copy:
        assert np.load(copy)["values"][7] == values[7]


def test_errors_of_tensorflow_are_one_line_without_graphs(tmp_path):
    with pytest.raises(FileNotFoundError), tensorflow_file_errors():
        tf.io.gfile.stat(str(tmp_path / "absent"))
    (tmp_path / "file").touch()
    with pytest.raises(OSError) as caught, tensorflow_file_errors():
        tf.raw_ops.SaveV2(
            prefix=str(tmp_path / "file" / "x"),
            tensor_names=["a"],
            shape_and_slices=[""],
            tensors=[tf.zeros([1])],
        )
    assert "{{" not in caught.value.strerror and "[Op" not in caught.value.strerror
    assert "\n" not in caught.value.strerror and str(tmp_path) in caught.value.strerror


def test_a_bucket_that_cannot_be_reached_is_an_error_of_the_system(monkeypatch):
    def fail(*_, **options):
        raise tf.errors.UnavailableError(None, None, "Could not resolve host: bucket\nmore")

    for name in ("stat", "listdir", "makedirs", "remove", "rename"):
        monkeypatch.setattr(tf.io.gfile, name, fail)
    path = as_path("gs://bucket/x")
    calls = [path.exists, path.is_dir, path.is_file, path.iterdir, path.mkdir, path.unlink]
    for call in [*calls, lambda: path.replace("gs://bucket/y")]:
        with pytest.raises(OSError, match="Could not resolve host: bucket") as caught:
            call()
        assert "more" not in str(caught.value)
