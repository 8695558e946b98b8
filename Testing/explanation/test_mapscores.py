"""Scores of maps against labels: a handful of voxels, worked out on paper."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from by_hand import evidence_for

from ProtoSegBrainLib.explanation.mapscores import (
    PARTS,
    BrainMaps,
    activation_precision,
    auroc,
    dice_without_all,
    dice_without_each,
    error_auroc,
    grid_dice,
    highlight_part,
    highlight_purity,
    leading_voxels,
    parts_of,
    purity,
    qu_brats,
    risk_coverage,
    tumour_evidence,
)
from ProtoSegBrainLib.labels import CLASSES

SHELL, FAR = PARTS.index("shell"), len(PARTS) - 1


def one_hot(*names: str) -> np.ndarray:
    """(K, n) shares of voxels that have one class each."""
    return np.array([[float(name == row) for name in names] for row in CLASSES], np.float32)


def brain(similarities, shares, parts=None, prototype_class=("background", "ET"), bias=(0.0, -50.0, -50.0, 0.0)):
    """Maps of a network whose prototypes speak for their class with weight 1."""
    similarities = np.array(similarities, np.float32)
    evidence = replace(evidence_for(prototype_class), bias=np.array(bias, np.float32))
    parts = np.full(similarities.shape[1], FAR) if parts is None else np.array(parts)
    return BrainMaps(similarities, shares, parts, evidence)


def test_purity_compares_with_each_of_four_surroundings() -> None:
    """ET prototype: 4 in ET; 2 in NCR; 2 in the shell, 0.5 further out."""
    shares = one_hot("ET", "NCR", "background", "background")
    scores = purity(brain([[1, 1, 1, 1], [4, 2, 2, 0.5]], shares, [1, 0, SHELL, FAR]))
    assert scores["purity.ET"] == pytest.approx(4 / 2)
    assert scores["purity_background.ET"] == pytest.approx(4 / 1.25)
    assert scores["purity_shell.ET"] == pytest.approx(4 / 2)
    assert scores["purity_outside.ET"] == pytest.approx(4 / 1.5)
    assert np.isnan(scores["purity.ED"])  # no prototype, no voxel


def test_purity_is_that_of_the_mean_map_and_a_voxel_counts_by_its_shares() -> None:
    """The second voxel is half ET, half background; the mean maps are 3, 3, 0 and 3, 3, 2."""
    shares = np.array([[0, 0.5, 1], [0, 0, 0], [0, 0, 0], [1, 0.5, 0]], np.float32)
    maps = brain([[4, 4, 0], [2, 2, 0]], shares, prototype_class=("ET", "ET"))
    assert purity(maps)["purity_background.ET"] == pytest.approx(3 / ((0.5 * 3) / 1.5))
    uneven = brain([[4, 4, 4], [2, 2, 0]], shares, prototype_class=("ET", "ET"))
    assert purity(uneven)["purity_background.ET"] == pytest.approx(3 / ((0.5 * 3 + 2) / 1.5))


def test_purity_of_prototypes_that_are_nowhere_active_outside_is_undefined() -> None:
    assert np.isnan(purity(brain([[1, 1], [4, 0]], one_hot("ET", "background")))["purity_background.ET"])


def test_activation_precision_is_the_share_of_the_active_half_of_the_range_in_the_tumour() -> None:
    """Range 0.5 to 4: above 2.25 lie one voxel of ET, one of NCR, one of background."""
    shares = one_hot("ET", "NCR", "background", "background")
    scores = activation_precision(brain([[1, 1, 1, 1], [4, 3, 2.5, 0.5]], shares))
    assert scores["activation_precision"] == pytest.approx(2 / 3)  # NCR and ED have no map
    assert scores["activation_precision_class.ET"] == pytest.approx(1 / 3)
    assert np.isnan(scores["activation_precision_class.NCR"])
    assert np.isnan(activation_precision(brain([[1, 1], [2, 2]], one_hot("ET", "NCR")))["activation_precision"])


def test_the_highlight_is_the_most_active_thousandth() -> None:
    """2000 voxels: two each. Background prototype: one of its class; ET: two of its class."""
    shares = one_hot(*["ET"] * 3, *["background"] * 1997)
    similarities = np.zeros((2, 2000))
    similarities[0, [2, 3]], similarities[1, [0, 1]] = 1, 1
    maps = brain(similarities, shares, [1, 1, 1, SHELL, *[FAR] * 1996])
    np.testing.assert_allclose(highlight_purity(maps), [0.5, 1])
    assert highlight_part(maps.parts, maps.highlights)[1] == PARTS.index("ET")


def test_parts_lie_at_their_distances_in_mm() -> None:
    """In steps of 2 mm: 2 voxels of ET, 8 of oedema, then healthy brain."""
    label = np.array([3] * 2 + [2] * 8 + [0] * 10)[:, None, None]
    names = [PARTS[part] for part in parts_of(label, 2.0)[:, 0, 0]]
    expected = ["ET"] * 2 + ["oedema at the core"] * 2 + ["oedema further out"] * 6
    assert names == expected + ["shell"] * 5 + ["brain further out"] * 5
    assert {*parts_of(np.zeros((2, 2, 2), int), 1.0).flat} == {FAR}


def test_leading_voxels_counts_who_adds_most_to_the_decision() -> None:
    maps = brain([[0, 0, 9], [3, 1, 1], [1, 2, 1]], one_hot("ET", "ET", "ET"), None, ("background", "ET", "ET"))
    np.testing.assert_array_equal(leading_voxels(maps), [1, 1, 1])


def test_tumour_evidence_is_the_log_odds_of_tumour() -> None:
    probabilities = np.array([[0.2, 0.9], [0.3, 0.02], [0.4, 0.05], [0.1, 0.03]])
    np.testing.assert_allclose(tumour_evidence(np.log(probabilities) + 7), np.log([0.8 / 0.2, 0.1 / 0.9]))


def test_dice_is_the_mean_of_the_regions_and_empty_is_perfect() -> None:
    shares = one_hot("ET", "ED", "background")
    assert grid_dice(np.array([3, 2, 0]), shares) == 1
    assert grid_dice(np.array([3, 0, 0]), shares) == pytest.approx((2 / 3 + 1 + 1) / 3)
    assert grid_dice(np.array([0, 0]), one_hot("background", "background")) == 1


def test_without_a_prototype_its_voxels_are_lost() -> None:
    """Two ET prototypes, a voxel each; background stands at 0.5. Without both, background is left."""
    similarities = [[0.5, 0.5], [2, 0], [0, 2]]
    maps = brain(similarities, one_hot("ET", "ET"), None, ("background", "ET", "ET"), (0, -50, -50, -0.1))
    np.testing.assert_allclose(dice_without_each(maps), [1, 2 / 3, 2 / 3])
    assert dice_without_all(maps) == 0


def test_auroc_of_four_voxels() -> None:
    """Of the four pairs of a positive and a negative, three are in order."""
    score, positive = np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1.0])
    assert auroc(score, positive, 1 - positive) == pytest.approx(0.75)
    assert auroc(np.ones(4), positive, 1 - positive) == 0.5
    assert np.isnan(auroc(score, np.zeros(4), np.ones(4)))
    # A voxel that is half wrong: pairs of weight .5 (a tie with itself) and .5 (in order).
    assert auroc(np.array([1.0, 0.0]), np.array([0.5, 0]), np.array([0.5, 1])) == pytest.approx((0.125 + 0.5) / 0.75)


def test_an_error_that_is_uncertain_and_far_from_all_prototypes_is_found() -> None:
    """The second voxel is wrong, by a narrow margin, and like nothing."""
    scores = error_auroc(brain([[0.2, 1.0, 9], [9, 1.1, 0.2]], one_hot("ET", "background", "background")))
    assert scores == {"error_auroc.entropy": 1.0, "error_auroc.prototype_distance": 1.0}


def test_risk_falls_with_coverage_where_the_uncertain_are_wrong() -> None:
    """Four voxels; only the least certain is wrong."""
    similarities = [[0, 0, 0, 0], [9, 8, 7, 0.1]]
    risk = risk_coverage(brain(similarities, one_hot("ET", "ET", "ET", "background")))
    assert (risk[0], risk[15], risk[-1]) == (0, 0, 0.25)  # at 0, 75 and 100 %


def test_qu_brats_rewards_an_error_that_is_set_aside() -> None:
    """Two certain hits and a false voxel of uncertainty 50: Dice is 1 below tau = 50 and .8 from there on."""
    logit = np.log(0.891 / 0.109)  # binary entropy .497
    maps = brain([[0, 0, 0], [60, 60, logit]], one_hot("ET", "ET", "background"))
    area = (49 * 1 + 0.9 + 50 * 0.8) / 100
    assert qu_brats(maps)["qu_brats.ET"] == pytest.approx((area + 1 + 1) / 3, abs=1e-6)


def test_qu_brats_punishes_hits_that_are_set_aside() -> None:
    """The only hit has uncertainty 50: none is left below tau = 50; an empty rest counts as Dice 1."""
    maps = brain([[0], [np.log(0.891 / 0.109)]], one_hot("ET"))
    lost = (49 + 0.5) / 100
    assert qu_brats(maps)["qu_brats.ET"] == pytest.approx((1 + (1 - lost) + 1) / 3, abs=1e-6)


def test_temperature_changes_confidence_but_not_the_decision() -> None:
    maps = brain([[0, 1], [2, 0]], one_hot("ET", "background"))
    calibration = replace(maps.evidence.calibration, temperature=(1.0, 1.0, 1.0, 2.0))
    warm = replace(maps, evidence=replace(maps.evidence, calibration=calibration))
    np.testing.assert_array_equal(warm.predicted, maps.predicted)
    assert warm.probabilities[3, 0] == pytest.approx(1 / (1 + np.exp(-1)), rel=1e-5)  # logits 0 and 2, halved
    assert warm.probabilities[0, 1] == maps.probabilities[0, 1]  # background leads there
