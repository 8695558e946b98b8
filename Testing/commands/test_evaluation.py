"""The commands evaluate and figures."""

import json

import numpy as np
import pytest
from phantom import AFFINE, brats_label, classes, write_phantom

from ProtoSegBrainLib.commands.cli import main
from ProtoSegBrainLib.images.formats import write_volume
from ProtoSegBrainLib.images.volume import Volume


def test_segment_then_evaluate(run, data, model, tmp_path):
    for case in ("simulated_1", "simulated_2"):
        run("segment", "--case", data / case, "--out", tmp_path / "predictions", "--model", model)
    code, answer = run(
        "evaluate", "--data", data, "--predictions", tmp_path / "predictions", "--out", tmp_path / "s.csv"
    )
    assert code == 0, answer
    assert (tmp_path / "s.csv").read_text().count("simulated_1") >= 1


@pytest.fixture
def wrong_coding(tmp_path):
    """A phantom whose label is coded as nnU-Net does it, and a perfect prediction in another coding."""
    write_phantom(tmp_path / "data" / "x", label=np.array([0, 2, 1, 3], np.uint8)[classes()])
    (tmp_path / "predictions").mkdir()
    write_volume(tmp_path / "predictions" / "x_seg.nii.gz", Volume(brats_label(), AFFINE))
    return "--data", tmp_path / "data", "--predictions", tmp_path / "predictions"


def test_a_wrong_coding_is_said_on_the_console_and_in_the_answer(wrong_coding, tmp_path, capsys):
    said = "The label was read as brats2023; by the images it is rather nnunet: --labels nnunet."
    arguments = ["evaluate", *map(str, wrong_coding), "--out", str(tmp_path / "s.csv"), "--json"]
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["warnings"] == {"x": [said]}
    assert f"x: {said}" in err
    assert main([*arguments[:-1], "--labels", "nnunet"]) == 0
    out, err = capsys.readouterr()
    assert "Read as: labels nnunet, predictions brats2020." in out
    assert "rather" not in err
    arguments[0], arguments[-2] = "figures", str(tmp_path / "figures")
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["warnings"] == {"x": [said]}
    assert f"x: {said}" in err


def test_the_coding_of_predictions_can_be_named(run, wrong_coding, tmp_path):
    out = ["--out", tmp_path / "s.csv"]
    code, answer = run("evaluate", *wrong_coding, *out, "--labels", "nnunet", "--predicted-labels", "brats2023")
    assert code == 2
    assert "4 are unknown to brats2023" in answer["error"]
    code, answer = run("evaluate", *wrong_coding, *out, "--labels", "peds", "--predicted-labels", "peds")
    assert answer["codings"] == {"labels": {"peds": 1}, "predictions": {"peds": 1}}


def test_cases_that_failed_are_listed_and_the_exit_code_says_so(wrong_coding, tmp_path, capsys):
    write_phantom(tmp_path / "data" / "y", "y_", label=brats_label())
    write_volume(tmp_path / "predictions" / "y_seg.nii.gz", Volume(brats_label(), AFFINE))
    (tmp_path / "data" / "x" / "x_seg.nii.gz").write_bytes(b"no image")
    for command, out in (("evaluate", "s.csv"), ("figures", "figures")):
        arguments = [command, *map(str, wrong_coding), "--out", str(tmp_path / out)]
        assert main(arguments) == 1
        text = capsys.readouterr().out
        assert "1 failed:" in text
        assert "x_seg.nii.gz" in text
        assert main([*arguments, "--json"]) == 1
        assert list(json.loads(capsys.readouterr().out)["failed"]) == ["x"]
