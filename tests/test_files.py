"""Files are replaced as a whole or not at all."""

import os
from pathlib import Path

import pytest

from initspec import files
from initspec.errors import InitspecValueError


def test_a_file_is_replaced_as_a_whole_or_not_at_all(tmp_path, monkeypatch):
    file = tmp_path / "x.png"
    files.write(file, b"old", "--png")
    monkeypatch.setattr(os, "replace", _full)
    with pytest.raises(InitspecValueError, match="No space left on device"):
        files.write(file, b"new", "--png")
    assert file.read_bytes() == b"old"
    monkeypatch.undo()
    files.write(file, b"new", "--png")
    assert file.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [file]


def _full(*_):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("where", ["--png", "report file"])
def test_the_error_names_the_option_the_file_and_the_cause(tmp_path, where):
    file = tmp_path / "nowhere" / "x.png"
    with pytest.raises(InitspecValueError, match="No such file or directory") as caught:
        files.write(file, b"", where)
    assert (caught.value.where, caught.value.given) == (where, str(file))


def test_a_folder_is_no_file(tmp_path, monkeypatch):
    inner = tmp_path / "inner"
    inner.mkdir()
    monkeypatch.chdir(inner)
    for folder in (Path("."), inner):
        with pytest.raises(InitspecValueError, match="a file that can be written"):
            files.write(folder, b"", "--png")
    assert list(tmp_path.rglob("*")) == [inner]
