"""Where a region is new, gone or the same at a later date, in the space of either scan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ProtoSegBrainLib.followup.visit import Visit
from ProtoSegBrainLib.images.volume import Volume, resample, voxel_ml
from ProtoSegBrainLib.labels import REGIONS

CHANGES = ("nothing", "stayed", "new", "gone")
"""What the values of a map mean."""
CHANGE_COLOURS = {"stayed": (150, 150, 150), "new": (213, 94, 0), "gone": (0, 114, 178)}
"""RGB, told apart by colour-blind people (Okabe and Ito 2008)."""
STAYED, NEW, GONE = (CHANGES.index(name) for name in ("stayed", "new", "gone"))


@dataclass(frozen=True, eq=False)
class ChangeMap:
    """A region of two visits laid on each other; values index ``CHANGES``.

    Attributes:
        region: WT, TC or ET.
        earlier: Number of the earlier visit.
        later: Number of the later one.
        on_earlier: (X, Y, Z) uint8 on the grid of the earlier scan.
        on_later: (X, Y, Z) uint8 on the grid of the later scan.
    """

    region: str
    earlier: int
    later: int
    on_earlier: Volume
    on_later: Volume

    @property
    def volumes_ml(self) -> Mapping[str, float]:
        """Of what stayed, is new and is gone, on the grid of the earlier scan."""
        counts = np.bincount(self.on_earlier.array.ravel(), minlength=len(CHANGES))
        return {
            name: round(float(counts[index]) * voxel_ml(self.on_earlier.affine), 3)
            for index, name in enumerate(CHANGES)
            if index
        }


def change_map(region: str, visits: tuple[Visit, Visit], numbers: tuple[int, int], to_earlier: np.ndarray) -> ChangeMap:
    """Lay a region of two visits on each other.

    Args:
        region: WT, TC or ET.
        visits: The earlier and the later one.
        numbers: Their numbers among all visits.
        to_earlier: 4x4, RAS mm: takes a place in the later visit to the same tissue in the earlier one.
    """
    earlier, later = (_mask(visit, region) for visit in visits)
    moved = Volume(later.array, to_earlier @ later.affine)
    back = Volume(earlier.array, np.linalg.inv(to_earlier) @ earlier.affine)
    return ChangeMap(
        region=region,
        earlier=numbers[0],
        later=numbers[1],
        on_earlier=_changes(earlier.array, _on(moved, earlier), earlier.affine),
        on_later=_changes(_on(back, later), later.array, later.affine),
    )


def _mask(visit: Visit, region: str) -> Volume:
    mask = np.isin(visit.prediction.label, REGIONS[region]).astype(np.float32)
    return Volume(mask, visit.prediction.affine)


def _on(mask: Volume, grid: Volume) -> np.ndarray:
    """Where a mask covers at least half of a voxel of another grid, about."""
    return np.asarray(resample(mask, grid.shape, grid.affine, order=1).array >= 0.5).astype(np.float32)


def _changes(before: np.ndarray, after: np.ndarray, affine: np.ndarray) -> Volume:
    values = np.zeros(before.shape, np.uint8)
    was, is_there = before > 0, after > 0
    values[was & is_there], values[~was & is_there], values[was & ~is_there] = STAYED, NEW, GONE
    return Volume(values, affine)
