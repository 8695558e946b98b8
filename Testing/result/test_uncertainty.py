from __future__ import annotations

import numpy as np
import pytest

from ProtoSegBrainLib.result.uncertainty import disagreement, entropy


def certain(index: int) -> np.ndarray:
    return np.eye(4, dtype=np.float32)[index]


def test_entropy_by_hand() -> None:
    """One class 0; two equal classes log 2 / log 4 = 1/2; four equal classes 1."""
    voxels = np.array([certain(0), certain(2), [0.5, 0, 0.5, 0], [0.25] * 4], np.float32)
    np.testing.assert_allclose(entropy(voxels.T), [0, 0, 0.5, 1], atol=1e-6)


@pytest.mark.parametrize("order", ["C", "F"])
def test_entropy_keeps_the_grid_in_either_memory_order(order: str, rng: np.random.Generator) -> None:
    probabilities = rng.dirichlet(np.ones(4), size=(3, 4, 5)).transpose(3, 0, 1, 2).astype(np.float32)
    probabilities[:, 0] = certain(0)[:, None, None]
    laid_out = np.stack(list(probabilities)) if order == "C" else np.asfortranarray(probabilities)
    if order == "F":  # as `on_reference` lays them out: each channel with i fastest
        laid_out = np.ascontiguousarray(probabilities.transpose(0, 3, 2, 1)).transpose(0, 3, 2, 1)

    found = entropy(laid_out)

    expected = -(probabilities * np.log(np.maximum(probabilities, 1e-30))).sum(axis=0) / np.log(4)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found.dtype == np.float32
    assert not found[0].any()


def test_views_that_agree_do_not_disagree_however_unsure_they_are() -> None:
    unsure = np.full((4, 1), 0.25, np.float32)
    np.testing.assert_allclose(disagreement([unsure, unsure]), 0, atol=1e-3)  # the root of rounding


def test_views_that_are_sure_of_different_classes_disagree_fully() -> None:
    np.testing.assert_allclose(disagreement([certain(1)[:, None], certain(3)[:, None]]), 1, atol=1e-6)


def test_disagreement_by_hand() -> None:
    """One view sure, the other even between two: mean (3/4, 1/4), H = 0.811 bit; less (0 + 1) / 2; the root of that."""
    views = [certain(0)[:, None], np.array([[0.5], [0.5], [0], [0]], np.float32)]
    np.testing.assert_allclose(disagreement(views), np.sqrt(0.8112781 - 0.5), atol=1e-5)


def test_one_view_cannot_disagree() -> None:
    assert not disagreement([np.full((4, 2), 0.25, np.float32)]).any()
