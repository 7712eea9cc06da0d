"""Archives and pickles that somebody else made: what is unsafe or damaged is refused."""

import io
import pickle
import tarfile
import zipfile

import numpy as np
import pytest
from official_archives import tar

from simclr_tf.data.transfer import cifar, opening
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


class Malicious:
    def __reduce__(self):
        return (print, ("called",))


def test_malicious_pickles_are_refused(tmp_path, capsys):
    path = tmp_path / "train"
    path.write_bytes(pickle.dumps({"data": Malicious()}, protocol=2))
    with pytest.raises(
        UserError, match="is not an official file of CIFAR: it wants to call .*print"
    ):
        cifar.load_pickle(path)
    assert capsys.readouterr().out == ""
