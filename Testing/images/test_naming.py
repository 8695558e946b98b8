"""Which file is which: one table of real names, twins, and the names of cases."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_case import BRAIN, BRATS_2021, CLASSES, assert_is_the_case, by_role, images, write, write_brats

from ProtoSegBrainLib.images.case import read_case, read_case_files
from ProtoSegBrainLib.images.folders import list_cases
from ProtoSegBrainLib.images.naming import LABEL, best_labels, chosen, role_of_name, told_by
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


T1N, T1C, T2W, T2F = MODALITIES
NO = None
NAMES = {
    # BraTS 2012 to 2024
    "BRATS_HG0001_T1C.mha": (T1C, "BRATS_HG0001"),
    "BRATS_HG0001_truth.mha": (LABEL, "BRATS_HG0001"),
    "VSD.Brain.XX.O.MR_T1c.54193.mha": (T1C, ""),
    "VSD.Brain.XX.O.MR_Flair.54191.mha": (T2F, ""),
    "VSD.Brain_3more.XX.XX.OT.54199.mha": (LABEL, ""),
    "Brats17_2013_0_1_flair.nii.gz": (T2F, "Brats17_2013_0_1"),
    "TCGA-02-0006_1996.08.23_t1Gd.nii.gz": (T1C, "TCGA-02-0006_1996.08.23"),
    "TCGA-02-0006_1996.08.23_GlistrBoost.nii.gz": (LABEL, "TCGA-02-0006_1996.08.23"),
    "TCGA-02-0006_1996.08.23_GlistrBoost_ManuallyCorrected.nii.gz": (LABEL, "TCGA-02-0006_1996.08.23"),
    "W39_1998.09.19_Segm.nii": (LABEL, "W39_1998.09.19"),
    "BraTS2021_00006_t1ce.nii.gz": (T1C, "BraTS2021_00006"),
    "BraTS-GLI-00000-000-t1n.nii.gz": (T1N, "BraTS-GLI-00000-000"),
    "BraTS-GLI-00000-000-t2w.nii.gz": (T2W, "BraTS-GLI-00000-000"),
    "BraTS-MET-00001-000-seg.nii.gz": (LABEL, "BraTS-MET-00001-000"),
    "BraTS-MEN-RT-0001-1_gtv.nii.gz": (NO, "BraTS-MEN-RT-0001-1"),
    "BraTSReg_002_01_0262_t1ce.nii.gz": (T1C, "BraTSReg_002_01_0262"),
    # BIDS
    "sub-01_T1w.nii.gz": (T1N, "sub-01"),
    "sub-01_ses-1_ce-gadolinium_T1w.nii.gz": (T1C, "sub-01_ses-1"),
    "sub-01_ses-1_acq-mprage_ce-GD_run-2_T1w.nii.gz": (T1C, "sub-01_ses-1"),
    "sub-01_acq-T2sel_FLAIR.nii.gz": (T2F, "sub-01"),
    "sub-01_space-T1w_desc-preproc_T2w.nii.gz": (T2W, "sub-01"),
    "sub-01_space-MNI152NLin2009cAsym_desc-brain_FLAIR.nii.gz": (T2F, "sub-01"),
    "sub-01_UNIT1.nii.gz": (T1N, "sub-01"),
    "sub-01_desc-tumor_dseg.nii.gz": (LABEL, "sub-01"),
    "sub-01_dseg.nii.gz": (NO, "sub-01"),
    "sub-01_label-lesion_roi.nii.gz": (NO, "sub-01"),
    "sub-01_space-T1w_desc-brain_mask.nii.gz": (NO, "sub-01"),
    "sub-01_T2starw.nii.gz": (NO, "sub-01"),
    "sub-01_part-mag_T2star.nii.gz": (NO, "sub-01"),
    "sub-01_dwi.nii.gz": (NO, "sub-01"),
    "sub-01_inplaneT2.nii.gz": (NO, "sub-01"),
    # CaPTk and FeTS
    "FL_to_SRI.nii.gz": (T2F, ""),
    "T1CE_to_SRI.nii.gz": (T1C, ""),
    "T1_to_SRI_brain.nii.gz": (T1N, ""),
    "p7_brain_t1c.nii.gz": (T1C, "p7"),
    "p7_brain_fl.nii.gz": (T2F, "p7"),
    "FeTS2022_00000_t1.nii.gz": (T1N, "FeTS2022_00000"),
    # UCSF-PDGM
    "UCSF-PDGM-0004_T1.nii.gz": (T1N, "UCSF-PDGM-0004"),
    "UCSF-PDGM-0004_T1_bias.nii.gz": (T1N, "UCSF-PDGM-0004"),
    "UCSF-PDGM-0004_T1c_bias.nii.gz": (T1C, "UCSF-PDGM-0004"),
    "UCSF-PDGM-0004_FLAIR_bias.nii.gz": (T2F, "UCSF-PDGM-0004"),
    "UCSF-PDGM-0004_DWI_bias.nii.gz": (NO, "UCSF-PDGM-0004"),
    "UCSF-PDGM-0004_SWI.nii.gz": (NO, "UCSF-PDGM-0004"),
    "UCSF-PDGM-0004_ASL.nii.gz": (NO, "UCSF-PDGM-0004"),
    "UCSF-PDGM-0004_ADC.nii.gz": (NO, "UCSF-PDGM-0004"),
    "UCSF-PDGM-0004_DTI_eddy_FA.nii.gz": (NO, "UCSF-PDGM-0004"),
    "UCSF-PDGM-0004_brain_segmentation.nii.gz": (NO, "UCSF-PDGM-0004"),
    "UCSF-PDGM-0004_brain_parenchyma_segmentation.nii.gz": (NO, "UCSF-PDGM-0004"),
    "UCSF-PDGM-0004_tumor_segmentation.nii.gz": (LABEL, "UCSF-PDGM-0004"),
    # UPENN-GBM
    "UPENN-GBM-00001_11_T1GD.nii.gz": (T1C, "UPENN-GBM-00001_11"),
    "UPENN-GBM-00001_11_T1GD_unstripped.nii.gz": (T1C, "UPENN-GBM-00001_11"),
    "UPENN-GBM-00001_11_segm.nii.gz": (LABEL, "UPENN-GBM-00001_11"),
    "UPENN-GBM-00001_11_automated_approx_segm.nii.gz": (LABEL, "UPENN-GBM-00001_11"),
    "UPENN-GBM-00001_11_DSC_ap-rCBV.nii.gz": (NO, "UPENN-GBM-00001_11"),
    # other public sets
    "CT1.nii.gz": (T1C, ""),
    "RHUH-0001_0_segmentations.nii.gz": (LABEL, "RHUH-0001_0"),
    "PatientID_0003_Timepoint_1_brain_t1c.nii.gz": (T1C, "PatientID_0003_Timepoint_1"),
    "PatientID_0003_Timepoint_1_tumorMask.nii.gz": (LABEL, "PatientID_0003_Timepoint_1"),
    "UCSD-PTGBM-0002_01_T1pre.nii.gz": (T1N, "UCSD-PTGBM-0002_01"),
    "UCSD-PTGBM-0002_01_T1post.nii.gz": (T1C, "UCSD-PTGBM-0002_01"),
    "UCSD-PTGBM-0002_01_BraTS_tumor_seg.nii.gz": (LABEL, "UCSD-PTGBM-0002_01"),
    "100101_time2_t1ce.nii.gz": (T1C, "100101_time2"),
    "x_t1_seg.nii.gz": (LABEL, "x"),
    "x_pred_seg.nii.gz": (NO, "x"),
    # German
    "T1_KM": (T1C, ""),
    "T1+KM": (T1C, ""),
    "T1 nach KM": (T1C, ""),
    "T1 vor KM": (T1N, ""),
    "T1 ohne KM": (T1N, ""),
    "T1 nativ": (T1N, ""),
    "T1-gewichtet nach Kontrastmittel": (T1C, ""),
    "Schädel T1 tra KM": (T1C, ""),
    "T2-gewichtet": (T2W, ""),
    "dark-fluid": (T2F, ""),
    "tirm dark fluid": (T2F, ""),
    "t2_tirm_tra_dark-fluid": (T2F, ""),
    "t2_spc_da-fl_sag_p2_iso": (T2F, ""),
    "t1_mprage_sag_p2_iso_KM": (T1C, ""),
    "MPRAGE": (T1N, ""),
    "MP-RAGE post": (T1C, ""),
    # English, and the words of scanners
    "T1_post": (T1C, ""),
    "Gd_T1": (T1C, ""),
    "AX T1 POST GAD": (T1C, ""),
    "T1_AX_POST_GAD_9_t1c": (T1C, ""),
    "AX_T1_POST_GD_FLAIR": (T1C, ""),
    "T1 FLAIR": (T1N, ""),
    "T1 FLAIR SAG": (T1N, ""),
    "T2_FLAIR": (T2F, ""),
    "Sag T2 FLAIR 3.0mm": (T2F, ""),
    "T2FLAIRax": (T2F, ""),
    "Sag CUBE FLAIR": (T2F, ""),
    "BRAVO post": (T1C, ""),
    "FSPGR +C": (T1C, ""),
    "T1+C": (T1C, ""),
    "T1 C+": (T1C, ""),
    "T1_C-": (T1N, ""),
    "T1+": (T1C, ""),
    "T1 w/o contrast": (T1N, ""),
    "t1 pre contrast": (T1N, ""),
    "T1 non contrast": (T1N, ""),
    "post_op_T1": (T1N, "post_op"),
    "post_op_T1_Gd": (T1C, "post_op"),
    "eT1W_3D_TFE_Gd": (T1C, ""),
    "T1 GRE": (T1N, ""),
    "T1postcontrast": (T1C, ""),
    "rT2.nii": (T2W, ""),
    "rFLAIR.nii": (T2F, ""),
    "T2_to_T1ce.nii.gz": (T2W, ""),
    "FLAIR_reg_T1.nii.gz": (T2F, ""),
    # other languages
    "T1 après injection de Gadolinium": (T1C, ""),
    "T1 sans injection": (T1N, ""),
    "T1 con contraste": (T1C, ""),
    "T1 sin contraste": (T1N, ""),
    "T1 con mezzo di contrasto": (T1C, ""),
    "T1 senza mdc": (T1N, ""),
    "T1 bez kontrastu": (T1N, ""),
    "T1增强": (T1C, ""),
    # none of the four
    "T2*": (NO, ""),
    "T2* GRE": (NO, ""),
    "ax T2star": (NO, ""),
    "AX GRE T2": (NO, ""),
    "t2_fl2d_tra_hemo": (NO, ""),
    "T2 SWI": (NO, ""),
    "STIR T2": (NO, ""),
    "ADC": (NO, ""),
    "ep2d_diff_3scan_trace_p2_ADC": (NO, ""),
    "T1 perfusion": (NO, ""),
    "T1_map": (NO, ""),
    "T1_Gd_SUB": (NO, ""),
    "T1_subtraction": (NO, ""),
    "Localizer": (NO, ""),
    "brain_mask_t1.nii.gz": (NO, ""),
    "x_flair_prob.nii.gz": (NO, "x"),
    "seg_T1.nii.gz": (NO, ""),
    # words of sequences that are names of patients, or parts of other words
    "KM_001_t1.nii": (T1N, "KM_001"),
    "C_001_T1.nii": (T1N, "C_001"),
    "case_d_flair.nii.gz": (T2F, "case_d"),
    "d_t2.nii": (T2W, "d"),
    "P7_produit_de_contraste_T1.nii": (T1C, "P7"),
    "x_t1.nii": (T1N, "x"),
    "set1_flair.nii": (T2F, "set1"),
    "pt1_flair.nii": (T2F, "pt1"),
    "p3 t1 gd brain.nii": (T1C, "p3"),
    "patient_T1_7.nii": (T1N, "patient"),
    "T1_7.nii": (T1N, ""),
    "T1_AX_7_t1.nii": (T1N, ""),
    "FLAIR_T2_5_fla.nii": (T2F, ""),
    "fact1": (NO, ""),
    "case/with a slash T2": (T2W, "case/with a slash"),
    "": (NO, ""),
}  # fmt: skip
"""Name -> the role and the patient's name in it."""


@pytest.mark.parametrize(("name", "told"), NAMES.items(), ids=NAMES)
def test_a_name_tells_role_and_patient(name, told):
    said = told_by(name)
    assert role_of_name(name) == told[0]
    if told[0] or told[1]:
        assert said.case_id == told[1]
    if told[1].isalnum():  # nor does it matter how the name is written
        assert told_by(name.upper().replace(".NII", ".nii")).role == told[0]


@pytest.mark.parametrize(
    ("names", "taken"),
    [
        ("T1 T1_bias", "T1"),
        ("T1 T1_unstripped", "T1"),
        ("T1 T1_brain", "T1_brain"),
        ("T1_to_SRI T1_to_SRI_brain T1_raw", "T1_to_SRI_brain"),
        ("T1_raw T1_reg", "T1_reg"),
        ("T1 T1_n4", "T1"),
        ("T1_tra T1_cor", "T1_tra"),
        ("T1_se_tra T1_mprage_sag", "T1_mprage_sag"),
    ],
)
def test_of_twins_one_is_preferred_and_it_is_said(names, taken):
    files = [(told_by(name), Path(f"{name}.nii")) for name in names.split()]
    for some in (files, files[::-1]):
        images, remarks, twins = chosen(some)
        assert images == {"t1n": Path(f"{taken}.nii")}
        assert f"{taken}.nii was taken" in remarks[0]
        assert not twins


def test_the_four_images_are_of_one_kind():
    names = "T1 T1c T2 FLAIR T1_brain T1c_brain FLAIR_brain"
    images, remarks, _ = chosen([(told_by(name), Path(name)) for name in names.split()])
    assert [file.name for file in images.values()] == ["T1", "T1c", "T2", "FLAIR"]
    assert remarks == [
        "Of several files for T1, T1ce and FLAIR, T1 was taken, not T1_brain and so on: all four images should be of "
        "one kind."
    ]


def test_equal_twins_and_labels_are_left_open():
    _, remarks, twins = chosen([(told_by(name), Path(name)) for name in ("x_t1ce", "x_t1gd")])
    assert (remarks, twins) == ([], {"t1c": [Path("x_t1ce"), Path("x_t1gd")]})
    labels = ["x_seg", "x_seg_rater2", "x_automated_approx_segm", "x_GlistrBoost_ManuallyCorrected"]
    named = [(told_by(name), Path(name)) for name in labels]
    assert best_labels(named) == [Path("x_GlistrBoost_ManuallyCorrected")]
    assert best_labels(named[:3]) == [Path("x_seg"), Path("x_seg_rater2")]


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
    names = {read_case(folder).case_id, read_case(folder, with_label=False).case_id, list_cases(tmp_path)[0].case_id}
    assert names == {"Case_7"}


def test_two_files_for_one_role(tmp_path):
    folder = write_brats(tmp_path)
    write(folder / "Case_7_t1gd.nii.gz", images()["t1c"])
    with pytest.raises(ValueError, match=r"two files for T1ce: Case_7_t1ce\.nii\.gz and Case_7_t1gd\.nii\.gz"):
        read_case(folder)
    files = by_role(write_brats(tmp_path, "whole"))
    with pytest.raises(ValueError, match="given for T1ce, FLAIR"):
        read_case_files(**files | {"t2f": files["t1c"]})
