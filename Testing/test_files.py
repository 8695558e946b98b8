"""A file is whole or as it was; a folder that cannot be made or written to is refused; one holds a lock."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import types
from pathlib import Path

import pytest

from ProtoSegBrainLib import files as module
from ProtoSegBrainLib.files import check_folder, check_room, clear_partial, locked, write_whole

ROOT = Path(__file__).resolve().parents[1]


def test_text_and_bytes_replace_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_whole(path, "first\n")
    write_whole(str(path), "Ödem\n")
    assert path.read_bytes() == "Ödem\n".encode()
    write_whole(path, b"\x00\x01")
    assert path.read_bytes() == b"\x00\x01"
    assert list(tmp_path.iterdir()) == [path]


def test_names_that_are_not_utf_8_come_back_as_they_were(tmp_path: Path) -> None:
    write_whole(tmp_path / "a.txt", "M\udcfcller")
    assert (tmp_path / "a.txt").read_bytes() == b"M\xfcller"


def test_what_a_killed_process_was_writing_is_cleared(tmp_path: Path) -> None:
    code = "import sys; from ProtoSegBrainLib import files; files.os.replace = lambda *_: files.os._exit(9)"
    code += "; files.write_whole(sys.argv[1], 'x')"
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.txt")], cwd=ROOT, check=False)
    (left,) = tmp_path.iterdir()
    assert left.name.endswith(".partial")
    own = tmp_path / module.PARTIAL.sub(lambda found: found[0].replace(found["pid"], str(os.getpid())), left.name)
    elsewhere = tmp_path / left.name.replace(module._host(), "another-host")
    ancient = tmp_path / ".0123456789abcdef0123456789abcdef.partial"
    for path in (own, elsewhere, ancient):
        path.touch()
    long_ago = time.time() - module.LONG_AGO_S - 60
    os.utime(ancient, (long_ago, long_ago))
    clear_partial(tmp_path)
    assert set(tmp_path.iterdir()) == {own, elsewhere}, "what may still be written stays"


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


@pytest.mark.parametrize("name", ["", " ", "\t \n"])
def test_a_folder_has_a_name(name: str) -> None:
    with pytest.raises(ValueError, match="empty name"):
        check_folder(name)


def test_a_name_that_is_too_long_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be made: File name too long"):
        check_folder(tmp_path / ("a" * 300))


def test_a_link_to_a_place_that_is_gone_is_refused(tmp_path: Path) -> None:
    (tmp_path / "drive").symlink_to(tmp_path / "unplugged")
    for folder in (tmp_path / "drive", tmp_path / "drive" / "below"):
        with pytest.raises(
            FileNotFoundError, match=r"drive is a link to .*unplugged, which is not there; is the drive"
        ):
            check_folder(folder)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(ValueError, match="cannot be made: Too many levels"):
        check_folder(tmp_path / "loop")


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(**_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(tempfile, "TemporaryFile", read_only)
    with pytest.raises(PermissionError, match=r"new cannot be written to \(.*: Read-only file system\)"):
        check_folder(tmp_path / "new")


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="a folder that even the administrator cannot write to")
def test_a_folder_of_the_system_is_refused() -> None:
    with pytest.raises(PermissionError, match="/proc/self/new cannot be written to"):
        check_folder("/proc/self/new")


def test_a_disk_with_too_little_room_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_room(tmp_path / "new", 1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: types.SimpleNamespace(total=1e9, free=2e6))
    check_room(tmp_path / "new", 1.9e6)
    with pytest.raises(ValueError, match=r"too little room: about 30 MB are needed, 2 MB are free there"):
        check_room(tmp_path / "new", 30e6)


# -- locks ---------------------------------------------------------------------------------------------------------


def test_one_holds_a_lock_and_the_next_waits(tmp_path: Path) -> None:
    path, order = tmp_path / "lock", []

    def second() -> None:
        with locked(path, 10):
            order.append("second")

    with locked(path):
        with pytest.raises(BlockingIOError, match=f"process {os.getpid()} on .* holds .*lock"), locked(path):
            pass
        waiting = threading.Thread(target=second)
        waiting.start()
        time.sleep(0.1)
        order.append("first")
    waiting.join()
    assert order == ["first", "second"]
    assert list(tmp_path.iterdir()) == []


def test_of_many_only_one_holds_it(tmp_path: Path) -> None:
    """Each adds one to a number in a file, many times; none is lost although each removes the lock's file."""
    number = tmp_path / "number"
    number.write_text("0")

    def add() -> None:
        for _ in range(25):
            with locked(tmp_path / "lock", 60):
                number.write_text(str(int(number.read_text()) + 1))

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert number.read_text() == "100"


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    code = "import os, signal, sys; from ProtoSegBrainLib.files import locked\n"
    code += "with locked(sys.argv[1]): os.kill(os.getpid(), signal.SIGKILL)"
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "lock")], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / "lock").exists()
    with locked(tmp_path / "lock"):
        pass
    assert list(tmp_path.iterdir()) == []
