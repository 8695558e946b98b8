"""Brains without a tumour: the other side in its place."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ProtoSegBrainLib.patches.cases import TrainingCase, in_memory
from ProtoSegBrainLib.patches.healthy import RIM, healthy_brains, healthy_twin, midplane
from ProtoSegBrainLib.simulation.simulate import SimulationConfig, simulate_case

SHAPE = (60, 48, 24)


def a_brain(offset: int = 0, tilt_degrees: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Values that are mirror images about a plane, in a ball; and how far voxels lie from the plane."""
    x, y, z = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in SHAPE), indexing="ij")
    angle = np.deg2rad(tilt_degrees)
    across = (x - offset) * np.cos(angle) + y * np.sin(angle)
    along = -(x - offset) * np.sin(angle) + y * np.cos(angle)
    values = 2 + np.cos(across / 3) + np.sin(along / 4) + 0.5 * np.cos(z / 3)
    inside = (across / 24) ** 2 + (along / 21) ** 2 + (z / 11) ** 2 < 1
    return np.where(inside, values, 0), across


def with_tumour(values: np.ndarray, centre: tuple[int, int, int]) -> TrainingCase:
    """A bright ball of class 2 with a core of class 3, and no T2."""
    far = np.linalg.norm(np.argwhere(np.ones(SHAPE)).reshape(*SHAPE, 3) - np.array(centre), axis=-1)
    label = np.where(far <= 3, 3, np.where(far <= 5, 2, 0)) * (values != 0)
    images = np.stack([values, 2 * values, 0 * values, values]).astype(np.float32)
    images[[0, 1, 3]] += 5 * (label > 0)
    voxels = {n: np.argwhere(label == n) for n in (2, 3)}
    return TrainingCase(
        "p", torch.from_numpy(images).half(), torch.from_numpy(label.astype(np.uint8)), np.eye(4), voxels
    )


@pytest.mark.parametrize(("offset", "tilt"), [(0, 0), (4, 0), (-3, 6)])
def test_the_plane_of_symmetry_is_found(offset: int, tilt: float) -> None:
    case = with_tumour(a_brain(offset, tilt)[0], (44 + offset, 24, 12))
    found, turned = midplane(case.images.float(), case.label)
    assert found == pytest.approx(offset, abs=0.8)
    assert turned == pytest.approx(tilt, abs=1)


def test_the_other_side_takes_the_place_of_the_tumour() -> None:
    values, _ = a_brain()
    twin = healthy_twin(with_tumour(values, (44, 24, 12)))
    assert not twin.label.any()
    own = values != 0
    wanted = (values[own] - values[own].mean()) / values[own].std()
    there = twin.images[0].float().numpy()[own]
    assert np.abs(there - wanted).max() < 0.35  # the plane is known to half a voxel
    assert np.array_equal(twin.images[0].numpy() != 0, own)
    assert not twin.images[2].any()  # absent stays absent
    assert float(twin.images[1].float()[torch.from_numpy(own)].std()) == pytest.approx(1, abs=0.01)


def test_a_tumour_on_both_sides_keeps_its_label_and_its_look() -> None:
    case = with_tumour(a_brain()[0], (29, 24, 12))
    twin = healthy_twin(case)
    kept = twin.label > 0
    assert torch.equal(twin.label[kept], case.label[kept])
    assert int(kept.sum()) == int((case.label > 0).sum())
    inside = twin.images[0].float()[kept]
    assert float(inside.min()) > float(twin.images[0].float()[~kept].max()) - 2


def test_far_from_the_tumour_only_the_scale_changes() -> None:
    case = with_tumour(a_brain()[0], (44, 24, 12))
    twin = healthy_twin(case)
    far = torch.zeros(SHAPE, dtype=torch.bool)
    far[: 44 - 5 - 3 * RIM] = True
    before, after = (c.images[0].float()[far & (case.images[0] != 0)] for c in (case, twin))
    slope = float((after[1:] - after[0]).norm() / (before[1:] - before[0]).norm())
    assert torch.allclose(after, (before - before[0]) * slope + after[0], atol=0.02)


def test_a_second_training_finds_them(tmp_path, monkeypatch) -> None:
    case = in_memory(simulate_case(3, (32, 36, 32)))
    small = in_memory(simulate_case(5, (32, 36, 32), SimulationConfig(tumour=None)))
    monkeypatch.setattr("ProtoSegBrainLib.patches.healthy.simulated_healthy", lambda _seed: small)
    first = healthy_brains([case], 1, tmp_path)
    assert [brain.case_id for brain in first] == ["simulated_3_healthy", "simulated_healthy_0"]
    assert not first[1].label.any()
    monkeypatch.setattr(
        "ProtoSegBrainLib.patches.healthy.healthy_twin", lambda case: pytest.fail(f"made {case.case_id} again")
    )
    again = healthy_brains([case], 1, tmp_path)
    for one, other in zip(first, again, strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.label, other.label)
