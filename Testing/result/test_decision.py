"""From probabilities on one grid to label and probabilities on another; see test_predict.py for whole brains."""

from __future__ import annotations

import numpy as np
import pytest

from ProtoSegBrainLib.network.calibration import Calibration
from ProtoSegBrainLib.result.decision import (
    RELABELLED,
    components,
    decide,
    on_reference,
    remove_small_components,
    remove_small_enhancement,
)
from ProtoSegBrainLib.result.prediction import LARGEST_IN_BRAIN


def tumour_for(*probabilities: tuple[float, float, float]) -> np.ndarray:
    """NCR, ED, ET of voxels in a row: (3, n, 1, 1)."""
    return np.array(probabilities, np.float32).T[:, :, None, None]


def test_background_is_what_the_others_leave_and_the_largest_wins() -> None:
    tumour = tumour_for((0.1, 0.2, 0.3), (0.1, 0.6, 0.2), (0, 0, 0), (0.25, 0.25, 0.25), (0, 0, 0.9))
    brain = np.array([True, True, True, True, False])[:, None, None]
    label, probabilities = on_reference(tumour, np.eye(4), brain, np.eye(4))
    assert label.ravel().tolist() == [0, 2, 0, 0, 0]  # the first of equals; nothing outside the brain
    expected = [0.4, 0.1, LARGEST_IN_BRAIN, 0.25, 1]
    np.testing.assert_allclose(probabilities[0].ravel(), expected, atol=1e-7)
    np.testing.assert_allclose(probabilities[3].ravel(), [0.3, 0.2, 0, 0.25, 0], atol=1e-7)


def test_another_grid_is_reached_by_linear_interpolation() -> None:
    tumour = tumour_for((0, 0, 0), (0, 0, 0.8), (0, 0, 0.4))
    # The case is flipped along x, its voxel 2 lies on the network's voxel 1; 4 to 6 lie beyond the network's view.
    flipped = np.diag([-0.5, 1, 1, 1])
    flipped[0, 3] = 2
    label, probabilities = on_reference(tumour, np.eye(4), np.ones((7, 1, 1), bool), flipped)
    np.testing.assert_allclose(probabilities[3].ravel(), [0.4, 0.6, 0.8, 0.4, 0, 0, 0], atol=1e-6)
    assert label.ravel().tolist() == [0, 3, 3, 0, 0, 0, 0]


def test_enhancement_below_the_minimum_becomes_necrosis() -> None:
    label = np.zeros((10, 10, 10), np.uint8)
    label[0, 0, :4], label[0, 1, :2] = 3, 1
    affine = np.diag([-2.0, 5.0, 10.0, 1.0])  # 0.1 ml per voxel: ET of 0.4 ml
    same, sentences = remove_small_enhancement(label, affine, 0.4)
    assert same is label
    assert sentences == ()
    changed, sentences = remove_small_enhancement(label, affine, 0.41)
    assert (np.count_nonzero(changed == 1), np.count_nonzero(changed == 3)) == (6, 0)
    assert sentences[0].startswith(RELABELLED)
    assert "0.40 ml" in sentences[0]


def parts() -> tuple[np.ndarray, np.ndarray]:
    """0.1 ml per voxel: a part of 8 voxels, of 4 (two classes), of 3 joined by corners only, and a single one."""
    label = np.zeros((10, 10, 10), np.uint8)
    label[0, 0, :8] = 2
    label[4, 0, :2], label[4, 0, 2:4] = 1, 3
    label[6, 1, 1] = label[7, 2, 2] = label[8, 3, 3] = 2
    label[9, 9, 9] = 3
    return label, np.diag([-2.0, 5.0, 10.0, 1.0])


def test_small_separate_parts_become_background() -> None:
    label, affine = parts()
    same, sentences = remove_small_components(label, affine, 0.1)
    assert same is label
    without_one, sentences = remove_small_components(label, affine, 0.3)
    assert without_one[9, 9, 9] == 0
    assert np.count_nonzero(label) - np.count_nonzero(without_one) == 1
    assert sentences == ()  # 0.1 ml is not worth a sentence
    without_three, sentences = remove_small_components(label, affine, 0.5)
    np.testing.assert_array_equal(np.argwhere(without_three), np.argwhere(label == 2)[:8])
    assert sentences[0].startswith(RELABELLED)
    assert "3 separate parts of less than 0.5 ml, 0.80 ml in all" in sentences[0]
    assert label[9, 9, 9] == 3, "the label that was given stays as it was"


def test_the_largest_part_always_stays() -> None:
    label, affine = parts()
    changed, _ = remove_small_components(label, affine, 100.0)
    assert np.count_nonzero(changed) == 8
    empty = np.zeros((2, 2, 2), np.uint8)
    assert remove_small_components(empty, affine, 1.0)[0] is empty


def test_components_by_hand() -> None:
    label, affine = parts()
    truth = np.zeros(label.shape, bool)
    truth[0, 0, :6] = truth[9, 9, 9] = True
    np.testing.assert_allclose(components(label, affine, truth), [[0.8, 0.6], [0.4, 0], [0.3, 0], [0.1, 0.1]])
    assert components(np.zeros_like(label), affine, truth).shape == (0, 2)


def test_a_decision_applies_the_rules_and_leaves_the_probabilities() -> None:
    tumour = tumour_for((0, 0, 0.9), (0, 0.9, 0))
    decision = decide(tumour, np.eye(4), np.ones((2, 1, 1), bool), np.eye(4), Calibration(minimum_et_ml=0.5))
    assert decision.label.ravel().tolist() == [1, 2]
    assert decision.probabilities[3, 0, 0, 0] == pytest.approx(0.9)
    assert len(decision.sentences) == 1
