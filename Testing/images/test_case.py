"""Reading a case: every layout and geometry that must work, and every bad input with its message."""

from __future__ import annotations

import bz2
import gzip
import lzma
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from small_case import (
    AFFINE,
    BRATS_2021,
    CLASSES,
    SHAPE,
    assert_is_the_case,
    ball,
    by_role,
    four_dimensional,
    images,
    write,
    write_brats,
)

from ProtoSegBrainLib.images.case import case_from_kji, case_from_volumes, read_case, read_case_files
from ProtoSegBrainLib.images.codings import encode_label
from ProtoSegBrainLib.images.folders import list_cases
from ProtoSegBrainLib.images.formats import read_volume, write_volume
from ProtoSegBrainLib.images.study import Reading
from ProtoSegBrainLib.images.volume import Volume, resample
from ProtoSegBrainLib.labels import MODALITIES, MSD_CHANNELS

CLASSES[ball((8, 11, 8), 5)] = 2


CLASSES[ball((8, 11, 7), 4)] = 3


CLASSES[ball((8, 11, 7), 2.5)] = 1


# --- layouts ---


@pytest.fixture
def decathlon(tmp_path) -> Path:
    channels = np.stack([images()[role] for role in MSD_CHANNELS], axis=-1)
    for number in (1, 2):
        write(tmp_path / "Task01" / "imagesTr" / f"BRATS_00{number}.nii.gz", channels)
        write(tmp_path / "Task01" / "labelsTr" / f"BRATS_00{number}.nii.gz", encode_label(CLASSES, "msd"))
    return tmp_path / "Task01"


def test_decathlon_file_has_its_own_channels_and_coding(decathlon):
    listed = list_cases(decathlon)
    assert [case.case_id for case in listed] == ["BRATS_001", "BRATS_002"]
    case = read_case(listed[1])
    assert_is_the_case(case)
    assert (case.case_id, case.label_convention) == ("BRATS_002", "msd")
    np.testing.assert_array_equal(case.label, CLASSES)
    assert (CLASSES == 1).sum() != (CLASSES == 2).sum()  # else a swap would go unseen
    assert read_case(listed[1], with_label=False).label is None


def test_decathlon_folder_of_one_case_is_that_case(decathlon):
    with pytest.raises(ValueError, match="2 cases"):
        read_case(decathlon)
    (decathlon / "imagesTr" / "BRATS_002.nii.gz").unlink()
    assert read_case(decathlon).case_id == "BRATS_001"
    assert read_case(decathlon / "imagesTr").label_convention == "msd"


def test_slicer_arrays_are_turned_round():
    arrays = {role: array.T.copy() for role, array in images().items()} | {"seg": encode_label(CLASSES, "brats2020").T}
    case = case_from_kji(arrays, dict.fromkeys(arrays, AFFINE), "node", label="seg")
    assert_is_the_case(case)
    assert case.files == {}
    np.testing.assert_array_equal(case.label, CLASSES)
    with pytest.raises(ValueError, match="arrays lacks t2f"):
        case_from_kji({k: v for k, v in arrays.items() if k != "t2f"}, dict.fromkeys(arrays, AFFINE), "node")
    with pytest.raises(ValueError, match=r"FLAIR.*NaN"):
        case_from_kji(arrays | {"t2f": np.full(SHAPE[::-1], np.nan)}, dict.fromkeys(arrays, AFFINE), "node")


def test_images_in_memory_are_named_by_their_modality():
    volumes = {role: Volume(array, AFFINE) for role, array in images().items()}
    volumes |= {"seg": Volume(encode_label(CLASSES, "brats2020"), AFFINE), "other": Volume(CLASSES, AFFINE)}
    case = case_from_volumes(volumes, "memory", label="seg")
    assert_is_the_case(case)
    np.testing.assert_array_equal(case.label, CLASSES)
    with pytest.raises(ValueError, match=r"Case memory: T2, FLAIR not given; all four"):
        case_from_volumes({"t1n": volumes["t1n"], "t1c": volumes["t1c"]}, "memory")
    with pytest.raises(ValueError, match=r"^T1ce is empty or constant"):
        case_from_volumes(volumes | {"t1c": Volume(np.ones(SHAPE), AFFINE)}, "memory")


# --- geometry ---


def test_four_axis_orders_of_one_grid_are_copied_to_the_reference(tmp_path):
    orientations = [
        [[2, -1], [0, 1], [1, 1]],
        [[0, 1], [1, 1], [2, 1]],
        [[1, -1], [0, -1], [2, -1]],
        [[0, -1], [2, 1], [1, 1]],
    ]
    files = {}
    for (role, array), orientation in zip(images().items(), orientations, strict=True):
        stored = nib.orientations.apply_orientation(array, orientation)
        affine = AFFINE @ nib.orientations.inv_ornt_aff(np.array(orientation), SHAPE)
        files[role] = write(tmp_path / f"{role}.nii.gz", stored, affine)
    case = read_case_files(**files, case_id="turned")
    expected = images()
    for role, image in zip(MODALITIES, case.images, strict=True):
        np.testing.assert_array_equal(image, expected[role], err_msg=role)
    assert len(case.warnings) == 3
    assert all("copied, unchanged" in sentence for sentence in case.warnings)
    assert case.originals == ()  # nothing was interpolated


def test_four_grids_of_one_space_agree_with_the_aligned_case(tmp_path):
    """Each modality on its own oblique, anisotropic, shifted grid; the finest is the reference."""
    aligned = images()
    turn = nib.affines.from_matvec(nib.eulerangles.euler2mat(-0.2, 0.15, 0.1), [1.3, -0.6, 0.4])
    grids = {
        "t1n": ((32, 36, 12), turn @ AFFINE @ np.diag([0.8, 0.8, 1.6, 1])),
        "t1c": (SHAPE, AFFINE),
        "t2w": ((24, 20, 26), AFFINE @ nib.affines.from_matvec(np.diag([1.0, 1.5, 0.8]), [-2.3, -3.1, -1.4])),
        "t2f": ((40, 26, 14), turn @ AFFINE @ nib.affines.from_matvec(np.diag([0.7, 1.2, 1.4]), [-3.5, -2, -2])),
    }
    files = {}
    for role, (shape, affine) in grids.items():
        moved = resample(Volume(aligned[role], AFFINE), shape, affine, order=1).array
        files[role] = write(tmp_path / f"{role}.nii.gz", moved, affine)
    case = read_case_files(**files)
    np.testing.assert_allclose(case.affine, AFFINE, atol=1e-5)
    np.testing.assert_array_equal(case.images[1], aligned["t1c"])
    core = ball((9, 12, 8), 4)  # away from the brain's edge, where the ramps are smooth
    for role in ("t1n", "t2w", "t2f"):
        np.testing.assert_allclose(case.images[MODALITIES.index(role)][core], aligned[role][core], atol=0.1)
    assert sum("resampled to the grid of t1c.nii.gz" in sentence for sentence in case.warnings) == 3
    for role, original in zip(MODALITIES, case.originals, strict=True):
        np.testing.assert_allclose(original.affine, grids[role][1], atol=1e-5)
        np.testing.assert_array_equal(original.array, read_volume(files[role]).array)


def test_reference_is_the_finest_grid(tmp_path):
    files = by_role(write_brats(tmp_path))
    fine = AFFINE @ nib.affines.from_matvec(np.diag([0.5, 0.5, 0.5]), [-0.25, -0.25, -0.25])
    shape = tuple(2 * n for n in SHAPE)
    write(files["t2w"], resample(Volume(images()["t2w"], AFFINE), shape, fine, order=1).array, fine)
    case = read_case(files["t2w"].parent)
    assert case.images.shape == (4, *shape)
    np.testing.assert_allclose(case.affine, fine, atol=1e-4)


def test_label_on_another_grid_is_brought_to_the_reference(tmp_path):
    folder = write_brats(tmp_path)
    label = Volume(encode_label(CLASSES, "brats2020"), AFFINE)
    grid = AFFINE @ nib.affines.from_matvec(np.diag([-1.0, 1, 1]), [17, 3, 0])
    cropped = resample(label, (16, 18, 16), grid, order=0)
    write(folder / "Case_7_seg.nii", cropped.array, grid)
    case = read_case(folder)
    np.testing.assert_array_equal(case.label, CLASSES)
    assert "label" in case.warnings[0]


# --- bad input: each is named ---


def test_missing_modality(tmp_path):
    folder = write_brats(tmp_path)
    (folder / "Case_7_t1ce.nii.gz").unlink()
    with pytest.raises(FileNotFoundError, match=r"Case_7: no file found for T1ce; there is: Case_7_flair"):
        read_case(folder)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_case(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no case found"):
        read_case(tmp_path / "empty")
    files = by_role(write_brats(tmp_path, "whole"))
    with pytest.raises(FileNotFoundError, match=r"gone\.nii"):
        read_case_files(**files | {"t2w": tmp_path / "gone.nii"})


def test_truncated_file(tmp_path):
    folder = write_brats(tmp_path)
    data = (folder / "Case_7_t2.nii.gz").read_bytes()
    (folder / "Case_7_t2.nii.gz").write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=r"Case_7_t2\.nii\.gz cannot be read"):
        read_case(folder)


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (CLASSES * 2, "label values .*6 are unknown"),
        (four_dimensional(CLASSES), "3-D"),
    ],
)
def test_bad_labels_are_named(tmp_path, label, message):
    with pytest.raises(ValueError, match=rf"Case_7_seg\.nii\.gz.*{message}"):
        read_case(write_brats(tmp_path, label=label))


def test_single_file_that_is_not_decathlon(tmp_path):
    write(tmp_path / "one.nii.gz", images()["t1n"])
    with pytest.raises(ValueError, match=r"one\.nii\.gz: a single file must be 4-D with the channels FLAIR, T1, T1ce"):
        read_case(tmp_path / "one.nii.gz")


# --- results of our own ---


def as_result(path: Path, array: np.ndarray) -> Path:
    write_volume(path, Volume(array, AFFINE), description="ProtoSegBrain, research use only")
    return path


def test_a_result_beside_the_images_is_no_experts_label(tmp_path):
    folder = write_brats(tmp_path)
    as_result(folder / "Case_7_seg.nii.gz", encode_label(CLASSES, "brats2020"))
    case = read_case(folder)
    assert case.label is None
    assert "label" not in case.files
    (said,) = case.warnings
    assert "Case_7_seg.nii.gz is a result of ProtoSegBrain, not an expert's label" in said
    assert read_case(folder, with_label=False).warnings == ()
    given = read_case_files(**by_role(folder), label=folder / "Case_7_seg.nii.gz")
    assert (given.label, given.warnings) == (None, (said,))


def test_a_result_is_no_scan(tmp_path):
    files = by_role(write_brats(tmp_path))
    files["t2f"] = as_result(tmp_path / "Case_7_unc.nii.gz", images()["t2f"])
    with pytest.raises(ValueError, match=r"Case_7_unc\.nii\.gz is a result of ProtoSegBrain.*no scan"):
        read_case_files(**files)
    four = as_result(tmp_path / "Case_7_prob.nii.gz", np.stack([images()[role] for role in MSD_CHANNELS], axis=-1))
    with pytest.raises(ValueError, match=r"Case_7_prob\.nii\.gz is a result of ProtoSegBrain"):
        read_case(four)


# --- files as they are kept ---


@pytest.mark.parametrize("suffix", [".img", ".mgz", ".nii.bz2", ".nii.xz", ".nrrd", ".mha"])
def test_a_folder_of_any_format(tmp_path, suffix):
    for role, array in images().items():
        path = tmp_path / f"x_{BRATS_2021[role]}{suffix}"
        if suffix in (".nrrd", ".mha"):
            write(path, array)
        else:
            kind = {".img": nib.Nifti1Pair, ".mgz": nib.MGHImage}.get(suffix, nib.Nifti1Image)
            image = kind(array, AFFINE)
            pack = {".nii.bz2": bz2.compress, ".nii.xz": lzma.compress}.get(suffix)
            if pack:
                path.write_bytes(pack(image.to_bytes()))
            else:
                nib.save(image, path)
    assert_is_the_case(read_case(tmp_path))


def test_what_a_file_says_of_itself_is_a_warning_of_the_case(tmp_path):
    files = by_role(write_brats(tmp_path))
    image = nib.Nifti1Image(images()["t2f"], AFFINE)
    image.set_sform(AFFINE @ nib.affines.from_matvec(np.eye(3), [2, 0, 0]), 1)
    image.set_qform(AFFINE, 1)
    files["t2f"].write_bytes(gzip.compress(image.to_bytes()) + b"garbage")
    by_sform, by_qform = (read_case(tmp_path / "Case_7", reading=Reading(geometry=form)) for form in (None, "qform"))
    assert [s for s in by_sform.warnings if "7 bytes follow" in s]
    assert [s for s in by_sform.warnings if "up to 5.2 mm apart; the sform was taken" in s]
    assert [s for s in by_qform.warnings if "up to 5.2 mm apart; the qform was taken" in s]
    np.testing.assert_array_equal(by_qform.images[3], images()["t2f"])
    assert not np.array_equal(by_sform.images[3], images()["t2f"])


# --- real cases ---


@pytest.mark.parametrize(
    ("path", "convention"),
    [
        ("original_format/BraTS2021_00006", "brats2020"),
        ("brats2023_format/BraTS-GLI-00000-000", "brats2023"),
        ("brats/BraTS2021_00000", "brats2020"),
    ],
)
def test_real_cases_read_as_they_are(real_data: Path, path, convention):
    case = read_case(real_data / path)
    assert (case.case_id, case.label_convention, case.warnings) == (Path(path).name, convention, ())
    flair = nib.load(case.files["t2f"])
    np.testing.assert_array_equal(case.images[3], flair.get_fdata(dtype=np.float32))
    np.testing.assert_array_equal(case.affine, flair.affine)


def test_raw_clinical_series_come_on_one_grid_with_warnings(real_data: Path):
    scans = real_data / "raw_clinical" / "TCGA-FG-6692" / "scans"
    files = {
        role: next(scans.glob(f"*_{end}.nii.gz"))
        for role, end in zip(MODALITIES, ("t1", "t1c", "t2", "fla"), strict=True)
    }
    case = read_case_files(**files, case_id="raw")
    assert case.images.shape == (4, 256, 224, 26)
    np.testing.assert_array_equal(case.affine, nib.load(files["t1c"]).affine)
    assert [sum(word in sentence for sentence in case.warnings) for word in ("skull-stripped", "resampled")] == [1, 2]
    t2 = Volume(nib.load(files["t2w"]).get_fdata(dtype=np.float32), nib.load(files["t2w"]).affine)
    image = SimpleITK.GetImageFromArray(t2.array.T)
    reference = SimpleITK.ReadImage(str(files["t1c"]))
    image.CopyInformation(SimpleITK.ReadImage(str(files["t2w"])))
    independent = SimpleITK.GetArrayFromImage(SimpleITK.Resample(image, reference, SimpleITK.Transform())).T
    seen = (slice(60, -60), slice(60, -60), slice(10, -10))  # the two treat the rim of the field of view differently
    assert independent[seen].min() > 0
    np.testing.assert_allclose(case.images[2][seen], independent[seen], atol=0.01)
