"""The patch of a real case that shows what a prototype stands for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Patch:
    """An axial square of a case, to be shown on a prototype's card; axes are RAS, voxels 1 mm.

    Attributes:
        prototype: Index of the prototype it shows.
        case_id: Of the case.
        position_mm: Centre of the square in the case's RAS space.
        images: (4, n, n) z-scores.
        similarity: (n, n) to the prototype.
        overview: (X, Y) FLAIR of the whole slice.
        corner: First voxel (x, y) of the square in the slice.
        simulated: Whether the case is made by formulas.
    """

    prototype: int
    case_id: str
    position_mm: tuple[float, float, float]
    images: np.ndarray
    similarity: np.ndarray
    overview: np.ndarray
    corner: tuple[int, int]
    simulated: bool = False
