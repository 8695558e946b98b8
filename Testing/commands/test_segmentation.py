"""The commands segment and demo."""

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from ProtoSegBrainLib.commands.segmentation import _describe
from ProtoSegBrainLib.network import weights
from ProtoSegBrainLib.simulation.simulate import simulate_case

# -- segment -------------------------------------------------------------------------------------------------------


def test_segment_writes_its_files_on_the_grid_of_the_input(run, data, model, tmp_path):
    code, answer = run("segment", "--case", data / "simulated_1", "--out", tmp_path / "out", "--model", model)
    assert code == 0
    assert {Path(path).name for path in answer["files"].values()} == {
        f"simulated_1_{ending}"
        for ending in ("seg.nii.gz", "prob.nii.gz", "sim.nii.gz", "unc.nii.gz", "prediction.json", "report.html")
    }
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        Path(path).name for path in answer["files"].values()
    )
    label, image = nib.load(answer["files"]["seg"]), nib.load(data / "simulated_1" / "simulated_1_t1ce.nii.gz")
    assert label.shape == image.shape
    np.testing.assert_allclose(label.affine, image.affine)
    assert set(np.unique(label.get_fdata())) <= {0, 1, 2, 4}
    assert set(answer["volumes_ml"]) == {"NCR", "ED", "ET", "WT", "TC"}
    assert answer["out_of_distribution"]["flag"] is None
    assert set(answer["regions"]) == {"WT", "TC", "ET"}


def test_segment_says_intervals_expected_dice_and_what_is_unlike():
    known = {"coverage": 0.9, "interval_ml": [40.14, 66.0], "predicted_dice": 0.62}
    unknown = dict.fromkeys(known)
    values = {
        "case_id": "x",
        "volumes_ml": {"NCR": 1.0, "ED": 2.0, "ET": 3.0, "WT": 52.3, "TC": 4.0},
        "regions": {"WT": known, "TC": unknown, "ET": known},
        "model": {"name": "m"},
        "device": "cpu",
        "timings_s": {"network": 1.0},
        "warnings": ["This result is probably poor: because."],
    }
    lines = _describe(values).splitlines()
    assert [line.split() for line in lines[2:8]] == [
        ["volume", "90%", "interval", "expected", "Dice"],
        ["WT", "52.30", "ml", "40.1", "to", "66.0", "ml", ".62"],
        ["TC", "4.00", "ml"],
        ["ET", "3.00", "ml", "40.1", "to", "66.0", "ml", ".62"],
        ["NCR", "1.00", "ml"],
        ["ED", "2.00", "ml"],
    ]
    assert lines[-1] == "Warning: This result is probably poor: because."


def test_an_old_report_does_not_stay_beside_a_new_result(run, data, model, tmp_path):
    arguments = ("segment", "--case", data / "simulated_1", "--out", tmp_path, "--model", model)
    run(*arguments)
    report = tmp_path / "simulated_1_report.html"
    assert report.is_file()
    code, answer = run(*arguments, "--overwrite", "--no-report")
    assert code == 0
    assert "report" not in answer["files"]
    assert not report.exists()
    for file in tmp_path.iterdir():
        file.unlink()
    report.write_text("of another program")
    code, answer = run(*arguments)
    assert code == 2
    assert "simulated_1_report.html" in answer["error"]
    assert report.read_text() == "of another program"


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
    assert "is the folder of the images" in answer["error"]
    assert (case / "simulated_1_seg.nii.gz").read_bytes() == before


def test_the_folder_of_the_images_takes_no_result(run, data, model, tmp_path):
    case = tmp_path / "simulated_1"
    shutil.copytree(data / "simulated_1", case)
    before = sorted(case.iterdir())
    for out in (case, case / "out", case / "a" / "b"):
        code, answer = run("segment", "--case", case, "--out", out, "--model", model)
        assert code == 2
        assert "the folder of the images" in answer["error"]
    roles = [
        part for name in ("flair", "t1", "t1ce", "t2") for part in (f"--{name}", case / f"simulated_1_{name}.nii.gz")
    ]
    code, answer = run("segment", *roles, "--out", case, "--model", model)
    assert (code, sorted(case.iterdir())) == (2, before)
    code, answer = run("segment-folder", "--cases", tmp_path, "--out", tmp_path, "--model", model)
    assert code == 2
    assert "is the folder of the images" in answer["error"]
    assert list(tmp_path.iterdir()) == [case]


def test_the_report_comes_with_the_rest_or_nothing_does(run, data, model, monkeypatch, tmp_path):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ProtoSegBrainLib.segmentation.job.write_report", fail)
    code, answer = run("segment", "--case", data / "simulated_1", "--out", tmp_path / "out", "--model", model)
    assert code == 1
    assert "case simulated_1 could not be written to" in answer["error"]
    assert not (tmp_path / "out").exists()


def test_the_position_that_holds_can_be_chosen(run, data, model, tmp_path):
    case = tmp_path / "simulated_1"
    shutil.copytree(data / "simulated_1", case)
    for path in case.iterdir():
        image = nib.load(path)
        moved = image.affine.copy()
        moved[:3, 3] += (5, 0, 0)
        image.set_qform(moved, code=1)
        nib.save(nib.Nifti1Image(np.asarray(image.dataobj), None, image.header), path)
    where = {}
    for position in ("sform", "qform"):
        flags = ("--out", tmp_path / position, "--model", model, "--geometry", position)
        code, answer = run("segment", "--case", case, *flags)
        assert code == 0
        where[position] = nib.load(answer["files"]["seg"]).affine
    np.testing.assert_allclose(where["qform"][:3, 3] - where["sform"][:3, 3], (5, 0, 0), atol=1e-3)


# -- demo ----------------------------------------------------------------------------------------------------------


def test_demo_segments_a_simulated_case_and_can_be_repeated(run, model, monkeypatch, tmp_path):
    monkeypatch.setattr(weights, "BUNDLED", model)
    monkeypatch.setattr(
        "ProtoSegBrainLib.simulation.simulate.simulate_case", lambda seed: simulate_case(seed, (52, 52, 52))
    )
    for _ in range(2):
        code, answer = run("demo", "--out", tmp_path)
        assert code == 0
        assert answer["simulated"] is True
        assert set(answer["dice"]) == {"WT", "TC", "ET"}
        assert all(Path(path).is_file() for path in answer["files"].values())
        assert Path(answer["files"]["picture"]).read_bytes().startswith(b"\x89PNG")
