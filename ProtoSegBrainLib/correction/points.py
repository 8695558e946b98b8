"""Places that a person points at, with the class that is right there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ProtoSegBrainLib.images.volume import Volume
from ProtoSegBrainLib.labels import CLASSES

NO_TUMOUR = "none"
"""What background is called where people type."""
LARGEST_PIECE = 2000
"""Voxels of a painted piece that are looked at; of a larger one so many are drawn."""


@dataclass(frozen=True)
class Point:
    """A place and the class that is right there.

    Attributes:
        position_ras_mm: RAS mm; the middle of a painted piece.
        class_name: Of CLASSES; background where there is no tumour.
        places_ras_mm: (n, 3) all places of a painted piece; () where a single place was pointed at.
    """

    position_ras_mm: tuple[float, float, float]
    class_name: str
    places_ras_mm: tuple[tuple[float, float, float], ...] = ()

    def __post_init__(self) -> None:
        """Refuse a class that there is not, and what is no place."""
        if self.class_name not in CLASSES:
            raise ValueError(f"class of a point: expected one of {', '.join(CLASSES)}; got {self.class_name!r}.")
        if len(self.position_ras_mm) != 3 or not np.isfinite(self.position_ras_mm).all():
            raise ValueError(f"A point is three numbers in mm (right, anterior, superior); got {self.position_ras_mm}.")

    @property
    def places(self) -> np.ndarray:
        """(n, 3) RAS mm, at least one."""
        return np.array(self.places_ras_mm or (self.position_ras_mm,), float).reshape(-1, 3)


def parse_point(text: str) -> Point:
    """A point as people type it: "ET:12,-30,41", or "none:12,-30,41" where there is no tumour.

    Raises:
        ValueError: It is written otherwise.
    """
    name, _, place = text.partition(":")
    try:
        r, a, s = (float(part) for part in place.split(","))
    except ValueError as error:
        raise ValueError(
            f"expected CLASS:R,A,S with R, A, S in mm, such as ET:12,-30,41 or none:8,20,-4; got {text!r}"
        ) from error
    by_name = {known.lower(): known for known in CLASSES} | {NO_TUMOUR: CLASSES[0]}
    if name.strip().lower() not in by_name:
        raise ValueError(f"class of a point: expected {', '.join((*CLASSES[1:], NO_TUMOUR))}; got {name!r} in {text!r}")
    return Point((r, a, s), by_name[name.strip().lower()])


def points_of_label(painted: Volume, classes: Sequence[str] = CLASSES) -> list[Point]:
    """A point for each connected piece that a person painted: its mean embedding counts.

    Args:
        painted: (X, Y, Z) whole numbers: 0 nothing, n the n-th of ``classes`` counted from 1.
        classes: What the values 1, 2, ... mean.

    Raises:
        ValueError: Nothing was painted, or a value that is none of a class.
    """
    values = np.unique(painted.array)
    odd = values[(values < 0) | (values > len(classes)) | (values != np.round(values))]
    if odd.size:
        raise ValueError(f"A painted label holds 0 and 1 to {len(classes)} ({', '.join(classes)}); got {odd[0]:g}.")
    points = [
        _piece(np.argwhere(pieces == number), painted.affine, class_name)
        for value, class_name in enumerate(classes, start=1)
        for pieces, count in [ndimage.label(painted.array == value, np.ones((3, 3, 3)))]
        for number in range(1, count + 1)
    ]
    if not points:
        raise ValueError("Nothing was painted: the label is 0 everywhere.")
    return points


def _piece(voxels: np.ndarray, affine: np.ndarray, class_name: str) -> Point:
    """The point of a piece; its position is the voxel of it that lies nearest to its middle."""
    drawn = voxels[np.linspace(0, len(voxels) - 1, min(len(voxels), LARGEST_PIECE)).astype(int)]
    places = drawn @ affine[:3, :3].T + affine[:3, 3]
    middle = places[np.linalg.norm(places - places.mean(axis=0), axis=1).argmin()]
    r, a, s = (float(n) for n in middle)
    return Point((r, a, s), class_name, tuple((float(x), float(y), float(z)) for x, y, z in places))
