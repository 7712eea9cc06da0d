"""JSON files that are damaged, of another version, or something else."""

import pytest
from etils import epath

from simclr_tf.errors import UserError
from simclr_tf.json_files import read_object

KINDS = {"step": int, "share": float, "names": (list, type(None)), "on": bool}
GOOD = b'{"step": 3, "share": 1, "names": ["a"], "on": true, "more": {}}'


def read(tmp_path, content):
    path = epath.Path(tmp_path / "values.json")
    path.write_bytes(content)
    return read_object(path, KINDS)


def test_an_object_with_its_entries_is_read(tmp_path):
    assert read(tmp_path, GOOD)["names"] == ["a"]
    assert read(tmp_path, GOOD.replace(b'["a"]', b"null"))["names"] is None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no JSON"),
        (GOOD[:20], "no JSON"),
        (b"\xff\xfe{}", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"null", "holds null"),
        (b"[1, 2]", r"holds \[1, 2\]"),
        (b'"' + b"x" * 500 + b'"', r"x\.\.\.$|x\.\.\.\."),
        (b"{}", "no 'step'"),
        (GOOD.replace(b"3", b'"3"'), "'step' is \"3\""),
        (GOOD.replace(b"3", b"true"), "'step' is true"),
        (GOOD.replace(b"3", b"3.5"), "'step' is 3.5"),
        (GOOD.replace(b'["a"]', b"[1]"), "'names' is"),
        (GOOD.replace(b'["a"]', b'"a"'), "'names' is"),
        (GOOD.replace(b"true", b"1"), "'on' is 1"),
    ],
)
def test_anything_else_is_one_line_that_names_the_file(tmp_path, content, said):
    with pytest.raises(UserError, match=f"values.json is damaged.*({said})"):
        read(tmp_path, content)


def test_what_is_not_there_and_what_cannot_be_read(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_object(epath.Path(tmp_path / "nothing.json"))
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        read_object(epath.Path(tmp_path))
