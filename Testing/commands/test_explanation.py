"""The commands explain and whatif."""

from pathlib import Path

import nibabel as nib
import pytest

from ProtoSegBrainLib.commands.cli import main

# -- explain -------------------------------------------------------------------------------------------------------


def test_explain_at_a_place_and_at_a_voxel(run, result, capsys):
    affine = nib.load(result / "simulated_1_seg.nii.gz").affine
    at = ",".join(f"{value:.3f}" for value in (affine @ [20, 17, 15, 1])[:3])
    assert at.startswith("-"), "this test is also about the sign"
    code, answer = run("explain", "--prediction", result, "--at", at)
    assert code == 0, answer
    assert run("explain", "--prediction", result, f"--at={at}")[1] == answer
    by_voxel = run("explain", "--prediction", result, "--voxel", "20,17,15", "--case-id", "simulated_1")[1]
    assert by_voxel["class"] == answer["class"]
    for name, logit in answer["logits"].items():
        parts = [entry["contribution"] for entry in answer["contributions"] if entry["class"] == name]
        assert answer["bias"][name] + sum(parts) == pytest.approx(logit, abs=1e-5)
        assert by_voxel["logits"][name] == pytest.approx(logit, abs=0.01)
    main(["explain", "--prediction", str(result), "--at", at])
    assert "contribution = weight x similarity" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--at", "-999,0,0"], "outside the image"),
        (["--at", "-1,2"], "three numbers such as -12.5,30,4"),
        (["--voxel", "0,0,99"], "has no voxel 0, 0, 99"),
        (["--voxel", "1,2,3.5"], "three numbers such as 120,88,70"),
        ([], "--at --voxel"),
    ],
)
def test_a_place_that_cannot_be_explained_is_told(run, result, flags, said):
    code, answer = run("explain", "--prediction", result, *flags)
    assert code == 2
    assert said in answer["error"]


# -- whatif --------------------------------------------------------------------------------------------------------


def test_whatif_writes_a_changed_result_elsewhere(run, result, tmp_path):
    before = {path.name: path.read_bytes() for path in result.iterdir()}
    flags = ("--prediction", result, "--disable", "1,2", "--weight", "3=0.5")
    code, answer = run("whatif", *flags, "--out", tmp_path, "--labels", "brats2023")
    assert code == 0, answer
    assert "prototype 3 (ET) counts 0.5 times" in answer["warnings"][-1]
    assert (answer["volumes_ml"]["NCR"], answer["volumes_ml"]["ED"]) == (0, 0)
    assert all(Path(path).is_file() for path in answer["files"].values())
    code, answer = run("whatif", *flags, "--out", tmp_path)
    assert (code, "--overwrite" in answer["error"]) == (2, True)
    assert run("whatif", *flags, "--out", tmp_path, "--overwrite")[0] == 0
    code, answer = run("whatif", *flags, "--out", result, "--overwrite")
    assert (code, "another output folder" in answer["error"]) == (2, True)
    assert {path.name: path.read_bytes() for path in result.iterdir()} == before


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--disable", "4"], "0 to 3; got 4"),
        (["--disable", "x"], "such as 3,7"),
        (["--weight", "3"], "such as 4=0.5"),
        (["--weight", "3=-1"], "at least 0"),
        ([], "--disable 3,7"),
    ],
)
def test_a_whatif_that_cannot_be_done_is_told(run, result, tmp_path, flags, said):
    code, answer = run("whatif", "--prediction", result, *flags, "--out", tmp_path / "out")
    assert code == 2
    assert said in answer["error"]
    assert not (tmp_path / "out").exists()
