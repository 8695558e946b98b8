"""Distances on the sphere and the similarities made of them."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from random_network import make

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("size", [1, 3, 5])
def test_distances_equal_the_brute_force_broadcast(size: int) -> None:
    layer = make(prototype_size=size).prototype_layer
    features = torch.randn(2, 6, 5, 6, 7) * 3
    with torch.no_grad():
        distances = layer.distances(features)
    half = size // 2
    unit = F.pad(features / features.norm(dim=1, keepdim=True), [half] * 6)
    vectors = layer.prototype_vectors / layer.prototype_vectors.norm(dim=1, keepdim=True)
    patches = unit.unfold(2, size, 1).unfold(3, size, 1).unfold(4, size, 1)  # (B, C, x, y, z, s, s, s)
    difference = patches[:, None] - vectors[None, :, :, None, None, None]  # (B, P, C, x, y, z, s, s, s)
    brute_force = difference.square().sum(dim=2).mean(dim=(-3, -2, -1))
    # Zeros beyond the border are 1 away from a unit vector, but count as orthogonal: 2.
    inside = F.pad(torch.ones(1, 1, 5, 6, 7), [half] * 6)
    outside_share = 1 - F.avg_pool3d(inside, size, stride=1)
    torch.testing.assert_close(distances, brute_force + outside_share, rtol=0, atol=2e-6)


def test_log_similarity_runs_from_its_bound_to_near_zero() -> None:
    layer = make(epsilon=0.01, reach=None).prototype_layer
    similarities = layer.similarities(torch.tensor([0.0, 0.01, 1.0, 4.0]))
    expected = [math.log(100), math.log(1.01 / 0.02), math.log(2 / 1.01), math.log(5 / 4.01)]
    assert similarities.tolist() == pytest.approx(expected, abs=1e-5)
    assert layer.max_similarity() == pytest.approx(float(similarities[0]))
    limited = make(epsilon=0.01, reach=1.0).prototype_layer
    zero = expected[2]
    assert limited.similarities(torch.tensor([0.0, 0.01, 1.0, 4.0])).tolist() == pytest.approx(
        [expected[0] - zero, expected[1] - zero, 0, 0], abs=1e-5
    )
    assert limited.max_similarity() == pytest.approx(expected[0] - zero)
    cosine = make(similarity="cosine").prototype_layer
    assert cosine.similarities(torch.tensor([0.0, 2.0, 4.0])).tolist() == [1.0, 0.5, 0.0]
    assert cosine.max_similarity() == 1.0


@pytest.mark.parametrize("similarity", ["log", "cosine"])
def test_a_prototype_finds_itself_and_its_opposite(similarity: str) -> None:
    layer = make(similarity=similarity).prototype_layer
    vector = layer.prototype_vectors[0].detach()  # (C, 1, 1, 1)
    features = torch.stack([7 * vector, -0.1 * vector, 0 * vector])
    with torch.no_grad():
        similarities, distances = layer(features)
    assert distances[:, 0].flatten().tolist() == pytest.approx([0, 4, 2], abs=1e-5)
    assert float(similarities[0, 0]) == pytest.approx(layer.max_similarity(), abs=1e-3)
    assert similarities[0, 0] > similarities[2, 0] >= similarities[1, 0] >= 0
