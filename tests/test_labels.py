"""Files with the names of classes."""

import pytest

from simclr_tf.errors import UserError
from simclr_tf.labels import label_lines, read_labels
from simclr_tf.paths import as_path


def test_names_come_back(tmp_path):
    names = ["cat", "größe", "caf\udce9", "\u2028line", "a b ", ""]
    content = label_lines(names)
    assert content == b"cat\ngr\xc3\xb6\xc3\x9fe\ncaf\xe9\n\xe2\x80\xa8line\na b \n\n"
    (tmp_path / "labels.txt").write_bytes(content)
    assert read_labels(as_path(tmp_path / "labels.txt"), "") == names
    assert label_lines(["a\nb"]) == b"a b\n"


@pytest.mark.parametrize(
    ("content", "names"),
    [
        (b"cat\r\ndog\r\n", ["cat", "dog"]),
        (b"\xef\xbb\xbfcat\ndog", ["cat", "dog"]),
        (b"cat\n\n", ["cat", ""]),
        (b"", []),
    ],
)
def test_files_of_other_programs(tmp_path, content, names):
    (tmp_path / "labels.txt").write_bytes(content)
    assert read_labels(as_path(tmp_path / "labels.txt"), "") == names


def test_what_is_no_text(tmp_path):
    (tmp_path / "labels.txt").write_bytes("cat\ndog\n".encode("utf-16"))
    for name, message in (
        ("labels.txt", "no text"),
        ("absent", "No such file"),
        (".", "directory"),
    ):
        with pytest.raises(UserError, match=f"--labels=L cannot be read: .*{message}"):
            read_labels(as_path(tmp_path / name), "--labels=L")
