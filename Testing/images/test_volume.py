"""Geometry: a linear function of position in mm is the ruler, because linear interpolation reproduces it exactly."""

from __future__ import annotations

import itertools

import nibabel as nib
import numpy as np
import pytest

from ProtoSegBrainLib.images.volume import (
    Volume,
    begin_at,
    bounding_box,
    canonical,
    corners,
    overlap,
    resample,
    same_grid,
    same_lattice,
    voxel_ml,
)

SLOPE_PER_MM = np.array([2.0, -3.0, 5.0])
SHAPE = (7, 9, 6)
OBLIQUE = nib.affines.from_matvec(
    nib.eulerangles.euler2mat(0.2, -0.3, 0.4) @ np.diag([0.9, 1.1, 3.0]), [-11.0, 7.0, 4.0]
)
ORIENTATIONS = [
    np.array([[axis, flip] for axis, flip in zip(axes, flips, strict=True)])
    for axes in itertools.permutations(range(3))
    for flips in itertools.product((1, -1), repeat=3)
]


def ruler(shape, affine) -> np.ndarray:
    """Value of the linear function at each voxel centre."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    return nib.affines.apply_affine(affine, index) @ SLOPE_PER_MM


def inside(shape, affine, source: Volume, margin: float) -> np.ndarray:
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    index = nib.affines.apply_affine(np.linalg.inv(source.affine) @ affine, index)
    return ((index >= margin) & (index <= np.array(source.shape) - 1 - margin)).all(axis=-1)


def reorient(volume: Volume, orientation) -> Volume:
    """The same image with its axes stored in another order and direction."""
    array = nib.orientations.apply_orientation(volume.array, orientation)
    return Volume(array, volume.affine @ nib.orientations.inv_ornt_aff(orientation, volume.shape))


@pytest.fixture
def numbers() -> Volume:
    return Volume(np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE), OBLIQUE)


@pytest.mark.parametrize(
    "orientation", ORIENTATIONS, ids=lambda o: "".join("ijk"[a].upper() if f < 0 else "ijk"[a] for a, f in o)
)
def test_all_48_axis_orders_and_flips_are_undone_exactly(numbers, orientation):
    stored = reorient(numbers, orientation)
    there = canonical(stored)
    np.testing.assert_array_equal(there.array, numbers.array)
    np.testing.assert_allclose(there.affine, numbers.affine, atol=1e-12)
    for order in (0, 1):
        back = resample(there, stored.shape, stored.affine, order)
        np.testing.assert_array_equal(back.array, stored.array)
    assert same_lattice(numbers, stored.shape, stored.affine)


def test_canonical_axes_run_nearest_to_right_anterior_superior(numbers):
    stored = reorient(numbers, [[2, -1], [0, 1], [1, -1]])
    directions = canonical(stored).affine[:3, :3]
    assert np.array_equal(np.abs(directions).argmax(axis=0), [0, 1, 2])
    assert (np.diag(directions) > 0).all()


def test_same_grid_keeps_the_array_itself(numbers):
    assert resample(numbers, SHAPE, OBLIQUE, order=0).array is numbers.array


def test_half_a_voxel_is_half_a_voxel():
    line = Volume(np.array([0, 10, 40, 20], np.uint8).reshape(4, 1, 1), np.eye(4))
    shifted = np.eye(4)
    shifted[0, 3] = 0.5
    np.testing.assert_array_equal(resample(line, (4, 1, 1), shifted, order=1).array.ravel(), [5, 25, 30, 20])


def test_finer_grid_of_the_same_box_keeps_the_outer_voxel_and_is_zero_beyond():
    line = Volume(np.array([4, 8], np.uint8).reshape(2, 1, 1), np.diag([2.0, 1, 1, 1]))
    half = np.eye(4)
    half[0, 3] = -1.5  # voxel centres at -1.5, -0.5, 0.5 ... mm; the box of the line runs from -1 to 3 mm
    expected = {1: [0, 4, 5, 7, 8, 0], 0: [0, 4, 4, 8, 8, 0]}
    for order, values in expected.items():
        result = resample(line, (6, 1, 1), half, order).array
        np.testing.assert_array_equal(result.ravel(), values)
        assert result.dtype == (np.float32 if order else np.uint8)


@pytest.mark.parametrize(
    ("affine", "shape"),
    [
        (OBLIQUE @ np.diag([0.5, 0.4, 0.3, 1.0]), (15, 24, 21)),
        (OBLIQUE @ nib.affines.from_matvec(np.diag([1.3, -0.7, 0.4]), [0.3, 7.2, 0.1]), (6, 13, 16)),
        (OBLIQUE @ nib.affines.from_matvec(np.eye(3)[[2, 0, 1]] * 0.7, [1.1, 0.2, 0.4]), (6, 5, 9)),
        (nib.affines.from_matvec(nib.eulerangles.euler2mat(0.1, 0.5, -0.2), [-12, 4, 6]), (10, 12, 14)),
        (nib.affines.from_matvec(np.diag([-1.0, 1.5, 2.0]), [-6, 5, 5]), (8, 6, 7)),
    ],
    ids=["finer", "flipped-shifted", "permuted", "oblique", "anisotropic"],
)
def test_linear_function_survives_any_change_of_grid(affine, shape):
    source = Volume(ruler(SHAPE, OBLIQUE), OBLIQUE)
    result = resample(source, shape, affine, order=1)
    sure = inside(shape, affine, source, margin=0.0)
    assert sure.sum() > 20
    np.testing.assert_allclose(result.array[sure], ruler(shape, affine)[sure], atol=1e-3)
    np.testing.assert_array_equal(result.affine, affine)
    outside = ~inside(shape, affine, source, margin=-0.51)
    assert outside.any()
    assert (result.array[outside] == 0).all()


def test_nearest_takes_the_nearest_voxel_on_oblique_grids(numbers):
    shape, affine = (10, 12, 14), nib.affines.from_matvec(nib.eulerangles.euler2mat(0.1, 0.5, -0.2), [-12, 4, 6])
    result = resample(numbers, shape, affine, order=0)
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    near = np.rint(nib.affines.apply_affine(np.linalg.inv(OBLIQUE) @ affine, index)).astype(int)
    ok = ((near >= 0) & (near < SHAPE)).all(axis=-1)
    expected = np.where(ok, numbers.array[tuple(np.moveaxis(np.where(ok[..., None], near, 0), -1, 0))], 0)
    assert result.array.dtype == np.int16
    np.testing.assert_array_equal(result.array, expected)


def test_crop_and_pad_by_whole_voxels_copy(numbers):
    affine = OBLIQUE @ nib.affines.from_matvec(np.eye(3), [2, -1, 1])
    result = resample(numbers, SHAPE, affine, order=1).array
    np.testing.assert_array_equal(result[:5, 1:, :5], numbers.array[2:, :-1, 1:])
    assert (result[5:] == 0).all()
    assert (result[:, 0] == 0).all()
    assert (result[:, :, 5] == 0).all()


def test_same_grid_tolerates_rounding_and_nothing_else(numbers):
    assert same_grid(numbers, SHAPE, OBLIQUE.astype(np.float32))
    moved = OBLIQUE.copy()
    moved[0, 3] += 0.05
    assert not same_grid(numbers, SHAPE, moved)
    assert not same_grid(numbers, (7, 9, 5), OBLIQUE)
    assert not same_lattice(numbers, SHAPE, OBLIQUE @ np.diag([0.5, 1, 1, 1]))


def test_overlap_is_the_share_of_the_smaller_field_of_view():
    large = Volume(np.zeros((20, 20, 20)), np.eye(4))
    part = np.eye(4)
    part[0, 3] = 15
    assert overlap(large, Volume(np.zeros((10, 20, 20)), part)) == 0.5
    assert overlap(large, Volume(np.zeros((4, 4, 4)), part)) == 1
    part[0, 3] = 100
    assert overlap(large, Volume(np.zeros((10, 20, 20)), part)) == 0


def test_volume_refuses_what_has_no_place(numbers):
    with pytest.raises(ValueError, match="invertible"):
        Volume(numbers.array, np.diag([1.0, 1, 0, 1]))
    with pytest.raises(ValueError, match="three axes"):
        Volume(numbers.array[0], OBLIQUE)
    with pytest.raises(ValueError, match="order"):
        resample(numbers, SHAPE, OBLIQUE, order=3)
    np.testing.assert_allclose(numbers.spacing_mm, [0.9, 1.1, 3.0])


def test_the_bounding_box_is_the_smallest_in_any_memory_order():
    mask = np.zeros((4, 5, 6), bool)
    mask[1, 2, 3] = mask[3, 2, 4] = True
    assert bounding_box(mask) == bounding_box(np.asfortranarray(mask)) == (slice(1, 4), slice(2, 3), slice(3, 5))
    assert bounding_box(np.zeros((2, 2, 2))) is None


def test_corners_of_voxel_centres_and_of_the_field_of_view():
    centres, view = corners((2, 3, 4)), corners((2, 3, 4), rim=0.5)
    assert (centres.min(axis=1).tolist(), centres.max(axis=1).tolist()) == ([0, 0, 0, 1], [1, 2, 3, 1])
    assert (view.min(axis=1).tolist(), view.max(axis=1).tolist()) == ([-0.5, -0.5, -0.5, 1], [1.5, 2.5, 3.5, 1])


def test_a_part_of_an_oblique_grid_begins_at_its_voxel():
    affine = np.array([[0, 2, 0, 10], [3, 0, 0, 20], [0, 0, -5, 30], [0, 0, 0, 1.0]])
    part = begin_at(affine, (1, 2, 3))
    np.testing.assert_allclose(part[:3, 3], [14, 23, 15])
    np.testing.assert_allclose(part[:3, :3], affine[:3, :3])
    assert voxel_ml(affine) == pytest.approx(0.03)
