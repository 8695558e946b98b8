"""Where the head lay at a later date, seen from the first: a rigid motion, and whether it is the same head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from ProtoSegBrainLib.followup.visit import Visit
from ProtoSegBrainLib.images.volume import Volume, resample
from ProtoSegBrainLib.labels import MODALITIES
from ProtoSegBrainLib.preparation.alignment import align, move_of

REGISTERED_BY = "t1n"
"""The modality in which a tumour and its treatment change least."""
STEP_MM = 2.0
"""Grid on which two heads are compared."""
SMOOTH_MM = 12.0
"""What is smoother than this, shading and large lesions, does not count when two heads are compared."""
RIM_MM = 8.0
"""Of the brain, which every head has, that is left out."""


@dataclass(frozen=True, eq=False)
class Registration:
    """How a later visit lies on the first.

    Attributes:
        motion: 4x4, RAS mm: takes a place in the later visit to the same tissue in the first; the identity for the
            first visit itself.
        displacement_mm: Of the head, root of the mean square.
        degrees: Of the rotation.
        overlap: Dice of the two brains afterwards.
        likeness: Correlation of the two brains' fine structure afterwards, -1 to 1.
        doubts: Sentences on why it should not be trusted; none is good.
        is_same_head: Whether the two look like one patient.
    """

    motion: np.ndarray
    displacement_mm: float
    degrees: float
    overlap: float
    likeness: float
    doubts: tuple[str, ...] = ()
    is_same_head: bool = True

    @classmethod
    def none(cls) -> Registration:
        """Of the first visit onto itself."""
        return cls(np.eye(4), 0.0, 0.0, 1.0, 1.0)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as JSON has them."""
        numbers = ("displacement_mm", "degrees", "overlap", "likeness")
        return {
            "motion": [[round(float(number), 8) for number in row] for row in self.motion],
            **{name: round(float(getattr(self, name)), 4) for name in numbers},
            "doubts": list(self.doubts),
            "is_same_head": self.is_same_head,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Registration:
        """What ``to_dict`` gave."""
        return cls(**{**values, "motion": np.array(values["motion"]), "doubts": tuple(values["doubts"])})


def register(later: Visit, first: Visit, least_overlap: float, least_likeness: float) -> Registration:
    """Lay a later visit on the first one, and look whether the two show one head.

    Args:
        later: Any later visit.
        first: The first visit.
        least_overlap: Of the brains; below it they do not lie on each other.
        least_likeness: Of their fine structure; below it they are two heads.
    """
    moving, fixed = _image(later), _image(first)
    found = align(moving, fixed)
    move = move_of(found, moving)
    overlap, likeness = compared(found.moved(moving), fixed)
    is_same = overlap >= least_overlap and likeness >= least_likeness
    return Registration(found.motion, move.displacement_mm, move.degrees, overlap, likeness, (), is_same)


def compared(moved: Volume, fixed: Volume) -> tuple[float, float]:
    """Dice of two brains, and the correlation of their fine structure well inside both.

    Coarse structure is taken out, because all heads, and no tumours at two dates, have it in common.
    """
    shape, affine = _coarse_grid(fixed)
    one, other = (resample(volume, shape, affine, order=1).array for volume in (fixed, moved))
    mine, theirs = one != 0, other != 0
    total = np.count_nonzero(mine) + np.count_nonzero(theirs)
    overlap = 2 * np.count_nonzero(mine & theirs) / max(total, 1)
    inner = ndimage.distance_transform_edt(mine & theirs) * STEP_MM >= RIM_MM
    if np.count_nonzero(inner) < 2:
        return float(overlap), 0.0
    first, second = (_fine(image, brain)[inner] for image, brain in ((one, mine), (other, theirs)))
    first, second = first - first.mean(), second - second.mean()
    length = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(overlap), float(first @ second) / length if length else 0.0


def _fine(image: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """The image less its smooth part within the brain."""
    width = SMOOTH_MM / STEP_MM
    weight = ndimage.gaussian_filter(brain.astype(np.float32), width)
    smooth = ndimage.gaussian_filter(np.where(brain, image, 0).astype(np.float32), width)
    return np.asarray(np.where(brain, image - smooth / np.maximum(weight, 1e-3), 0))


def _image(visit: Visit) -> Volume:
    return Volume(visit.case.images[MODALITIES.index(REGISTERED_BY)], visit.case.affine)


def _coarse_grid(volume: Volume) -> tuple[tuple[int, int, int], np.ndarray]:
    """The grid of an image with voxels of about ``STEP_MM``."""
    factors = np.maximum(STEP_MM / np.array(volume.spacing_mm), 1e-6)
    x, y, z = (max(1, int(np.ceil(n / f))) for n, f in zip(volume.shape, factors, strict=True))
    return (x, y, z), volume.affine @ np.diag([*factors, 1.0])
