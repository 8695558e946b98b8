"""The result of a case: volumes, and what a model says."""

from __future__ import annotations

import numpy as np
import pytest
from by_hand import evidence_for, prediction_for, without_prototypes

from ProtoSegBrainLib.result.prediction import prototype_affine, volumes_ml, what_is_not_found


def test_volumes_in_ml_by_hand() -> None:
    label = np.zeros((10, 10, 10), np.uint8)
    label[0, 0, :3], label[1, 0, :5], label[2, 0, :7] = 1, 2, 3
    affine = np.diag([-2.0, 5.0, 10.0, 1.0])  # 0.1 ml per voxel
    assert volumes_ml(label, affine) == pytest.approx({"NCR": 0.3, "ED": 0.5, "ET": 0.7, "WT": 1.5, "TC": 1.0})


def test_a_model_finds_all_regions_unless_it_says_otherwise() -> None:
    prediction = prediction_for(np.zeros((1, 2, 2, 2)), evidence_for(["ET"]))
    assert prediction.regions == ("WT", "TC", "ET")
    assert prediction.tumour_probabilities.keys() == {"NCR", "ED", "ET"}
    assert what_is_not_found("by hand", prediction.regions) == ()

    mute = without_prototypes(prediction, regions=("WT",))
    assert mute.regions == ("WT",)
    np.testing.assert_array_equal(mute.tumour_probabilities["WT"], 1 - mute.probabilities[0])
    (sentence,) = what_is_not_found("mute", mute.regions)
    assert "mute" in sentence
    assert "whole tumour only" in sentence


def test_a_voxel_of_the_prototype_grid_lies_in_the_middle_of_what_it_covers() -> None:
    affine = np.array([[-1.5, 0, 0.2, 10], [0, 0, 2, -7], [0.1, 3, 0, 5], [0, 0, 0, 1]], float)
    covered = np.array([[i, j, k, 1] for i in (4, 5) for j in (2, 3) for k in (0, 1)], float)
    np.testing.assert_allclose(prototype_affine(affine, 2) @ [2, 1, 0, 1], (affine @ covered.T).mean(axis=1))
