"""Archives that somebody else made: what is unsafe, damaged or cut is refused."""

import errno
import functools
import gzip
import io
import os
import shutil
import tarfile
import types
import zipfile

import numpy as np
import official_archives
import pytest
from damage import damaged
from official_archives import tar

from simclr_tf.data.transfer import opening, unpacking
from simclr_tf.data.transfer.unpacking import unpack
from simclr_tf.errors import UserError


def member(name, kind=tarfile.REGTYPE, target=""):
    found = tarfile.TarInfo(name)
    found.type, found.linkname = kind, target
    return found


@pytest.mark.parametrize(
    "bad",
    [
        member("../outside.txt"),
        member("dtd/../../outside.txt"),
        member("/tmp/outside.txt"),
        member("dtd/link", tarfile.SYMTYPE, "/etc/passwd"),
        member("dtd/link", tarfile.LNKTYPE, "dtd/labels/train1.txt"),
        member("dtd/pipe", tarfile.FIFOTYPE),
    ],
    ids=lambda m: m.name,
)
def test_malicious_tar_archives_are_refused(tmp_path, bad):
    place = tmp_path / "place"
    place.mkdir()
    with tarfile.open(place / "dtd-r1.0.1.tar.gz", "w:gz") as archive:
        archive.addfile(member("dtd/labels/train1.txt"), io.BytesIO())
        archive.addfile(bad, io.BytesIO())
    with pytest.raises(UserError, match="is not unpacked"):
        opening.load("dtd", "train", data_dir=str(place), check=False)
    left = [path.name for path in tmp_path.rglob("*") if path.is_file()]
    assert left == ["dtd-r1.0.1.tar.gz"]


def test_malicious_zip_archives_are_refused(tmp_path):
    link = zipfile.ZipInfo("link")
    link.create_system, link.external_attr = 3, 0o120777 << 16
    for name in ("../outside", "C:/outside", "..\\outside", link):
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            archive.writestr(name, "x")
        with pytest.raises(UserError, match="is not unpacked"):
            unpack(tmp_path / "a.zip", tmp_path / "a")
        assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_damaged_archives_are_one_clear_line(tmp_path):
    tar(tmp_path / "whole.tar.gz", {"a": np.random.default_rng(0).bytes(100_000)})
    whole = (tmp_path / "whole.tar.gz").read_bytes()
    for name, contents in (("a.tar.gz", whole[:50_000]), ("b.zip", b"no zip"), ("c.tgz", b"no")):
        (tmp_path / name).write_bytes(contents)
        with pytest.raises(UserError, match="cannot be unpacked"):
            unpack(tmp_path / name, tmp_path / "x")
        assert not (tmp_path / "x").exists()


FILES = {
    "set/a.txt": b"a" * 700,
    "set/deeper/b.bin": np.random.default_rng(0).bytes(512),
    "set/empty": b"",
    "set/ü.txt": b"not ASCII",
}


def write_tar(path, format=tarfile.PAX_FORMAT, mode="w"):
    with tarfile.open(path, mode, format=format) as archive:
        for name, contents in FILES.items():
            found = tarfile.TarInfo(name)
            found.size = len(contents)
            archive.addfile(found, io.BytesIO(contents))


def write_zip(path, compression):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, contents in FILES.items():
            archive.writestr(name, contents)


WRITERS = {
    "pax.tar": write_tar,
    "gnu.tar": functools.partial(write_tar, format=tarfile.GNU_FORMAT),
    "gz.tgz": functools.partial(write_tar, mode="w:gz"),
    "bz2.tar": functools.partial(write_tar, mode="w:bz2"),
    "xz.tar": functools.partial(write_tar, mode="w:xz"),
    "stored.zip": functools.partial(write_zip, compression=zipfile.ZIP_STORED),
    "deflated.zip": functools.partial(write_zip, compression=zipfile.ZIP_DEFLATED),
    "lzma.zip": functools.partial(write_zip, compression=zipfile.ZIP_LZMA),
}


def unpacked(folder):
    """{name: contents} of what was unpacked."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def refused(archive, message):
    """The refusal of an archive, of which nothing is left."""
    folder = archive.parent / "out"
    with pytest.raises(UserError, match=message) as caught:
        unpack(archive, folder)
    assert "\n" not in str(caught.value) and str(archive) in str(caught.value)
    assert not [p for p in archive.parent.iterdir() if p.name.startswith(("out", ".out"))]


@pytest.mark.parametrize("name", WRITERS)
def test_an_archive_is_unpacked_whole_or_not_at_all(tmp_path, name):
    """Cut, and with bits turned, in 200 ways."""
    archive, folder = tmp_path / name, tmp_path / "out"
    WRITERS[name](archive)
    whole = archive.read_bytes()
    unpack(archive, folder)
    assert unpacked(folder) == FILES
    shutil.rmtree(folder)
    random = np.random.default_rng(3)
    refusals = 0
    for copy in damaged(whole, 200, random):
        archive.write_bytes(copy)
        try:
            unpack(archive, folder)
        except UserError as error:
            assert "\n" not in str(error)
            refusals += 1
        else:
            found = unpacked(folder)
            assert found.keys() == FILES.keys()
            if name not in ("pax.tar", "gnu.tar"):  # without a checksum of what is in files
                assert found == FILES
            shutil.rmtree(folder)
        assert [path.name for path in tmp_path.iterdir()] == [name]
    assert refusals >= 100


def test_a_tar_that_was_cut_between_two_members_is_refused(tmp_path):
    archive = tmp_path / "a.tar"
    write_tar(archive)
    whole = archive.read_bytes()
    with tarfile.open(archive) as tar_file:
        boundaries = [found.offset for found in tar_file][1:] + [tar_file.offset]
    for boundary in boundaries:
        archive.write_bytes(whole[:boundary])
        refused(archive, f"ends at byte {boundary:,} without the mark of its end")
    archive.write_bytes(whole[: boundaries[-1] + 512])  # one block of zeros is enough
    unpack(archive, tmp_path / "whole")
    assert unpacked(tmp_path / "whole") == FILES


def test_what_follows_the_end_of_a_tar_is_refused(tmp_path):
    archive = tmp_path / "a.tar"
    write_tar(archive)
    whole = archive.read_bytes()
    archive.write_bytes(whole + bytes(100_000))
    unpack(archive, tmp_path / "whole")
    assert unpacked(tmp_path / "whole") == FILES
    archive.write_bytes(whole + b"<html>")
    refused(archive, "is neither a header nor the end")
    archive.write_bytes(whole + bytes(2 << 20))
    refused(archive, "of zeros follow the end")
    archive.write_bytes(gzip.compress(whole) + b"<html>")
    refused(archive, "cannot be unpacked")


def test_the_checksum_of_a_gzip_counts(tmp_path):
    archive = tmp_path / "a.tgz"
    write_tar(archive, mode="w:gz")
    whole = bytearray(archive.read_bytes())
    whole[-8] ^= 1
    archive.write_bytes(whole)
    refused(archive, "CRC check failed")


def test_an_archive_of_nothing_is_refused(tmp_path):
    for name in ("a.tar", "a.zip"):
        (tmp_path / name).write_bytes(bytes(10_240))
        refused(tmp_path / name, "holds no files|not a zip file")
    with zipfile.ZipFile(tmp_path / "a.zip", "w"):
        pass
    refused(tmp_path / "a.zip", "holds no files")


def test_a_zip_that_lost_members_of_its_list_is_refused(tmp_path):
    archive = tmp_path / "a.zip"
    write_zip(archive, zipfile.ZIP_STORED)
    contents = bytearray(archive.read_bytes())
    end = contents.rindex(b"PK\5\6")
    first = contents.index(b"PK\1\2")
    second = contents.index(b"PK\1\2", first + 1)
    third = contents.index(b"PK\1\2", second + 1)
    # The comment of the first member swallows the second.
    contents[first + 32 : first + 34] = (third - second).to_bytes(2, "little")
    assert end > third
    archive.write_bytes(contents)
    refused(archive, "3 of its 4 members are there")


def test_zips_that_cannot_be_read_are_one_line(tmp_path):
    archive = tmp_path / "a.zip"
    write_zip(archive, zipfile.ZIP_STORED)
    whole = archive.read_bytes()
    for offset, value, message in ((8, 1, "is encrypted"), (10, 99, "not supported")):
        contents = bytearray(whole)
        place = -1
        while (place := contents.find(b"PK\1\2", place + 1)) >= 0:
            contents[place + offset] = value
        archive.write_bytes(contents)
        refused(archive, message)


def with_header(path, name, kind, size, patch=None):
    """A tar archive whose only header says that."""
    header = bytearray(member(name, kind).tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\x80" + size.to_bytes(11, "big")
    for place, value in (patch or {}).items():
        header[place : place + len(value)] = value
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    path.write_bytes(bytes(header) + bytes(10_240))


def test_bombs_are_refused_and_the_limit_said(tmp_path):
    limit = "more than 100 times as large, and larger than 67,108,864 bytes"
    zeros = bytes(70_000_000)
    tar(tmp_path / "a.tgz", {"zeros": zeros})
    refused(tmp_path / "a.tgz", limit)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", zeros)
    refused(tmp_path / "a.zip", limit)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(100):  # each of them small enough
            archive.writestr(f"{i}", zeros[:1_000_000])
    refused(tmp_path / "a.zip", limit)
    # A sparse file of 1 TiB of which no byte is stored.
    sparse = {482: b"\0", 483: b"%011o\0" % (1 << 33), 495: bytes(12)}
    with_header(tmp_path / "a.tar", "sparse", tarfile.GNUTYPE_SPARSE, 0, sparse)
    refused(tmp_path / "a.tar", limit)
    with_header(tmp_path / "a.tar", "a", tarfile.REGTYPE, 1 << 60)
    refused(tmp_path / "a.tar", limit)
    with_header(tmp_path / "a.tar", "a", tarfile.GNUTYPE_LONGNAME, 1 << 33)
    refused(tmp_path / "a.tar", "it has a header of 8,589,934,592 bytes")


def test_names_that_cannot_be_are_one_line_and_odd_ones_are_unpacked(tmp_path):
    def made(*names):
        tar(tmp_path / "a.tar", dict.fromkeys(names, b"x"))
        return tmp_path / "a.tar"

    refused(made("a", "a/b"), "cannot be unpacked to ")
    refused(made("b/c", "b"), "cannot be unpacked to ")
    refused(made("n" * 300), "cannot be unpacked to .*too long")
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.GNU_FORMAT) as archive:
        for contents in (b"first", b"second"):
            twice = tarfile.TarInfo("gr\udcfcn.txt")  # Latin-1, and twice
            twice.size = len(contents)
            archive.addfile(twice, io.BytesIO(contents))
    unpack(tmp_path / "a.tar", tmp_path / "out")
    assert os.listdir(os.fsencode(tmp_path / "out")) == [b"gr\xfcn.txt"]
    assert (tmp_path / "out" / os.fsdecode(b"gr\xfcn.txt")).read_bytes() == b"second"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_one_line_and_the_same_command_goes_on(tmp_path, monkeypatch, number):
    write_tar(tmp_path / "a.tar")
    untouched = (tmp_path / "a.tar").read_bytes()

    def full(*_):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(unpacking.shutil, "copyfileobj", full)
        refused(tmp_path / "a.tar", "no room in .* is untouched: make room, and the same command")
    with monkeypatch.context() as patch:
        patch.setattr(unpacking.shutil, "disk_usage", lambda _: types.SimpleNamespace(free=600))
        refused(tmp_path / "a.tar", "no room in .*a file of 700 bytes, and 600 are free")
    assert (tmp_path / "a.tar").read_bytes() == untouched
    unpack(tmp_path / "a.tar", tmp_path / "out")
    assert unpacked(tmp_path / "out") == FILES


def test_what_killed_processes_left_is_removed(tmp_path):
    write_tar(tmp_path / "a.tar")
    (tmp_path / ".out-abcd1234/set").mkdir(parents=True)
    (tmp_path / ".out-abcd1234/set/a.txt").write_bytes(b"half")
    unpack(tmp_path / "a.tar", tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar", "out"]


def test_an_archive_in_an_archive_is_not_taken_from_what_is_unpacked_just_now(tmp_path):
    official_archives.caltech101(tmp_path)
    hidden = tmp_path / "unpacked/.caltech-101.zip-abcd1234/caltech-101"
    hidden.mkdir(parents=True)
    (hidden / "101_ObjectCategories.tar.gz").write_bytes(b"half")
    found = opening.load("caltech101", "train+validation", data_dir=str(tmp_path), check=False)
    assert found.num_examples == 60


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.tar")
    refused(tmp_path / "a.tar", "is no file")
