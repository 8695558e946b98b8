"""The command line as a whole: exit codes, what goes where, help."""

import logging
import subprocess
import sys
import tempfile
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


@pytest.mark.parametrize("name", ["", "  "])
@pytest.mark.parametrize(
    "flags",
    [
        *(("segment", "--case", "x", "--out"), ("segment-folder", "--cases", "x", "--out"), ("simulate", "--out")),
        *(("demo", "--out"), ("segment", "--out", "x", "--case"), ("info", "--model"), ("data", "check")),
    ],
    ids=" ".join,
)
def test_an_empty_name_is_no_path(flags, name, run, tmp_path, monkeypatch):
    """It would be the folder of the moment."""
    monkeypatch.chdir(tmp_path)
    code, answer = run(*flags, name)
    assert code == 2
    assert "expected a path, got an empty name" in answer["error"]
    assert list(tmp_path.iterdir()) == []


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
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    code, answer = run("simulate", "--out", tmp_path)
    assert code == 1
    (details,) = tmp_path.glob("protosegbrain_error_*.txt")
    assert answer["error"] == (
        f"Unexpected error (RuntimeError: the disk is on fire). Please report it with the details in {details}."
    )
    assert "in fail" in details.read_text()


@pytest.mark.parametrize("flags", [(), ("--debug",)])
@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (MemoryError(), 1, "There is not enough memory: close other programs, or use a machine with more."),
        (OSError(28, "No space left on device"), 1, "No space left on device"),
        (PermissionError(13, "Permission denied", "a.nii"), 2, "Permission denied: a.nii"),
        (ValueError("Expected a brain."), 2, "Expected a brain."),
        (ImportError("pip install it"), 1, "pip install it"),
        (KeyboardInterrupt(), 1, "Interrupted."),
    ],
)
def test_an_error_is_a_sentence_and_the_place_is_shown_on_demand(monkeypatch, capfd, flags, error, code, said):
    def fail(options):
        raise error

    monkeypatch.setitem(COMMANDS, "simulate", COMMANDS["simulate"]._replace(run=fail))
    assert main(["simulate", "--out", "x", *flags]) == code
    err = capfd.readouterr().err
    assert err.endswith(f"protosegbrain: {said}\n")
    assert ("Traceback" in err) == (bool(flags) and not isinstance(error, KeyboardInterrupt))


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
