"""The command teach."""

import json

import nibabel as nib
import numpy as np
import pytest

from ProtoSegBrainLib.commands.cli import main
from ProtoSegBrainLib.images.formats import write_volume
from ProtoSegBrainLib.images.volume import Volume

VOXEL = (20, 26, 28)


@pytest.fixture
def at(result):
    affine = nib.load(result / "simulated_1_seg.nii.gz").affine
    return ",".join(f"{value:.3f}" for value in (affine @ [*VOXEL, 1])[:3])


@pytest.fixture
def teach(run, data, result, model):
    def taught(*more):
        return run("teach", "--prediction", result, "--case", data / "simulated_1", "--model", model, *more)

    return taught


def test_a_corrected_result_is_written_elsewhere(teach, result, model, at, tmp_path, run):
    before = {path.name: path.read_bytes() for path in result.iterdir()}
    code, answer = teach("--point", f"NCR:{at}", "--out", tmp_path / "out", "--save-case", tmp_path / "cases")
    assert code == 0, answer
    (point,) = answer["points"]
    assert point["is"] == point["class"] == "NCR"
    assert (tmp_path / "cases" / "simulated_1" / "correction.json").is_file()
    assert (tmp_path / "out" / "simulated_1_report.html").is_file()
    assert {path.name: path.read_bytes() for path in result.iterdir()} == before
    said = json.loads((tmp_path / "out" / "simulated_1_prediction.json").read_text())
    assert said["evidence"]["taught"][0]["class_name"] == "NCR"
    code, found = run("explain", "--prediction", tmp_path / "out", "--at", at)
    assert code == 0
    assert found["class"] == "NCR"
    more = tmp_path / "more"
    code, answer = run(
        *("teach", "--prediction", tmp_path / "out", "--case", tmp_path / "cases" / "simulated_1", "--out", more),
        *("--point", f"none:{at}", "--model", model),
    )
    assert code == 0, answer
    assert [each["class"] for each in answer["points"]] == ["background"]


def test_painted_pieces_are_points(teach, result, tmp_path):
    affine = nib.load(result / "simulated_1_seg.nii.gz").affine
    painted = np.zeros(nib.load(result / "simulated_1_seg.nii.gz").shape, np.uint8)
    painted[18:22, 25:28, 27:30] = 4
    write_volume(tmp_path / "painted.nii.gz", Volume(painted, affine))
    code, answer = teach("--points-from", tmp_path / "painted.nii.gz", "--out", tmp_path / "out", "--no-report")
    assert code == 0, answer
    assert answer["points"][0]["class"] == "ET"
    assert answer["points"][0]["voxels"] > 1


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([], "Say where: --point ET:12,-30,41"),
        (["--point", "WT:1,2,3"], "expected NCR, ED, ET, none; got 'WT'"),
        (["--point", "ET:999,0,0"], "lies outside the image of case simulated_1"),
    ],
)
def test_points_that_cannot_be_learned_are_told(teach, tmp_path, flags, said):
    code, answer = teach(*flags, "--out", tmp_path / "out")
    assert code == 2
    assert said in answer["error"]
    assert not (tmp_path / "out" / "simulated_1_seg.nii.gz").exists()


def test_images_and_models_of_something_else_are_told(run, data, result, model, at, tmp_path):
    flags = ("teach", "--prediction", result, "--point", f"ET:{at}", "--out", tmp_path / "out")
    code, answer = run(*flags, "--case", data / "simulated_2", "--model", model)
    assert code == 2
    assert "another brain than the result" in answer["error"]
    code, answer = run(*flags, "--case", data / "simulated_1")  # the bundled model
    assert code == 2
    assert "by another model" in answer["error"]


def test_what_a_person_reads(data, result, model, at, tmp_path, capsys):
    flags = ["--prediction", str(result), "--case", str(data / "simulated_1"), "--model", str(model)]
    assert main(["teach", *flags, "--point", f"ET:{at}", "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "simulated_1: corrected" in said
    assert "Corrected by a person: 1 point" in said
