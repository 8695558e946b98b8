"""Cases and what was predicted for them: files, codings, grids, and what is said where they do not fit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from phantom import AFFINE, classes, write_phantom

from ProtoSegBrainLib.evaluation.pairs import Pair, PairReading, find_prediction, over_pairs, pair_up, read_pair
from ProtoSegBrainLib.images.codings import encode_label
from ProtoSegBrainLib.images.formats import write_volume
from ProtoSegBrainLib.images.study import Reading
from ProtoSegBrainLib.images.volume import Volume


def places(folder: Path, label: np.ndarray, predicted: np.ndarray, case_id: str = "x") -> Path:
    """Writes a phantom with this label, and this prediction of it; both are values of files."""
    write_phantom(folder / "data" / case_id, f"{case_id}_", label=label.astype(np.uint8))
    (folder / "predictions").mkdir(exist_ok=True)
    write_volume(folder / "predictions" / f"{case_id}_seg.nii.gz", Volume(predicted.astype(np.uint8), AFFINE))
    return folder


def the_pair(folder: Path, reading: PairReading | None = None) -> Pair:
    ((case, file),), missing = pair_up(folder / "data", folder / "predictions")
    assert missing == ()
    return read_pair(case, file, reading)


def is_right(pair: Pair) -> bool:
    return bool((pair.predicted == classes()).all() and (np.asarray(pair.case.label) == classes()).all())


def test_other_names(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").touch()
    assert find_prediction(tmp_path, "a") == tmp_path / "a.nii.gz"
    assert find_prediction(tmp_path, "b") is None


@pytest.mark.parametrize("of_label", ["brats2020", "brats2023", "nnunet", "msd", "peds", "brats2024"])
@pytest.mark.parametrize("of_prediction", ["brats2020", "brats2023", "own"])
def test_the_coding_of_a_prediction_is_found(tmp_path: Path, of_label: str, of_prediction: str) -> None:
    """As our commands write it, or in the label's own coding; where values mean two things, agreement tells."""
    name = of_label if of_prediction == "own" else of_prediction
    places(tmp_path, encode_label(classes(), of_label), encode_label(classes(), name))
    pair = the_pair(tmp_path, PairReading(Reading(labels=of_label)))
    assert is_right(pair)
    assert pair.warnings == ()


def test_a_prediction_in_another_coding_than_it_seems_is_said(tmp_path: Path) -> None:
    places(tmp_path, encode_label(classes(), "brats2020"), encode_label(classes(), "nnunet"))
    pair = the_pair(tmp_path)
    assert not is_right(pair)
    assert pair.warnings == (
        "The prediction was read as brats2023, the label as brats2020; with --predicted-labels msd, mean Dice of the "
        "classes would be 1.00 instead of 0.33.",
    )
    assert is_right(the_pair(tmp_path, PairReading(predicted_labels="nnunet")))


def test_an_order_that_no_coding_has_is_said(tmp_path: Path) -> None:
    places(tmp_path, encode_label(classes(), "brats2020"), np.array([0, 2, 3, 1])[classes()])
    (said,) = the_pair(tmp_path).warnings
    assert "if what is predicted as ED is NCR, ET is ED and NCR is ET, mean Dice of the classes is 1.00" in said


def test_a_poor_prediction_is_no_other_coding(tmp_path: Path) -> None:
    poor = np.where(np.roll(classes(), 5, axis=0) == 3, 2, np.roll(classes(), 5, axis=0))
    places(tmp_path, encode_label(classes(), "brats2020"), poor)
    assert the_pair(tmp_path).warnings == ()


def test_the_json_file_beside_a_prediction_decides(tmp_path: Path) -> None:
    places(tmp_path, encode_label(classes(), "brats2020"), encode_label(classes(), "nnunet"))
    beside = tmp_path / "predictions" / "x_prediction.json"
    beside.write_text(json.dumps({"label_coding": {"convention": "nnunet"}}))
    assert is_right(the_pair(tmp_path))
    beside.write_text(json.dumps({"label_coding": {"convention": "brats1999"}}))
    with pytest.raises(ValueError, match="unknown label convention 'brats1999'"):
        the_pair(tmp_path)
    beside.write_text("{}")
    with pytest.raises(ValueError, match=r"label_coding\.convention"):
        the_pair(tmp_path)


def test_pairs_that_cannot_be_read_are_entries_and_the_rest_is_done(tmp_path: Path, caplog) -> None:
    label = encode_label(classes(), "brats2020")
    for case_id in "pqr":
        places(tmp_path, label, label, case_id)
    (tmp_path / "data" / "p" / "p_seg.nii.gz").unlink()
    write_volume(tmp_path / "predictions" / "q_seg.nii.gz", Volume(label[1:], AFFINE))
    pairs, _ = pair_up(tmp_path / "data", tmp_path / "predictions")
    came = over_pairs(pairs, lambda pair: pair.case.case_id)
    assert came.results == ["r"]
    assert list(came.failed) == ["p", "q"]
    assert "Case p has no label" in came.failed["p"]
    assert "expected the grid of case q" in came.failed["q"]
    assert "p: failed: Case p has no label" in caplog.text
    with pytest.raises(ValueError, match=r"Case p has no label.*the grid of case q"):
        over_pairs(pairs[:2], lambda pair: pair.case.case_id)


def test_a_label_on_another_grid_is_one_sentence(tmp_path: Path) -> None:
    label = encode_label(classes(), "brats2020")
    places(tmp_path, label, label)
    away = AFFINE.copy()
    away[:3, 3] += 500
    write_volume(tmp_path / "data" / "x" / "x_seg.nii.gz", Volume(label, away))
    with pytest.raises(ValueError, match=r"x_seg\.nii\.gz") as said:
        the_pair(tmp_path)
    assert "\n" not in str(said.value)
