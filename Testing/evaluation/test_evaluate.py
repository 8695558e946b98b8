"""Folders of predictions, scored."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from phantom import AFFINE, brats_label, classes, write_phantom

from ProtoSegBrainLib.evaluation.evaluate import evaluate, summarise
from ProtoSegBrainLib.images.case import Case
from ProtoSegBrainLib.images.codings import encode_label
from ProtoSegBrainLib.images.formats import write_volume
from ProtoSegBrainLib.images.study import Reading
from ProtoSegBrainLib.images.volume import Volume
from ProtoSegBrainLib.result.metrics import RegionScore
from ProtoSegBrainLib.simulation.simulate import write_case


@pytest.fixture
def data(a_case: Case, tmp_path: Path) -> Path:
    """Two cases: the small simulated one, and the same without enhancement."""
    folder = tmp_path / "data"
    assert a_case.label is not None
    no_et = np.where(a_case.label == 3, 1, a_case.label).astype(np.uint8)
    write_case(a_case, folder)
    write_case(replace(a_case, case_id="simulated_low", label=no_et), folder)
    return folder


def make(folder: Path) -> Path:
    folder.mkdir()
    return folder


def predict_as(case: Case, label: np.ndarray, folder: Path, convention: str = "brats2020") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{case.case_id}_seg.nii.gz"
    write_volume(path, Volume(encode_label(label, convention), case.affine))
    return path


def test_perfect_and_wrong(a_case: Case, data: Path, tmp_path: Path) -> None:
    assert a_case.label is not None
    predictions = tmp_path / "predictions"
    predict_as(a_case, a_case.label, predictions)
    predict_as(replace(a_case, case_id="simulated_low"), a_case.label, predictions)  # paints ET where there is none
    summary = evaluate(data, predictions, tmp_path / "out" / "scores.csv")
    everything = summary.groups["all"]
    assert summary.n_cases == 2
    assert everything["WT"].metrics["dice"].mean == everything["TC"].metrics["dice"].median == 1
    assert everything["ET"].metrics["dice"].mean == pytest.approx(0.5)
    assert everything["ET"].metrics["dice"].sd == pytest.approx(0.5**0.5)
    assert everything["ET"].metrics["hausdorff95_mm"].mean == pytest.approx(373.1287 / 2, abs=1e-3)
    assert (everything["ET"].n, everything["ET"].n_empty) == (2, 1)
    rows = list(csv.DictReader((tmp_path / "out" / "scores.csv").open()))
    assert [row["case_id"] for row in rows] == ["simulated_3", "simulated_low"]
    for metric in ("dice", "surface_dice", "lesion_dice"):
        assert [float(row[f"{metric}_ET"]) for row in rows] == [1, 0]
    written = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert written["groups"]["all"]["ET"]["n_empty"] == 1
    assert "373.13" in written["convention"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["scores.csv", "scores.json"]


def test_groups_by_true_enhancement() -> None:
    from ProtoSegBrainLib.evaluation.evaluate import CaseScores

    def scores(case_id: str, et_ml: float, dice: float) -> CaseScores:
        one = RegionScore("", dice, 1.0, dice, dice, 1.0, et_ml, dice, dice)
        return CaseScores(case_id, dict.fromkeys(("WT", "TC", "ET", "NCR", "ED"), one))

    groups = summarise([scores("a", 3.0, 0.9), scores("b", 2.9, 0.5), scores("c", 0.0, 0.1)]).groups
    assert [groups[name]["ET"].n for name in ("all", "ET >= 3 ml", "ET < 3 ml")] == [3, 1, 2]
    assert groups["all"]["ET"].metrics["dice"].median == 0.5
    assert groups["ET < 3 ml"]["ET"].metrics["dice"].mean == pytest.approx(0.3)
    assert groups["ET < 3 ml"]["ET"].n_empty == 1
    assert groups["ET >= 3 ml"]["ET"].metrics["dice"].sd == 0


def test_coding_is_read_from_the_json_file(a_case: Case, data: Path, tmp_path: Path) -> None:
    assert a_case.label is not None
    predictions = tmp_path / "predictions" / a_case.case_id
    no_et = np.where(a_case.label == 3, 0, a_case.label).astype(np.uint8)
    predict_as(a_case, no_et, predictions, "msd")  # values 1 and 2 alone do not tell which is which
    coding = {"label_coding": {"convention": "msd"}}
    (predictions / f"{a_case.case_id}_prediction.json").write_text(json.dumps(coding))
    summary = evaluate(data, predictions.parent, tmp_path / "scores.csv")
    assert summary.missing == ("simulated_low",)
    assert summary.groups["all"]["ED"].metrics["dice"].mean == 1
    assert summary.groups["all"]["NCR"].metrics["dice"].mean == 1


def test_what_a_model_does_not_find_is_said_beside_its_scores(
    a_case: Case, data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert a_case.label is not None
    predictions = tmp_path / "predictions"
    predict_as(a_case, np.where(a_case.label > 0, 2, 0).astype(np.uint8), predictions, "brats2020")
    card = {"label_coding": {"convention": "brats2020"}, "model": {"name": "whole", "regions": ["WT"]}}
    (predictions / f"{a_case.case_id}_prediction.json").write_text(json.dumps(card))
    summary = evaluate(data, predictions, tmp_path / "scores.csv")
    assert summary.groups["all"]["WT"].metrics["dice"].mean == 1
    assert "(whole) finds the whole tumour only" in caplog.text
    assert "TC and ET mean nothing" in caplog.text


def test_no_predictions(data: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no prediction found for any of the 2 cases"):
        evaluate(data, tmp_path / "empty", tmp_path / "scores.csv")
    with pytest.raises(FileNotFoundError, match="no folder of predictions"):
        evaluate(data, tmp_path / "absent", tmp_path / "scores.csv")
    assert not (tmp_path / "scores.csv").exists()


def test_wrong_grid_truth_itself_and_values(a_case: Case, data: Path, tmp_path: Path) -> None:
    assert a_case.label is not None
    predictions = tmp_path / "predictions"
    path = predict_as(a_case, a_case.label, predictions)
    shifted = a_case.affine.copy()
    shifted[0, 3] += 2
    for array, affine in ((a_case.label[:, :, :-1], a_case.affine), (a_case.label, shifted)):
        write_volume(path, Volume(array, affine))
        with pytest.raises(ValueError, match="expected the grid of case simulated_3"):
            evaluate(data, predictions, tmp_path / "scores.csv")
    write_volume(path, Volume(a_case.label * np.uint8(7), a_case.affine))
    with pytest.raises(ValueError, match=r"simulated_3_seg\.nii\.gz: label values"):
        evaluate(data, predictions, tmp_path / "scores.csv")
    with pytest.raises(ValueError, match="expert's label"):
        evaluate(data, data, tmp_path / "scores.csv")
    with pytest.raises(ValueError, match=r"ending in \.csv"):
        evaluate(data, predictions, tmp_path / "scores.txt")


def test_a_case_that_cannot_be_scored_stops_no_other(a_case: Case, data: Path, tmp_path: Path) -> None:
    assert a_case.label is not None
    predictions = tmp_path / "predictions"
    predict_as(a_case, a_case.label, predictions)
    predict_as(replace(a_case, case_id="simulated_low"), a_case.label, predictions)
    damaged = data / "simulated_low" / "simulated_low_seg.nii.gz"
    damaged.write_bytes(damaged.read_bytes()[:300])
    summary = evaluate(data, predictions, tmp_path / "scores.csv")
    assert (summary.n_cases, list(summary.failed)) == (1, ["simulated_low"])
    assert "simulated_low_seg.nii.gz" in summary.failed["simulated_low"]
    assert [row["case_id"] for row in csv.DictReader((tmp_path / "scores.csv").open())] == ["simulated_3"]
    written = json.loads((tmp_path / "scores.json").read_text())
    assert written["failed"] == summary.failed
    assert written["codings"] == {"labels": {"brats2020": 1}, "predictions": {"brats2020": 1}}


def test_a_label_in_another_coding_is_said_where_scores_are_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A perfect prediction, and a label as nnU-Net codes it: the scores of TC mean nothing, unless it is named."""
    write_phantom(tmp_path / "data" / "x", label=np.array([0, 2, 1, 3], np.uint8)[classes()])
    write_volume(make(tmp_path / "predictions") / "x_seg.nii.gz", Volume(brats_label(), AFFINE))
    places = tmp_path / "data", tmp_path / "predictions", tmp_path / "scores.csv"
    summary = evaluate(*places)
    assert summary.groups["all"]["TC"].metrics["dice"].mean < 0.3
    (said,) = summary.warnings["x"]
    assert said == "The label was read as brats2023; by the images it is rather nnunet: --labels nnunet."
    assert f"x: {said}" in caplog.text
    assert json.loads((tmp_path / "scores.json").read_text())["warnings"] == {"x": [said]}
    summary = evaluate(*places, reading=Reading(labels="nnunet"))
    assert summary.groups["all"]["TC"].metrics["dice"].mean == 1
    assert summary.warnings == {}


def test_what_is_predicted_in_a_cavity_counts_against_it(tmp_path: Path) -> None:
    tumour = classes()
    write_phantom(tmp_path / "data" / "x", label=np.array([0, 4, 2, 3], np.uint8)[tumour])
    write_volume(make(tmp_path / "predictions") / "x_seg.nii.gz", Volume(brats_label(), AFFINE))
    summary = evaluate(tmp_path / "data", tmp_path / "predictions", tmp_path / "scores.csv")
    cavity, rest = (np.count_nonzero(mask) for mask in (tumour == 1, tumour > 1))
    assert summary.codings["labels"] == {"brats2024": 1}
    assert summary.groups["all"]["WT"].metrics["dice"].mean == pytest.approx(2 * rest / (2 * rest + cavity))
    assert any("resection cavity: 0.6 ml, left out of the regions" in sentence for sentence in summary.warnings["x"])


def test_real_label_scores_perfectly_against_itself(real_data: Path, tmp_path: Path) -> None:
    case_id = "BraTS2021_00006"
    truth = real_data / "original_format" / case_id / f"{case_id}_seg.nii.gz"
    if not truth.is_file():
        pytest.skip(f"no {truth}")
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / truth.name).write_bytes(truth.read_bytes())
    summary = evaluate(real_data / "original_format", tmp_path / "p", tmp_path / "scores.csv")
    assert list(summary.groups) == ["all", "ET >= 3 ml"]
    assert all(region.metrics["dice"].mean == 1 for region in summary.groups["all"].values())
    rows = next(csv.DictReader((tmp_path / "scores.csv").open()))
    assert float(rows["truth_ml_ET"]) == pytest.approx(26.45, abs=0.01)  # from the data set's own table
