"""Geometry of a lesion in mm, on any grid: diameters, foci, and where in the brain it lies.

Slices are those of the scan: an axial slice is one along the two axes that are nearest to left-right and front-back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ProtoSegBrainLib.images.volume import Volume, begin_at, bounding_box, canonical, voxel_ml

Point = tuple[float, float, float]

LEAST_FOCUS_ML = 0.1
MEASURABLE_MM = 10.0
"""RANO (Wen et al. 2010, JCO 28:1963): enhancing disease is measurable from this size on in both diameters."""
ONE_SIDED = 0.9
"""Share of a lesion on one side of the midline from which on it is said to lie on that side."""
WIDE_COLUMN = 0.6
"""Columns of the brain at least this wide, relative to the widest, are used to estimate the midline."""
_TOUCHING = np.ones((3, 3, 3), bool)  # 26 neighbours
_MEASURED = 2
"""In a map whose 1 only joins."""


@dataclass(frozen=True)
class Diameters:
    """The two diameters of a bidimensional measurement, with their ends in RAS mm.

    Attributes:
        longest_mm: The longest diameter in any axial slice.
        perpendicular_mm: The largest at right angles to it, in the same slice.
        longest_ends_mm: Ends of the first.
        perpendicular_ends_mm: Ends of the second.
    """

    longest_mm: float
    perpendicular_mm: float
    longest_ends_mm: tuple[Point, Point]
    perpendicular_ends_mm: tuple[Point, Point]

    @property
    def product_mm2(self) -> float:
        """What RANO follows over time."""
        return self.longest_mm * self.perpendicular_mm

    @property
    def measurable(self) -> bool:
        """Whether both diameters reach ``MEASURABLE_MM``."""
        return min(self.longest_mm, self.perpendicular_mm) >= MEASURABLE_MM


@dataclass(frozen=True)
class Location:
    """Where a lesion lies in the brain.

    Attributes:
        centre_mm: Centre of mass, RAS mm.
        side: ``left``, ``right`` or ``both``, of the patient.
        share_right: Of the lesion's volume, right of the midline.
        midline_mm: Of the centre from the midline: positive right of it, negative left.
        front: Of the centre, 0 at the back end of the brain, 1 at the front end.
        height: 0 at its lower end, 1 at its upper end.
    """

    centre_mm: Point
    side: str
    share_right: float
    midline_mm: float
    front: float
    height: float

    @property
    def sentence(self) -> str:
        """In words, for a person."""
        distance = f"{abs(self.midline_mm):.0f} mm {'right' if self.midline_mm > 0 else 'left'} of the midline"
        if abs(self.midline_mm) < 1:
            distance = "on the midline"
        side = f"On the {self.side} side"
        if self.side == "both":
            larger, share = ("right", self.share_right) if self.share_right >= 0.5 else ("left", 1 - self.share_right)
            side = f"On both sides, {share:.0%} of it {larger} of the midline"
        front, height = _third(self.front, "back", "front"), _third(self.height, "lower", "upper")
        where = f"in the {front} (front to back) and the {height} (top to bottom) of the brain"
        return f"{side}. The centre lies {distance}, {where}."


def largest_diameters_mm(mask: np.ndarray, affine: np.ndarray, core: np.ndarray | None = None) -> Diameters | None:
    """The longest in-plane diameter of a lesion in axial slices and its largest perpendicular; None without a lesion.

    Measured between outer edges, as with a calliper: a ring counts with what it encloses. Parts that do not touch in
    the slice are measured apart, unless the core lies between them: the pieces of a broken rim.

    Args:
        mask: (X, Y, Z) bool.
        affine: 4x4, voxel index -> RAS mm.
        core: (X, Y, Z) bool, what joins parts of ``mask``; None: nothing.
    """
    joined = mask if core is None else mask | core
    tight = crop(np.where(mask, _MEASURED, joined).astype(np.uint8), affine)
    if tight is None:
        return None
    basis, scale = np.linalg.qr(tight.affine[:3, :2])  # in-plane mm = scale @ (i, j), whatever the grid's angles
    best, longest = None, 0.0
    for bound, outline, level in _outlines(tight.array, scale):
        if bound <= longest:
            break
        ends = _farthest_pair(outline[:, 0])
        if (length := float(abs(ends[1] - ends[0]))) > longest:
            best, longest = (outline, ends, level), length
    if best is None:
        return None
    outline, ends, level = best
    across = _largest_perpendicular(outline, ends)
    origin = tight.affine[:3, 3] + tight.affine[:3, 2] * level

    def in_space(pair: np.ndarray) -> tuple[Point, Point]:
        first, second = (origin + basis @ (point.real, point.imag) for point in pair)
        return _point(first), _point(second)

    return Diameters(longest, float(abs(across[1] - across[0])), in_space(ends), in_space(across))


def count_foci(mask: np.ndarray, affine: np.ndarray, least_ml: float = LEAST_FOCUS_ML) -> int:
    """Number of separate (26-connected) parts of at least ``least_ml``."""
    tight = crop(mask, affine)
    if tight is None:
        return 0
    parts, _ = ndimage.label(tight.array, _TOUCHING)
    # Of a volume that is a whole number of voxels, rounding must not lose the last one.
    return int(np.count_nonzero(np.bincount(parts.ravel())[1:] * voxel_ml(affine) >= least_ml - 1e-9))


def locate(mask: np.ndarray, affine: np.ndarray, brain: Volume) -> Location | None:
    """Where a lesion lies; None without a lesion or without a brain.

    The midline is a plane fitted to the middles between the left and the right surface of the brain, so a tilted head
    does not matter; a shift of the midline by the lesion itself is not seen.

    Args:
        mask: (X, Y, Z) bool.
        affine: 4x4, voxel index -> RAS mm.
        brain: Bool, on a grid of its own; voxels of 3 mm are fine enough.
    """
    tight, whole = crop(mask, affine), crop(brain.array, brain.affine)
    if tight is None or whole is None:
        return None
    lesion, around = _positions(tight), _positions(whole)
    normal, offset = midline(whole)
    distance = lesion @ normal - offset
    centre = lesion.mean(axis=0)
    low, high = around.min(axis=0), around.max(axis=0)
    relative = np.clip((centre - low) / np.maximum(high - low, 1e-9), 0, 1)
    right = float(np.mean(distance > 0))
    side = "right" if right >= ONE_SIDED else "left" if right <= 1 - ONE_SIDED else "both"
    return Location(
        _point(centre), side, right, float(centre @ normal - offset), float(relative[1]), float(relative[2])
    )


def crop(array: np.ndarray, affine: np.ndarray) -> Volume | None:
    """The smallest box with all that is not zero, axes in the nearest RAS order; None where all is zero."""
    box = bounding_box(array)
    if box is None:
        return None
    return canonical(Volume(array[box], begin_at(affine, [part.start for part in box])))


def _outlines(lesion: np.ndarray, scale: np.ndarray) -> Iterator[tuple[float, np.ndarray, int]]:
    """Of each part in each axial slice: a bound of its diameter, its outline in mm and the slice, largest bound first.

    The outline is (N, 2) complex numbers, begin and end of each piece; it runs half way between a voxel inside and one
    outside.
    """
    from skimage.measure import find_contours  # loads on first use

    found = []
    for level in range(lesion.shape[2]):
        plane = lesion[:, :, level]
        parts, _ = ndimage.label(plane, _TOUCHING[0])
        for index, box in enumerate(ndimage.find_objects(parts), start=1):
            inside = (parts[box] == index) & (plane[box] == _MEASURED)
            if inside.any():
                extent = [np.ptp(np.flatnonzero(inside.any(axis=axis))) + 1 for axis in (1, 0)]
                found.append((float(np.linalg.norm(np.abs(scale) @ extent)), inside, box, level))
    for bound, inside, box, level in sorted(found, key=lambda item: -item[0]):
        plane = np.pad(inside, 1).astype(np.float32)
        pieces = np.concatenate([np.stack([c[:-1], c[1:]], axis=1) for c in find_contours(plane, 0.5)])
        x, y = np.moveaxis((pieces - 1 + [box[0].start, box[1].start]) @ scale.T, -1, 0)
        yield bound, x + 1j * y, level


def _farthest_pair(outline: np.ndarray) -> np.ndarray:
    """The two points farthest from each other; only the first and last of each line along y can be."""
    order = np.lexsort((outline.imag, np.round(outline.real, 6)))
    lines = np.diff(np.round(outline.real[order], 6)) > 0
    outer = outline[order][np.append(True, lines) | np.append(lines, True)]
    distance = np.abs(outer[:, None] - outer)
    return outer[list(np.unravel_index(np.argmax(distance), distance.shape))]


def _largest_perpendicular(outline: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Ends of the longest line at right angles to ``ends``, from edge to edge, through a corner of the outline."""
    direction = (ends[1] - ends[0]) / abs(ends[1] - ends[0])
    first, last = (outline / direction).T  # x along the longest diameter, y across it
    length = last.real - first.real
    leading = np.abs(length) > 1e-9  # the others end where a leading one begins
    first, last, length = first[leading], last[leading], length[leading]
    at = first.real
    share = (at[:, None] - first.real) / length
    crossed = (share > -1e-9) & (share < 1 + 1e-9)
    height = first.imag + share * (last.imag - first.imag)
    low = np.where(crossed, height, np.inf).min(axis=1)
    high = np.where(crossed, height, -np.inf).max(axis=1)
    widest = int(np.argmax(high - low))
    return np.array([at[widest] + 1j * low[widest], at[widest] + 1j * high[widest]]) * direction


def midline(brain: Volume) -> tuple[np.ndarray, float]:
    """Unit normal, towards the right, and offset of the plane that halves the brain: normal @ position = offset."""
    inside = brain.array.any(axis=0)
    first = brain.array.argmax(axis=0)[inside]
    last = len(brain.array) - 1 - brain.array[::-1].argmax(axis=0)[inside]
    index = np.vstack([(first + last) / 2, *np.nonzero(inside), np.ones(first.size)])
    x, y, z, _ = (brain.affine @ index)[:, last - first + 1 >= WIDE_COLUMN * (last - first + 1).max()]
    (level, by_y, by_z), *_ = np.linalg.lstsq(np.stack([np.ones_like(y), y, z], axis=1), x, rcond=None)
    normal = np.array([1.0, -by_y, -by_z])
    length = np.linalg.norm(normal)
    return normal / length, float(level / length)


def _positions(mask: Volume) -> np.ndarray:
    """(N, 3) RAS mm of the voxels inside."""
    return np.argwhere(mask.array) @ mask.affine[:3, :3].T + mask.affine[:3, 3]


def _point(position: np.ndarray) -> Point:
    x, y, z = (float(value) for value in position)
    return x, y, z


def _third(share: float, low: str, high: str) -> str:
    return f"{low if share < 1 / 3 else high if share > 2 / 3 else 'middle'} third"
