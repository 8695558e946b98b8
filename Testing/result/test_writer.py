"""One writer at a time; the files of a case are there or not; what the killed left does not stop the next."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ProtoSegBrainLib.files import LONG_AGO_S
from ProtoSegBrainLib.result import writer as module
from ProtoSegBrainLib.result.writer import ALL_ENDINGS, ENDINGS, LAST, BusyError, Writer, clear_left

RESULT = tuple(ENDINGS.values())


def write(out: Path, case_id: str = "x", endings: tuple[str, ...] = RESULT, text: str = "new") -> None:
    with Writer(case_id, out) as writer:
        fill(writer, endings, text)


def fill(writer: Writer, endings: tuple[str, ...] = RESULT, text: str = "new") -> None:
    with writer.folder() as folder:
        for ending in endings:
            (folder / f"{writer.case_id}{ending}").write_text(text)


def fails_in_between(out: Path) -> None:
    with Writer("x", out) as writer, writer.folder() as folder:
        (folder / "x_seg.nii.gz").write_text("new")
        raise RuntimeError("in between")


def there(out: Path) -> dict[str, str]:
    """Text by name, of the hidden ones, too."""
    return {path.name: path.read_text() if path.is_file() else "folder" for path in out.iterdir()}


def of(case_id: str, endings: tuple[str, ...] = RESULT, text: str = "new") -> dict[str, str]:
    return {f"{case_id}{ending}": text for ending in endings}


# -- in place ------------------------------------------------------------------------------------------------------


def test_all_files_take_the_place_of_all_there_were(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    write(out, endings=ALL_ENDINGS, text="old")
    write(out, "y")
    write(out)
    assert there(out) == of("x") | of("y"), "no older report or scene stays beside a new result"


def test_the_json_file_goes_first_and_comes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, text="old")
    replace, seen = os.replace, []

    def look(source: Path, target: Path) -> None:
        if Path(target).parent == tmp_path:
            seen.append((Path(target).name, (tmp_path / f"x{LAST}").exists()))
        replace(source, target)

    monkeypatch.setattr(os, "replace", look)
    write(tmp_path)
    assert [name for name, _ in seen][-1] == f"x{LAST}"
    assert not any(was_there for _, was_there in seen)


def test_what_fails_leaves_all_as_it_was(tmp_path: Path) -> None:
    write(tmp_path / "old", text="old")
    for out in (tmp_path / "old", tmp_path / "new" / "out"):
        with pytest.raises(RuntimeError, match="in between"):
            fails_in_between(out)
    assert there(tmp_path) == {"old": "folder"}, "a folder that was made for nothing is gone"
    assert there(tmp_path / "old") == of("x", text="old")


def test_a_full_disk_is_said_with_the_room_that_is_left(tmp_path: Path) -> None:
    with (
        pytest.raises(OSError, match=r"case x could not be written to .*: No space left on device, \d+ MB are free"),
        Writer("x", tmp_path / "out") as writer,
        writer.folder(),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert there(tmp_path) == {}


# -- refused -------------------------------------------------------------------------------------------------------


def test_older_files_are_kept_unless_overwrite_is_said(tmp_path: Path) -> None:
    for ending in ALL_ENDINGS:
        path = tmp_path / f"x{ending}"
        path.touch()
        with Writer("x", tmp_path) as writer:
            writer.check_older(overwrite=True)
            with pytest.raises(FileExistsError, match=f"already holds results of case x .x{ending}"):
                writer.check_older(overwrite=False)
        path.unlink()


@pytest.mark.parametrize("case_id", ["", ".", "..", "a/b", "../x", "a\0b"])
def test_a_case_id_is_a_plain_name(tmp_path: Path, case_id: str) -> None:
    with pytest.raises(ValueError, match="plain name"):
        Writer(case_id, tmp_path / "out")
    assert there(tmp_path) == {}


@pytest.mark.parametrize("case_id", ["Müller, Jörg", "-x", "a\nb", "x y", ".x", "ü" * 117, "a" * 235, "%s", "[1]", "*"])
def test_odd_names_are_names(tmp_path: Path, case_id: str) -> None:
    write(tmp_path, case_id)
    assert there(tmp_path) == of(case_id)


@pytest.mark.parametrize("case_id", ["a" * 236, "ü" * 118, "a" * 300])
def test_a_name_that_no_file_can_have_is_refused(tmp_path: Path, case_id: str) -> None:
    with pytest.raises(ValueError, match=r"is too long: .* 255 are the most\. Rename the case\."):
        Writer(case_id, tmp_path / "out")
    assert there(tmp_path) == {}


def test_the_folder_of_the_images_takes_no_result(tmp_path: Path) -> None:
    case = tmp_path / "case"
    case.mkdir()
    (tmp_path / "link").symlink_to(case, target_is_directory=True)
    inputs = [case / "x_t1.nii.gz"]
    for out in (case, case / ".." / "case", tmp_path / "link"):
        with pytest.raises(FileExistsError, match="is the folder of the images"):
            Writer("x", out, inputs=inputs)
    Writer("x", case / "out", inputs=inputs)  # files given by role may lie anywhere
    for out in (case / "out", tmp_path / "link" / "a" / "b"):
        with pytest.raises(FileExistsError, match=r"lies in the folder of the images, .*case, where a result would be"):
            Writer("x", out, inputs=inputs, apart_from=case)
    Writer("x", tmp_path / "case_results", inputs=inputs, apart_from=case)
    with pytest.raises(FileExistsError, match=r"x_seg\.nii\.gz is a file of case x itself"):
        Writer("x", case, inputs=[case / "x_seg.nii.gz"])


# -- several writers -----------------------------------------------------------------------------------------------


def test_a_second_writer_is_told_who_is_at_work(tmp_path: Path) -> None:
    with Writer("x", tmp_path) as first:
        with pytest.raises(BusyError, match=rf"at work on case x in .*process {os.getpid()} on"), Writer("x", tmp_path):
            pass
        clear_left(tmp_path)
        write(tmp_path, "y")
        fill(first)
    assert there(tmp_path) == of("x") | of("y")


KILLED = """
import os, signal, sys, time
from pathlib import Path
sys.path[:0] = sys.argv[1:3]
from test_writer import ALL_ENDINGS, Writer, fill
replace, left = os.replace, int(sys.argv[4])
def counted(source, target):
    global left
    if Path(target).parent == Path(sys.argv[3]):
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)
os.replace = counted
with Writer("x", sys.argv[3]) as writer:
    fill(writer, text="killed")
    left = -1
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("moved", [0, 3, 5])
def test_a_killed_writer_stops_nobody_and_loses_nothing(tmp_path: Path, moved: int) -> None:
    """It was killed when all its files were written, and some of them moved."""
    write(tmp_path, endings=(*RESULT, "_report.html"), text="old")
    folders = [str(Path(__file__).parent), str(Path(__file__).parents[2])]
    command = [sys.executable, "-c", KILLED, *folders, str(tmp_path), str(moved)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert (tmp_path / f"x{LAST}").exists() == (moved == 5), "where it lies the rest is whole"
    assert (tmp_path / ".writing_x.lock").exists()
    with Writer("x", tmp_path) as writer:
        assert {name: text for name, text in there(tmp_path).items() if name[0] != "."} == of("x", text="killed")
        if moved < 5:
            writer.check_older(overwrite=False)
        else:
            with pytest.raises(FileExistsError, match="already holds"):
                writer.check_older(overwrite=False)
        fill(writer)
    assert there(tmp_path) == of("x")


def test_what_others_left_is_cleared_too(tmp_path: Path) -> None:
    old = time.time() - LONG_AGO_S - 60
    left = {".writing_half": True, ".writing_whole": True, ".writing_ab12cd": False, ".segmenting_x.abc": False}
    for name, has_lock in left.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name[9:]}_seg.nii.gz").write_text("new")
        if has_lock:
            (tmp_path / f"{name}.lock").touch()
        else:
            os.utime(tmp_path / name, (old, old))
    (tmp_path / ".writing_whole" / module.WHOLE).write_text(json.dumps(["_seg.nii.gz"]))
    (tmp_path / ".segmenting_young.abc").mkdir()
    with Writer("living", tmp_path):
        (tmp_path / ".writing_living").mkdir()
        clear_left(tmp_path)
        assert there(tmp_path).keys() == {
            *("whole_seg.nii.gz", ".segmenting_young.abc", ".writing_living", ".writing_living.lock"),
        }
