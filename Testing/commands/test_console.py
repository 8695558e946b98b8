"""Standard streams that are closed, full, broken or know few letters: the work is done, and nothing is raised."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ProtoSegBrainLib.commands.console import Enduring, open_streams

ROOT = Path(__file__).resolve().parents[2]
SAYS = """
import os, sys
from ProtoSegBrainLib.commands import cli
from ProtoSegBrainLib.commands.console import Answer

def work(options):
    for _ in range(3000):
        print("chat", file=sys.stderr, flush=True)
    file = os.open("file", os.O_WRONLY | os.O_CREAT)
    assert file > 2, "what C code prints would go into it"
    os.write(file, b"done")
    os.close(file)
    return Answer({"name": "M\\u00fcller \\udcfc"}, "M\\u00fcller \\udcfc\\n" + 100 * "line\\n")

cli.COMMANDS["simulate"] = cli.COMMANDS["simulate"]._replace(run=work)
sys.argv[1:] = ["simulate", *sys.argv[1:]]
sys.exit(cli.main())
"""
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a shell of Unix")


def shell(command: str, tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A shell's command, in which ``says`` is a command of the program that does its work and says an odd name."""
    (tmp_path / "says.py").write_text(SAYS)
    program = f'says() {{ "{sys.executable}" says.py --out out "$@"; }}; {command}'
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "", **environment}
    done = subprocess.run(
        ["bash", "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert (tmp_path / "file").read_bytes() == b"done"
    assert "Traceback" not in done.stderr
    return done


@pytest.mark.parametrize(
    "command",
    [
        *("says >&-", "says 2>&-", "says >&- 2>&-", "says <&- >&- 2>&-", "says 2>/dev/full", "says >/dev/full"),
        *("says >/dev/full 2>/dev/full", "says --json >&-", "says | head -1; exit ${PIPESTATUS[0]}"),
        *("says 2>&1 | true; exit ${PIPESTATUS[0]}", "says 2> >(true)"),
    ],
)
def test_nobody_need_listen(command: str, tmp_path: Path) -> None:
    if "full" in command and not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    assert shell(command, tmp_path).returncode == 0


def test_an_answer_that_is_lost_is_said(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    done = shell("says >/dev/full", tmp_path)
    assert done.stderr.endswith("The answer could not be written to standard output (No space left on device).\n")


@pytest.mark.parametrize(
    "environment",
    [
        {"LC_ALL": "C"},
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
    ids=str,
)
def test_letters_that_a_terminal_does_not_know_are_codes(environment: dict[str, str], tmp_path: Path) -> None:
    done = shell("says", tmp_path, **environment)
    assert done.returncode == 0
    assert done.stdout.split("\n")[0] in ("M\\xfcller \\udcfc", "Müller \\udcfc")
    assert shell("says --json", tmp_path, **environment).stdout == '{"name": "M\\u00fcller \\udcfc"}\n'


def test_a_stream_that_breaks_remembers_why() -> None:
    class Full(io.StringIO):
        def write(self, _: str) -> int:
            raise OSError(28, "No space left on device")

    stream = Enduring(Full())
    assert stream.write("ab") == 2
    stream.flush()
    assert str(stream.lost) == "[Errno 28] No space left on device"
    whole = Enduring(io.StringIO())
    whole.write("ab")
    assert (whole.getvalue(), whole.lost) == ("ab", None)


def test_streams_that_are_there_stay_what_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, io.StringIO())
    kept = sys.stdout
    open_streams()
    sys.stdout.write("a\n")
    assert kept.getvalue() == "a\n"
