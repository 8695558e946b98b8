"""Deletion and insertion on a row of ten voxels, two of them tumour: every curve can be drawn on paper."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pencil import STEEP, PencilNetwork, row_of_voxels

from ProtoSegBrainLib.explanation.deletion import deletion_scores, grad_cam, orders, ranks, rescaled_area, tumour_curve
from ProtoSegBrainLib.explanation.perturbation import Scene

TUMOUR_AT = [3, 4]
T1C_ROW = [1.0 if place in TUMOUR_AT else 0.1 for place in range(10)]
NETWORK = PencilNetwork()


@pytest.fixture
def scene() -> Scene:
    """The whole row."""
    brain = torch.ones(10, 1, 1, dtype=torch.bool)
    target = torch.tensor(T1C_ROW)[:, None, None] > 0.5
    return Scene(
        row_of_voxels(T1C_ROW),
        brain,
        target,
        (slice(0, 10), slice(0, 1), slice(0, 1)),
        torch.full((4, 1, 1, 1), 0.1),
        1.0,
    )


def places_with(first: list[int]) -> np.ndarray:
    """(10, 1, 1) ranks: these voxels first, then the others."""
    order = [*first, *(place for place in range(10) if place not in first)]
    return (np.argsort(order) / 10).astype(np.float32)[:, None, None]


def test_the_right_order_deletes_the_decision_at_once(scene: Scene) -> None:
    """Dice 1, then one of two tumour voxels is left (2/3), then none: (5/6 + 1/3) / 10."""
    scores = deletion_scores(NETWORK, scene, places_with(TUMOUR_AT), levels=11, batch_size=4)
    assert scores["incremental_deletion"] == pytest.approx((5 / 6 + 1 / 3) / 10, abs=1e-5)
    assert scores["incremental_insertion"] == pytest.approx((1 / 3 + 5 / 6 + 8) / 10, abs=1e-5)


def test_the_wrong_order_keeps_it_to_the_end(scene: Scene) -> None:
    places = places_with([place for place in range(10) if place not in TUMOUR_AT])
    scores = deletion_scores(NETWORK, scene, places, levels=11, batch_size=3)
    assert scores["incremental_deletion"] == pytest.approx((8 + 5 / 6 + 1 / 3) / 10, abs=1e-5)
    assert scores["incremental_insertion"] == pytest.approx((1 / 3 + 5 / 6) / 10, abs=1e-5)


def test_deletion_fills_with_healthy_tissue_and_leaves_air_alone(scene: Scene) -> None:
    """Filled with tumour instead, the whole row is predicted: 2 * 2 / (2 + 10)."""
    images = scene.images.clone()
    images[:, :2] = 0  # the first voxel of the row is air
    everything = torch.ones(10, 1, 1, dtype=torch.bool)
    bright = Scene(images, scene.brain, scene.target, scene.box, torch.full((4, 1, 1, 1), 1.0), 1.0)
    assert tumour_curve(NETWORK, bright, [everything], 1)[0] == pytest.approx(4 / 11, abs=1e-5)
    assert tumour_curve(NETWORK, scene, [everything, ~everything], 1) == pytest.approx([0, 1], abs=1e-5)


def test_area_is_clipped_between_the_ends_and_rescaled() -> None:
    assert rescaled_area([0.8, 0.9, 0.4, 0.0, 0.0]) == pytest.approx(((1 + 1) + (1 + 0.5) + (0.5 + 0) + 0) / 8)
    assert np.isnan(rescaled_area([0.5, 0.7, 0.5]))


def test_ranks_are_in_descending_order_and_ties_are_drawn(rng: np.random.Generator) -> None:
    np.testing.assert_allclose(ranks(np.array([0.1, 0.9, 0.5, 0.7]), rng), [0.75, 0, 0.5, 0.25])
    ties = [ranks(np.zeros(50), rng) for _ in range(2)]
    assert sorted(ties[0]) == sorted(ties[1])
    assert not np.array_equal(*ties)


def test_grad_cam_weighs_the_maps_by_their_mean_gradient() -> None:
    """The score is the logit of two voxels: the mean gradient on T1ce is 2 * STEEP / 10; the map is that times T1ce."""
    network, images = PencilNetwork(), row_of_voxels(T1C_ROW)
    expected = 2 * STEEP / 10 * np.array(T1C_ROW)
    np.testing.assert_allclose(grad_cam(network, images)[:, 0, 0], expected, rtol=1e-5)


def test_contributions_and_grad_cam_find_the_tumour_of_this_network(rng: np.random.Generator) -> None:
    brain = torch.ones(10, 1, 1, dtype=torch.bool)
    similarities = np.array([[0.5] * 10, T1C_ROW], np.float32)
    found = orders(NETWORK, row_of_voxels(T1C_ROW), brain, similarities, rng)
    for name in ("prototypes", "grad_cam"):
        assert sorted(np.argsort(found[name])[:2]) == TUMOUR_AT
    assert sorted(found["random"]) == pytest.approx(np.arange(10) / 10)
