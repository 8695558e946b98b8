"""Folders of cases with one fault each: what is said of it, and that nothing is said of sound ones."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ProtoSegBrainLib.checking.case import COMMON_BOX, TUMOUR, CheckedCase, Problem, check_case
from ProtoSegBrainLib.checking.data_set import check_data, summary, table, write_check
from ProtoSegBrainLib.commands.cli import main
from ProtoSegBrainLib.images.codings import encode_label
from ProtoSegBrainLib.images.formats import read_volume, write_volume
from ProtoSegBrainLib.images.study import Reading
from ProtoSegBrainLib.images.volume import Volume
from ProtoSegBrainLib.simulation.simulate import simulate_case, write_case

NAMES = ("t1", "t1ce", "t2", "flair")
LAST_PAGE = "cases_9.png"


@pytest.fixture(scope="module")
def sound():
    """A simulated case of 96 ml; share it, do not change it."""
    return simulate_case(1, shape=(96, 96, 64))


@pytest.fixture
def data(sound, tmp_path):
    """A data folder with that case alone."""
    write_case(sound, tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def folder(data):
    return data / "simulated_1"


def change(folder, name, changed):
    """Replace an image of a case by what ``changed`` makes of its array."""
    path = folder / f"{folder.name}_{name}.nii.gz"
    volume = read_volume(path)
    write_volume(path, Volume(np.asarray(changed(volume.array)), volume.affine))


def copy(folder, name, changed=lambda volume: volume):
    """A case of another name whose four images are those of ``folder``, changed."""
    target = folder.parent / name
    target.mkdir()
    for image in (*NAMES, "seg"):
        volume = changed(read_volume(folder / f"{folder.name}_{image}.nii.gz"))
        write_volume(target / f"{name}_{image}.nii.gz", volume)
    return target


def half(array):
    """A chequered half of the voxels."""
    return np.indices(array.shape).sum(axis=0) % 2 == 0


def texts(case, severity=None):
    """Of its problems, less that of the small simulated brain."""
    told = (problem for problem in case.problems if severity in (None, problem.severity))
    return [problem.text for problem in told if not problem.text.startswith("The brain has 96 ml")]


# -- one case ------------------------------------------------------------------------------------------------------


def test_a_sound_case_has_facts_and_no_problems(sound, folder):
    case = check_case(folder)
    assert texts(case) == []
    assert case.facts["size"] == "96 x 96 x 64"
    assert case.facts["axes"] == "LPS"
    assert case.facts["grids"] == "one"
    assert case.facts["skull_stripped"]
    assert case.facts["brain_ml"] == pytest.approx(sound.brain.sum() / 1000, rel=0.01)
    counted = [case.facts[f"{name}_ml"] for name in ("NCR", "ED", "ET", "TC", "WT")]
    ncr, ed, et = np.bincount(sound.label.ravel())[1:] / 1000
    assert counted == pytest.approx([ncr, ed, et, ncr + et, ncr + ed + et])
    own = sound.images[0][sound.images[0] != 0]
    assert case.facts["t1n_p50"] == pytest.approx(np.median(own), abs=1)


def test_what_is_wrong_with_intensities_is_said(folder):
    change(folder, "t1", lambda array: np.minimum(array, np.percentile(array[array > 0], 98)).astype(np.int16))
    change(folder, "t2", lambda array: (array // 8).astype(np.int16))
    change(
        folder, "flair", lambda array: np.where(array > 0, array - np.median(array[array > 0]), 0).astype(np.float32)
    )
    change(folder, "t1ce", lambda array: np.where(np.arange(64) < 24, 0, array))
    told = texts(check_case(folder))
    assert [sentence.split()[0] for sentence in told] == ["T1ce", "T2:", "T1", "FLAIR"]
    assert "T1ce shows only" in told[0]
    assert "8 bits" in told[1]
    assert "T1 is clipped: 2." in told[2]
    assert "FLAIR is negative in 50%" in told[3] or "FLAIR is negative in 49%" in told[3]


def test_labels_that_are_empty_missing_outside_or_mirrored_are_told_apart(sound, folder):
    seg = folder / f"{folder.name}_seg.nii.gz"
    change(folder, "seg", np.zeros_like)
    assert texts(check_case(folder)) == ["The label is empty: it marks no tumour."]
    seg.unlink()
    assert "no label" in texts(check_case(folder), "warning")[0]
    moved = np.roll(encode_label(sound.label, "brats2020"), 40, axis=2)
    write_volume(seg, Volume(moved, sound.affine))
    assert "outside the brain" in texts(check_case(folder), "error")[0]
    write_volume(seg, Volume(np.flip(encode_label(sound.label, "brats2020"), 0), sound.affine))
    assert any("mirrored" in sentence for sentence in texts(check_case(folder), "warning"))


def test_labels_of_the_decathlon_under_brats_names_are_an_error(sound, folder):
    change(folder, "seg", lambda _: encode_label(sound.label, "msd"))
    (told,) = texts(check_case(folder), "error")
    assert told == "The label was read as brats2023; by the images it is rather nnunet: --labels nnunet."
    assert texts(check_case(folder, reading=Reading(labels="nnunet"))) == []


def test_the_cavity_of_a_treated_tumour_is_a_note_and_mixes_no_codings(sound, data, folder):
    copy(folder, "operated")
    for name in (folder.name, "operated"):
        change(data / name, "seg", lambda _: encode_label(sound.label, "brats2023"))
    change(data / "operated", "seg", lambda array: np.where((array == 1) & half(array), 4, array).astype(np.uint8))
    cases = {case.path.name: case for case in check_data(data)}
    assert cases["operated"].facts["coding"] == "brats2024"
    assert "resection cavity" in texts(cases["operated"], "note")[0]
    assert not any("source" in sentence for case in cases.values() for sentence in texts(case))


def test_a_bad_label_leaves_the_images_to_be_checked(folder):
    change(folder, "seg", lambda array: np.where(array == 4, 7, array).astype(np.uint8))
    case = check_case(folder)
    assert "label values 7 are unknown" in texts(case, "error")[0]
    assert case.view is not None
    assert "WT_ml" not in case.facts
    assert not any("no label" in sentence for sentence in texts(case))


@pytest.mark.parametrize("grid", ["thick", "other"])
def test_thick_slices_and_several_grids_are_said(sound, folder, grid):
    names = (*NAMES, "seg") if grid == "thick" else ("flair",)
    for name in names:
        path = folder / f"{folder.name}_{name}.nii.gz"
        volume = read_volume(path)
        write_volume(path, Volume(volume.array[:, :, ::4], volume.affine @ np.diag([1, 1, 4, 1])))
    case = check_case(folder)
    assert case.facts["grids"] == ("one" if grid == "thick" else "several")
    assert ("thick slices" if grid == "thick" else "resampled to") in " ".join(texts(case, "warning"))


def test_the_place_of_a_tumour_is_in_coordinates_of_the_brain(sound, folder):
    i, j, k = np.nonzero(sound.brain)
    low, high = np.array([(axis.min(), axis.max() + 1) for axis in (i, j, k)]).T
    label = np.zeros_like(sound.label)
    label[low[0] : low[0] + 20, low[1] : low[1] + 20, high[2] - 20 : high[2]] = 2  # left, posterior... of an LPS grid
    label[~sound.brain] = 0
    change(folder, "seg", lambda _: encode_label(label, "brats2020"))
    place = check_case(folder).place
    assert place.shape == COMMON_BOX
    middle = np.argwhere(place == TUMOUR).mean(axis=0) / COMMON_BOX
    voxel = np.argwhere(label).mean(axis=0)
    share = (voxel + 0.5 - low) / (high - low)
    assert middle == pytest.approx([1 - share[0], 1 - share[1], share[2]], abs=0.03)


# -- across cases --------------------------------------------------------------------------------------------------


def reoriented(volume):
    """The same voxels in the same places, stored in another order of axes."""
    affine = volume.affine[:, [2, 0, 1, 3]].copy()
    affine[:, 3] += affine[:, 0] * (volume.shape[2] - 1)
    affine[:, 0] *= -1
    return Volume(volume.array.transpose(2, 0, 1)[::-1], affine)


def mirrored_and_scaled(volume):
    if volume.array.dtype == np.uint8:
        return Volume(volume.array[::-1], volume.affine)
    return Volume((volume.array[::-1] * 0.37).astype(np.float32), volume.affine)


@pytest.mark.parametrize("changed", [reoriented, mirrored_and_scaled])
def test_copies_under_another_name_are_found(data, folder, changed):
    copy(folder, "another", changed)
    write_case(simulate_case(2, shape=(96, 96, 64)), data)
    another, first, second = check_data(data)
    assert texts(first, "error") == ["T1, T1ce, T2 and FLAIR: the same image as in another."]
    assert texts(another, "error") == ["T1, T1ce, T2 and FLAIR: the same image as in simulated_1."]
    assert texts(second, "error") == []


def test_one_image_for_two_modalities_is_found(data, folder):
    shutil.copy(folder / "simulated_1_t1.nii.gz", folder / "simulated_1_t2.nii.gz")
    (case,) = check_data(data)
    assert "T1 and T2 are the same image." in texts(case, "error")


def test_bad_cases_are_rows_and_do_not_stop_the_others(data, folder):
    copy(folder, "lacking")
    (data / "lacking" / "lacking_flair.nii.gz").unlink()
    copy(folder, "damaged")
    file = data / "damaged" / "damaged_t1.nii.gz"
    file.write_bytes(file.read_bytes()[:5000])
    copy(folder, "holes")
    change(data / "holes", "t2", lambda array: np.where(array > 500, np.nan, array).astype(np.float32))
    shutil.copytree(folder, data / "same_files")
    (data / "notes").mkdir()
    told = {case.path.name: " ".join(texts(case, "error")) for case in check_data(data)}
    assert list(told) == ["damaged", "holes", "lacking", "same_files", "simulated_1"]
    assert "damaged_t1.nii.gz cannot be read" in told["damaged"]
    assert "NaN" in told["holes"]
    assert "no file found for FLAIR" in told["lacking"]
    assert "Another case is called simulated_1, too: same_files." in told["simulated_1"]
    assert "Another case is called simulated_1, too: simulated_1." in told["same_files"]


def test_another_coding_than_in_most_cases_is_said(sound, data, folder):
    for name in ("a", "b"):
        copy(folder, name)
    change(data / "b", "seg", lambda _: encode_label(sound.label, "brats2023"))
    told = {case.case_id: texts(case, "warning") for case in check_data(data)}
    assert told["a"] == told["simulated_1"] == []
    assert told["b"] == ["The label is coded as brats2023, most others as brats2020: do they come from one source?"]


def test_a_folder_without_cases_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no case found"):
        check_data(tmp_path)
    with pytest.raises(FileNotFoundError, match="There is no folder"):
        check_data(tmp_path / "nowhere")


# -- files and the command -----------------------------------------------------------------------------------------


def test_the_table_and_the_summary_say_the_same_as_the_cases(data, folder, tmp_path):
    (data / "bad").mkdir()
    (data / "bad" / "bad_t1.nii.gz").write_bytes(b"")
    cases = check_data(data)
    files = write_check(cases, tmp_path / "out")
    assert [file.name for file in files] == ["data_check.csv", "data_check.json", "cases.png", "data_set.png"]
    with files[0].open(newline="") as file:
        rows = list(csv.DictReader(file))
    content = json.loads(files[1].read_text())
    assert [row["case_id"] for row in rows] == ["bad", "simulated_1"]
    assert rows[0]["problems"].startswith("error: ")
    assert rows[0]["WT_ml"] == ""
    assert float(rows[1]["WT_ml"]) == cases[1].facts["WT_ml"]
    assert content["table"] == table(cases)
    assert {key: value for key, value in content.items() if key != "table"} == summary(cases)
    assert content["worst"] == {"error": 1, "warning": 1, "note": 0}
    assert content["volumes_ml"]["ET"]["median"] == cases[1].facts["ET_ml"]


def test_many_cases_take_several_pages_and_old_pages_go(folder, tmp_path):
    one = check_case(folder)
    bad = CheckedCase("bad", Path("bad"), (Problem("error", "It cannot be read."),))
    cases = [replace(one, case_id=f"case_{number}") for number in range(25)]
    (tmp_path / LAST_PAGE).write_bytes(b"of an earlier check")
    (tmp_path / "cases_of_mine.png").write_bytes(b"not ours")
    files = write_check([*cases, bad], tmp_path)
    assert sorted(path.name for path in tmp_path.glob("cases*")) == ["cases.png", "cases_2.png", "cases_of_mine.png"]
    first, second = (np.asarray(Image.open(path).convert("RGB")) for path in files[2:4])
    assert first.shape[1] == second.shape[1]
    assert first.shape[0] > 3 * second.shape[0]
    red, green, blue = np.moveaxis(first.astype(int), -1, 0)
    assert np.count_nonzero(green - np.maximum(red, blue) > 30) > 24 * 2 * 20  # oedema's outline, in 48 pictures


def test_pictures_of_unreadable_cases_say_so(tmp_path):
    bad = CheckedCase("bad", Path("bad"), (Problem("error", "It cannot be read."),))
    assert all(path.stat().st_size > 1000 for path in write_check([bad], tmp_path)[2:])


def test_the_command_ends_with_1_where_there_is_an_error(data, folder, tmp_path, capfd):
    assert main(["data", "check", str(data), "--json"]) == 0
    answer = json.loads(capfd.readouterr().out)
    assert (answer["cases"], answer["files"], answer["modality_order_checked"]) == (1, [], True)
    shutil.copy(folder / "simulated_1_t1.nii.gz", folder / "simulated_1_t1ce.nii.gz")
    assert main(["data", "check", str(data), "--out", str(tmp_path / "out")]) == 1
    assert "T1 and T1ce are the same image." in capfd.readouterr().out
    assert main(["data", "check", str(tmp_path / "nowhere")]) == 2


def test_real_cases_have_no_errors_and_a_scan_in_two_formats_is_found(real_data, tmp_path):
    other = tmp_path / "BraTS-GLI-00000-000"
    other.symlink_to(real_data / "brats2023_format" / other.name)
    for name in ("BraTS2021_00000", "Brats18_2013_20_1"):
        (tmp_path / name).symlink_to(real_data / "brats" / name)
    cases = {case.case_id: case for case in check_data(tmp_path)}
    assert not any(case.severity == "error" for case in cases.values())
    assert "those of BraTS-GLI-00000-000 with other grey values" in " ".join(texts(cases["BraTS2021_00000"], "warning"))
    (told,) = texts(cases["Brats18_2013_20_1"], "warning")
    assert "FLAIR shows only 68% of the brain" in told
