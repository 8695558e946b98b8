"""A scanner for the simulated head: thick slices on a grid of their own, a smooth bias field, noise also in the air."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ProtoSegBrainLib.images.volume import Grid, Volume, begin_at, resample
from ProtoSegBrainLib.simulation.anatomy import Array

AXES = {"axial": np.diag([-1.0, -1.0, 1.0]), "sagittal": np.array([[0, 0, 1.0], [-1, 0, 0], [0, -1, 0]])}
"""Columns are the directions (RAS) of voxel indices i, j, k: along a row, down a column, and to the next slice."""

SAMPLED_VOXELS = 1.3
"""A thick slice is the mean of samples this far apart."""


@dataclass(frozen=True)
class Protocol:
    """How a series is scanned.

    Attributes:
        plane: Of its slices.
        in_plane_mm: Size of a pixel.
        slice_mm: Thickness of the slices, which touch.
        field_mm: Field of view along rows, columns and slices.
        middle_mm: Of the field: how far to the back of the middle of the brain, and how far above it.
    """

    plane: Literal["axial", "sagittal"]
    in_plane_mm: float
    slice_mm: float
    field_mm: tuple[float, float, float]
    middle_mm: tuple[float, float]


def planned(protocol: Protocol, middle: np.ndarray, turn: np.ndarray, coarser: float) -> Grid:
    """Grid of a series.

    Args:
        protocol: How it is scanned.
        middle: Of the brain, in RAS mm.
        turn: 3x3 rotation of the slices against the scanner's axes.
        coarser: Factor on the size of the pixels.
    """
    size = protocol.in_plane_mm * coarser
    sizes = np.array([size, size, protocol.slice_mm])
    nx, ny, nz = (round(mm / step) for mm, step in zip(protocol.field_mm, sizes, strict=True))
    affine = np.eye(4)
    affine[:3, :3] = turn @ AXES[protocol.plane] * sizes
    back, up = protocol.middle_mm
    affine[:3, 3] = middle + turn @ (0, -back, up) - affine[:3, :3] @ ((np.array([nx, ny, nz]) - 1) / 2)
    return Grid((nx, ny, nz), affine)


def scanned(head: Volume, motion: np.ndarray, grid: Grid, slice_mm: float) -> Volume:
    """Means over the slices of the signal of a head; 0 outside what was drawn.

    Args:
        head: Its signal, on a fine grid.
        motion: 4x4, RAS mm: where the head as drawn has what the scan has at a place.
        grid: Of the scan.
        slice_mm: Thickness of its slices.
    """
    n = max(1, round(slice_mm / (SAMPLED_VOXELS * min(head.spacing_mm))))
    fine = begin_at(grid.affine, (0, 0, 0.5 / n - 0.5)) @ np.diag([1, 1, 1 / n, 1])
    nx, ny, nz = grid.shape
    samples = resample(head, (nx, ny, nz * n), motion @ fine, order=1).array
    return Volume(samples.reshape(nx, ny, nz, n).mean(axis=3), grid.affine)


def with_noise(rng: np.random.Generator, signal: Array, sigma: float) -> Array:
    """Magnitude of a complex signal with noise of this standard deviation in both parts (Rician), in whole numbers."""
    first, second = (np.float32(sigma) * rng.standard_normal(signal.shape, dtype=np.float32) for _ in range(2))
    return np.rint(np.hypot(signal + first, second)).astype(np.int16)


def turned(rng: np.random.Generator, degrees: float) -> np.ndarray:
    """A 3x3 rotation by 0.5 to 1 times this angle about a random axis."""
    x, y, z = (axis := rng.standard_normal(3)) / np.linalg.norm(axis)
    angle = np.deg2rad(degrees) * rng.uniform(0.5, 1)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def moved(rng: np.random.Generator, middle: np.ndarray, degrees: float, mm: float) -> np.ndarray:
    """A 4x4 rigid motion: a turn about ``middle`` and a shift of 0.4 to 1 times ``mm``."""
    motion = np.eye(4)
    motion[:3, :3] = turned(rng, degrees)
    shift = rng.standard_normal(3)
    shift *= mm * rng.uniform(0.4, 1) / np.linalg.norm(shift)
    motion[:3, 3] = middle + shift - motion[:3, :3] @ middle
    return motion
