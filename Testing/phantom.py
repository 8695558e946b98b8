"""A brain without any patient, large enough for the bundled network, and files of it as people keep theirs.

An ellipsoid with ventricles and a ball of necrosis, enhancing rim and oedema: 72³ voxels of 1 mm, axes as in BraTS.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

ROLES = ("t2f", "t1n", "t1c", "t2w")
BRATS_2021 = ("flair", "t1", "t1ce", "t2")
"""The names of ``ROLES`` there."""
EDGE = 72
AFFINE = np.array([[-1.0, 0, 0, 36], [0, -1, 0, 36], [0, 0, 1, -36], [0, 0, 0, 1]])
NOISE = 20
# Mean intensity in brain, ventricle, necrosis, rim and oedema.
INTENSITIES = {
    "t2f": (500, 150, 620, 650, 900),
    "t1n": (600, 250, 430, 430, 470),
    "t1c": (620, 260, 480, 1100, 480),
    "t2w": (450, 1000, 700, 650, 750),
}


def phantom(seed: int = 0) -> dict[str, np.ndarray]:
    """(72, 72, 72) int16 by role, 0 outside the brain; ``seed`` decides the noise."""
    rng = np.random.default_rng(seed)
    brain, ventricle, tumour = _inside((0, 0, 0), (30, 32, 28)), _inside((0, 0, 0), (4, 10, 5)), classes()
    images = {}
    for role, (tissue, fluid, necrosis, rim, oedema) in INTENSITIES.items():
        image = np.where(ventricle, fluid, tissue).astype(float)
        image = np.select([tumour == 1, tumour == 2, tumour == 3], [necrosis, oedema, rim], image)
        image += rng.normal(0, NOISE, image.shape)
        images[role] = (np.clip(image, 1, None) * brain).astype(np.int16)
    return images


def classes() -> np.ndarray:
    """(72, 72, 72) uint8 class indices of the tumour: 1 NCR, 2 ED, 3 ET."""
    brain = _inside((0, 0, 0), (30, 32, 28))
    within = [_inside((12, 4, 2), (radius, radius, radius)) for radius in (5, 8, 14)]
    return np.select([within[0], within[1], within[2] & brain], [1, 3, 2]).astype(np.uint8)


def brats_label() -> np.ndarray:
    """The same in the coding of BraTS 2020: ET is 4."""
    return np.array([0, 1, 2, 4], np.uint8)[classes()]


def write_phantom(
    folder: Path,
    prefix: str = "x_",
    images: Mapping[str, np.ndarray] | None = None,
    *,
    affine: np.ndarray = AFFINE,
    names: Sequence[str] = BRATS_2021,
    label: np.ndarray | None = None,
    suffix: str = ".nii.gz",
) -> Path:
    """Write a folder with the four images, in the order FLAIR, T1, T1ce, T2, and a label where one is given."""
    folder.mkdir(parents=True, exist_ok=True)
    images = images or phantom()
    for role, name in zip(ROLES, names, strict=True):
        nib.save(nib.Nifti1Image(images[role], affine), folder / f"{prefix}{name}{suffix}")
    if label is not None:
        nib.save(nib.Nifti1Image(label, affine), folder / f"{prefix}seg{suffix}")
    return folder


def _inside(centre: Sequence[float], half_axes: Sequence[float]) -> np.ndarray:
    """Of an ellipsoid; the centre is counted in voxels from the middle of the grid."""
    grid = np.indices((EDGE,) * 3) - (EDGE - 1) / 2
    scaled = [(axis - c) / half for axis, c, half in zip(grid, centre, half_axes, strict=True)]
    return np.sqrt(sum(s**2 for s in scaled)) < 1
