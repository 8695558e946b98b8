"""Reading a case: every naming, layout and geometry that must work, and every bad input with its message."""

from __future__ import annotations

import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK

from ProtoSegBrainLib.images.case import (
    Case,
    case_from_kji,
    case_from_volumes,
    decode_label,
    encode_label,
    list_cases,
    read_case,
    read_case_files,
    role_of_name,
)
from ProtoSegBrainLib.images.volume import Volume, read_volume, resample, write_volume
from ProtoSegBrainLib.labels import LABEL_CONVENTIONS, MODALITIES, MSD_CHANNELS

DATA = Path(os.environ.get("PROTOSEGBRAIN_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
real_data = pytest.mark.skipif(not DATA.is_dir(), reason="the real cases are not here")

SHAPE = (20, 24, 16)
AFFINE = nib.affines.from_matvec(nib.eulerangles.euler2mat(0.1, -0.2, 0.3) @ np.diag([-1.0, -1.1, 1.3]), [9, 14, -8])
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
    ramps = {"t1n": 100 + 3 * i, "t1c": 120 + 2 * j, "t2w": 90 + 4 * k, "t2f": 80 + i + j + k}
    ramps["t1c"] = ramps["t1c"] + np.array([0, -60, 0, 200])[CLASSES]
    return {role: np.where(BRAIN, ramp, 0).astype(np.int16) for role, ramp in ramps.items()}


def write(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
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
    for role, array in images().items():
        write(folder / case_id / f"{case_id}_{BRATS_2021[role]}.nii.gz", array)
    if label is not None:
        write(folder / case_id / f"{case_id}_seg.nii.gz", label)
    return folder / case_id


def by_role(folder: Path) -> dict[str, Path]:
    return {role: next(folder.glob(f"*_{name}.*")) for role, name in BRATS_2021.items()}


def assert_is_the_case(case: Case) -> None:
    expected = images()
    for role, image in zip(MODALITIES, case.images, strict=True):
        np.testing.assert_array_equal(image, expected[role], err_msg=role)
    np.testing.assert_allclose(case.affine, AFFINE, atol=1e-4)
    assert case.images.dtype == np.float32
    assert case.warnings == ()


# --- names and layouts ---


@pytest.mark.parametrize(
    "names",
    [
        "BraTS2021_00006_t1.nii.gz BraTS2021_00006_t1ce.nii.gz BraTS2021_00006_t2.nii.gz BraTS2021_00006_flair.nii.gz",
        "BraTS-GLI-00000-000-t1n.nii.gz BraTS-GLI-00000-000-t1c.nii.gz BraTS-GLI-00000-000-t2w.nii.gz "
        "BraTS-GLI-00000-000-t2f.nii.gz",
        "T1.nii T1Gd.nii T2.nii FLAIR.nii",
        "UPENN-GBM-00001_11_T1.nii.gz UPENN-GBM-00001_11_T1GD.nii.gz UPENN-GBM-00001_11_T2.nii.gz "
        "UPENN-GBM-00001_11_FLAIR.nii.gz",
        "sub-01_T1w.nii sub-01_ce-gadolinium_T1w.nii sub-01_T2w.nii sub-01_FLAIR.nii",
        "a_t1_pre_contrast.nrrd a_T1-post.mha a_T2W.nrrd a_T2_FLAIR.mha",
        "p3 t1w.nii p3 t1 gd brain.nii p3 t2.nii p3 fla.nii",
        "T1_AX_7_t1.nii T1_AX_POST_GAD_9_t1c.nii T2_AX_t2.nii FLAIR_T2_5_fla.nii",
    ],
)
@pytest.mark.parametrize("upper", [False, True])
def test_modalities_are_known_by_their_names(tmp_path, names, upper):
    suffixes = (".nii.gz", ".nii", ".nrrd", ".mha")
    found = (
        names.replace(".nii ", ".nii|").replace(".gz ", ".gz|").replace(".nrrd ", ".nrrd|").replace(".mha ", ".mha|")
    )
    for role, name in zip(MODALITIES, found.split("|"), strict=True):
        if upper:
            suffix = next(s for s in suffixes if name.endswith(s))
            name = name.removesuffix(suffix).upper() + suffix
        write(tmp_path / name, images()[role])
    write(tmp_path / "brain_mask_t1.nii.gz", BRAIN.astype(np.uint8))
    (tmp_path / "._x_t1.nii.gz").write_bytes(b"twin of macOS")
    (tmp_path / "notes_t1.txt").write_text("no image")
    assert_is_the_case(read_case(tmp_path))


def test_case_is_named_by_its_files_or_else_by_its_folder(tmp_path):
    case = read_case(write_brats(tmp_path))
    assert case.case_id == "Case_7"
    assert {role: Path(path).name for role, path in case.files.items()} == {
        role: f"Case_7_{name}.nii.gz" for role, name in BRATS_2021.items()
    }
    for role, array in images().items():
        write(tmp_path / "mrs_x" / f"{role}.nii", array)
    assert read_case(tmp_path / "mrs_x").case_id == "mrs_x"
    assert read_case_files(**by_role(tmp_path / "Case_7"), case_id="other").case_id == "other"
    assert read_case_files(**by_role(tmp_path / "Case_7")).case_id == "Case_7"


def test_a_label_of_another_name_does_not_rename_the_case(tmp_path):
    folder = write_brats(tmp_path).rename(tmp_path / "folder")
    write(folder / "W39_1998_seg.nii.gz", CLASSES)
    assert read_case(folder).label is not None
    names = {read_case(folder).case_id, read_case(folder, with_label=False).case_id, list_cases(tmp_path)[0][0]}
    assert names == {"Case_7"}


@pytest.mark.parametrize(("convention", "suffix"), [("brats2020", ".nii.gz"), ("brats2023", ".nrrd")])
def test_labels_of_both_brats_codings_mean_the_same(tmp_path, convention, suffix):
    folder = write_brats(tmp_path)
    write(folder / f"Case_7_seg{suffix}", encode_label(CLASSES, convention))
    case = read_case(folder)
    np.testing.assert_array_equal(case.label, CLASSES)
    assert (case.label.dtype, case.label_convention, case.warnings) == (np.uint8, convention, ())
    assert read_case(folder, with_label=False).label is None


@pytest.fixture
def decathlon(tmp_path) -> Path:
    channels = np.stack([images()[role] for role in MSD_CHANNELS], axis=-1)
    for number in (1, 2):
        write(tmp_path / "Task01" / "imagesTr" / f"BRATS_00{number}.nii.gz", channels)
        write(tmp_path / "Task01" / "labelsTr" / f"BRATS_00{number}.nii.gz", encode_label(CLASSES, "msd"))
    return tmp_path / "Task01"


def test_decathlon_file_has_its_own_channels_and_coding(decathlon):
    listed = list_cases(decathlon)
    assert [case_id for case_id, _ in listed] == ["BRATS_001", "BRATS_002"]
    case = read_case(listed[1][1])
    assert_is_the_case(case)
    assert (case.case_id, case.label_convention) == ("BRATS_002", "msd")
    np.testing.assert_array_equal(case.label, CLASSES)
    assert (CLASSES == 1).sum() != (CLASSES == 2).sum()  # else a swap would go unseen
    assert read_case(listed[1][1], with_label=False).label is None


def test_decathlon_folder_of_one_case_is_that_case(decathlon):
    with pytest.raises(ValueError, match="2 cases"):
        read_case(decathlon)
    (decathlon / "imagesTr" / "BRATS_002.nii.gz").unlink()
    assert read_case(decathlon).case_id == "BRATS_001"
    assert read_case(decathlon / "imagesTr").label_convention == "msd"


def test_list_cases_finds_folders_and_single_cases(tmp_path):
    for case_id in ("b_1", "a_2"):
        write_brats(tmp_path, case_id)
    (tmp_path / "empty").mkdir()
    assert list_cases(tmp_path) == [("a_2", tmp_path / "a_2"), ("b_1", tmp_path / "b_1")]
    assert list_cases(tmp_path / "a_2") == [("a_2", tmp_path / "a_2")]
    with pytest.raises(FileNotFoundError, match="no case found"):
        list_cases(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        list_cases(tmp_path / "nowhere")
    (tmp_path / "b_1").rename(tmp_path / "copy")
    write_brats(tmp_path, "b_1")
    with pytest.raises(ValueError, match=r"two cases are called b_1"):
        list_cases(tmp_path)


def test_slicer_arrays_are_turned_round():
    arrays = {role: array.T.copy() for role, array in images().items()} | {"seg": encode_label(CLASSES, "brats2020").T}
    case = case_from_kji(arrays, dict.fromkeys(arrays, AFFINE), "node", label="seg")
    assert_is_the_case(case)
    assert case.files == {}
    np.testing.assert_array_equal(case.label, CLASSES)
    with pytest.raises(ValueError, match="arrays lacks t2f"):
        case_from_kji({k: v for k, v in arrays.items() if k != "t2f"}, dict.fromkeys(arrays, AFFINE), "node")
    with pytest.raises(ValueError, match=r"FLAIR.*NaN"):
        case_from_kji(arrays | {"t2f": np.full(SHAPE, np.nan)}, dict.fromkeys(arrays, AFFINE), "node")


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


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("BraTS2021_00006_t1ce.nii.gz", "t1c"),
        ("BraTS-GLI-00000-000-t2f", "t2f"),
        ("AX T1 POST GAD", "t1c"),
        ("Sag T2 FLAIR 3.0mm", "t2f"),
        ("t1 pre contrast", "t1n"),
        ("case/with a slash T2", "t2w"),
        ("case_seg.nii.gz", "label"),
        ("brainmask_t1", None),
        ("Localizer", None),
        ("", None),
    ],
)
def test_a_role_is_told_by_any_name(name, role):
    assert role_of_name(name) == role


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
    assert len(case.warnings) == 3
    assert all("resampled to the grid of t1c.nii.gz" in sentence for sentence in case.warnings)
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


# --- warnings ---


def test_images_with_skull_are_warned_about(tmp_path):
    folder = write_brats(tmp_path)
    write(folder / "Case_7_t2.nii.gz", images()["t2w"] + 5)
    (sentence,) = read_case(folder).warnings
    assert sentence.startswith("T2:")
    assert "skull-stripped" in sentence


def test_coding_that_contradicts_the_image_is_warned_about(tmp_path):
    swapped = np.array([0, 3, 2, 1], np.uint8)[CLASSES]
    (sentence,) = read_case(write_brats(tmp_path, label=swapped)).warnings
    assert "brats2023" in sentence
    assert "not brighter" in sentence


# --- label conventions ---


@pytest.mark.parametrize("convention", LABEL_CONVENTIONS)
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
def test_every_convention_round_trips(convention, dtype):
    stored = encode_label(CLASSES, convention)
    assert set(np.unique(stored)) == set(LABEL_CONVENTIONS[convention])
    classes, name = decode_label(stored.astype(dtype), convention)
    np.testing.assert_array_equal(classes, CLASSES)
    assert (classes.dtype, name) == (np.uint8, convention)


def test_coding_is_told_from_the_values():
    assert decode_label(np.array([0, 1, 2, 4]))[1] == "brats2020"
    assert decode_label(np.array([0, 1, 2, 3]))[1] == "brats2023"
    assert decode_label(np.array([0, 2, 1, 0]))[0].tolist() == [0, 2, 1, 0]
    assert decode_label(np.array([0, 0.9999999, 3.9999999]))[0].tolist() == [0, 1, 3]
    assert decode_label(np.zeros((2, 2, 2)))[0].sum() == 0


@pytest.mark.parametrize("values", [[0, 1, 5], [0, 3, 4], [0, -1], [0, 0.5], [0, 255], [0, 260], [0, np.nan], [0, 1e9]])
def test_unknown_label_values_are_refused(values):
    with pytest.raises(ValueError, match="unknown to brats2020"):
        decode_label(np.array(values))


def test_unknown_conventions_and_classes_are_refused():
    with pytest.raises(ValueError, match="expected one of brats2020, brats2023, msd"):
        decode_label(CLASSES, "brats1999")
    with pytest.raises(ValueError, match="brats1999"):
        encode_label(CLASSES, "brats1999")
    with pytest.raises(ValueError, match="0 to 3"):
        encode_label(CLASSES + 1, "msd")
    with pytest.raises(ValueError, match="4 are unknown to msd"):
        decode_label(encode_label(CLASSES, "brats2020"), "msd")


# --- bad input: each is named ---


def test_missing_modality(tmp_path):
    folder = write_brats(tmp_path)
    (folder / "Case_7_t1ce.nii.gz").unlink()
    with pytest.raises(FileNotFoundError, match=r"Case_7: no file found for T1ce; there is: Case_7_flair"):
        read_case(folder)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_case(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no image file"):
        read_case(tmp_path / "empty")
    files = by_role(write_brats(tmp_path, "whole"))
    with pytest.raises(FileNotFoundError, match=r"gone\.nii"):
        read_case_files(**files | {"t2w": tmp_path / "gone.nii"})


def test_two_files_for_one_role(tmp_path):
    folder = write_brats(tmp_path)
    write(folder / "Case_7_t1gd.nii.gz", images()["t1c"])
    with pytest.raises(ValueError, match=r"two files for T1ce: Case_7_t1ce\.nii\.gz and Case_7_t1gd\.nii\.gz"):
        read_case(folder)
    files = by_role(write_brats(tmp_path, "whole"))
    with pytest.raises(ValueError, match="given for T1ce, FLAIR"):
        read_case_files(**files | {"t2f": files["t1c"]})


def four_dimensional(array: np.ndarray) -> np.ndarray:
    return np.stack([array, array], axis=-1)


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


def test_truncated_file(tmp_path):
    folder = write_brats(tmp_path)
    data = (folder / "Case_7_t2.nii.gz").read_bytes()
    (folder / "Case_7_t2.nii.gz").write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=r"Case_7_t2\.nii\.gz cannot be read"):
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


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (CLASSES * 2, "label values 6 are unknown"),
        (four_dimensional(CLASSES), "3-D"),
    ],
)
def test_bad_labels_are_named(tmp_path, label, message):
    with pytest.raises(ValueError, match=rf"Case_7_seg\.nii\.gz.*{message}"):
        read_case(write_brats(tmp_path, label=label))


def test_label_of_another_space(tmp_path):
    folder = write_brats(tmp_path)
    write(folder / "Case_7_seg.nii", CLASSES, nib.affines.from_matvec(np.eye(3), [200, 0, 0]))
    with pytest.raises(ValueError, match=r"Case_7_seg\.nii .*different spaces"):
        read_case(folder)


def test_single_file_that_is_not_decathlon(tmp_path):
    write(tmp_path / "one.nii.gz", images()["t1n"])
    with pytest.raises(ValueError, match=r"one\.nii\.gz: a single file must be 4-D with the channels FLAIR, T1, T1ce"):
        read_case(tmp_path / "one.nii.gz")


# --- real cases ---


@real_data
@pytest.mark.parametrize(
    ("path", "convention"),
    [
        ("original_format/BraTS2021_00006", "brats2020"),
        ("brats2023_format/BraTS-GLI-00000-000", "brats2023"),
        ("brats/BraTS2021_00000", "brats2020"),
    ],
)
def test_real_cases_read_as_they_are(path, convention):
    case = read_case(DATA / path)
    assert (case.case_id, case.label_convention, case.warnings) == (Path(path).name, convention, ())
    flair = nib.load(case.files["t2f"])
    np.testing.assert_array_equal(case.images[3], flair.get_fdata(dtype=np.float32))
    np.testing.assert_array_equal(case.affine, flair.affine)


@real_data
def test_one_scan_in_both_brats_codings_has_one_label():
    old, new = read_case(DATA / "brats" / "BraTS2021_00000"), read_case(DATA / "brats2023_format/BraTS-GLI-00000-000")
    np.testing.assert_array_equal(old.label, new.label)


@real_data
def test_raw_clinical_series_come_on_one_grid_with_warnings():
    scans = DATA / "raw_clinical" / "TCGA-FG-6692" / "scans"
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
