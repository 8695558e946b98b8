"""A small DICOM study of nobody: four series of few voxels, for tests of what reads and writes DICOM."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from ProtoSegBrainLib.images.volume import Volume
from ProtoSegBrainLib.simulation.dicom_series import SeriesHeader, series_objects, write_series

HEADERS = {
    "t1n": SeriesHeader("T1 SE SAG", 3, 550, 12, sequence=("SE",)),
    "t1c": SeriesHeader("T1 MPRAGE +C", 12, 1900, 2.7, 900, ("GR", "IR"), agent="Gadobutrol"),
    "t2w": SeriesHeader("AX T2 TSE", 5, 4800, 95, sequence=("SE",)),
    "t2f": SeriesHeader("AX FLAIR", 6, 9000, 112, 2500, ("SE", "IR")),
}
AXES = {
    "axial": np.diag([-1.0, -1.0, 1.0]),
    "sagittal": np.array([[0, 0, -1.0], [-1, 0, 0], [0, -1, 0]]),
    "coronal": np.array([[-1.0, 0, 0], [0, 0, 1], [0, -1, 0]]),
    "oblique": np.linalg.qr(np.array([[-1.0, 0.2, 0.1], [-0.1, -1.0, 0.3], [0.2, 0.3, 1.0]]))[0],
}
"""Columns are the directions (RAS) of voxel indices i, j, k."""


def small_volume(seed: int = 1, plane: str = "axial", spacing_mm=(0.9, 0.8, 5.0), shape=(24, 20, 10)) -> Volume:
    """Random whole numbers on a grid of this plane."""
    affine = np.eye(4)
    affine[:3, :3] = AXES[plane] * spacing_mm
    affine[:3, 3] = (10.0, -35.5, 20.25)
    return Volume(np.random.default_rng(seed).integers(0, 4000, shape).astype(np.int16), affine)


def write_study(folder: Path, *, but: tuple[str, ...] = (), enhanced: bool = False, **changes) -> dict[str, Volume]:
    """Four series in one folder, or fewer; changes are of all headers. Returns the volumes by role."""
    planes = {"t1n": ("sagittal", (0.9, 0.9, 5.0)), "t1c": ("axial", (1.0, 1.0, 1.0))}
    volumes = {}
    for n, (role, header) in enumerate(HEADERS.items()):
        if role not in but:
            plane, spacing = planes.get(role, ("oblique", (0.8, 0.9, 5.0)))
            volumes[role] = small_volume(n, plane, spacing)
            write_series(folder, volumes[role], replace(header, **changes), enhanced=enhanced)
    return volumes


def objects(role: str = "t2w", volume: Volume | None = None, *, enhanced: bool = False, **changes) -> list[Dataset]:
    """The objects of one series, to be damaged and written."""
    return series_objects(volume or small_volume(), replace(HEADERS[role], **changes), enhanced=enhanced)


def same_place(first: Volume, second: Volume) -> bool:
    """Whether two volumes have the same values at the same places, in any order of slices."""
    for flip in (slice(None), slice(None, None, -1)):
        affine = second.affine.copy()
        if flip.step:
            affine[:3, 3] += affine[:3, 2] * (second.shape[2] - 1)
            affine[:3, 2] *= -1
        if np.allclose(first.affine, affine, atol=1e-3):
            return np.array_equal(first.array, second.array[:, :, flip])
    return False
