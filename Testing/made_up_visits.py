"""A patient at several dates: one made-up brain, a tumour of a given size, the head as it was laid in the scanner."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import replace

import nibabel as nib
import numpy as np
from by_hand import evidence_for, prediction_for
from scipy import ndimage

from ProtoSegBrainLib.followup.visit import Visit
from ProtoSegBrainLib.images.case import Case

OWNERS = ("background", "NCR", "ED", "ET")
SHAPE = (40, 48, 36)
SPACING_MM = 2.0
AFFINE = np.diag([-SPACING_MM, -SPACING_MM, SPACING_MM, 1.0])
AFFINE[:3, 3] = [40, 46, -30]
CENTRE = (11, 12, 9)
"""Of the tumour, on the prototypes' grid of half as many voxels."""


def motion(degrees: Sequence[float] = (4, -3, 6), mm: Sequence[float] = (5, -4, 3)) -> np.ndarray:
    """A rigid motion, RAS mm."""
    return nib.affines.from_matvec(nib.eulerangles.euler2mat(*np.radians(degrees)), mm)


def brain() -> np.ndarray:
    """(X, Y, Z) bool: an egg."""
    grid = np.indices(SHAPE) - (np.array(SHAPE)[:, None, None, None] - 1) / 2
    return (grid**2 / (np.array([18.5, 22.5, 16.5]) ** 2)[:, None, None, None]).sum(axis=0) < 1


def tissue(seed: int) -> np.ndarray:
    """(4, X, Y, Z): fine structure that no two heads have in common."""
    random = np.random.default_rng(seed)
    structure = ndimage.gaussian_filter(random.normal(size=SHAPE), 1.5)
    image = 100 + 400 * structure
    return np.stack([image, image + 5, 150 - image / 3, image / 2]).astype(np.float32)


def similarity_maps(radius: float, core: float, enhancing: float, centre: Sequence[float] = CENTRE) -> np.ndarray:
    """(4, x, y, z): of ED within ``radius`` voxels, of ET within ``enhancing``, of NCR within ``core``."""
    shape = tuple(n // 2 for n in SHAPE)
    distance = np.sqrt(((np.indices(shape) - np.array(centre)[:, None, None, None]) ** 2).sum(axis=0))
    maps = np.full((4, *shape), 0, np.float32)
    maps[0] = 1
    maps[2][distance < radius] = 4
    maps[3][distance < enhancing] = 9
    maps[1][distance < core] = 18
    return maps


def visit(
    radius: float = 5,
    enhancing: float = 3,
    core: float = 1.5,
    *,
    date: str | None = None,
    moved: np.ndarray | None = None,
    head: int = 0,
    noise: int = 0,
    case_id: str = "",
    centre: Sequence[float] = CENTRE,
) -> Visit:
    """A date of a patient.

    Args:
        radius: Of the oedema in voxels of 4 mm, 0 for none.
        enhancing: Of the enhancing tumour.
        core: Of the necrosis.
        date: Such as 2024-03-01.
        moved: How the head lies, seen from the first date.
        head: Another number is another patient.
        noise: Another number is another scan of the same head.
        case_id: Its name.
        centre: Of the tumour.
    """
    affine = AFFINE if moved is None else moved @ AFFINE
    inside = brain()
    images = tissue(head) + np.random.default_rng(1000 + noise).normal(0, 2, (4, *SHAPE)).astype(np.float32)
    prediction = prediction_for(similarity_maps(radius, core, enhancing, centre), evidence_for(OWNERS), affine, inside)
    case = Case(case_id or f"case_{noise}", np.where(inside, np.maximum(images, 1), 0).astype(np.float32), affine)
    return Visit(
        case, replace(prediction, case_id=case.case_id), None if date is None else datetime.date.fromisoformat(date)
    )
