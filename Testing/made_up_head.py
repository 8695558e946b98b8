"""A head of formulas, skull and scalp included, that can be sampled anywhere: what moved it is known exactly."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from ProtoSegBrainLib.images.volume import Grid, Volume

# Mean intensity of air, scalp, skull, brain, fluid, tumour and nodules.
T1CE = (4.0, 260.0, 30.0, 180.0, 70.0, 380.0, 120.0)
T2 = (4.0, 200.0, 25.0, 220.0, 600.0, 420.0, 330.0)
SCALP, SKULL, BRAIN, FLUID, TUMOUR, NODULES = range(1, 7)
NODULE_MM = 11.0


def tissue(places: np.ndarray) -> np.ndarray:
    """(n,) class at places (3, n) in RAS mm."""
    classes = np.zeros(places.shape[1], np.uint8)
    for centre, radii in (((0, -25, -80), (50, 50, 60)), ((0, 95, -35), (12, 22, 20))):
        classes[_inside(places, centre, radii)] = SCALP  # neck and nose
    for value, radii in ((SCALP, (78, 96, 88)), (SKULL, (72, 90, 82)), (BRAIN, (66, 84, 76))):
        classes[_inside(places, (0, 0, 0), radii)] = value
    inner = _inside(places, (0, 0, 0), (58, 76, 68))
    nearest, _ = cKDTree(np.random.default_rng(5).uniform(-60, 60, (60, 3))).query(
        places.T, distance_upper_bound=NODULE_MM
    )
    classes[(nearest < NODULE_MM) & inner] = NODULES
    classes[(np.abs(places[0]) < 3) & (places[2] > 20) & inner] = FLUID
    for centre, radii in (((-14, 5, 8), (7, 26, 9)), ((14, 5, 8), (7, 22, 9)), ((0, -50, -40), (12, 8, 8))):
        classes[_inside(places, centre, radii)] = FLUID
    classes[_inside(places, (34, 30, 22), (18, 15, 16))] = TUMOUR
    return classes


def scanned(contrast: tuple[float, ...], on: Grid, noise: float = 4.0) -> Volume:
    """The head on a grid; of each voxel two points along its longest side are averaged."""
    index = np.stack(np.meshgrid(*map(np.arange, on.shape), indexing="ij")).reshape(3, -1)
    half = np.zeros((3, 1))
    half[int(np.linalg.norm(on.affine[:3, :3], axis=0).argmax())] = 0.25
    points = [np.vstack([index + shift, np.ones(index.shape[1])]) for shift in (half, -half)]
    mean = np.mean([np.array(contrast)[tissue((on.affine @ each)[:3])] for each in points], axis=0)
    rng = np.random.default_rng(0)
    return Volume(np.abs(mean + rng.normal(0, noise, mean.shape)).reshape(on.shape).astype(np.float32), on.affine)


def grid(spacing_mm: tuple[float, float, float], degrees: tuple[float, float, float] = (0, 0, 0)) -> Grid:
    """A field of view of 210 x 240 x 210 mm about the head, axes turned."""
    nx, ny, nz = (round(length / mm) for length, mm in zip((210, 240, 210), spacing_mm, strict=True))
    shape = nx, ny, nz
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix() * spacing_mm
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Grid(shape, affine)


def _inside(places: np.ndarray, centre: tuple[float, ...], radii: tuple[float, ...]) -> np.ndarray:
    distance = np.zeros(places.shape[1])
    for axis in range(3):
        distance += np.square((places[axis] - centre[axis]) / radii[axis])
    return distance < 1
