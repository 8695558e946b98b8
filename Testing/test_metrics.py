"""Scores on masks small enough to check by hand."""

from __future__ import annotations

import numpy as np
import pytest

from ProtoSegBrainLib.metrics import (
    WORST_DISTANCE_MM,
    dice,
    evaluate_label,
    hausdorff95_mm,
    precision,
    sensitivity,
    volume_ml,
)


def mask(*voxels: tuple[int, int, int], shape: tuple[int, int, int] = (16, 18, 20)) -> np.ndarray:
    result = np.zeros(shape, bool)
    for voxel in voxels:
        result[voxel] = True
    return result


EMPTY = mask()


def test_two_voxels_two_mm_apart() -> None:
    a, b = mask((3, 4, 5)), mask((3, 4, 6))
    assert hausdorff95_mm(a, b, (1, 1, 2)) == pytest.approx(2.0)
    assert hausdorff95_mm(a, b, (2, 1, 1)) == pytest.approx(1.0)
    assert dice(a, b) == 0


def test_overlap_scores_by_hand() -> None:
    found, true = mask((1, 1, 1), (1, 1, 2), (1, 1, 3)), mask((1, 1, 3), (1, 1, 4))
    assert dice(found, true) == pytest.approx(2 / 5)
    assert sensitivity(found, true) == pytest.approx(1 / 2)
    assert precision(found, true) == pytest.approx(1 / 3)
    assert volume_ml(found, (2.0, 1.0, 0.5)) == pytest.approx(0.003)


@pytest.mark.parametrize("score", [dice, sensitivity, precision])
def test_empty_regions(score) -> None:  # type: ignore[no-untyped-def]
    some = mask((2, 2, 2))
    assert score(EMPTY, EMPTY) == 1
    assert score(EMPTY, some) == score(some, EMPTY) == 0


def test_empty_regions_distance() -> None:
    some = mask((2, 2, 2))
    assert hausdorff95_mm(EMPTY, EMPTY, (1, 1, 1)) == 0
    assert hausdorff95_mm(EMPTY, some, (1, 1, 1)) == hausdorff95_mm(some, EMPTY, (1, 1, 1)) == WORST_DISTANCE_MM
    assert pytest.approx(373.1287, abs=1e-3) == WORST_DISTANCE_MM


def test_distance_of_shifted_boxes_is_the_shift() -> None:
    a, b = np.zeros((20, 20, 20), bool), np.zeros((20, 20, 20), bool)
    a[4:12, 5:13, 6:14] = True
    b[7:15, 5:13, 6:14] = True
    assert hausdorff95_mm(a, b, (1.5, 1, 1)) == pytest.approx(4.5)


def test_the_worse_direction_counts_and_few_outliers_do_not() -> None:
    true = np.zeros((40, 12, 12), bool)
    true[2:8, 2:8, 2:8] = True
    found = true.copy()
    found[38, 10, 10] = True  # one surface voxel of 153: outside the 95th percentile
    assert hausdorff95_mm(found, true, (1, 1, 1)) == 0
    found[30:38, 4:8, 4:8] = True
    assert hausdorff95_mm(found, true, (1, 1, 1)) == hausdorff95_mm(true, found, (1, 1, 1)) > 20


def test_distance_agrees_with_a_direct_computation(rng: np.random.Generator) -> None:
    spacing = np.array((0.9, 1.3, 2.1))
    a, b = (rng.random((9, 8, 7)) > 0.8 for _ in range(2))

    def surface(m: np.ndarray) -> np.ndarray:
        padded = np.pad(m, 1)
        neighbours = [np.roll(padded, step, axis)[1:-1, 1:-1, 1:-1] for axis in range(3) for step in (-1, 1)]
        return np.argwhere(m & ~np.all(neighbours, axis=0)) * spacing

    distances = np.linalg.norm(surface(a)[:, None] - surface(b)[None], axis=-1)
    expected = max(np.percentile(distances.min(0), 95), np.percentile(distances.min(1), 95))
    assert hausdorff95_mm(a, b, spacing) == pytest.approx(expected)


def test_regions_of_a_label_map() -> None:
    truth = np.zeros((16, 16, 16), np.uint8)
    truth[4:12, 4:12, 4:12] = 2
    truth[6:10, 6:10, 6:10] = 3
    truth[7:9, 7:9, 7:9] = 1
    prediction = np.where(truth == 3, 1, truth).astype(np.uint8)  # all enhancement missed, the core as a whole right
    scores = {s.region: s for s in evaluate_label(prediction, truth, (1, 1, 2))}
    assert list(scores) == ["WT", "TC", "ET", "NCR", "ED"]
    assert scores["WT"].dice == scores["TC"].dice == scores["ED"].dice == 1
    assert (scores["ET"].dice, scores["ET"].hausdorff95_mm) == (0, WORST_DISTANCE_MM)
    assert scores["NCR"].dice == pytest.approx(2 * 8 / (64 + 8))
    assert scores["NCR"].sensitivity == 1
    assert scores["ET"].truth_ml == pytest.approx(56 * 2 / 1000)
    assert scores["ET"].volume_ml == 0


def test_healthy_and_predicted_healthy_is_perfect() -> None:
    nothing = np.zeros((8, 8, 8), np.uint8)
    assert all((s.dice, s.hausdorff95_mm) == (1, 0) for s in evaluate_label(nothing, nothing, (1, 1, 1)))


def test_bad_input_is_refused() -> None:
    nothing = np.zeros((8, 8, 8), np.uint8)
    with pytest.raises(ValueError, match="one grid"):
        evaluate_label(nothing, nothing[:4], (1, 1, 1))
    with pytest.raises(ValueError, match="class indices"):
        evaluate_label(nothing + np.uint8(4), nothing, (1, 1, 1))
