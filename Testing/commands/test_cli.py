"""The command line as a whole: exit codes, what goes where, help."""

import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ProtoSegBrainLib.commands.cli import COMMANDS, main
from ProtoSegBrainLib.commands.console import Answer

ROOT = Path(__file__).resolve().parents[2]

# -- bad input -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["segment"], ["train", "--data", "x"], ["simulate", "--out"]])
def test_wrong_flags_are_bad_input(arguments, run):
    code, answer = run(*arguments)
    assert (code, list(answer)) == (2, ["error"])


@pytest.mark.parametrize(
    "flags",
    [
        ("simulate",),
        ("demo",),
        ("cards", "--simulated"),
        ("prune", "--disable", "1", "--data", "nowhere"),
    ],
    ids=lambda flags: flags[0],
)
def test_a_file_where_the_folder_should_be_is_refused_at_once(flags, run, tmp_path):
    (tmp_path / "file").touch()
    out = tmp_path / "file" / "a.safetensors" if flags[0] == "prune" else tmp_path / "file"
    code, answer = run(*flags, "--out", out)
    assert code == 2
    assert answer["error"].endswith("file is a file; name a folder.")


# -- what goes where -----------------------------------------------------------------------------------------------


def test_text_goes_to_standard_output_and_progress_to_standard_error(capfd, data, model, tmp_path):
    case = ["--case", str(data / "simulated_1"), "--out", str(tmp_path / "out"), "--model", str(model)]
    assert main(["segment", *case]) == 0
    shown = capfd.readouterr()
    assert "WT" in shown.out
    assert "100%" in shown.err
    assert "%|" not in shown.out


def test_anything_else_is_exit_code_1(run, monkeypatch, tmp_path):
    def fail(options):
        raise RuntimeError("the disk is on fire")

    monkeypatch.setitem(COMMANDS, "simulate", COMMANDS["simulate"]._replace(run=fail))
    code, answer = run("simulate", "--out", tmp_path)
    assert code == 1
    assert answer["error"] == "RuntimeError: the disk is on fire"


def test_what_a_library_prints_does_not_spoil_the_answer(run, monkeypatch, tmp_path):
    def chat(options):
        sys.stdout.write("hello")
        logging.getLogger("chatty").warning("hello")
        return Answer({"nan": float("nan"), "path": tmp_path, "number": np.float32(0.5)})

    monkeypatch.setitem(COMMANDS, "simulate", COMMANDS["simulate"]._replace(run=chat))
    assert run("simulate", "--out", tmp_path) == (0, {"nan": None, "path": str(tmp_path), "number": 0.5})


# -- as a process --------------------------------------------------------------------------------------------------


def test_the_module_runs_as_a_program_and_help_does_not_load_torch():
    command = [sys.executable, "-X", "importtime", "-m", "ProtoSegBrainLib"]
    done = subprocess.run([*command, "--help"], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0
    assert all(name in done.stdout for name in COMMANDS)
    assert "torch" not in done.stderr
    done = subprocess.run(
        [*command[:1], "-m", "ProtoSegBrainLib"], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 2


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    assert "--json" in capsys.readouterr().out
