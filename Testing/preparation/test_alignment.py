"""Alignment: a head of formulas, scanned twice, one time after it has moved."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from made_up_head import T1CE, T2, grid, scanned
from scipy.spatial.transform import Rotation

from ProtoSegBrainLib.images.volume import Volume, begin_at, canonical
from ProtoSegBrainLib.preparation.alignment import (
    Alignment,
    AlignmentConfig,
    align,
    displacement_mm,
    move_of,
    turned_degrees,
)

CONFIG = AlignmentConfig(
    grids_mm=(8.0, 4.0), samples=(4000, 8000), steps_mm=(8.0, 2.0), least_step=0.005, iterations=60, relaxation=0.6
)
"""Quick, for a head on 4 mm."""
GOOD_MM = 2.0
"""Half of a voxel."""


@cache
def fixed() -> Volume:
    """T1ce on an isotropic grid."""
    return scanned(T1CE, grid((4, 4, 4)))


@cache
def thick() -> Volume:
    """T2 in oblique slices of 5 mm, of a head that lies as in T1ce."""
    return scanned(T2, grid((3, 3, 5), (5, -4, 8)))


def rigid(degrees: float, *shift_mm: float) -> np.ndarray:
    motion = np.eye(4)
    motion[:3, :3] = Rotation.from_rotvec(np.radians(degrees) * np.array([0.6, 0.64, 0.48])).as_matrix()
    motion[:3, 3] = shift_mm
    return motion


def error_mm(found: np.ndarray, away: np.ndarray) -> float:
    """Mean distance to where they belong of places on a ball, once they were carried away and back."""
    places = np.random.default_rng(1).normal(size=(3, 300))
    places = np.vstack([80 * places / np.linalg.norm(places, axis=0), np.ones(300)])
    return float(np.linalg.norm((found @ away @ places - places)[:3], axis=0).mean())


def moved(volume: Volume, motion: np.ndarray) -> Volume:
    return Volume(volume.array, motion @ volume.affine)


@pytest.mark.parametrize(
    ("degrees", "shift_mm"), [(10.0, (12.0, -9.0, 6.0)), (-6.0, (0.0, 18.0, -8.0)), (3.0, (-2.0, 3.0, 1.0))]
)
def test_a_known_motion_is_found(degrees: float, shift_mm: tuple[float, float, float]) -> None:
    away = rigid(degrees, *shift_mm)
    found = align(moved(thick(), away), fixed(), CONFIG)
    assert error_mm(np.eye(4), away) > 3
    assert error_mm(found.motion, away) < GOOD_MM
    assert found.information > found.information_before > 0
    assert np.allclose(found.motion[:3, :3] @ found.motion[:3, :3].T, np.eye(3), atol=1e-9)
    assert not found.doubts


def test_the_header_is_kept_where_it_is_right() -> None:
    found = align(thick(), fixed(), CONFIG)
    assert found.is_kept
    assert found.information == found.information_before
    assert move_of(found, thick()).is_kept
    assert found.moved(thick()).affine.tolist() == thick().affine.tolist()


def test_order_and_direction_of_axes_do_not_matter() -> None:
    away = rigid(9.0, 8.0, -10.0, 5.0)
    moving = moved(thick(), away)
    turned = Volume(moving.array.transpose(2, 0, 1)[::-1, :, ::-1], _transposed(moving))
    assert np.allclose(canonical(turned).array, canonical(moving).array)
    assert error_mm(align(turned, fixed(), CONFIG).motion, away) < GOOD_MM


def _transposed(volume: Volume) -> np.ndarray:
    """Affine after ``transpose(2, 0, 1)`` and flips of the first and the last axis."""
    affine = volume.affine[:, [2, 0, 1, 3]] @ np.diag([-1.0, 1, -1, 1])
    ends = np.array(volume.shape)[[2, 0, 1]] - 1
    return begin_at(affine, [-ends[0], 0, -ends[2]])


def test_headers_far_apart_are_brought_together() -> None:
    away = rigid(4.0, 300.0, -150.0, 0.0)
    found = align(moved(thick(), away), fixed(), CONFIG)
    assert found.information_before == 0
    assert error_mm(found.motion, away) < GOOD_MM
    assert "it was moved by" in " ".join(found.doubts)


@pytest.mark.parametrize("dtype", [np.int16, np.uint8])
def test_any_type_and_unit_of_values(dtype: type) -> None:
    away = rigid(8.0, 5.0, 9.0, -6.0)
    scale = 0.3 if dtype == np.uint8 else 1.0
    moving = Volume((thick().array * scale).astype(dtype), away @ thick().affine)
    assert error_mm(align(moving, fixed(), CONFIG).motion, away) < GOOD_MM


def test_a_background_other_than_zero_and_a_bright_spot_change_little() -> None:
    away = rigid(8.0, 5.0, 9.0, -6.0)
    array = thick().array / 100 - 3.0
    array[20, 20, 20] = 1e6
    assert error_mm(align(Volume(array, away @ thick().affine), fixed(), CONFIG).motion, away) < GOOD_MM


def test_a_mask_is_aligned_as_well() -> None:
    away = rigid(0.0, 20.0, -10.0, 5.0)
    moving = Volume(thick().array > 60, away @ thick().affine)
    found = align(moving, fixed(), CONFIG)
    assert error_mm(found.motion, away) < 0.3 * error_mm(np.eye(4), away)


def test_the_same_images_give_the_same_numbers() -> None:
    moving = moved(thick(), rigid(6.0, 3.0, 4.0, -5.0))
    first, second = (align(moving, fixed(), CONFIG) for _ in range(2))
    assert np.array_equal(first.motion, second.motion)
    assert first.information == second.information


def test_nothing_is_changed_in_the_images() -> None:
    moving = moved(thick(), rigid(6.0, 3.0, 4.0, -5.0))
    before = moving.array.copy(), moving.affine.copy()
    found = align(moving, fixed(), CONFIG)
    assert np.array_equal(moving.array, before[0])
    assert np.array_equal(moving.affine, before[1])
    assert found.moved(moving).array is moving.array


@pytest.mark.parametrize("value", [0.0, 7.0])
def test_a_constant_image_is_left_and_doubted(value: float) -> None:
    found = align(Volume(np.full((20, 20, 10), value), rigid(0.0, 5.0, 5.0, 5.0)), fixed(), CONFIG)
    assert found.is_kept
    assert found.information == 0
    assert "nothing in common with T1ce" in found.doubts[0]


def test_unlike_images_are_doubted() -> None:
    noise = Volume(np.random.default_rng(0).normal(size=(50, 60, 50)), fixed().affine)
    found = align(noise, fixed(), CONFIG)
    assert "nats of information" in found.doubts[0]
    assert "0.45 or more expected" in found.doubts[0]


@pytest.mark.parametrize("shape", [(1, 60, 50), (50, 1, 1), (1, 1, 1), (3, 2, 2)])
def test_images_of_hardly_any_voxels_do_not_fail(shape: tuple[int, int, int]) -> None:
    part = Volume(thick().array[tuple(slice(0, n) for n in shape)], thick().affine)
    for pair in ((part, fixed()), (fixed(), part)):
        found = align(*pair, CONFIG)
        assert np.isfinite(found.motion).all()
        assert np.isfinite(found.information)


def test_a_move_is_said_in_numbers() -> None:
    found = Alignment(rigid(0.0, 3.0, 4.0, 0.0), 0.7, 0.5, 0.2, ("It is doubtful.",))
    move = move_of(found, thick())
    assert move.displacement_mm == pytest.approx(5.0)
    assert move.degrees == pytest.approx(0.0, abs=1e-4)
    assert (move.information, move.information_before, move.doubts) == (0.7, 0.5, ("It is doubtful.",))


def test_displacement_is_that_of_the_head_not_of_the_origin() -> None:
    far = begin_at(np.eye(4), [500.0, 0, 0])
    turn = far @ rigid(5.0, 0.0, 0.0, 0.0) @ np.linalg.inv(far)
    volume = Volume(fixed().array, far @ fixed().affine)
    assert 3 < displacement_mm(turn, volume) < 7
    assert turned_degrees(turn) == pytest.approx(5.0)


def test_every_grid_has_its_samples_and_steps() -> None:
    with pytest.raises(ValueError, match="one number for each grid, got 2, 3 and 3"):
        AlignmentConfig(grids_mm=(4.0, 2.0))
