"""One image with its geometry: read, write, reorient and resample.

Arrays are (X, Y, Z) or (X, Y, Z, C) in index order i, j, k. Affines are 4x4 float64 and map a voxel index to RAS mm,
the convention of NIfTI; NRRD and MetaImage files (LPS) are converted on reading. What reads files is imported inside
functions, so that a user interface can use the rest before it is installed.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy import ndimage

NIFTI_SUFFIXES = (".nii.gz", ".nii")
ITK_SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd")
SUFFIXES = NIFTI_SUFFIXES + ITK_SUFFIXES

GRID_TOLERANCE_MM = 0.01
# Affines pass through float32 in files; a voxel index nearer than this to a whole number is that number.
INDEX_TOLERANCE = 1e-3
GZIP_MAGIC = b"\x1f\x8b"
NIFTI_HEADER_BYTES = 348
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])

Geometry = Literal["sform", "qform"]
"""The two positions that a NIfTI header may hold."""


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


def read_volume(path: str | os.PathLike[str], geometry: Geometry | None = None) -> Volume:
    """Read a NIfTI, NRRD or MetaImage file; the array keeps the file's type unless a scale factor applies.

    Axes of length one behind the third are dropped.

    Args:
        path: Of the file.
        geometry: Which position of a NIfTI header holds; None: the sform where it is set.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: Not a readable, whole image of one of these formats; the message names the file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    name = path.name.lower()
    if not name.endswith(SUFFIXES):
        raise ValueError(f"{path}: expected a file ending in one of {', '.join(SUFFIXES)}.")
    try:
        array, affine = _read_nifti(path) if name.endswith(NIFTI_SUFFIXES) else _read_itk(path)
        if array.dtype.kind not in "biuf":
            raise ValueError(f"expected whole or real numbers, got {array.dtype}")
        return Volume(array.reshape(array.shape[:3] + tuple(n for n in array.shape[3:] if n != 1)), affine)
    except ImportError:
        raise
    except Exception as error:  # the parsers raise whatever a damaged file leads them to
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
        raise ValueError(f"{path} cannot be read (unreadable, truncated or of another format): {reason}") from error


def write_volume(
    path: str | os.PathLike[str], volume: Volume, *, description: str = "", slope: float | None = None
) -> None:
    """Write NIfTI: ``.nii``, or ``.nii.gz`` by a fast compressor. The file appears whole or not at all.

    Args:
        path: Where to; the folder must exist.
        volume: bool is stored as uint8, float16 as float32, anything else as it is.
        description: Free text of the header, 79 characters at most.
        slope: A reader multiplies the stored numbers by it.

    Raises:
        ValueError: Another ending, or a type that NIfTI has not.
    """
    path = Path(path)
    if not path.name.lower().endswith(NIFTI_SUFFIXES):
        raise ValueError(f"{path}: expected a name ending in .nii.gz or .nii.")
    array = volume.array
    stored = np.dtype({"bool": np.uint8, "float16": np.float32}.get(array.dtype.name, array.dtype))
    array = array.astype(stored.newbyteorder("="), copy=False)  # the header is in the machine's byte order
    header = _nifti_header(array, volume.affine, description, slope)
    data = array.ravel(order="F").data.cast("B")  # no copy where i is fastest in memory
    parts: list[bytes | memoryview] = [header, data]
    if path.name.lower().endswith(".gz"):
        from isal import isal_zlib

        gzip = isal_zlib.compressobj(1, isal_zlib.DEFLATED, 16 + isal_zlib.MAX_WBITS)
        parts = [gzip.compress(header), gzip.compress(data), gzip.flush()]
    temporary = path.with_name(f".{uuid.uuid4().hex}.partial")
    try:
        with temporary.open("wb") as file:
            file.writelines(parts)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


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


def _read_nifti(path: Path) -> tuple[np.ndarray, np.ndarray]:
    import nibabel as nib
    from isal import igzip

    data = path.read_bytes()
    if data.startswith(GZIP_MAGIC):
        data = igzip.decompress(data)
    if len(data) < NIFTI_HEADER_BYTES:
        raise ValueError(f"expected at least a header of {NIFTI_HEADER_BYTES} bytes, the file has {len(data)}")
    is_nifti2 = 540 in (int.from_bytes(data[:4], "little"), int.from_bytes(data[:4], "big"))
    image = (nib.Nifti2Image if is_nifti2 else nib.Nifti1Image).from_bytes(data)
    proxy: Any = image.dataobj
    expected = int(proxy.offset) + int(np.prod(image.shape, dtype=np.int64)) * image.get_data_dtype().itemsize
    if len(data) < expected:
        raise ValueError(f"the header promises {expected} bytes, the file has {len(data)}")
    unscaled = (proxy.slope, proxy.inter) == (1.0, 0.0)
    return np.asarray(proxy, dtype=None if unscaled else np.float32), image.affine


def _read_itk(path: Path) -> tuple[np.ndarray, np.ndarray]:
    import SimpleITK  # slow to load and needed for these formats only

    image = SimpleITK.ReadImage(str(path))
    components = image.GetNumberOfComponentsPerPixel()
    array = SimpleITK.GetArrayFromImage(image)
    n = image.GetDimension()
    if n < 3:
        raise ValueError(f"expected three axes, got {n}")
    # From (t,) z, y, x (, components) to x, y, z (, t or components).
    array = np.moveaxis(array, -1, 0).T if components > 1 else array.T
    affine = np.eye(4)
    affine[:3, :3] = (np.reshape(image.GetDirection(), (n, n)) * image.GetSpacing())[:3, :3]
    affine[:3, 3] = image.GetOrigin()[:3]
    return array, LPS_TO_RAS @ affine


def _nifti_header(array: np.ndarray, affine: np.ndarray, description: str, slope: float | None) -> bytes:
    import nibabel as nib

    header = nib.Nifti1Header()
    header.set_data_dtype(array.dtype)
    header.set_data_shape(array.shape)
    header.set_sform(affine, code=1)
    try:
        header.set_qform(affine, code=1, strip_shears=False)
    except nib.spatialimages.HeaderDataError:  # sheared axes: a quaternion cannot say it, the sform does
        header.set_qform(None, code=0)
        header["pixdim"][1:4] = np.linalg.norm(affine[:3, :3], axis=0)
    header.set_xyzt_units("mm", "sec")
    header.set_slope_inter(slope, None if slope is None else 0.0)
    header["descrip"] = description.encode("ascii", "replace")[:79]
    header["magic"] = b"n+1"
    header["vox_offset"] = 352
    return bytes(header.binaryblock) + b"\0" * 4


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
