"""Changes of the image: what a network that only looks at the voxel itself does is known beforehand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pencil import PencilNetwork, row_of_voxels

from ProtoSegBrainLib.explanation.perturbation import (
    Scene,
    effective_receptive_field_mm,
    per_voxel,
    perturbed_parts,
    scene_around,
    spatial_misalignment,
    with_bias_field,
    with_noise,
)

ROW = [0.1, 0.1, 0.1, 1.0, 1.0, 0.1, 0.1, 0.1, 0.1, 0.1]
BRAIN = torch.ones(10, 1, 1, dtype=torch.bool)
TARGET = torch.tensor(ROW)[:, None, None] > 0.5


def scene(network: PencilNetwork, margin_mm: float, voxel_mm: float = 1.0) -> Scene:
    return scene_around(row_of_voxels(ROW), BRAIN, TARGET, network, margin_mm, voxel_mm)


def test_the_scene_holds_the_tumour_and_its_margin_in_whole_cells() -> None:
    """The tumour fills voxels 3 and 4 of 2 mm; with 3 mm around and cells of 4 mm that is 0 to 7."""
    network = PencilNetwork()
    network.size_multiple = 4
    around = scene(network, 3.0)
    assert around.box[0] == slice(0, 8)
    assert around.images.shape == (4, 16, 2, 2)
    assert around.target.shape == around.brain.shape == (8, 1, 1)
    np.testing.assert_allclose(around.fill.flatten(), [0.1] * 4, rtol=1e-6)  # healthy voxels alone
    assert scene(network, 3.0, voxel_mm=3.0).box[0] == slice(2, 6)  # 3 mm are half a voxel there
    assert scene(network, 0).box[0] == slice(2, 6)
    assert scene(network, 100.0).box[0] == slice(0, 10)


def test_noise_is_bounded_and_leaves_air_alone(rng: np.random.Generator) -> None:
    images = torch.zeros(4, 8, 8, 8)
    images[:, 2:6] = 1.0
    noisy = with_noise(images, rng)
    assert torch.equal(noisy == 0, images == 0)
    change = (noisy - images)[images != 0]
    assert 0.24 < change.abs().max() <= 0.25
    assert 0.13 < change.std() < 0.2


def test_bias_field_is_smooth_and_leaves_air_alone(rng: np.random.Generator) -> None:
    images = torch.zeros(4, 32, 32, 32)
    images[:, 4:28] = 1.0
    changed = with_bias_field(images, rng)
    assert torch.equal(changed == 0, images == 0)
    gain = ((changed + 3) / 4)[:, 4:28]
    assert 0.02 < gain.std() < 0.15
    assert (gain[:, 1:] - gain[:, :-1]).abs().max() < 0.1


def test_a_network_that_looks_at_the_voxel_itself_is_stable(rng: np.random.Generator) -> None:
    parts = np.array([5, 5, 4, 1, 1, 4, 5, 5, 5, 5])
    found = perturbed_parts(PencilNetwork(), row_of_voxels(ROW), BRAIN, parts, rng)
    assert {name: int(values[1]) for name, values in found.items()} == {"noise": 1, "bias_field": 1, "shift": 1}


def test_a_network_tied_to_the_place_is_not_stable_under_a_shift(rng: np.random.Generator) -> None:
    """It is active in the voxel with number 3 of whatever it is given, which the shift moves to the tumour's left."""

    class Tied(PencilNetwork):
        def prototype_layer(self, features):
            similarities, distances = super().prototype_layer(features)
            similarities[:, 1] = 0
            similarities[:, 1, 3] = 1
            return similarities, distances

    parts = np.array([5, 5, 4, 1, 1, 4, 5, 5, 5, 5])
    found = perturbed_parts(Tied(), row_of_voxels(ROW), BRAIN, parts, rng)
    assert (found["noise"][1], found["shift"][1]) == (1, 4)


def test_noise_elsewhere_does_not_move_a_prototype_that_looks_at_the_voxel_itself(rng: np.random.Generator) -> None:
    network = PencilNetwork()
    moved = spatial_misalignment(network, scene(network, 100.0), [1, 0], rng, batch_size=1)
    assert (moved["location"][0], moved["activation"][0]) == (0, 0)
    assert np.isnan(moved["location"][1])  # the background's map is constant: it highlights nothing


def test_noise_elsewhere_changes_a_prototype_that_sees_the_whole_image(rng: np.random.Generator) -> None:
    network = PencilNetwork(far_sight=5.0)
    moved = spatial_misalignment(network, scene(network, 100.0), [1], rng, batch_size=4)
    assert moved["activation"][0] > 1e-3


@pytest.mark.parametrize("voxel_mm", [1.0, 1.5])
def test_the_receptive_field_of_a_voxel_reaches_to_the_centres_of_its_eight(voxel_mm: float) -> None:
    """All eight lie half a voxel off the centre along each axis: diameter sqrt(3)."""
    network = PencilNetwork()
    diameter = effective_receptive_field_mm(network, scene(network, 100.0, voxel_mm), 1)
    assert diameter == pytest.approx(np.sqrt(3) * voxel_mm)
    assert np.isnan(effective_receptive_field_mm(network, scene(network, 100.0), 0))  # it sees nothing


def test_a_mask_on_the_prototype_grid_becomes_blocks() -> None:
    mask = torch.tensor([True, False])[:, None, None]
    assert per_voxel(mask, 2).shape == (4, 2, 2)
    assert per_voxel(mask, 2).sum() == 8
