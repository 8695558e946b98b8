"""Codings of label files: what each number means, and where that is in doubt."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_case import CLASSES, write, write_brats

from ProtoSegBrainLib.images.case import read_case
from ProtoSegBrainLib.images.codings import decode_label, encode_label
from ProtoSegBrainLib.labels import LABEL_CONVENTIONS


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


@pytest.mark.parametrize(("convention", "suffix"), [("brats2020", ".nii.gz"), ("brats2023", ".nrrd")])
def test_labels_of_both_brats_codings_mean_the_same(tmp_path, convention, suffix):
    folder = write_brats(tmp_path)
    write(folder / f"Case_7_seg{suffix}", encode_label(CLASSES, convention))
    case = read_case(folder)
    np.testing.assert_array_equal(case.label, CLASSES)
    assert (case.label.dtype, case.label_convention, case.warnings) == (np.uint8, convention, ())
    assert read_case(folder, with_label=False).label is None


def test_coding_that_contradicts_the_image_is_warned_about(tmp_path):
    swapped = np.array([0, 3, 2, 1], np.uint8)[CLASSES]
    (sentence,) = read_case(write_brats(tmp_path, label=swapped)).warnings
    assert "brats2023" in sentence
    assert "not brighter" in sentence


def test_one_scan_in_both_brats_codings_has_one_label(real_data: Path):
    folders = ("brats/BraTS2021_00000", "brats2023_format/BraTS-GLI-00000-000")
    old, new = (read_case(real_data / folder) for folder in folders)
    np.testing.assert_array_equal(old.label, new.label)
