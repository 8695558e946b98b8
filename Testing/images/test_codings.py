"""Codings of label files: what each number means, and where that is in doubt."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from phantom import classes, phantom, write_phantom
from small_case import CLASSES, write, write_brats

from ProtoSegBrainLib.images.case import Case, read_case
from ProtoSegBrainLib.images.codings import (
    coding_doubts,
    decode_label,
    encode_label,
    outward,
    value_looks,
    written_values,
)
from ProtoSegBrainLib.images.folders import list_cases
from ProtoSegBrainLib.images.study import Reading
from ProtoSegBrainLib.labels import LABEL_CONVENTIONS, MODALITIES


@pytest.mark.parametrize("convention", LABEL_CONVENTIONS)
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
def test_every_convention_round_trips(convention, dtype):
    stored = encode_label(CLASSES, convention)
    assert tuple(stored[index == CLASSES].max() for index in range(4)) == written_values(convention)
    classes, name = decode_label(stored.astype(dtype), convention)
    np.testing.assert_array_equal(classes, CLASSES)
    assert (classes.dtype, name) == (np.uint8, convention)


def test_of_two_values_for_a_class_the_first_is_written_and_never_the_cavity():
    assert written_values("peds") == (0, 2, 4, 1)
    assert written_values("brats2024") == (0, 1, 2, 3)
    assert decode_label(np.array([0, 1, 2, 3, 4]), "peds")[0].tolist() == [0, 3, 1, 1, 2]
    assert decode_label(np.array([0, 1, 2, 3, 4]), "brats2024")[0].tolist() == [0, 1, 2, 3, 0]


@pytest.mark.parametrize(
    ("values", "convention"),
    [
        ([], "brats2020"),
        ([1], "brats2020"),
        ([1, 2], "brats2020"),
        ([4], "brats2020"),
        ([2, 4], "brats2020"),
        ([3], "brats2023"),
        ([1, 2, 3], "brats2023"),
        ([3, 4], "brats2024"),
        ([1, 2, 3, 4], "brats2024"),
        ([0.9999999, 3.9999999], "brats2020"),
    ],
)
def test_coding_is_told_from_the_values(values, convention):
    assert decode_label(np.array([0, *values, 0]))[1] == convention


def test_what_the_values_mean():
    assert decode_label(np.array([0, 2, 1, 0]))[0].tolist() == [0, 2, 1, 0]
    assert decode_label(np.array([0, 0.9999999, 3.9999999]))[0].tolist() == [0, 1, 3]
    assert decode_label(np.zeros((2, 2, 2)))[0].sum() == 0


@pytest.mark.parametrize(
    ("values", "more"),
    [
        ([0, 1, 2, 5], "values 5 are"),
        ([0, -1], "values -1 are"),
        ([0, 0.25, 0.5], "probabilities?"),
        ([0, 255], "mask of one class?"),
        ([0, 260], "260"),
        ([0, np.nan], "nan"),
        ([0, 1e9], "1e[+]09"),
        (range(9), "values 5, 6, 7, 8 are"),
    ],
)
def test_values_outside_every_table_are_refused_in_one_sentence_that_lists_them(values, more):
    with pytest.raises(
        ValueError, match=r"unknown to every coding.*brats2024: 0, 1, 2, 3, 4; .*peds: 0, 1, 2, 3"
    ) as said:
        decode_label(np.array(list(values)))
    assert re.search(more, str(said.value))


def test_unknown_conventions_and_classes_are_refused():
    with pytest.raises(ValueError, match="expected one of brats2020, brats2023, brats2024, msd, nnunet, peds"):
        decode_label(CLASSES, "brats1999")
    with pytest.raises(ValueError, match="brats1999"):
        encode_label(CLASSES, "brats1999")
    with pytest.raises(ValueError, match="0 to 3"):
        encode_label(CLASSES + 1, "msd")
    with pytest.raises(ValueError, match="4 are unknown to msd"):
        decode_label(encode_label(CLASSES, "brats2020"), "msd")


@pytest.mark.parametrize(("convention", "suffix"), [("brats2020", ".nii.gz"), ("brats2023", ".nrrd")])
def test_labels_of_both_brats_codings_mean_the_same(tmp_path, convention, suffix):
    folder = write_brats(tmp_path)
    write(folder / f"Case_7_seg{suffix}", encode_label(CLASSES, convention))
    case = read_case(folder)
    np.testing.assert_array_equal(case.label, CLASSES)
    assert (case.label.dtype, case.label_convention, case.warnings) == (np.uint8, convention, ())
    assert read_case(folder, with_label=False).label is None


# -- what the images say -------------------------------------------------------------------------------------------

RECODED = {
    "nnunet": ("brats2023", [0, 2, 1, 3]),
    "peds": ("brats2020", [0, 2, 4, 1]),
}
"""Of a phantom whose classes 0 to 3 are stored as these values: how it is read without a word, as what it is."""


def phantom_case(folder: Path, values: np.ndarray, reading: Reading | None = None, images=None) -> Case:
    return read_case(write_phantom(folder, images=images, label=values.astype(np.uint8)), reading=reading)


@pytest.mark.parametrize("coding", RECODED)
def test_the_coding_that_fits_better_is_named(tmp_path, coding):
    read_as, values = RECODED[coding]
    stored = np.array(values, np.uint8)[classes()]
    case = phantom_case(tmp_path, stored)
    assert case.label_convention == read_as
    assert case.warnings == (
        f"The label was read as {read_as}; by the images it is rather {coding}: --labels {coding}.",
    )
    case = phantom_case(tmp_path, stored, Reading(labels=coding))
    assert (case.label_convention, case.warnings) == (coding, ())
    np.testing.assert_array_equal(case.label, classes())


def test_children_s_cysts_are_told_from_a_cavity(tmp_path):
    stored = np.array([0, 3, 4, 1], np.uint8)[classes()]
    stored[:, :, :38][stored[:, :, :38] == 3] = 2  # one half of the core solid, one cystic
    case = phantom_case(tmp_path, stored)
    assert case.label_convention == "brats2024"
    assert case.warnings[-1].endswith("--labels peds.")
    case = phantom_case(tmp_path, stored, Reading(labels="peds"))
    np.testing.assert_array_equal(case.label, classes())
    (said,) = case.warnings
    ml = np.count_nonzero(stored == 3) / 1000
    assert said == f"The label's value 3, read as peds, is the cystic component: {ml:.1f} ml, counted as NCR."


def test_a_cavity_is_no_enhancing_tumour(tmp_path):
    """An operated tumour: what was core is fluid, coded 4, and what was rim is oedema."""
    images, tumour = phantom(), classes()
    for role, fluid in (("t2f", 120), ("t1n", 200), ("t1c", 200), ("t2w", 1000)):
        images[role][tumour == 1] = fluid
    stored = np.array([0, 4, 2, 2], np.uint8)[tumour]
    case = phantom_case(tmp_path, stored, images=images)
    assert case.warnings == (
        "The label was read as brats2020; by the images it is rather brats2024: --labels brats2024.",
    )
    case = phantom_case(tmp_path, stored, Reading(labels="brats2024"), images=images)
    assert (case.label == np.array([0, 0, 2, 2])[tumour]).all()
    assert case.warnings == (
        "The label's value 4, read as brats2024, is the resection cavity: 0.6 ml, left out of the regions, as "
        "background.",
    )
    stored[0, 0, 0] = 3  # its values alone tell
    assert phantom_case(tmp_path, stored, images=images).label_convention == "brats2024"


@pytest.mark.parametrize("convention", ["brats2020", "brats2023", "brats2024", "msd", "nnunet", "peds"])
def test_a_coding_that_is_named_rightly_is_not_doubted(tmp_path, convention):
    reading = Reading(labels=convention)
    assert phantom_case(tmp_path, encode_label(classes(), convention), reading).warnings == ()


def test_a_coding_that_is_named_wrongly_is_doubted(tmp_path):
    stored = encode_label(classes(), "brats2023")
    (said,) = phantom_case(tmp_path, stored, Reading(labels="nnunet")).warnings
    assert said == "The label was read as nnunet; by the images it is rather brats2023: --labels brats2023."
    said = phantom_case(tmp_path, stored, Reading(labels="peds")).warnings[-1]
    assert "read as peds, may be coded otherwise: enhancing tumour is not brighter" in said


def test_an_order_that_no_coding_has_is_said(tmp_path):
    (said,) = phantom_case(tmp_path, np.array([0, 3, 2, 1])[classes()]).warnings
    assert said == (
        "The label was read as brats2023; by the images it is in no coding that is known: NCR looks like ET and ET "
        "looks like NCR."
    )


def test_a_mask_of_the_whole_tumour_is_no_necrosis(tmp_path):
    (said,) = phantom_case(tmp_path, classes() > 0).warnings
    assert said.startswith("The label has the one value 1, read as NCR: if it is a mask of the whole tumour")


def test_few_voxels_say_nothing():
    label = np.zeros((9, 9, 9), np.uint8)
    label[3:6, 3:6, 3:6] = 1
    label[4, 4, 4] = 2
    assert coding_doubts(label, np.ones((4, 9, 9, 9)), (1, 1, 1), "brats2020", named=False) == []


def test_outward_counts_the_faces_between_values_by_their_area():
    label = np.zeros((5, 5, 5), np.uint8)
    label[1:4, 1:4, 1:4] = 2
    label[2, 2, 2] = 1
    assert outward(label) == pytest.approx([0, 0, 54 / 60])
    assert outward(np.zeros((3, 3, 3), np.uint8)) == pytest.approx([0])
    assert outward(np.full((2, 2, 2), 3, np.uint8)) == pytest.approx([0, 0, 0, 1])  # the edge of the grid is outside
    pair = np.array([1, 2], np.uint8).reshape(2, 1, 1)
    assert outward(pair, (1, 1, 3)) == pytest.approx([0, 11 / 14, 11 / 14])  # of 4 · 3 + 2 mm² they share 3


def test_ranks_run_from_the_darkest_to_the_brightest_of_the_brain():
    label = np.zeros((10, 10, 10), np.uint8)
    label[:, :, 5:] = 1
    images = np.ones((4, 10, 10, 10))
    images[MODALITIES.index("t1c"), :, :, 5:] = 2
    looks = value_looks(label, images, (1, 1, 1))
    assert looks[1][1:] == pytest.approx((0.75, 0.5))


@pytest.mark.parametrize("coding", RECODED)
def test_real_labels_in_another_coding_are_recognised(real_data, coding):
    read_as, values = RECODED[coding]
    for files in list_cases(real_data / "brats")[::25]:
        case = read_case(files)
        assert case.warnings == ()
        stored = np.array(values, np.uint8)[case.label]
        (said,) = coding_doubts(stored, case.images, (1, 1, 1), read_as, named=False)
        assert said.endswith(f"--labels {coding}.")


def test_one_scan_in_both_brats_codings_has_one_label(real_data: Path):
    folders = ("brats/BraTS2021_00000", "brats2023_format/BraTS-GLI-00000-000")
    old, new = (read_case(real_data / folder) for folder in folders)
    np.testing.assert_array_equal(old.label, new.label)
