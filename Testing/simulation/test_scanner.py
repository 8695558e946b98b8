"""What the scanner makes of a signal: means over thick slices, moved, with noise in the air."""

from __future__ import annotations

import numpy as np
import pytest

from ProtoSegBrainLib.images.volume import Grid, Volume
from ProtoSegBrainLib.simulation.scanner import Protocol, moved, planned, scanned, turned, with_noise


def test_a_thick_slice_is_the_mean_of_what_lies_in_it() -> None:
    head = Volume(np.broadcast_to(np.arange(20, dtype=np.float32), (4, 4, 20)), np.eye(4))
    slices = np.diag([1.0, 1, 5, 1])
    slices[2, 3] = 2  # voxels 0 to 4 lie in the first one
    image = scanned(head, np.eye(4), Grid((4, 4, 4), slices), 5.0)
    np.testing.assert_allclose(image.array[1, 1], [2, 7, 12, 17], atol=1e-5)
    head = Volume(
        np.where(np.arange(20) == 7, np.float32(8), np.float32(0)) * np.ones((4, 4, 1), np.float32), np.eye(4)
    )
    one = scanned(head, np.eye(4), Grid((4, 4, 4), slices), 5.0).array[1, 1]
    assert one[1] == pytest.approx(8 / 5, rel=0.3)
    assert one[[0, 2, 3]].max() < 0.1


def test_a_motion_takes_the_scan_to_the_head() -> None:
    array = np.zeros((9, 9, 9), np.float32)
    array[6, 4, 4] = 1
    motion = np.eye(4)
    motion[0, 3] = 2  # what the scan has at 4 lies at 6
    image = scanned(Volume(array, np.eye(4)), motion, Grid((9, 9, 9), np.eye(4)), 1.0)
    assert np.argwhere(image.array).tolist() == [[4, 4, 4]]


@pytest.mark.parametrize(("plane", "slices_run"), [("axial", 2), ("sagittal", 0)])
def test_a_series_is_planned_around_the_middle_of_the_brain(plane, slices_run) -> None:
    middle = np.array([10.0, -20, 30])
    grid = planned(Protocol(plane, 0.9, 5.0, (230, 230, 155), (0, 0)), middle, np.eye(3), 1.0)
    assert grid.shape == (256, 256, 31)
    assert np.abs(grid.affine[:3, 2]).argmax() == slices_run
    np.testing.assert_allclose(np.linalg.norm(grid.affine[:3, :3], axis=0), [0.9, 0.9, 5])
    centre = grid.affine @ [*((np.array(grid.shape) - 1) / 2), 1]
    np.testing.assert_allclose(centre[:3], middle, atol=1e-9)


def test_noise_is_that_of_a_magnitude() -> None:
    air = with_noise(np.random.default_rng(1), np.zeros((40, 40, 40), np.float32), 10.0)
    assert air.dtype == np.int16
    assert air.mean() == pytest.approx(10 * np.sqrt(np.pi / 2), rel=0.02)  # Rayleigh
    assert air.min() >= 0
    tissue = with_noise(np.random.default_rng(1), np.full((40, 40, 40), 300, np.float32), 10.0)
    assert tissue.std() == pytest.approx(10, rel=0.03)


def test_motions_are_rigid_and_within_their_limits() -> None:
    rng = np.random.default_rng(2)
    middle = np.array([5.0, 6, 7])
    for _ in range(20):
        motion = moved(rng, middle, 6.0, 15.0)
        np.testing.assert_allclose(motion[:3, :3].T @ motion[:3, :3], np.eye(3), atol=1e-12)
        assert 6 <= np.linalg.norm((motion @ [*middle, 1])[:3] - middle) <= 15
        angle = np.rad2deg(np.arccos((np.trace(motion[:3, :3]) - 1) / 2))
        assert 3 <= angle <= 6
    assert np.linalg.det(turned(rng, 5)) == pytest.approx(1)
