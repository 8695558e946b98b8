"""The raw study: repeatable, with the brain of the simulated case, true motions, and files that are found as meant."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from ProtoSegBrainLib.images.folders import find_case
from ProtoSegBrainLib.images.study import read_study_files
from ProtoSegBrainLib.images.volume import Volume, resample, same_grid
from ProtoSegBrainLib.labels import MODALITIES
from ProtoSegBrainLib.simulation.raw import RawConfig, RawStudy, describe_raw, simulate_raw, write_raw, write_raw_dicom
from ProtoSegBrainLib.simulation.simulate import simulate_case

SMALL = RawConfig(voxel_mm=3.0)
SHAPE = (80, 80, 52)  # of the case of the same voxels


@pytest.fixture(scope="module")
def study() -> RawStudy:
    return simulate_raw(3, SMALL)


def on_t1ce(study: RawStudy, role: str, motion: np.ndarray) -> np.ndarray:
    """A series on the grid of T1ce, moved back."""
    volume, t1c = study.volumes[role], study.volumes["t1c"]
    return resample(Volume(volume.array, motion @ volume.affine), t1c.shape, t1c.affine, order=1).array


def test_same_seed_same_study_other_seed_another(study: RawStudy) -> None:
    again, other = simulate_raw(3, SMALL), simulate_raw(4, SMALL)
    for role in MODALITIES:
        np.testing.assert_array_equal(study.volumes[role].array, again.volumes[role].array)
        np.testing.assert_array_equal(study.motions[role], again.motions[role])
    assert (study.label.array != other.label.array).any()
    assert study.case_id == "simulated_raw_3"


def test_its_brain_and_tumour_are_those_of_the_simulated_case(study: RawStudy) -> None:
    case = simulate_case(3, SHAPE)
    for truth, expected in ((study.brain, case.images[0] > 0), (study.label, case.label)):
        assert truth.array.dtype == np.uint8
        assert same_grid(truth, study.volumes["t1c"].shape, study.volumes["t1c"].affine)
        assert expected is not None
        inside, those = (a[ndimage.find_objects((a > 0).astype(int))[0]] for a in (truth.array, expected))
        np.testing.assert_array_equal(inside, those)
    ml = study.brain.array.sum() * 27 / 1000
    assert 1000 < ml < 1900


def test_each_series_has_its_own_grid_size_and_numbers(study: RawStudy) -> None:
    slices_mm = {role: volume.spacing_mm[2] for role, volume in study.volumes.items()}
    assert slices_mm == pytest.approx({"t1n": 5, "t1c": 3, "t2w": 5, "t2f": 4})
    assert np.abs(study.volumes["t1n"].affine[:3, 2]).argmax() == 0  # sagittal
    for volume in study.volumes.values():
        assert volume.array.dtype == np.int16
        axes = np.abs(volume.affine[:3, :3]) / volume.spacing_mm
        assert 0.9 < np.sort(axes, axis=0)[-1].min() < 0.9999  # oblique
    means = [volume.array.mean() for volume in study.volumes.values()]
    assert len({round(mean) for mean in means}) == 4


def test_the_air_is_noisy_as_at_a_scanner(study: RawStudy) -> None:
    for volume in study.volumes.values():
        corner = volume.array[:8, :8]
        assert (volume.array == 0).mean() < 0.05
        assert 1 < corner.mean() < 0.25 * volume.array.mean()
        assert corner.std() > 1


def test_moved_back_by_the_true_motion_the_series_agree(study: RawStudy) -> None:
    heads = ndimage.binary_fill_holes(study.volumes["t1c"].array > 100)
    for role in ("t1n", "t2w", "t2f"):
        assert not np.allclose(study.motions[role], np.eye(4))
        moved, unmoved = (on_t1ce(study, role, motion) for motion in (study.motions[role], np.eye(4)))
        seen = (moved > 0) & (unmoved > 0)  # in both fields of view
        assert agreement(moved, heads, seen) > 0.97 > agreement(unmoved, heads, seen) + 0.02
    fluid = on_t1ce(study, "t2w", study.motions["t2w"])
    inside = ndimage.binary_erosion(study.brain.array > 0, iterations=3)
    bright = inside & (fluid > np.percentile(fluid[inside], 97))
    # what is brightest on T2 is fluid, tumour or oedema, and none of it is bright on T1ce
    assert study.volumes["t1c"].array[bright].mean() < study.volumes["t1c"].array[inside].mean()
    np.testing.assert_array_equal(study.motions["t1c"], np.eye(4))


def agreement(image: np.ndarray, head: np.ndarray, seen: np.ndarray) -> float:
    """Dice of two heads where both were scanned."""
    other = ndimage.binary_fill_holes(image > 0.35 * image[head & seen].mean()) & seen
    head = head & seen
    return float(2 * (other & head).sum() / (other.sum() + head.sum()))


def test_without_tumour_the_label_is_empty() -> None:
    study = simulate_raw(3, RawConfig(tumour=None, voxel_mm=4.0, shift_mm=0, turn_degrees=0))
    assert not study.label.array.any()
    assert all(np.allclose(motion, np.eye(4)) for motion in study.motions.values())


def test_what_was_made_is_described(study: RawStudy) -> None:
    rows = {row["modality"]: row for row in describe_raw(study)}
    assert list(rows) == ["T1", "T1ce", "T2", "FLAIR"]
    assert rows["T1ce"]["moved_mm"] == rows["T1ce"]["turned_degrees"] == 0
    assert all(4 < rows[name]["moved_mm"] < 18 for name in ("T1", "T2", "FLAIR"))
    assert all(2 < rows[name]["turned_degrees"] <= 5 for name in ("T1", "T2", "FLAIR"))


def test_written_study_is_found_with_its_label_and_read_back(study: RawStudy, tmp_path: Path) -> None:
    folder = write_raw(study, tmp_path)
    found = find_case(folder)
    names = {"t1n": "t1", "t1c": "t1ce", "t2w": "t2", "t2f": "flair"}
    assert found.images == {role: folder / f"simulated_raw_3_{name}.nii.gz" for role, name in names.items()}
    assert found.label == folder / "truth" / "simulated_raw_3_seg.nii.gz"
    assert not found.problem
    read = read_study_files(folder)
    for role, volume in study.volumes.items():
        np.testing.assert_array_equal(read.volumes[role].array, volume.array)
        np.testing.assert_allclose(read.volumes[role].affine, volume.affine, atol=1e-4)
        assert b"simulated" in bytes(nib.load(found.images[role]).header["descrip"])
    truth = json.loads((folder / "truth" / "motions.json").read_text())
    np.testing.assert_allclose(truth["to_t1c_ras_mm"]["t2w"], study.motions["t2w"])
    with pytest.raises(FileExistsError, match="simulated_raw_3"):
        write_raw(study, tmp_path)
    with pytest.raises(FileExistsError, match="simulated_raw_3"):
        write_raw_dicom(study, tmp_path)


def test_as_dicom_it_is_one_patient_with_more_series_than_the_four(study: RawStudy, tmp_path: Path) -> None:
    pydicom = pytest.importorskip("pydicom")
    folder = write_raw_dicom(study, tmp_path)
    by_series = {
        place.name: [pydicom.dcmread(file) for file in sorted(place.iterdir())] for place in folder.glob("series_*")
    }
    assert {len({str(getattr(one, name)) for some in by_series.values() for one in some}) for name in
            ("PatientID", "StudyInstanceUID", "FrameOfReferenceUID")} == {1}  # fmt: skip
    t1c = sorted(by_series["series_8"], key=lambda one: int(one.InstanceNumber))
    assert (t1c[0].PatientID, str(t1c[0].PatientName)) == ("SIMULATED-3", "")
    assert t1c[0].ContrastBolusAgent
    stored = np.stack([one.pixel_array.T for one in t1c], axis=2)
    np.testing.assert_array_equal(stored, study.volumes["t1c"].array)
    x, y, z = (float(v) for v in t1c[0].ImagePositionPatient)
    np.testing.assert_allclose([-x, -y, z], study.volumes["t1c"].affine[:3, 3], atol=1e-3)
    assert "DERIVED" in by_series["series_6"][0].ImageType
    assert len(by_series["series_1"]) == 3  # the localiser
    assert (folder / "truth" / "simulated_raw_3_seg.nii.gz").is_file()


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="seed"):
        simulate_raw(-1)
    with pytest.raises(ValueError, match="voxel_mm"):
        simulate_raw(1, RawConfig(voxel_mm=10))
    with pytest.raises(ValueError, match="tumour"):
        simulate_raw(1, RawConfig(tumour="benign"))  # type: ignore[arg-type]
