"""Reliability: volumes, bins and lines that can be worked out on paper."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from by_hand import evidence_for, prediction_for

from ProtoSegBrainLib.labels import REGIONS
from ProtoSegBrainLib.network.calibration import Calibration, RegionReliability
from ProtoSegBrainLib.result.reliability import (
    UnseenRegion,
    assess_region,
    conformal_quantile,
    expected_calibration_error,
    fit_reliability,
    observe_region,
    short,
    volume_interval,
)

NO_BINS = np.zeros((3, 15))
CENTIMETRES = np.diag([10.0, 10.0, 10.0, 1.0])
"""Voxels of 1 ml."""


def region(volume: float, truth: float, *, group: int = 0, dice: float = 1.0, features=None) -> UnseenRegion:
    return UnseenRegion("WT", group, volume, truth, dice, features, NO_BINS)


def test_conformal_quantile_by_hand() -> None:
    """ceil(10 * 0.9) = 9: the largest of nine. ceil(20 * 0.9) = 18: the 18th of nineteen. Eight are too few."""
    assert conformal_quantile(np.arange(1, 10)) == 9
    assert conformal_quantile(np.arange(19, 0, -1)) == 18
    assert conformal_quantile(np.arange(8)) is None
    assert conformal_quantile([]) is None


def test_volume_interval_by_hand() -> None:
    """A quantile of log 2: (9 + 1) / 2 - 1 = 4 and (9 + 1) * 2 - 1 = 19 ml; an empty prediction gives 0 to 1 ml."""
    assert volume_interval(9.0, np.log(2)) == [4.0, 19.0]
    assert volume_interval(0.0, np.log(2)) == [0.0, 1.0]
    assert volume_interval(9.0, None) is None


def test_interval_holds_the_true_volume_as_often_as_it_says(rng: np.random.Generator) -> None:
    """500 draws of 30 cases and a new one: 0.9 to 0.93 of the new ones lie within; 0.06 is four standard errors."""
    inside = []
    for _ in range(500):
        truth = np.exp(rng.normal(3, 1, 31))
        predicted = truth * np.exp(rng.normal(0, 0.4, 31))
        (found,) = fit_reliability([region(v, t) for v, t in zip(predicted[1:], truth[1:], strict=True)])
        low, high = volume_interval(predicted[0], found.volume_quantile) or (0, 0)
        inside.append(low <= truth[0] <= high)
    assert np.mean(inside) == pytest.approx(0.915, abs=0.06)


def test_coverage_is_measured_on_the_cases_of_the_other_models() -> None:
    """Ten errors of model 0 are small, ten of model 1 large: none of the latter is covered, all of the former are."""
    cases = [region(10.0, 10.0 + 0.01 * i, group=0) for i in range(10)]
    cases += [region(10.0, 30.0 + i, group=1) for i in range(10)]
    (found,) = fit_reliability(cases)
    assert found.measured_coverage == 0.5
    assert found.n == 20
    (single,) = fit_reliability(cases[:10])
    assert single.measured_coverage == 0.9  # ceil(0.9 * 10) / 10, case by case


def test_calibration_error_by_hand() -> None:
    """100 voxels said 0.2 and 30 are true; 300 said 0.9 and all are true: (|20 - 30| + |270 - 300|) / 400 = 0.1."""
    bins = np.zeros((3, 15))
    bins[:, 3], bins[:, 13] = (100, 20, 30), (300, 270, 300)
    assert expected_calibration_error(bins) == pytest.approx(0.1)
    assert expected_calibration_error(NO_BINS) == 0


def test_observe_region_by_hand() -> None:
    """Of five voxels one is outside the brain; ET is predicted in two, true in one of them."""
    et = np.array([0.75, 0.75, 0.25, 0, 0], np.float32)
    probabilities = np.stack([1 - et, 0 * et, 0 * et, et]).reshape(4, 5, 1, 1)
    probabilities[0, 3] = 0.99  # in the brain, the rest lost to rounding
    label = np.array([3, 3, 0, 0, 0]).reshape(5, 1, 1)
    truth = np.array([3, 0, 0, 0, 0]).reshape(5, 1, 1)

    found = observe_region("ET", 2, label, probabilities, truth, np.diag([5.0, 10.0, 10.0, 1.0]))

    assert (found.group, found.volume_ml, found.truth_ml) == (2, pytest.approx(1.0), pytest.approx(0.5))
    assert found.dice == pytest.approx(2 / 3)
    assert found.bins[0].sum() == 4
    assert found.bins[:, 11].tolist() == [2, 1.5, 1]  # 0.75 * 15 = 11.25
    entropy = -(0.75 * np.log(0.75) + 0.25 * np.log(0.25)) / np.log(4)
    assert found.features == pytest.approx([entropy, 0.75, np.log(2), 2 * 1.5 / (2 + 1.75)], rel=1e-5)


def test_nothing_predicted_has_no_features() -> None:
    empty = np.zeros((2, 1, 1), np.uint8)
    probabilities = np.stack([np.full((2, 1, 1), p, np.float32) for p in (0.97, 0.01, 0.01, 0.01)])
    found = observe_region("TC", 0, empty, probabilities, empty, CENTIMETRES)
    assert found.features is None
    assert found.dice == 1


def test_predicted_dice_follows_the_features_where_they_help(rng: np.random.Generator) -> None:
    features = rng.normal(size=(30, 4))
    helpful = [region(1, 1, dice=0.6 + 0.1 * np.tanh(x[3]), features=x) for x in features]
    useless = [region(1, 1, dice=d, features=np.ones(4)) for d in rng.uniform(0.3, 0.9, 30)]
    (good,), (poor,) = fit_reliability(helpful), fit_reliability(useless)
    assert good.dice_error is not None
    assert good.dice_error < 0.04
    assert good.dice_coefficients[4] > 0.03
    assert poor.dice_coefficients[0] == pytest.approx(np.mean([o.dice for o in useless]), abs=1e-5)
    assert poor.dice_coefficients[1:] == (0, 0, 0, 0)


def test_assess_region_says_what_the_model_knows() -> None:
    evidence = evidence_for(["background", "ET"])
    known = RegionReliability("ET", 50, 0.01, float(np.log(2)), 0.9, 0.88, (0.5, 0, 0.25, 0, 0), 0.1)
    evidence = replace(evidence, calibration=Calibration(reliability=(known,)))
    similarities = np.zeros((2, 2, 2, 2), np.float32)
    similarities[1, 0], similarities[0, 1] = 3, 3
    prediction = prediction_for(similarities, evidence, np.diag([10.0, 10, 10, 1]))  # a voxel is 1 ml

    found = assess_region(prediction, "ET")

    volume = prediction.volumes_ml["ET"]
    assert volume > 1
    assert found["interval_ml"] == volume_interval(volume, known.volume_quantile)
    confidence = prediction.probabilities[3][prediction.label == 3].mean()
    assert found["predicted_dice"] == pytest.approx(0.5 + 0.25 * confidence, abs=1e-3)
    assert (found["n"], found["coverage"], found["ece"], found["dice_error"]) == (50, 0.9, 0.01, 0.1)
    unknown = assess_region(prediction, "WT")
    assert unknown["volume_ml"] == prediction.volumes_ml["WT"]
    assert {unknown[key] for key in set(found) - {"volume_ml"}} == {None}
    with pytest.raises(ValueError, match="expected one of WT, TC, ET, got 'NCR'"):
        assess_region(prediction, "NCR")


def test_memory_order_changes_nothing(rng: np.random.Generator) -> None:
    probabilities = rng.dirichlet(np.ones(4), size=(3, 4, 5)).transpose(3, 0, 1, 2).astype(np.float32)
    label = probabilities.argmax(axis=0)
    for name in REGIONS:
        plain = observe_region(
            name, 0, np.ascontiguousarray(label), np.ascontiguousarray(probabilities), label, CENTIMETRES
        )
        mixed = observe_region(name, 0, np.asfortranarray(label), np.asfortranarray(probabilities), label, CENTIMETRES)
        np.testing.assert_allclose(plain.features, mixed.features, rtol=1e-5)


def test_a_dice_is_written_short() -> None:
    assert [short(dice) for dice in (0, 0.623, 0.996, 1)] == [".00", ".62", "1.00", "1.00"]
