"""One image with its geometry: reorient and resample.

Arrays are (X, Y, Z) or (X, Y, Z, C) in index order i, j, k. Affines are 4x4 float64 and map a voxel index to RAS mm,
the convention of NIfTI.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
GRID_TOLERANCE_MM = 0.01
# Affines pass through float32 in files; a voxel index nearer than this to a whole number is that number.
INDEX_TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False)
class Volume:
    """An image and where it lies.

    Attributes:
        array: (X, Y, Z) or (X, Y, Z, C).
        affine: 4x4, voxel index -> RAS mm.
        remarks: What a user should know of how it was read, in sentences that name the file.

    Raises:
        ValueError: Fewer than three axes, or an affine that is not an invertible 4x4 matrix.
    """

    array: np.ndarray
    affine: np.ndarray
    remarks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.array.ndim not in (3, 4):
            raise ValueError(f"Expected an array of three axes, or four with channels; got shape {self.array.shape}.")
        affine = np.array(self.affine, np.float64)
        if affine.shape != (4, 4) or not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
            raise ValueError(f"Expected an invertible 4x4 affine; got {affine.tolist()}.")
        object.__setattr__(self, "affine", affine)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along i, j, k."""
        nx, ny, nz = self.array.shape[:3]
        return nx, ny, nz

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbouring voxels along i, j, k."""
        dx, dy, dz = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(dx), float(dy), float(dz)


@dataclass(frozen=True, eq=False)
class Grid:
    """Where the voxels of an image lie.

    Attributes:
        shape: Number of voxels along i, j, k.
        affine: 4x4, voxel index -> RAS mm.
    """

    shape: tuple[int, int, int]
    affine: np.ndarray


def voxel_ml(affine: np.ndarray) -> float:
    """Volume of a voxel in ml."""
    return abs(float(np.linalg.det(np.asarray(affine)[:3, :3]))) / 1000


def bounding_box(mask: np.ndarray) -> tuple[slice, slice, slice] | None:
    """The smallest box with all of (X, Y, Z) that is not zero; None where all is zero."""
    box = [slice(None)] * 3
    for axis in (2, 1, 0):  # slowest in memory first, as files are read: each step leaves less to search
        others = tuple(other for other in range(3) if other != axis)
        inside = np.flatnonzero(mask[tuple(box)].any(axis=others))
        if not inside.size:
            return None
        box[axis] = slice(int(inside[0]), int(inside[-1]) + 1)
    return box[0], box[1], box[2]


def largest_part(mask: np.ndarray) -> np.ndarray:
    """The largest part of a mask whose voxels touch by faces; all False where the mask is."""
    parts, count = ndimage.label(mask)
    return mask != 0 if count < 2 else parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))


def corners(shape: Sequence[int], rim: float = 0.0) -> np.ndarray:
    """(4, 8) homogeneous indices of the corner voxels' centres; with a rim of 0.5, of the field of view's corners."""
    ends = np.array(np.meshgrid(*[(-rim, n - 1 + rim) for n in shape], indexing="ij")).reshape(3, 8)
    return np.vstack([ends, np.ones(8)])


def begin_at(affine: np.ndarray, voxel: Sequence[float] | np.ndarray) -> np.ndarray:
    """Affine of the part of a grid that begins at a voxel."""
    shift = np.eye(4)
    shift[:3, 3] = voxel
    return affine @ shift


def canonical(volume: Volume) -> Volume:
    """Reorder and flip axes to the nearest RAS; the array is a view and no number changes."""
    import nibabel as nib

    orientation = nib.orientations.io_orientation(volume.affine)
    array = nib.orientations.apply_orientation(volume.array, orientation)
    return Volume(array, volume.affine @ nib.orientations.inv_ornt_aff(orientation, volume.shape))


def same_grid(first: Volume, shape: Sequence[int], affine: np.ndarray, tolerance_mm: float = GRID_TOLERANCE_MM) -> bool:
    """Whether a volume has this shape, and its eight corner voxels lie where this affine puts them."""
    distance = np.linalg.norm(((first.affine - affine) @ corners(first.shape))[:3], axis=0).max()
    return first.shape == tuple(shape) and bool(distance <= tolerance_mm)


def same_lattice(volume: Volume, shape: Sequence[int], affine: np.ndarray) -> bool:
    """Whether every voxel of the grid that lies in the volume is one of its voxels, in any order of axes."""
    steps = _exact_steps(np.linalg.inv(volume.affine) @ affine, shape)
    if steps is None or not np.array_equal(np.abs(np.rint(steps[:3, :3])).sum(axis=0), [1, 1, 1]):
        return False
    whole = np.rint(steps)
    return bool(np.abs((steps - whole) @ corners(shape)).max() < INDEX_TOLERANCE)


def overlap(first: Volume, second: Volume) -> float:
    """Share of the smaller field of view that lies in the other one, 0 to 1, from 16³ sample points."""
    return max(_share_inside(first, second), _share_inside(second, first))


def resample(volume: Volume, shape: Sequence[int], affine: np.ndarray, order: int) -> Volume:
    """Values of a volume at the voxel centres of another grid; 0 outside its field of view.

    The field of view ends half a voxel beyond the outer voxel centres; within that rim the outer voxel's value holds.
    Where voxel centres of the two grids coincide (other axis order, flip, whole shift), numbers are copied.

    Args:
        volume: (X, Y, Z).
        shape: Of the other grid.
        affine: Of the other grid, voxel -> RAS mm.
        order: 1 linear, returns float32; 0 nearest, keeps the type.

    Raises:
        ValueError: Another order, or a volume with channels.
    """
    if order not in (0, 1):
        raise ValueError(f"order: expected 0 (nearest) or 1 (linear), got {order!r}.")
    if volume.array.ndim != 3:
        raise ValueError(f"Expected a volume of three axes to resample, got shape {volume.array.shape}.")
    array = volume.array.astype(np.float32, copy=False) if order else volume.array
    if same_grid(volume, shape, affine):
        return Volume(array, affine)
    to_source = np.linalg.inv(volume.affine) @ affine  # target voxel index -> source voxel index
    steps = _exact_steps(to_source, shape)
    array = _oblique(array, to_source, shape, order) if steps is None else _aligned(array, steps, shape, order)
    return Volume(array, affine)


def _share_inside(first: Volume, second: Volume) -> float:
    """Share of the first field of view that lies in the second."""
    axes = [(np.arange(16) + 0.5) / 16 * n - 0.5 for n in first.shape]
    points = np.array(np.meshgrid(*axes, indexing="ij")).reshape(3, -1)
    index = np.linalg.inv(second.affine) @ first.affine @ np.vstack([points, np.ones(points.shape[1])])
    limits = np.array(second.shape)[:, None] - 0.5
    return float(((index[:3] >= -0.5) & (index[:3] <= limits)).all(axis=0).mean())


def _exact_steps(to_source: np.ndarray, shape: Sequence[int]) -> np.ndarray | None:
    """The map with one source axis per target axis, or None where the grids are oblique to each other."""
    steps = to_source.copy()
    linear = steps[:3, :3]  # a view
    main = np.abs(linear).argmax(axis=0)
    if sorted(main) != [0, 1, 2]:
        return None
    kept = np.zeros((3, 3), bool)
    kept[main, range(3)] = True
    if np.abs(np.where(kept, 0, linear)) @ np.maximum(np.array(shape) - 1, 0) @ np.ones(3) > INDEX_TOLERANCE:
        return None
    linear[~kept] = 0
    return steps


def _aligned(array: np.ndarray, steps: np.ndarray, shape: Sequence[int], order: int) -> np.ndarray:
    """Resample one axis after the other: the grids differ by axis order, flips, spacing and shift only."""
    main = np.abs(steps[:3, :3]).argmax(axis=0)
    array = array.transpose(main)
    for axis, source_axis in enumerate(main):
        positions = steps[source_axis, axis] * np.arange(shape[axis]) + steps[source_axis, 3]
        array = _along_axis(array, axis, positions, order)
    return array


def _along_axis(array: np.ndarray, axis: int, positions: np.ndarray, order: int) -> np.ndarray:
    """Values at ``positions`` (in voxels) along one axis."""
    n = array.shape[axis]
    inside = (positions >= -0.5 - INDEX_TOLERANCE) & (positions <= n - 0.5 + INDEX_TOLERANCE)
    nearest = np.clip(np.rint(positions).astype(int), 0, n - 1)
    column = tuple(-1 if a == axis else 1 for a in range(3))
    if order == 0 or np.abs(positions - np.rint(positions)).max() < INDEX_TOLERANCE:
        if inside.all() and np.array_equal(nearest, np.arange(n)):
            return array
        if inside.all() and np.array_equal(nearest, np.arange(n)[::-1]):
            return np.flip(array, axis)
        return array.take(nearest, axis) * inside.astype(array.dtype).reshape(column)
    low = np.clip(np.floor(positions).astype(int), 0, n - 1)
    high = np.clip(np.floor(positions).astype(int) + 1, 0, n - 1)
    weight = (positions - np.floor(positions)).astype(np.float32)
    result = array.take(low, axis) * ((1 - weight) * inside).reshape(column)
    result += array.take(high, axis) * (weight * inside).reshape(column)
    return result


def _oblique(array: np.ndarray, to_source: np.ndarray, shape: Sequence[int], order: int) -> np.ndarray:
    result = ndimage.affine_transform(
        array, to_source[:3, :3], to_source[:3, 3], output_shape=tuple(shape), order=order, mode="nearest"
    )
    i, j, k = (np.arange(n, dtype=np.float32) for n in shape)
    for row, n in zip(to_source[:3].astype(np.float32), array.shape, strict=True):
        position = (row[0] * i)[:, None, None] + (row[1] * j)[:, None] + (row[2] * k + row[3])
        result[(position < -0.5 - INDEX_TOLERANCE) | (position > n - 0.5 + INDEX_TOLERANCE)] = 0
    return result
