"""Which file is which: every naming that must work, and names that two files or cases claim."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_case import BRAIN, BRATS_2021, CLASSES, assert_is_the_case, by_role, images, write, write_brats

from ProtoSegBrainLib.images.case import read_case, read_case_files
from ProtoSegBrainLib.images.naming import list_cases, role_of_name
from ProtoSegBrainLib.labels import MODALITIES


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


def test_two_files_for_one_role(tmp_path):
    folder = write_brats(tmp_path)
    write(folder / "Case_7_t1gd.nii.gz", images()["t1c"])
    with pytest.raises(ValueError, match=r"two files for T1ce: Case_7_t1ce\.nii\.gz and Case_7_t1gd\.nii\.gz"):
        read_case(folder)
    files = by_role(write_brats(tmp_path, "whole"))
    with pytest.raises(ValueError, match="given for T1ce, FLAIR"):
        read_case_files(**files | {"t2f": files["t1c"]})
