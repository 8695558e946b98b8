"""Images grouped into series, and series taken apart."""

import copy

import numpy as np
import pytest
from dicom_study import objects, same_place, small_volume, write_study

from ProtoSegBrainLib.dicom.series import CUT_OFF, NOWHERE, OF_NO_SERIES, plain, read_folder
from ProtoSegBrainLib.dicom.stack import read_stack
from ProtoSegBrainLib.simulation.dicom_series import write_objects


def again(series, seed=2, **values):
    """The same slices with other voxels, in the same series."""
    twins = copy.deepcopy(series)
    for n, each in enumerate(twins):
        each.SOPInstanceUID = f"1.2.3.{seed}.{n}"
        each.PixelData = np.roll(np.frombuffer(each.PixelData, np.uint16), seed).tobytes()
        for name, value in values.items():
            setattr(each, name, value)
    return twins


def test_a_study_of_four_series(tmp_path):
    volumes = write_study(tmp_path)
    folder = read_folder(tmp_path)
    assert folder.patients == 1
    assert folder.ignored == {}
    assert [series.name for series in folder.series] == [
        '3 "T1 SE SAG"',
        '5 "AX T2 TSE"',
        '6 "AX FLAIR"',
        '12 "T1 MPRAGE +C"',
    ]
    for series in folder.series:
        volume = volumes[series.role.role]
        assert series.size == volume.shape
        assert series.spacing_mm == pytest.approx(volume.spacing_mm)
        assert series.date == "20260101"
        assert series.has_contrast == (series.role.role == "t1c")


def test_an_enhanced_object_says_the_same(tmp_path):
    write_objects(tmp_path, objects("t1c", enhanced=True))
    (series,) = read_folder(tmp_path).series
    assert series.role.role == "t1c"
    assert series.has_contrast
    assert series.size == (24, 20, 10)
    assert [frame.number is not None for frame in series.frames] == [True] * 10
    assert (np.diff(series.along_mm) > 0).all()


def test_echoes_are_taken_apart(tmp_path):
    series = objects(repetition_ms=3000.0)
    write_objects(tmp_path, series + again(series, EchoTime="14"))
    first, second = read_folder(tmp_path).series
    assert {first.part, second.part} == {"echo time 14", "echo time 95"}
    assert {first.role.role, second.role.role} == {None, "t2w"}
    assert '5 "AX T2 TSE" (echo time 14)' in (first.name, second.name)


def test_echoes_of_an_enhanced_object_are_taken_apart(tmp_path):
    (whole,) = objects(enhanced=True)
    echo = whole.SharedFunctionalGroupsSequence[0].MREchoSequence
    del whole.SharedFunctionalGroupsSequence[0].MREchoSequence
    groups = list(whole.PerFrameFunctionalGroupsSequence)
    twins = copy.deepcopy(groups)
    for group, te in [*((group, 95.0) for group in groups), *((group, 14.0) for group in twins)]:
        group.MREchoSequence = copy.deepcopy(echo)
        group.MREchoSequence[0].EffectiveEchoTime = te
    whole.PerFrameFunctionalGroupsSequence = groups + twins
    whole.NumberOfFrames, whole.PixelData = 20, whole.PixelData * 2
    write_objects(tmp_path, [whole])
    first, second = read_folder(tmp_path).series
    assert {first.part, second.part} == {"echo time 14", "echo time 95"}
    for series in (first, second):
        assert same_place(read_stack(series), small_volume())


def test_acquisitions_are_taken_apart(tmp_path):
    series = objects()
    write_objects(tmp_path, series + again(series, AcquisitionNumber=2))
    first, second = read_folder(tmp_path).series
    assert (first.part, second.part) == ("acquisition 1", "acquisition 2")
    assert first.role.role == second.role.role == "t2w"
    assert same_place(read_stack(first), small_volume())


def test_a_series_in_time_is_none_of_the_four(tmp_path):
    series = objects()
    later = [again(series, n, TemporalPositionIdentifier=n) for n in range(2, 6)]
    for each in series:
        each.TemporalPositionIdentifier = 1
    write_objects(tmp_path, sum(later, series))
    found = read_folder(tmp_path).series
    assert len(found) == 5
    assert {each.role.reason for each in found} == {"4-D, 5 time points"}
    assert {each.part for each in found} == {f"time point {n}" for n in range(1, 6)}


def test_planes_of_a_localiser_are_taken_apart(tmp_path):
    planes = [objects("t2w", small_volume(n, plane)) for n, plane in enumerate(("axial", "sagittal", "coronal"))]
    series = [each for plane in planes for each in plane[:3]]
    for n, each in enumerate(series):
        each.SOPInstanceUID = f"1.2.3.{n}"
    write_objects(tmp_path, series)
    assert [each.size[2] for each in read_folder(tmp_path).series] == [3, 3, 3]


def test_magnitude_and_phase_are_taken_apart(tmp_path):
    series = objects()
    write_objects(tmp_path, series + again(series, ImageType=["ORIGINAL", "PRIMARY", "P", "ND"]))
    assert {each.role.role for each in read_folder(tmp_path).series} == {"t2w", None}


# -- what is passed over ---------------------------------------------------------------------------------------------


def test_other_objects_are_counted(tmp_path):
    write_study(tmp_path)
    kinds = ["1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.88.33", "1.2.840.10008.5.1.4.1.1.104.1"]
    for n, (each, kind) in enumerate(zip(objects(), kinds, strict=False)):
        each.SOPClassUID, each.SOPInstanceUID = kind, f"1.2.3.{n}"
        write_objects(tmp_path, [each])
    folder = read_folder(tmp_path)
    assert len(folder.series) == 4
    assert folder.ignored == {
        "Segmentation Storage": 1,
        "Comprehensive SR Storage": 1,
        "Encapsulated PDF Storage": 1,
    }


@pytest.mark.parametrize("name", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"])
def test_images_without_a_place_are_counted(name, tmp_path):
    series = objects()
    for each in series:
        delattr(each, name)
    write_objects(tmp_path, series)
    assert read_folder(tmp_path).series == ()
    assert read_folder(tmp_path).ignored == {NOWHERE: 10}


@pytest.mark.parametrize(
    ("name", "value"),
    [("ImagePositionPatient", ["0", "0"]), ("PixelSpacing", ["0", "0"]), ("ImageOrientationPatient", ["0"] * 6)],
)
def test_images_with_a_nonsense_place_are_counted(name, value, tmp_path):
    series = objects()
    for each in series:
        setattr(each, name, value)
    write_objects(tmp_path, series)
    assert read_folder(tmp_path).ignored == {NOWHERE: 10}


@pytest.mark.parametrize("name", ["SeriesInstanceUID", "StudyInstanceUID"])
def test_images_without_uids_are_counted(name, tmp_path):
    series = objects()
    for each in series:
        delattr(each, name)
    write_objects(tmp_path, series)
    assert read_folder(tmp_path).ignored == {OF_NO_SERIES: 10}


def test_files_that_are_cut_off_are_counted(tmp_path):
    paths = write_objects(tmp_path, objects())
    paths[0].write_bytes(paths[0].read_bytes()[:180])
    assert read_folder(tmp_path).ignored == {CUT_OFF: 1}


def test_headers_may_hold_nonsense(tmp_path):
    series = objects(description="AX\x1b[31m T2\n\x07TSE")
    for each in series:
        each["SeriesNumber"]._value = ""
        del each.StudyDate, each.SeriesDate, each.AcquisitionDate
    write_objects(tmp_path, series)
    (found,) = read_folder(tmp_path).series
    assert found.number == 0
    assert found.date == ""
    assert found.name == '0 "AX [31m T2 TSE"'


def test_plain():
    assert plain("  a\tb\x00c\u202ed ") == "a b c d"


def test_patients_are_told_apart_without_a_name(tmp_path):
    write_study(tmp_path / "a")
    write_study(tmp_path / "b", patient_id="SIMULATED-2")
    folder = read_folder(tmp_path)
    assert folder.patients == 2
    patients = {series.patient for series in folder.series}
    assert len(patients) == 2
    assert not any("SIMULATED" in patient for patient in patients)
