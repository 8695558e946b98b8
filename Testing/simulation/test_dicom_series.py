"""A volume written as a DICOM series."""

from dataclasses import replace

import numpy as np
import pydicom
import pytest
import SimpleITK
from dicom_study import HEADERS, objects, same_place, small_volume

from ProtoSegBrainLib.dicom.series import read_folder
from ProtoSegBrainLib.dicom.stack import read_stack
from ProtoSegBrainLib.images.volume import LPS_TO_RAS, Volume
from ProtoSegBrainLib.simulation.dicom_series import SYNTAXES, series_objects, write_series

LARGE_ENOUGH = (40, 36, 5)  # JPEG 2000 needs slices of 32x32 pixels


@pytest.mark.parametrize("enhanced", [False, True])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_every_transfer_syntax_gives_the_same_voxels(syntax, enhanced, tmp_path):
    volume = small_volume(plane="oblique", shape=LARGE_ENOUGH)
    paths = write_series(tmp_path, volume, HEADERS["t2f"], syntax=syntax, enhanced=enhanced)
    assert {pydicom.dcmread(path).file_meta.TransferSyntaxUID for path in paths} == {SYNTAXES[syntax]}
    assert len(paths) == (1 if enhanced else LARGE_ENOUGH[2])
    (series,) = read_folder(tmp_path).series
    assert same_place(read_stack(series), volume)


def test_values_below_zero(tmp_path):
    volume = small_volume()
    volume = replace(volume, array=volume.array - np.int16(2000))
    write_series(tmp_path, volume, HEADERS["t2w"])
    assert same_place(read_stack(read_folder(tmp_path).series[0]), volume)


@pytest.mark.parametrize("enhanced", [False, True])
def test_fractions_are_scaled_to_twelve_bits(enhanced, tmp_path):
    volume = small_volume()
    volume = replace(volume, array=(volume.array / 4000).astype(np.float32))
    write_series(tmp_path, volume, HEADERS["t2w"], enhanced=enhanced)
    found = read_stack(read_folder(tmp_path).series[0])
    assert found.array.dtype == np.float32
    assert np.abs(found.array - volume.array).max() < 1 / 4095


@pytest.mark.parametrize("plane", ["axial", "sagittal", "coronal", "oblique"])
def test_another_program_finds_it_at_the_same_place(plane, tmp_path):
    volume = small_volume(plane=plane)
    paths = write_series(tmp_path, volume, HEADERS["t2w"])
    image = SimpleITK.ReadImage(SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path)))
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    assert same_place(Volume(SimpleITK.GetArrayFromImage(image).transpose(2, 1, 0), LPS_TO_RAS @ affine), volume)
    assert len(paths) == volume.shape[2]


def test_the_same_arguments_give_the_same_objects():
    assert objects() == objects()
    assert objects()[0].SOPInstanceUID != objects(seed=2)[0].SOPInstanceUID
    study = {each.StudyInstanceUID for role in HEADERS for each in objects(role)}
    series = {each.SeriesInstanceUID for role in HEADERS for each in objects(role)}
    instances = [each.SOPInstanceUID for role in HEADERS for each in objects(role)]
    assert len(study) == 1
    assert len(series) == len(HEADERS)
    assert len(set(instances)) == len(instances)


def test_nobody_is_named():
    (first, *_) = objects(patient_id="SIMULATED-7")
    assert first.PatientID == "SIMULATED-7"
    assert first.PatientName == "Simulated"


def test_what_cannot_be_written_says_so(tmp_path):
    sheared = small_volume().affine
    sheared[0, 2] += 1
    with pytest.raises(ValueError, match="sheared"):
        series_objects(Volume(small_volume().array, sheared), HEADERS["t2w"])
    with pytest.raises(ValueError, match="16 bits"):
        series_objects(Volume(np.full((4, 4, 4), 70000), np.eye(4)), HEADERS["t2w"])
    with pytest.raises(ValueError, match="three axes"):
        series_objects(Volume(np.zeros((4, 4, 4, 2), np.int16), np.eye(4)), HEADERS["t2w"])
    with pytest.raises(ValueError, match="24x20 pixels cannot be written as jpeg2000"):
        write_series(tmp_path, small_volume(), HEADERS["t2w"], syntax="jpeg2000")
