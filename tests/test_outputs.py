"""Outputs: refused before the work, there once they are complete."""

import errno
import os
import pathlib

import pytest

from simclr_tf import outputs
from simclr_tf.errors import UserError
from simclr_tf.paths import as_path


def refused(path, message):
    with pytest.raises(UserError, match=f"--output cannot be written: .*{message}") as caught:
        outputs.require_writable(as_path(path), "--output")
    assert "\n" not in str(caught.value)


def test_where_nothing_can_be_written(tmp_path):
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "file").touch()
    os.symlink(tmp_path / "loop", tmp_path / "loop")
    os.symlink(tmp_path / "absent", tmp_path / "dangling")
    refused(tmp_path / "folder.csv", "is a directory")
    refused(tmp_path / "file" / "x.csv", "is not a directory")
    refused(tmp_path / "file" / "y" / "x.csv", "is not a directory")
    refused(tmp_path / "loop" / "x.csv", "symbolic links")
    refused(tmp_path / "dangling" / "x.csv", "No such file")
    refused(tmp_path / ("n" * 300), "name too long")
    refused(tmp_path / ("n" * 252), "name too long")  # with .part
    refused(tmp_path / "new" / ("n" * 300) / "x.csv", "name too long")
    refused(tmp_path / "/".join(["n" * 200] * 25), "name too long")
    refused("/", "is a directory")
    refused("/proc/absent/x.csv", "")
    assert {path.name for path in tmp_path.iterdir()} == {"folder.csv", "file", "loop", "dangling"}


def test_a_directory_without_permission(tmp_path, monkeypatch):
    def fail(dir):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(dir))

    monkeypatch.setattr(outputs.tempfile, "TemporaryFile", fail)  # root may write everywhere
    refused(tmp_path / "x.csv", "Permission denied")


def test_what_can_be_written_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old.csv").write_text("old")
    for path in ("old.csv", "new.csv", "a/b/c.csv", str(tmp_path / "x"), "n" * 250):
        outputs.require_writable(as_path(path), "--output")
    assert [path.name for path in tmp_path.iterdir()] == ["old.csv"]
    assert (tmp_path / "old.csv").read_text() == "old"
    url = f"ram://{tmp_path.name}"
    as_path(url).mkdir()
    outputs.require_writable(as_path(f"{url}/x.csv"), "--output")
    assert list(as_path(url).iterdir()) == []
    # Another host asks at the same time, or writes the file itself.
    as_path(f"{url}/x.csv.part").write_bytes(b"begun")
    outputs.require_writable(as_path(f"{url}/x.csv"), "--output")
    assert as_path(f"{url}/x.csv.part").read_bytes() == b"begun"


@pytest.mark.parametrize("kind", ["local", "remote"])
def test_a_file_is_replaced_once_it_is_complete(tmp_path, kind):
    root = as_path(tmp_path if kind == "local" else "ram://outputs/replaced")
    root.mkdir(parents=True, exist_ok=True)
    file = root / "x"
    file.write_text("old")
    with pytest.raises(KeyboardInterrupt), outputs.complete_file(file) as part:
        part.write_text("half")
        raise KeyboardInterrupt
    assert file.read_text() == "old" and [path.name for path in root.iterdir()] == ["x"]
    if kind == "local":  # ram:// appends to a file that is there
        (root / "x.part").write_text("of a killed process, and longer")
    with outputs.complete_file(file) as part:
        part.write_text("new")
        assert file.read_text() == "old"
    assert file.read_text() == "new" and [path.name for path in root.iterdir()] == ["x"]


@pytest.mark.parametrize("kind", ["local", "remote"])
def test_processes_that_write_the_same_file_do_not_meet(tmp_path, kind):
    root = as_path(tmp_path if kind == "local" else "ram://outputs/private")
    root.mkdir(parents=True, exist_ok=True)
    file = root / "x.csv"
    with outputs.private_file(file) as part:
        part.write_text("all of it")
        if kind == "local":
            with pytest.raises(KeyboardInterrupt), outputs.private_file(file) as other:
                other.write_text("half")
                raise KeyboardInterrupt
            assert not file.exists()  # ram:// takes x.csv.part for a part of it
    assert file.read_text() == "all of it" and [path.name for path in root.iterdir()] == ["x.csv"]


def test_checkpoints_of_others_at_a_url_are_no_rest():
    """`checkpoint` and ckpt-N are what TensorFlow's own manager writes."""
    target = as_path("ram://outputs/others/t")
    target.mkdir()
    (target / "checkpoint").write_text("theirs")
    with pytest.raises(UserError, match="exists already"):
        outputs.require_new(target, "checkpoint", "Do this.")
    assert (target / "checkpoint").read_text() == "theirs"


def made(directory):
    folder = directory / "made"
    for name in ("marker", "a/x", "z"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def test_local_directories_appear_at_once(tmp_path):
    target = as_path(tmp_path / "new" / "t")
    with outputs.scratch(target, ".made-") as directory:
        assert directory.parent.parent == tmp_path / "new"
        outputs.publish(made(directory), target, "marker")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["t"]
    assert (target / "a" / "x").read_text() == "a/x"
    with pytest.raises(UserError, match="exists already. Do this."):
        outputs.require_new(target, "marker|a|z", "Do this.")
    os.symlink("absent", tmp_path / "link")
    with pytest.raises(UserError, match="exists already"):
        outputs.require_new(as_path(tmp_path / "link"), "", "Do this.")


def test_the_marker_of_a_directory_at_a_url_comes_last(tmp_path, monkeypatch):
    copied, target = [], as_path("ram://outputs/new/t")
    copy = outputs.tf.io.gfile.copy

    def note(source, place, **options):
        copied.append(place)
        copy(source, place, **options)

    monkeypatch.setattr(outputs.tf.io.gfile, "copy", note)

    def killed(source, place, **options):
        copy(source, place, **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, outputs.scratch(target, ".made-") as directory:
        patch.setattr(outputs.tf.io.gfile, "copy", killed)
        with pytest.raises(KeyboardInterrupt):
            outputs.publish(made(directory), target, "marker")
    (target / "a" / "left").write_text("of an interrupted call")
    outputs.require_new(target, "a|z", "Do this.")
    with outputs.scratch(target, ".made-") as directory:
        assert directory.parent.parent == pathlib.Path(outputs.tempfile.gettempdir())
        outputs.publish(made(directory), target, "marker")
    assert not directory.exists()
    assert copied == [f"{target}/a/x", f"{target}/z", f"{target}/marker"]
    assert [path.name for path in (target / "a").iterdir()] == ["x"]
    assert sorted(path.name for path in target.iterdir()) == ["a", "marker", "z"]
    with pytest.raises(UserError, match="exists already. Do this."):
        outputs.require_new(target, "a|z", "Do this.")
