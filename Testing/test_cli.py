import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from ProtoSegBrainLib import commands, weights
from ProtoSegBrainLib.cli import main
from ProtoSegBrainLib.model import ModelConfig, ProtoSegNet
from ProtoSegBrainLib.simulate import simulate_case, write_case

ROOT = Path(__file__).resolve().parents[1]
TINY = ModelConfig(
    widths=(4, 8),
    blocks=(1, 1),
    aspp_channels=8,
    aspp_rates=(1,),
    embedding_channels=4,
    prototypes_per_class=(1, 1, 1, 1),
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    weights.save_model(path, ProtoSegNet(TINY), weights.ModelCard("tiny", TINY))
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for seed in (1, 2):
        write_case(simulate_case(seed, shape=(40, 40, 32)), folder)
    return folder


@pytest.fixture
def run(capsys):
    """Runs a command with --json; returns exit code and the one object that stands on standard output."""

    def run_command(*arguments):
        code = main([*map(str, arguments), "--json"])
        return code, json.loads(capsys.readouterr().out)

    return run_command


# -- segment -------------------------------------------------------------------------------------------------------


def test_segment_writes_four_files_on_the_grid_of_the_input(run, data, model, tmp_path):
    code, answer = run("segment", "--case", data / "simulated_1", "--out", tmp_path / "out", "--model", model)
    assert code == 0
    assert {Path(path).name for path in answer["files"].values()} == {
        f"simulated_1_{ending}" for ending in ("seg.nii.gz", "prob.nii.gz", "sim.nii.gz", "prediction.json")
    }
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        Path(path).name for path in answer["files"].values()
    )
    label, image = nib.load(answer["files"]["seg"]), nib.load(data / "simulated_1" / "simulated_1_t1ce.nii.gz")
    assert label.shape == image.shape
    np.testing.assert_allclose(label.affine, image.affine)
    assert set(np.unique(label.get_fdata())) <= {0, 1, 2, 4}
    assert set(answer["volumes_ml"]) == {"NCR", "ED", "ET", "WT", "TC"}


def test_four_files_by_role_give_what_the_folder_gives(run, data, model, tmp_path):
    files = {name: data / "simulated_1" / f"simulated_1_{name}.nii.gz" for name in ("flair", "t1", "t1ce", "t2")}
    flags = [part for name, path in files.items() for part in (f"--{name}", path)]
    _, by_role = run("segment", *flags, "--out", tmp_path / "a", "--model", model)
    _, by_folder = run("segment", "--case", data / "simulated_1", "--out", tmp_path / "b", "--model", model)
    assert by_role["volumes_ml"] == by_folder["volumes_ml"]


def test_labels_choose_the_coding(run, data, model, tmp_path):
    case = ("--case", data / "simulated_1", "--model", model)
    values = {}
    for coding in ("brats2020", "brats2023"):
        _, answer = run("segment", *case, "--out", tmp_path / coding, "--labels", coding)
        values[coding] = np.asarray(nib.load(answer["files"]["seg"]).dataobj)
    assert np.array_equal(values["brats2020"] == 4, values["brats2023"] == 3)


def test_text_goes_to_standard_output_and_progress_to_standard_error(capfd, data, model, tmp_path):
    case = ["--case", str(data / "simulated_1"), "--out", str(tmp_path / "out"), "--model", str(model)]
    assert main(["segment", *case]) == 0
    shown = capfd.readouterr()
    assert "WT" in shown.out
    assert "100%" in shown.err
    assert "%|" not in shown.out


# -- bad input: exit code 2, one sentence, nothing written ---------------------------------------------------------


def bad_inputs(data, model, tmp_path):
    case = data / "simulated_1"
    incomplete = tmp_path / "incomplete"
    incomplete.mkdir()
    (incomplete / "x_flair.nii.gz").write_bytes((case / "simulated_1_flair.nii.gz").read_bytes())
    foreign = tmp_path / "foreign.safetensors"
    foreign.write_bytes(b"not weights")
    return {
        "no case": (["--case", tmp_path / "nowhere", "--model", model], "nowhere"),
        "modality missing": (["--case", incomplete, "--model", model], "T1"),
        "neither case nor files": (["--model", model], "--case"),
        "case and files": (["--case", case, "--t1", case / "x.nii.gz", "--model", model], "--case"),
        "three of four files": (["--flair", case, "--t1", case, "--t1ce", case, "--model", model], "--t2"),
        "weights without a card": (["--case", case, "--model", foreign], "foreign"),
        "no weights": (["--case", case, "--model", tmp_path / "gone.safetensors"], "gone"),
        "one role twice": (
            ["--flair", "a", "--t1", "b", "--t1ce", "c", "--t2", "d", "--t2", "e"],
            "one file, got d and e",
        ),
        "no such device": (["--case", case, "--model", model, "--device", "abacus"], "abacus"),
        "no such coding": (["--case", case, "--model", model, "--labels", "brats1999"], "brats1999"),
        "unknown flag": (["--case", case, "--model", model, "--frobnicate"], "--frobnicate"),
        "not a number": (["--case", case, "--model", model, "--tile", "big"], "big"),
    }


BAD_INPUTS = (
    *("no case", "modality missing", "neither case nor files", "case and files", "three of four files"),
    "one role twice",
    *("weights without a card", "no weights", "no such device", "no such coding", "unknown flag", "not a number"),
)


@pytest.mark.parametrize("name", BAD_INPUTS)
def test_bad_input_is_told_and_leaves_no_files(name, run, capsys, data, model, tmp_path):
    arguments, said = bad_inputs(data, model, tmp_path)[name]
    code, answer = run("segment", *arguments, "--out", tmp_path / "out")
    assert code == 2
    assert list(answer) == ["error"]
    assert said in answer["error"]
    assert "Traceback" not in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_earlier_results_are_kept_unless_overwrite_is_said(run, data, model, tmp_path):
    arguments = ("segment", "--case", data / "simulated_1", "--out", tmp_path, "--model", model)
    assert run(*arguments)[0] == 0
    before = (tmp_path / "simulated_1_prediction.json").read_bytes()
    code, answer = run(*arguments)
    assert code == 2
    assert "--overwrite" in answer["error"]
    assert (tmp_path / "simulated_1_prediction.json").read_bytes() == before
    assert run(*arguments, "--overwrite")[0] == 0


def test_the_experts_label_is_not_overwritten_by_a_result_of_its_name(run, data, model, tmp_path):
    case = tmp_path / "simulated_1"
    shutil.copytree(data / "simulated_1", case)
    before = (case / "simulated_1_seg.nii.gz").read_bytes()
    code, answer = run("segment", "--case", case, "--out", case, "--model", model, "--overwrite")
    assert code == 2
    assert "simulated_1_seg.nii.gz is a file of case simulated_1 itself" in answer["error"]
    assert (case / "simulated_1_seg.nii.gz").read_bytes() == before


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["segment"], ["train", "--data", "x"], ["simulate", "--out"]])
def test_wrong_flags_are_bad_input(arguments, run):
    code, answer = run(*arguments)
    assert (code, list(answer)) == (2, ["error"])


def test_anything_else_is_exit_code_1(run, monkeypatch, tmp_path):
    def fail(options):
        raise RuntimeError("the disk is on fire")

    monkeypatch.setitem(commands.COMMANDS, "simulate", commands.COMMANDS["simulate"]._replace(run=fail))
    code, answer = run("simulate", "--out", tmp_path)
    assert code == 1
    assert answer["error"] == "RuntimeError: the disk is on fire"


def test_what_a_library_prints_does_not_spoil_the_answer(run, monkeypatch, tmp_path):
    def chat(options):
        sys.stdout.write("hello")
        logging.getLogger("chatty").warning("hello")
        return commands.Answer({"nan": float("nan"), "path": tmp_path, "number": np.float32(0.5)})

    monkeypatch.setitem(commands.COMMANDS, "simulate", commands.COMMANDS["simulate"]._replace(run=chat))
    assert run("simulate", "--out", tmp_path) == (0, {"nan": None, "path": str(tmp_path), "number": 0.5})


# -- the other commands --------------------------------------------------------------------------------------------


def test_info_shows_the_card(run, model):
    code, answer = run("info", "--model", model)
    assert code == 0
    assert answer["name"] == "tiny"
    assert answer["model"]["prototypes_per_class"] == [1, 1, 1, 1]


def test_simulate_writes_a_case_once(run, monkeypatch, tmp_path):
    monkeypatch.setattr("ProtoSegBrainLib.simulate.simulate_case", lambda seed: simulate_case(seed, (32, 32, 24)))
    code, answer = run("simulate", "--out", tmp_path, "--seed", 7)
    assert code == 0
    assert answer == {"case_id": "simulated_7", "folder": str(tmp_path / "simulated_7"), "simulated": True}
    assert len(list((tmp_path / "simulated_7").glob("*.nii.gz"))) == 5
    assert run("simulate", "--out", tmp_path, "--seed", 7)[0] == 2


def test_demo_segments_a_simulated_case_and_can_be_repeated(run, model, monkeypatch, tmp_path):
    monkeypatch.setattr(weights, "BUNDLED", model)
    monkeypatch.setattr("ProtoSegBrainLib.simulate.simulate_case", lambda seed: simulate_case(seed, (40, 40, 32)))
    for _ in range(2):
        code, answer = run("demo", "--out", tmp_path)
        assert code == 0
        assert answer["simulated"] is True
        assert set(answer["dice"]) == {"WT", "TC", "ET"}
        assert all(Path(path).is_file() for path in answer["files"].values())
        assert Path(answer["files"]["picture"]).read_bytes().startswith(b"\x89PNG")


def test_segment_then_evaluate(run, data, model, tmp_path):
    for case in ("simulated_1", "simulated_2"):
        run("segment", "--case", data / case, "--out", tmp_path / "predictions", "--model", model)
    code, answer = run(
        "evaluate", "--data", data, "--predictions", tmp_path / "predictions", "--out", tmp_path / "s.csv"
    )
    assert code == 0, answer
    assert (tmp_path / "s.csv").read_text().count("simulated_1") >= 1


def test_train_passes_preset_and_flags_on(run, monkeypatch, tmp_path):
    from ProtoSegBrainLib import training

    seen = {}

    def fake_train(config, data, splits, fold, out, *, resume, on_progress):
        seen.update(config=config, fold=fold, resume=resume)
        on_progress(0.5, "half")
        return {"steps": 3}

    monkeypatch.setattr(training, "train", fake_train)
    arguments = ["--data", tmp_path, "--splits", tmp_path / "s.json", "--fold", "all", "--out", tmp_path]
    changes = ["--preset", "seed", "--minutes", "2.5", "--loss-dice", "0.3", "--model-prototype-size", "3", "--resume"]
    code, answer = run("train", *arguments, *changes)
    assert (code, answer["steps"]) == (0, 3)
    assert (seen["fold"], seen["resume"], seen["config"].minutes, seen["config"].loss.dice) == ("all", True, 2.5, 0.3)
    assert seen["config"].model.widths == (64, 128, 256, 512)
    assert seen["config"].model.prototype_size == 3


def test_train_refuses_data_that_is_not_there(run, tmp_path):
    where = ["--data", tmp_path / "gone", "--splits", tmp_path / "gone.json", "--fold", "0", "--out", tmp_path / "run"]
    code, answer = run("train", *where)
    assert code == 2
    assert "gone" in answer["error"]


# -- as a process --------------------------------------------------------------------------------------------------


def test_the_module_runs_as_a_program_and_help_does_not_load_torch():
    command = [sys.executable, "-X", "importtime", "-m", "ProtoSegBrainLib"]
    done = subprocess.run([*command, "--help"], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0
    assert all(name in done.stdout for name in commands.COMMANDS)
    assert "torch" not in done.stderr
    done = subprocess.run(
        [*command[:1], "-m", "ProtoSegBrainLib"], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 2


@pytest.mark.parametrize("command", commands.COMMANDS)
def test_each_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    assert "--json" in capsys.readouterr().out
