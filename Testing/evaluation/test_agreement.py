"""Confusion of classes, and the scores that follow from it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ProtoSegBrainLib.evaluation.agreement import Agreement, compare, compare_all, ranked
from ProtoSegBrainLib.evaluation.pairs import pair_up
from ProtoSegBrainLib.images.case import Case
from ProtoSegBrainLib.images.codings import encode_label
from ProtoSegBrainLib.images.formats import write_volume
from ProtoSegBrainLib.images.volume import Volume
from ProtoSegBrainLib.result import metrics
from ProtoSegBrainLib.simulation.simulate import write_case


def case_with(label: np.ndarray, spacing_mm: float = 10.0) -> Case:
    """Brain everywhere; a voxel of 10 mm is a millilitre."""
    return Case("case", np.ones((4, *label.shape), np.float32), np.diag([spacing_mm] * 3 + [1.0]), label)


def test_voxels_are_counted_by_true_and_predicted_class() -> None:
    truth = np.array([0, 0, 1, 2, 2, 3], np.uint8).reshape(6, 1, 1)
    predicted = np.array([0, 2, 1, 2, 3, 3], np.uint8).reshape(6, 1, 1)
    found = compare(case_with(truth), predicted)
    assert found.voxels.tolist() == [[1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 1, 1], [0, 0, 0, 1]]
    assert found.true_ml("TC") == pytest.approx(2.0)
    assert found.precision("ET") == 0.5
    assert found.recall("ET") == 1.0


def test_outside_the_brain_only_tumour_counts() -> None:
    truth = np.array([0, 0, 2], np.uint8).reshape(3, 1, 1)
    case = case_with(truth)
    images = case.images.copy()
    images[:, 1:] = 0
    assert compare(replace(case, images=images), truth).voxels.sum() == 2


@pytest.mark.parametrize("seed", range(3))
def test_scores_are_those_of_metrics(seed: int) -> None:
    rng = np.random.default_rng(seed)
    absent = seed + 1  # a class that neither has
    truth, predicted = rng.choice([c for c in range(4) if c != absent], (2, 6, 7, 8)).astype(np.uint8)
    predicted[truth == 3] = 0
    found = compare(case_with(truth), predicted)
    for score in metrics.evaluate_label(predicted, truth, (10, 10, 10)):
        assert found.dice(score.region) == pytest.approx(score.dice)
        assert found.precision(score.region) == pytest.approx(score.precision)
        assert found.recall(score.region) == pytest.approx(score.sensitivity)
        assert found.true_ml(score.region) == pytest.approx(score.truth_ml)


def agreement(truth: dict[int, int], foci: int = 1) -> Agreement:
    """A case with so many ml of each true class, all of it found."""
    return Agreement("case", np.diag([1000, *(truth.get(index, 0) for index in (1, 2, 3))]), 1.0, foci)


@pytest.mark.parametrize(
    ("case", "kinds"),
    [
        (agreement({2: 50, 3: 10}), ()),
        (agreement({2: 39}), ("small", "no ET")),
        (agreement({2: 60, 3: 2}), ("little ET",)),
        (agreement({2: 60, 3: 3}, foci=2), ("multi-focal",)),
    ],
)
def test_kinds_of_difficult_cases(case: Agreement, kinds: tuple[str, ...]) -> None:
    assert case.kinds == kinds


def test_foci_of_the_core_count_too_and_stray_voxels_do_not() -> None:
    truth = np.full((9, 3, 3), 2, np.uint8)
    assert compare(case_with(truth), truth).foci == 1
    truth[[0, 8]] = 1  # two cores in one tumour
    assert compare(case_with(truth), truth).foci == 2
    assert compare(case_with(truth, spacing_mm=3.5), truth).foci == 1  # of 0.39 ml each; the whole is of one piece


def test_a_folder_is_compared_in_its_order(a_case: Case, tmp_path) -> None:
    label = np.asarray(a_case.label)
    (tmp_path / "predictions").mkdir()
    for case_id in ("b", "a"):
        write_case(replace(a_case, case_id=case_id), tmp_path / "data")
        wrong = label if case_id == "a" else np.zeros_like(label)
        path = tmp_path / "predictions" / f"{case_id}_seg.nii.gz"
        write_volume(path, Volume(encode_label(wrong, "brats2020"), a_case.affine))
    told = []
    pairs, missing = pair_up(tmp_path / "data", tmp_path / "predictions")
    found = compare_all(pairs, on_progress=lambda fraction, _message: told.append(fraction))
    assert [(case.case_id, case.mean_dice) for case in found.results] == [("a", 1.0), ("b", 0.0)]
    assert missing == ()
    assert told == [0.5, 1.0]


def test_cases_are_ranked_best_first(agreements) -> None:
    assert [case.case_id for case in ranked(agreements)] == ["perfect", "good", "no_et", "bad"]
