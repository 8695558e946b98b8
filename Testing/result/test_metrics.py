"""Scores on masks small enough to check by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from scipy import ndimage

from ProtoSegBrainLib.result.metrics import (
    WORST_DISTANCE_MM,
    dice,
    evaluate_label,
    hausdorff95_mm,
    lesion_dice,
    precision,
    sensitivity,
    surface_dice,
    surface_distances_mm,
    volume_ml,
)


def mask(*voxels: tuple[int, int, int], shape: tuple[int, int, int] = (16, 18, 20)) -> np.ndarray:
    result = np.zeros(shape, bool)
    for voxel in voxels:
        result[voxel] = True
    return result


EMPTY = mask()


def hd95(prediction: np.ndarray, truth: np.ndarray, spacing_mm: Sequence[float] = (1, 1, 1)) -> float:
    return hausdorff95_mm(surface_distances_mm(prediction, truth, spacing_mm))


def nsd(prediction: np.ndarray, truth: np.ndarray, spacing_mm: Sequence[float] = (1, 1, 1)) -> float:
    return surface_dice(surface_distances_mm(prediction, truth, spacing_mm))


def boxes(*corners_and_edges: tuple[int, int, int, int]) -> np.ndarray:
    """Cubes in an array of 60x30x30: (x, y, z, edge)."""
    result = np.zeros((60, 30, 30), bool)
    for x, y, z, edge in corners_and_edges:
        result[x : x + edge, y : y + edge, z : z + edge] = True
    return result


def blobs(rng: np.random.Generator, shape: tuple[int, ...], noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Two masks of several round parts, the more alike the less noise."""
    field = ndimage.gaussian_filter(rng.normal(size=shape), 2)
    other = field + noise * ndimage.gaussian_filter(rng.normal(size=shape), 2)
    return other > np.quantile(other, 0.9), field > np.quantile(field, 0.9)


def test_two_voxels_two_mm_apart() -> None:
    a, b = mask((3, 4, 5)), mask((3, 4, 6))
    assert hd95(a, b, (1, 1, 2)) == pytest.approx(2.0)
    assert hd95(a, b, (2, 1, 1)) == pytest.approx(1.0)
    assert dice(a, b) == 0


def test_overlap_scores_by_hand() -> None:
    found, true = mask((1, 1, 1), (1, 1, 2), (1, 1, 3)), mask((1, 1, 3), (1, 1, 4))
    assert dice(found, true) == pytest.approx(2 / 5)
    assert sensitivity(found, true) == pytest.approx(1 / 2)
    assert precision(found, true) == pytest.approx(1 / 3)
    assert volume_ml(found, (2.0, 1.0, 0.5)) == pytest.approx(0.003)


def lesions_1mm(prediction: np.ndarray, truth: np.ndarray) -> float:
    return lesion_dice(prediction, truth, (1, 1, 1))


@pytest.mark.parametrize("score", [dice, sensitivity, precision, nsd, lesions_1mm])
def test_empty_regions(score: Callable[[np.ndarray, np.ndarray], float]) -> None:
    some = mask(*np.ndindex(4, 4, 4))
    assert score(EMPTY, EMPTY) == 1
    assert score(EMPTY, some) == score(some, EMPTY) == 0


def test_empty_regions_distance() -> None:
    some = mask((2, 2, 2))
    assert hd95(EMPTY, EMPTY) == 0
    assert hd95(EMPTY, some) == hd95(some, EMPTY) == WORST_DISTANCE_MM
    assert pytest.approx(373.1287, abs=1e-3) == WORST_DISTANCE_MM


def test_distance_of_shifted_boxes_is_the_shift() -> None:
    a, b = np.zeros((20, 20, 20), bool), np.zeros((20, 20, 20), bool)
    a[4:12, 5:13, 6:14] = True
    b[7:15, 5:13, 6:14] = True
    assert hd95(a, b, (1.5, 1, 1)) == pytest.approx(4.5)


def test_the_worse_direction_counts_and_few_outliers_do_not() -> None:
    true = np.zeros((40, 12, 12), bool)
    true[2:8, 2:8, 2:8] = True
    found = true.copy()
    found[38, 10, 10] = True  # one surface voxel of 153: outside the 95th percentile
    assert hd95(found, true) == 0
    found[30:38, 4:8, 4:8] = True
    assert hd95(found, true) == hd95(true, found) > 20


def test_distance_agrees_with_a_direct_computation(rng: np.random.Generator) -> None:
    spacing = np.array((0.9, 1.3, 2.1))
    a, b = (rng.random((9, 8, 7)) > 0.8 for _ in range(2))

    def surface(m: np.ndarray) -> np.ndarray:
        padded = np.pad(m, 1)
        neighbours = [np.roll(padded, step, axis)[1:-1, 1:-1, 1:-1] for axis in range(3) for step in (-1, 1)]
        return np.argwhere(m & ~np.all(neighbours, axis=0)) * spacing

    distances = np.linalg.norm(surface(a)[:, None] - surface(b)[None], axis=-1)
    expected = max(np.percentile(distances.min(0), 95), np.percentile(distances.min(1), 95))
    assert hd95(a, b, spacing) == pytest.approx(expected)


def test_surface_dice_by_hand() -> None:
    """Cubes of edge 6 have 152 surface voxels; shifted by two, a face and the middle of the other are too far away."""
    assert nsd(boxes((4, 4, 4, 6)), boxes((5, 4, 4, 6))) == 1  # one voxel is 1 mm
    assert nsd(boxes((4, 4, 4, 6)), boxes((6, 4, 4, 6))) == pytest.approx(1 - (36 + 4) / 152)
    assert nsd(boxes((4, 4, 4, 6)), boxes((5, 4, 4, 6)), (1.0000001, 1, 1)) == 1
    assert nsd(boxes((4, 4, 4, 6)), boxes((30, 20, 20, 6))) == 0


def test_lesions_count_alike_whatever_their_size() -> None:
    truth = boxes((2, 2, 2, 10), (30, 10, 10, 4))
    assert lesions_1mm(truth, truth) == 1
    assert lesions_1mm(boxes((2, 2, 2, 10)), truth) == 0.5  # 64 of 1064 voxels missed
    assert lesions_1mm(boxes((2, 2, 2, 10), (30, 10, 10, 4), (50, 20, 20, 1)), truth) == pytest.approx(2 / 3)
    half = boxes((2, 2, 2, 10), (30, 10, 10, 4))
    half[32:] = False
    assert lesions_1mm(half, truth) == pytest.approx((1 + 2 / 3) / 2)


def test_small_lesions_are_left_out_but_finding_them_is_not_false() -> None:
    truth = boxes((2, 2, 2, 10), (30, 10, 10, 3))  # 27 mm3
    assert lesions_1mm(boxes((2, 2, 2, 10)), truth) == lesions_1mm(truth, truth) == 1
    assert lesion_dice(boxes((2, 2, 2, 10)), truth, (2, 1, 1)) == 0.5  # 54 mm3
    assert lesions_1mm(boxes(), boxes((30, 10, 10, 3))) == 1


def test_near_parts_of_the_truth_are_one_lesion() -> None:
    apart = boxes((2, 2, 2, 6), (15, 2, 2, 6))  # seven voxels between them: dilated by three, one stays
    near = boxes((2, 2, 2, 6), (14, 2, 2, 6))
    first = boxes((2, 2, 2, 6))
    assert lesions_1mm(first, apart) == 0.5
    assert lesions_1mm(first, near) == pytest.approx(2 / 3)
    # What is predicted up to three voxels beside a lesion belongs to it, further away it is false.
    assert lesions_1mm(boxes((2, 2, 2, 6), (10, 4, 4, 2)), first) == pytest.approx(2 * 216 / (216 + 224))
    assert lesions_1mm(boxes((2, 2, 2, 6), (11, 4, 4, 2)), first) == 0.5


def test_lesion_dice_agrees_with_the_recipe_step_by_step(rng: np.random.Generator) -> None:
    faces_and_edges, all_neighbours = (ndimage.generate_binary_structure(3, rank) for rank in (2, 3))

    def slowly(prediction: np.ndarray, truth: np.ndarray, spacing_mm: np.ndarray) -> float:
        dilated, n = ndimage.label(ndimage.binary_dilation(truth, faces_and_edges, iterations=3), all_neighbours)
        parts, n_parts = ndimage.label(prediction, all_neighbours)
        dices, used = [], set()
        for number in range(1, n + 1):
            lesion = truth & (dilated == number)
            near = set(np.unique(parts[ndimage.binary_dilation(lesion, faces_and_edges, iterations=3)])) - {0}
            used |= near
            if lesion.sum() * np.prod(spacing_mm) > 50:
                dices.append(dice(np.isin(parts, list(near)), lesion))
        n_false = n_parts - len(used)
        return sum(dices) / (len(dices) + n_false)

    for _ in range(10):
        prediction, truth = blobs(rng, (30, 26, 22), rng.uniform(0.2, 1))
        spacing = rng.choice([0.8, 1, 1.4], 3)
        found = lesion_dice(prediction, truth, spacing)
        assert found == pytest.approx(slowly(prediction, truth, spacing))
        assert 0 < found < 1


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.9, 1.0, 1.6)])
def test_scores_agree_with_monai_surface_distance_and_panoptica(
    rng: np.random.Generator, spacing: tuple[float, float, float]
) -> None:
    monai, torch = pytest.importorskip("monai.metrics"), pytest.importorskip("torch")
    reference, panoptica = pytest.importorskip("surface_distance"), pytest.importorskip("panoptica.metrics")
    prediction, truth = blobs(rng, (40, 36, 32), 0.3)
    ours = {"dice": dice(prediction, truth), "hd95": hd95(prediction, truth, spacing)}
    ours["nsd"] = nsd(prediction, truth, spacing)
    assert 0.3 < ours["nsd"] < 0.99

    one_hot = [torch.from_numpy(m[None, None].astype(np.float32)) for m in (prediction, truth)]
    by_monai = {
        "dice": monai.DiceMetric()(*one_hot),
        "hd95": monai.compute_hausdorff_distance(*one_hot, include_background=True, percentile=95, spacing=spacing),
        "nsd": monai.compute_surface_dice(*one_hot, [1.0], include_background=True, spacing=spacing),
    }
    assert ours == pytest.approx({name: float(value) for name, value in by_monai.items()}, abs=1e-5)

    # It weighs the surface by its area and puts it between voxels: the same up to a fraction of a voxel.
    distances = reference.compute_surface_distances(truth, prediction, spacing)
    by_area = reference.compute_surface_dice_at_tolerance(distances, 1.0)
    assert ours["nsd"] == pytest.approx(by_area, abs=0.08)
    assert ours["hd95"] == pytest.approx(reference.compute_robust_hausdorff(distances, 95), abs=0.5 * max(spacing))
    metric = panoptica.Metric
    assert ours["dice"] == pytest.approx(metric.DSC(truth.astype(np.uint8), prediction.astype(np.uint8)))


def test_lesion_dice_agrees_with_panoptica_where_lesions_pair_off() -> None:
    """Its instances are lesions where each true one has one found one that is near enough."""
    panoptica = pytest.importorskip("panoptica")
    truth = boxes((2, 2, 2, 10), (30, 10, 10, 6), (45, 5, 5, 5))
    prediction = boxes((3, 2, 2, 10), (30, 11, 10, 6), (50, 20, 20, 5))
    evaluator = panoptica.Panoptica_Evaluator(
        expected_input=panoptica.InputType.SEMANTIC,
        instance_approximator=panoptica.ConnectedComponentsInstanceApproximator(),
        instance_matcher=panoptica.NaiveThresholdMatching(),
        instance_metrics=[panoptica.Metric.DSC],
    )
    result = evaluator.evaluate(prediction.astype(np.uint8), truth.astype(np.uint8))["ungrouped"]
    assert (result.tp, result.fp, result.fn) == (2, 1, 1)
    assert lesions_1mm(prediction, truth) == pytest.approx(result.sq_dsc * 2 / 4)


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
    assert all(
        (s.dice, s.hausdorff95_mm, s.surface_dice, s.lesion_dice) == (1, 0, 1, 1)
        for s in evaluate_label(nothing, nothing, (1, 1, 1))
    )


def test_bad_input_is_refused() -> None:
    nothing = np.zeros((8, 8, 8), np.uint8)
    with pytest.raises(ValueError, match="one grid"):
        evaluate_label(nothing, nothing[:4], (1, 1, 1))
    with pytest.raises(ValueError, match="class indices"):
        evaluate_label(nothing + np.uint8(4), nothing, (1, 1, 1))
