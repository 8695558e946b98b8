"""A file is whole or as it was; a folder that cannot be made is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ProtoSegBrainLib.files import check_folder, write_whole


def test_text_and_bytes_replace_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_whole(path, "first\n")
    write_whole(str(path), "Ödem\n")
    assert path.read_bytes() == "Ödem\n".encode()
    write_whole(path, b"\x00\x01")
    assert path.read_bytes() == b"\x00\x01"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail(*_: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="full"):
        write_whole(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_or_lies_below_a_file_is_refused(tmp_path: Path) -> None:
    check_folder(tmp_path)
    check_folder(tmp_path / "new" / "folder")
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(FileExistsError, match="is a file"):
            check_folder(folder)
