"""A case of a few voxels, in memory and in files."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK

from ProtoSegBrainLib.images.case import Case
from ProtoSegBrainLib.images.formats import write_volume
from ProtoSegBrainLib.images.volume import Volume
from ProtoSegBrainLib.labels import MODALITIES

SHAPE = (20, 24, 16)
AFFINE = nib.affines.from_matvec(nib.eulerangles.euler2mat(0.1, -0.2, 0.3) @ np.diag([-2.6, -2.2, 3.2]), [24, 28, -20])
BRATS_2021 = {"t1n": "t1", "t1c": "t1ce", "t2w": "t2", "t2f": "flair"}


def ball(centre, radius) -> np.ndarray:
    grid = np.meshgrid(*map(np.arange, SHAPE), indexing="ij")
    return sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True)) < radius**2


BRAIN = ball((9, 12, 8), 7)
CLASSES = np.zeros(SHAPE, np.uint8)
CLASSES[ball((8, 11, 8), 5)] = 2
CLASSES[ball((8, 11, 7), 4)] = 3
CLASSES[ball((8, 11, 7), 2.5)] = 1


def images() -> dict[str, np.ndarray]:
    """Four smooth, different images, 0 outside the brain; ET is bright and NCR dark on T1ce."""
    i, j, k = np.meshgrid(*map(np.arange, SHAPE), indexing="ij")
    rise = i + j + 2 * k  # about the same way in all of them, as edges of one brain lie
    ramps = {"t1n": 100 + 3 * rise, "t1c": 120 + 2 * rise, "t2w": 400 - 4 * rise - 2 * j, "t2f": 80 + rise + 2 * i}
    ramps["t1c"] = ramps["t1c"] + np.array([0, -60, 0, 200])[CLASSES]
    return {role: np.where(BRAIN, ramp, 0).astype(np.int16) for role, ramp in ramps.items()}


def write(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    """An image file of the kind that its suffix says, in a folder that is made for it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name.endswith((".nii", ".nii.gz")):
        write_volume(path, Volume(array, affine))
        return path
    image = SimpleITK.GetImageFromArray(array.T)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    SimpleITK.WriteImage(image, str(path))
    return path


def write_brats(folder: Path, case_id: str = "Case_7", label: np.ndarray | None = None) -> Path:
    """A folder with file names of BraTS 2021; ``label`` holds the values of a label file."""
    for role, array in images().items():
        write(folder / case_id / f"{case_id}_{BRATS_2021[role]}.nii.gz", array)
    if label is not None:
        write(folder / case_id / f"{case_id}_seg.nii.gz", label)
    return folder / case_id


def by_role(folder: Path) -> dict[str, Path]:
    """The files that ``write_brats`` wrote."""
    return {role: next(folder.glob(f"*_{name}.*")) for role, name in BRATS_2021.items()}


def assert_is_the_case(case: Case) -> None:
    expected = images()
    for role, image in zip(MODALITIES, case.images, strict=True):
        np.testing.assert_array_equal(image, expected[role], err_msg=role)
    np.testing.assert_allclose(case.affine, AFFINE, atol=1e-4)
    assert case.images.dtype == np.float32
    assert case.warnings == ()


def four_dimensional(array: np.ndarray) -> np.ndarray:
    return np.stack([array, array], axis=-1)
