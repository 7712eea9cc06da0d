"""Unfinished directories: removed by their process, or by the next one if it was killed."""

import os
import signal
import stat
import subprocess
import sys

import pytest

from simclr_tf import unfinished
from simclr_tf.unfinished import unfinished_directory

WAITING = """
import pathlib, sys
from simclr_tf.unfinished import unfinished_directory
with unfinished_directory(pathlib.Path(sys.argv[1]), ".made-") as directory:
    (directory / "part").write_text("half")
    print(directory.relative_to(sys.argv[1]), flush=True)
    sys.stdin.read()
"""


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_it_is_new_empty_and_removed_at_the_end(tmp_path):
    with unfinished_directory(tmp_path, ".x-") as first, unfinished_directory(tmp_path, ".x-") as b:
        assert names(tmp_path) == sorted([first.parent.name, b.parent.name])
        assert first.parent.parent == tmp_path and first.parent.name.startswith(".x-")
        assert names(first) == []
        (first / "file").write_text("something")
    assert names(tmp_path) == []


def test_what_was_renamed_stays(tmp_path):
    with unfinished_directory(tmp_path, ".x-") as directory:
        (directory / "file").write_text("all of it")
        directory.rename(tmp_path / "x")
    assert names(tmp_path) == ["x"]
    assert (tmp_path / "x" / "file").read_text() == "all of it"


def test_it_is_removed_after_an_error(tmp_path):
    with pytest.raises(KeyError), unfinished_directory(tmp_path, ".x-"):
        raise KeyError
    assert names(tmp_path) == []


def test_the_living_keep_theirs_and_the_killed_lose_it(tmp_path):
    # A name that looks like one and is none: a file, a longer name, a link.
    (tmp_path / ".made-12345678").write_text("a file")
    (tmp_path / ".made-12345678.bak").mkdir()
    (tmp_path / ".made-abcdefgh").symlink_to(tmp_path / ".made-12345678.bak")
    others = names(tmp_path)
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    name = process.stdout.readline().strip()
    with unfinished_directory(tmp_path, ".made-"):
        assert (tmp_path / name / "part").read_text() == "half"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert (tmp_path / name / "part").exists()
    with unfinished_directory(tmp_path, ".other-"):
        assert (tmp_path / name / "part").exists()
    with unfinished_directory(tmp_path, ".made-"):
        assert not (tmp_path / name).exists()
    assert names(tmp_path) == others


def test_what_holds_the_lock_is_a_file(tmp_path, monkeypatch):
    """NFS tells other machines of locks on files alone."""
    locked = []
    monkeypatch.setattr(unfinished.fcntl, "flock", lambda lock, kind: locked.append(lock))
    with unfinished_directory(tmp_path, ".x-"):
        assert locked and all(stat.S_ISREG(os.fstat(lock).st_mode) for lock in locked)


@pytest.mark.parametrize("parent", ["nowhere", "file"])
def test_where_it_cannot_be_made_is_the_callers(tmp_path, parent):
    (tmp_path / "file").write_text("no directory")
    with pytest.raises(OSError), unfinished_directory(tmp_path / parent, ".x-"):
        pass
