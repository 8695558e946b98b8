"""What the images of a case must be: each refusal and each warning names its image."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from small_case import AFFINE, BRAIN, CLASSES, four_dimensional, images, write, write_brats

from ProtoSegBrainLib.images.case import case_from_volumes, read_case
from ProtoSegBrainLib.images.checks import check_extent, remarks_on
from ProtoSegBrainLib.images.volume import Volume


def with_value(value: float):
    def spoil(array: np.ndarray) -> np.ndarray:
        spoiled = array.astype(np.float32)
        spoiled[9, 12, 8] = value
        return spoiled

    return spoil


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (with_value(np.nan), "NaN or infinity in 1 voxels"),
        (with_value(np.inf), "NaN or infinity in 1 voxels"),
        (with_value(-np.inf), "NaN or infinity in 1 voxels"),
        (np.zeros_like, "every voxel is 0"),
        (lambda array: np.full_like(array, 7), "every voxel is 7"),
        (lambda array: array[:0], "empty|cannot be read"),
        (four_dimensional, r"3-D.*\(20, 24, 16, 2\)"),
    ],
    ids=["nan", "inf", "-inf", "zero", "constant", "no-voxels", "4-D"],
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
    air = np.random.default_rng(0).integers(1, 9, BRAIN.shape).astype(np.int16)
    write(folder / "Case_7_t2.nii.gz", np.maximum(images()["t2w"], air))
    sentences = [sentence for sentence in read_case(folder).warnings if "skull-stripped" in sentence]
    assert [sentence.partition(":")[0] for sentence in sentences] == ["T2"]


@pytest.mark.parametrize(
    ("factor", "message"),
    [
        (1e3, r"voxels of 2600 x 2200 x 3200 mm; expected 0.2 to 15 mm.*micrometres, its voxels 2.6 x 2.2 x"),
        (1e-3, "voxels of 0.0026 x 0.0022 x 0.0032 mm.*metres, its voxels 2.6 x"),
        (0.1, "field of view of 5.2 x 5.28 x 5.12 mm; expected 50 to 600 mm"),
        (0.8, "field of view of 41.6 x .*a part of a head"),
        (5, "voxels of 13 x 11 x 16 mm"),
    ],
)
def test_voxels_and_fields_of_view_that_no_head_has(tmp_path, factor, message):
    folder, affine = write_brats(tmp_path), AFFINE @ np.diag([factor, factor, factor, 1])
    write(folder / "Case_7_flair.nii.gz", images()["t2f"], affine)
    with pytest.raises(ValueError, match=rf"Case_7_flair\.nii\.gz has (a )?{message}"):
        read_case(folder)
    volumes = {role: Volume(array, affine) for role, array in images().items()}
    with pytest.raises(ValueError, match="T1 has"):
        case_from_volumes(volumes, "panel")


def test_the_unit_in_the_header_is_named_in_the_refusal(tmp_path):
    for role, name in (("t1n", "t1"), ("t1c", "t1ce"), ("t2w", "t2"), ("t2f", "flair")):
        image = nib.Nifti1Image(images()[role], AFFINE @ np.diag([1e3, 1e3, 1e3, 1]))
        image.header.set_xyzt_units("micron")
        nib.save(image, tmp_path / f"x_{name}.nii.gz")
    with pytest.raises(ValueError, match=r"probably in micrometres.*lengths are in micrometres \(xyzt_units\)"):
        read_case(tmp_path)


@pytest.mark.parametrize(("spacing", "n"), [(0.2, 300), (15.0, 40)])
def test_the_smallest_and_the_largest_voxels_of_a_head(spacing, n):
    check_extent(Volume(np.zeros((n, 40, 40)), np.diag([spacing, 2, 2, 1]).astype(np.float32)), "a")


def test_what_holds_for_several_files_is_said_once():
    volumes = {
        "t1n": Volume(np.zeros((2, 2, 2)), np.eye(4), ("a.nii: as said.", "a.nii: alone.")),
        "t1c": Volume(np.zeros((2, 2, 2)), np.eye(4), ("b.nii: as said.",)),
    }
    assert remarks_on(volumes) == ["T1, T1ce: as said.", "a.nii: alone."]
