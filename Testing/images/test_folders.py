"""Which cases a folder holds: trees of public data sets and of hospitals, as names alone; no file has content."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from small_case import CLASSES, images, write, write_brats

from ProtoSegBrainLib.images.case import read_case
from ProtoSegBrainLib.images.codings import encode_label
from ProtoSegBrainLib.images.folders import CaseFiles, find_case, list_cases
from ProtoSegBrainLib.labels import MODALITIES, MSD_CHANNELS, NNUNET_CHANNELS

BRATS = ("t1", "t1ce", "t2", "flair")
BIDS = ("T1w", "ce-gadolinium_T1w", "T2w", "FLAIR")
PLAIN = ("T1", "T1c", "T2", "FLAIR")
UCSF = (
    "ADC ASL DTI_eddy_FA DTI_eddy_L1 DTI_eddy_MD DTI_eddy_noreg DWI DWI_bias FLAIR FLAIR_bias SWI SWI_bias T1 T1_bias "
    "T1c T1c_bias T2 T2_bias brain_segmentation brain_parenchyma_segmentation tumor_segmentation"
)


def make(folder: Path, *names: str) -> Path:
    """Empty files."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def four(prefix: str, names: tuple[str, ...] = BRATS, suffix: str = ".nii.gz") -> list[str]:
    """Names of the four images of a case, in the order of ``MODALITIES``."""
    return [f"{prefix}{name}{suffix}" for name in names]


def names_of(case: CaseFiles, folder: Path) -> list[str]:
    return [case.images[role].relative_to(folder).as_posix() for role in MODALITIES]


def sound(folder: Path) -> dict[str, CaseFiles]:
    """The cases by their names; nothing is wrong with any."""
    cases = list_cases(folder)
    assert [case.problem for case in cases] == [""] * len(cases)
    for case in cases:  # and each is found by its place
        assert find_case(case.place).images == case.images
    return {case.case_id: case for case in cases}


# -- trees ---------------------------------------------------------------------------------------------------------


def test_brats_in_hgg_and_lgg(tmp_path):
    make(tmp_path, *four("HGG/a_1/a_1_"), "HGG/a_1/a_1_seg.nii.gz", *four("LGG/b_2/b_2_"), "survival_data.csv")
    cases = sound(tmp_path)
    assert names_of(cases["a_1"], tmp_path) == four("HGG/a_1/a_1_")
    assert cases["a_1"].label == tmp_path / "HGG/a_1/a_1_seg.nii.gz"
    assert names_of(cases["b_2"], tmp_path) == four("LGG/b_2/b_2_")
    assert cases["b_2"].label is None


def test_brats_2013_has_a_folder_per_image_and_no_patient_in_the_names(tmp_path):
    parts = ("MR_T1.1", "MR_T1c.2", "MR_T2.3", "MR_Flair.4", "OT.5")
    files = [f"VSD.Brain.XX.O.{part}/VSD.Brain.XX.O.{part}.mha" for part in parts]
    make(tmp_path, *(f"{grade}/0001/{file}" for grade in ("HGG", "LGG") for file in [*files, "VSD.txt"]))
    cases = sound(tmp_path)
    assert cases.keys() == {"HGG_0001", "LGG_0001"}
    assert names_of(cases["LGG_0001"], tmp_path) == [f"LGG/0001/{file}" for file in files[:4]]
    assert cases["LGG_0001"].label == tmp_path / "LGG/0001" / files[4]


def test_bids_with_sessions_is_named_by_them(tmp_path):
    anats = [f"sub-0{s}/ses-{t}/anat/sub-0{s}_ses-{t}_" for s in (1, 2) for t in (1, 2)]
    make(tmp_path, "dataset_description.json", *(name for anat in anats for name in four(anat, (*BIDS, "T2starw"))))
    make(tmp_path, "sub-01/ses-1/dwi/sub-01_ses-1_dwi.nii.gz", "sub-01/ses-1/perf/sub-01_ses-1_asl.nii.gz")
    make(tmp_path, f"{anats[0]}label-brain_mask.nii.gz", f"{anats[0]}desc-tissue_dseg.nii.gz")
    make(tmp_path, f"derivatives/masks/{anats[0]}desc-tumor_dseg.nii.gz")
    cases = sound(tmp_path)
    assert [*cases] == ["sub-01_ses-1", "sub-01_ses-2", "sub-02_ses-1", "sub-02_ses-2"]
    assert names_of(cases["sub-02_ses-1"], tmp_path) == four(anats[2], BIDS)
    assert cases["sub-01_ses-1"].label == tmp_path / f"derivatives/masks/{anats[0]}desc-tumor_dseg.nii.gz"
    assert find_case(tmp_path / "sub-01/ses-2").case_id == "sub-01_ses-2"
    assert find_case(tmp_path / "sub-01/ses-2/anat").case_id == "sub-01_ses-2"


def test_derived_images_of_bids_are_taken_where_there_are_no_others(tmp_path):
    raw, derived = "sub-01/anat/sub-01_", "derivatives/prep/sub-01/anat/sub-01_space-MNI152_desc-brain_"
    make(tmp_path, *four(derived, BIDS))
    assert names_of(sound(tmp_path)["sub-01"], tmp_path) == four(derived, BIDS)
    make(tmp_path, *four(raw, BIDS))
    case = sound(tmp_path)["sub-01"]
    assert names_of(case, tmp_path) == four(raw, BIDS)
    assert "which were not taken" in case.remarks[0]


def test_several_cases_in_one_folder(tmp_path):
    make(tmp_path, *four("a_"), "a_seg.nii.gz", *four("b_"), "b_mask.nii.gz", "c_t1.nii.gz", "c_t2.nii.gz", "atlas.nii")
    a, b, c = list_cases(tmp_path)
    assert (a.case_id, names_of(a, tmp_path), a.label) == ("a", four("a_"), tmp_path / "a_seg.nii.gz")
    assert (b.case_id, names_of(b, tmp_path), b.problem) == ("b", four("b_"), "")
    assert "no file found for T1ce, FLAIR" in c.problem
    assert find_case(tmp_path / "b").images == b.images
    with pytest.raises(
        ValueError, match=r"data set of 3 cases: a, b, c; name one of them, such as .*a, or segment all"
    ):
        find_case(tmp_path)
    with pytest.raises(FileNotFoundError, match="no file or folder"):
        find_case(tmp_path / "d")


@pytest.mark.parametrize(
    ("files", "names"),
    [
        ([f"{name}_{k}.nii" for k in ("001", "002") for name in BRATS], ["001", "002"]),
        ([f"P1_T{k}_{name}.nii" for k in (1, 2) for name in BRATS], ["P1_T1", "P1_T2"]),  # two dates, T1 and T2
        ([f"9_time{k}_{name}.nii" for k in (1, 2) for name in BRATS], ["9_time1", "9_time2"]),
    ],
)
def test_names_of_patients_stand_anywhere(tmp_path, files, names):
    cases = sound(make(tmp_path, *files))
    assert [*cases] == names
    assert [names_of(case, tmp_path) for case in cases.values()] == [files[:4], files[4:]]


def test_kaggle_nests_folders_and_misnames_a_label(tmp_path):
    case = "archive/MICCAI/BraTS20_Training_355/"
    make(tmp_path, *four(f"{case}BraTS20_Training_355_", suffix=".nii"), f"{case}W39_1998.09.19_Segm.nii")
    label = sound(tmp_path)["BraTS20_Training_355"].label
    assert label == tmp_path / case / "W39_1998.09.19_Segm.nii"


@pytest.mark.parametrize("name", ["00000057_final_{}.nii", "volume.nii", "{}.nii.gz"])
def test_a_folder_per_image(tmp_path, name):
    for k in (1, 2):
        make(tmp_path, *(f"p{k}/p{k}_{each}.nii/{name.format(each)}" for each in (*BRATS, "seg")))
    cases = list_cases(tmp_path)
    assert [case.place for case in cases] == [tmp_path / "p1", tmp_path / "p2"]
    assert [case.problem for case in cases] == ["", ""]
    assert len({case.case_id for case in cases}) == 2
    assert cases[0].label == tmp_path / "p1/p1_seg.nii" / name.format("seg")


def test_images_of_two_patients_are_not_joined(tmp_path):
    make(tmp_path, "p1/p1_t1.nii", "p1/p1_t2.nii", "p2/p2_t1ce.nii", "p2/p2_flair.nii")
    assert ["no file found" in case.problem for case in list_cases(tmp_path)] == [True, True]
    make(tmp_path / "other", "p1/T1.nii", "p1/T2.nii", "p2/T1c.nii", "p2/FLAIR.nii")
    assert [case.case_id for case in list_cases(tmp_path / "other")] == ["p1", "p2"]


def test_ucsf_has_twins_and_much_else(tmp_path):
    folder = "UCSF-PDGM-v3/UCSF-PDGM-0004_nifti/UCSF-PDGM-0004_"
    case = sound(make(tmp_path, *four(folder, tuple(UCSF.split()))))["UCSF-PDGM-0004"]
    assert names_of(case, tmp_path) == four(folder, PLAIN)
    assert case.label == tmp_path / f"{folder}tumor_segmentation.nii.gz"
    assert len(case.remarks) == 1
    assert "T1.nii.gz was taken, not UCSF-PDGM-0004_T1_bias.nii.gz" in case.remarks[0]


@pytest.mark.parametrize("where", ["", "images_structural_unstripped/"])
def test_upenn_has_unstripped_twins_and_labels_elsewhere(tmp_path, where):
    name, roles = "UPENN-GBM-00001_11", ("T1", "T1GD", "T2", "FLAIR")
    first = "images_structural/" if where else ""
    make(tmp_path, *four(f"{first}{name}/{name}_", roles))
    make(tmp_path, *four(f"{where}{name}/{name}_", roles, "_unstripped.nii.gz"))
    make(tmp_path, f"images_segm/{name}_segm.nii.gz", f"automated_segm/{name}_automated_approx_segm.nii.gz")
    make(tmp_path, f"images_DSC/{name}/{name}_DSC.nii.gz", f"images_DTI/{name}/{name}_DTI_FA.nii.gz")
    case = sound(tmp_path)[name]
    assert names_of(case, tmp_path) == four(f"{first}{name}/{name}_", roles)
    assert case.label == tmp_path / f"images_segm/{name}_segm.nii.gz"
    assert "skull-stripped images are preferred" in case.remarks[0]


def test_a_folder_below_each_sequence_and_dates_below_each_patient(tmp_path):
    make(
        tmp_path,
        *(f"EGD-{k}/{i}_{name}/NIFTI/{name}.nii.gz" for k in (1, 2) for i, name in enumerate((*PLAIN, "MASK"))),
    )
    assert sound(tmp_path).keys() == {"EGD-1", "EGD-2"}
    lumiere = tmp_path / "lumiere"
    make(lumiere, *(name for p in (1, 2) for w in (0, 1) for name in four(f"Patient-{p}/week-{w}/", PLAIN)))
    make(lumiere, "Patient-1/week-0/DeepBraTumIA-segmentation/atlas/ct1_skull_strip.nii.gz")
    assert [*sound(lumiere)] == [f"Patient-{p}_week-{w}" for p in (1, 2) for w in (0, 1)]


def test_a_name_that_all_files_have_is_no_patients(tmp_path):
    make(tmp_path, *(name for k in (1, 2, 3) for name in four(f"p{k}/export_", PLAIN)))
    assert [*sound(tmp_path)] == ["p1", "p2", "p3"]
    assert find_case(tmp_path / "p1").case_id == "export"
    make(tmp_path / "sites", *(name for site in "AB" for name in four(f"site{site}/p1/anat/", PLAIN)))
    assert [*sound(tmp_path / "sites")] == ["siteA_p1", "siteB_p1"]


# -- the Decathlon and nnU-Net -------------------------------------------------------------------------------------


def test_the_decathlon_has_files_of_four_channels(tmp_path):
    make(tmp_path, "imagesTr/B_1.nii.gz", "imagesTr/._B_1.nii.gz", "imagesTs/B_2.nii.gz", "labelsTr/B_1.nii.gz")
    first, second = sound(tmp_path).values()
    assert (first.case_id, first.channels, first.coding) == ("B_1", MSD_CHANNELS, "msd")
    assert first.label == tmp_path / "labelsTr/B_1.nii.gz"
    assert (second.place, second.label) == (tmp_path / "imagesTs/B_2.nii.gz", None)


def test_nnunet_has_a_file_per_channel(tmp_path):
    make(tmp_path, *(f"images{part}/B_{part}_000{n}.nii.gz" for part in ("Tr", "Ts") for n in range(4)))
    make(tmp_path, "labelsTr/B_Tr.nii.gz")
    first, second = sound(tmp_path).values()
    assert [first.images[role].name for role in NNUNET_CHANNELS] == [f"B_Tr_000{n}.nii.gz" for n in range(4)]
    assert (first.label, first.coding) == (tmp_path / "labelsTr/B_Tr.nii.gz", "nnunet")
    assert "_0000 T1, _0001 T1ce, _0002 T2, _0003 FLAIR" in first.remarks[0]
    assert second.case_id == "B_Ts"


@pytest.mark.parametrize("key", ["channel_names", "modality"])
def test_dataset_json_says_the_order_of_channels(tmp_path, key):
    named = {str(n): name for n, name in enumerate(("FLAIR", "T1w", "t1gd", "T2w"))}
    (tmp_path / "dataset.json").write_text(json.dumps({key: named, "labels": {"0": "background"}}))
    make(tmp_path, *(f"imagesTr/B_1_000{n}.nii.gz" for n in range(4)), "imagesTr/B_2.nii.gz")
    files, whole = sound(tmp_path).values()
    assert [files.images[role].name for role in MSD_CHANNELS] == [f"B_1_000{n}.nii.gz" for n in range(4)]
    assert (files.remarks, whole.channels) == ((), MSD_CHANNELS)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"channel_names": {"0": "CT"}}', '{"modality": 3}'])
def test_a_useless_dataset_json_does_not_matter(tmp_path, text):
    (tmp_path / "dataset.json").write_text(text)
    make(tmp_path, *(f"imagesTr/B_1_000{n}.nii.gz" for n in range(4)))
    assert "in the order of nnU-Net" in sound(tmp_path)["B_1"].remarks[0]


def test_cases_of_nnunet_are_read_with_their_labels(tmp_path):
    for number, role in enumerate(NNUNET_CHANNELS):
        write(tmp_path / "imagesTr" / f"B_1_000{number}.nii.gz", images()[role])
    write(tmp_path / "labelsTr" / "B_1.nii.gz", encode_label(CLASSES, "nnunet"))
    case = read_case(list_cases(tmp_path)[0])
    assert (case.case_id, case.label_convention) == ("B_1", "nnunet")
    assert (case.label == CLASSES).all()
    assert all((image == images()[role]).all() for role, image in zip(MODALITIES, case.images, strict=True))
    assert "nnU-Net" in case.warnings[0]


# -- what is wrong -------------------------------------------------------------------------------------------------


def test_cases_of_unknown_names_are_listed_with_what_lies_there(tmp_path):
    make(tmp_path, *four("p1/p1_"), "p2/FL_to_SRI.nii.gz", "p2/A_to_SRI.nii.gz", "p3/a.nii", "p3/b.nii", "p4/x_adc.nii")
    make(tmp_path, "p5/notes.txt", "brain_masks/p1_mask.nii", "dwi/p1_dwi.nii")
    good, some, none, maps = list_cases(tmp_path)
    assert (good.case_id, good.problem) == ("p1", "")
    assert "p2: no file found for T1, T1ce, T2; there is: A_to_SRI.nii.gz, FL_to_SRI.nii.gz." in some.problem
    assert "p3: no file found for T1, T1ce, T2, FLAIR; there is: a.nii, b.nii. Expected names such as" in none.problem
    assert (maps.case_id, "x_adc.nii" in maps.problem) == ("p4", True)
    with pytest.raises(FileNotFoundError, match="no file found for T1, T1ce, T2;"):
        read_case(some)


def test_two_files_for_a_role_and_equal_names_are_problems_of_these_cases_alone(tmp_path):
    make(tmp_path, *four("p1/p1_"), *four("copy/p1_"), *four("p2/p2_"), "p2/p2_t1gd.nii.gz", *four("p3/p3_"))
    copy, first, second, third = list_cases(tmp_path)
    assert copy.problem == first.problem
    assert f"Several cases are called p1: {copy.place} and {first.place}; rename" in copy.problem
    assert "two files for T1ce: p2_t1ce.nii.gz and p2_t1gd.nii.gz; expected one." in second.problem
    assert third.problem == ""
    for case in (copy, first, second):
        with pytest.raises(ValueError, match=r"Several cases|two files"):
            read_case(case)
    assert find_case(tmp_path / "copy").problem == ""


def test_a_label_that_is_not_needed_is_not_looked_at(tmp_path):
    folder = write_brats(tmp_path, label=CLASSES)
    write(folder / "Case_7_seg_rater2.nii.gz", CLASSES)
    assert read_case(folder, with_label=False).label is None
    with pytest.raises(
        ValueError, match=r"two files for the label: Case_7_seg\.nii\.gz and Case_7_seg_rater2\.nii\.gz"
    ):
        read_case(folder)
    assert list_cases(tmp_path)[0].problem == ""


def test_results_of_ours_are_neither_images_nor_labels(tmp_path):
    results = [f"p1_{part}" for part in ("seg.nii.gz", "prob.nii.gz", "sim.nii.gz", "unc.nii.gz", "prediction.json")]
    make(tmp_path, *four("p1/p1_"), *(f"p1/{name}" for name in results), *(f"results/{name}" for name in results))
    case = sound(tmp_path)["p1"]
    assert (case.place, case.label) == (tmp_path / "p1", None)


def test_a_case_is_not_given_the_label_of_another(tmp_path):
    make(tmp_path, *four("p1/p1_"), "labels/p2_seg.nii.gz", "labels/p3.nii.gz")
    assert sound(tmp_path)["p1"].label is None
    make(tmp_path, "labels/p1.nii.gz")
    assert sound(tmp_path)["p1"].label == tmp_path / "labels/p1.nii.gz"


def test_what_lies_below_or_beside_a_case_is_no_case(tmp_path):
    make(tmp_path, *four("p1/p1_"), "p1/old/p1_t1.nii.gz", "p1/raw/x.nii", "p1/y.nii", "MNI152.nii.gz")
    assert sound(tmp_path).keys() == {"p1"}
    assert find_case(tmp_path / "p1").case_id == "p1"


def test_hidden_and_empty_folders_and_links_that_lead_back_are_survived(tmp_path):
    make(tmp_path, *four("p1/p1_"), *four("__MACOSX/p2/p2_"), *four(".cache/p3/p3_"), "p1/._p1_t1.nii.gz")
    (tmp_path / "empty").mkdir()
    (tmp_path / "p1" / "back").symlink_to(tmp_path)
    (tmp_path / "itself").symlink_to(tmp_path / "itself")
    assert sound(tmp_path).keys() == {"p1"}


def test_a_link_without_its_file_is_listed(tmp_path):
    make(tmp_path, *four("p1/p1_", BRATS[1:]))
    (tmp_path / "p1" / "p1_t1.nii.gz").symlink_to(tmp_path / "gone")
    (case,) = list_cases(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"p1_t1\.nii\.gz"):
        read_case(case)


def test_a_folder_that_must_not_be_read_is_a_case_with_a_problem(tmp_path, monkeypatch):
    make(tmp_path, *four("p1/p1_"), *four("p2/p2_"))
    plain = Path.iterdir

    def iterdir(folder: Path):
        if folder.name == "p2":
            raise PermissionError(13, os.strerror(13))
        return plain(folder)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    first, second = list_cases(tmp_path)
    assert (first.case_id, first.problem) == ("p1", "")
    assert second.problem == f"{second.place} cannot be read: Permission denied."


def test_list_cases_finds_folders_and_single_cases(tmp_path):
    for case_id in ("b_1", "a_2"):
        write_brats(tmp_path, case_id)
    (tmp_path / "empty").mkdir()
    listed = [(case.case_id, case.place) for case in list_cases(tmp_path)]
    assert listed == [("a_2", tmp_path / "a_2"), ("b_1", tmp_path / "b_1")]
    assert [case.case_id for case in list_cases(tmp_path / "a_2")] == ["a_2"]
    with pytest.raises(FileNotFoundError, match="no case found"):
        list_cases(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        list_cases(tmp_path / "nowhere")


def test_a_folder_without_images_says_what_is_there(tmp_path):
    make(tmp_path, "study/1.dcm", "study/notes.txt")
    (tmp_path / "study" / "1.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\0" * 99)
    with pytest.raises(
        FileNotFoundError, match=r"study/1\.dcm, study/notes\.txt \(1\.dcm is a DICOM file; give the folder"
    ) as at:
        find_case(tmp_path)
    assert "Expected names such as case_flair.nii.gz" in str(at.value)
