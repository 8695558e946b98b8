"""What the images of a case must be: each refusal and each warning names its image."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from small_case import AFFINE, CLASSES, four_dimensional, images, write, write_brats

from ProtoSegBrainLib.images.case import read_case


def with_value(value: float):
    def spoil(array: np.ndarray) -> np.ndarray:
        spoiled = array.astype(np.float32)
        spoiled[3, 4, 5] = value
        return spoiled

    return spoil


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (with_value(np.nan), "NaN or infinity in 1 voxels"),
        (with_value(np.inf), "NaN or infinity in 1 voxels"),
        (with_value(-np.inf), "NaN or infinity in 1 voxels"),
        (lambda array: array.astype(np.float64) * 1e300, r"float32\), got NaN or infinity in \d+ voxels"),
        (np.zeros_like, "every voxel is 0"),
        (lambda array: np.full_like(array, 7), "every voxel is 7"),
        (lambda array: array[:0], "empty|cannot be read"),
        (four_dimensional, r"3-D.*\(20, 24, 16, 2\)"),
    ],
    ids=["nan", "inf", "-inf", "beyond-float32", "zero", "constant", "no-voxels", "4-D"],
)
def test_images_that_are_none(tmp_path, spoil, message):
    folder = write_brats(tmp_path)
    write(folder / "Case_7_flair.nii.gz", spoil(images()["t2f"]))
    with pytest.raises(ValueError, match=rf"(?s)Case_7_flair\.nii\.gz.*({message})"):
        read_case(folder)


def test_spaces_of_different_patients(tmp_path):
    folder = write_brats(tmp_path)
    far = AFFINE.copy()
    far[:3, 3] += 500
    write(folder / "Case_7_t2.nii.gz", images()["t2w"], far)
    with pytest.raises(ValueError, match=r"Case_7_t2\.nii\.gz and Case_7_t1ce\.nii\.gz lie in different spaces"):
        read_case(folder)
    near = AFFINE @ nib.affines.from_matvec(np.eye(3), [14, 0, 0])
    write(folder / "Case_7_t2.nii.gz", images()["t2w"], near)
    assert any("share only" in sentence for sentence in read_case(folder).warnings)


def test_label_of_another_space(tmp_path):
    folder = write_brats(tmp_path)
    write(folder / "Case_7_seg.nii", CLASSES, nib.affines.from_matvec(np.eye(3), [200, 0, 0]))
    with pytest.raises(ValueError, match=r"Case_7_seg\.nii .*different spaces"):
        read_case(folder)


def test_images_with_skull_are_warned_about(tmp_path):
    folder = write_brats(tmp_path)
    write(folder / "Case_7_t2.nii.gz", images()["t2w"] + 5)
    (sentence,) = read_case(folder).warnings
    assert sentence.startswith("T2:")
    assert "skull-stripped" in sentence
