"""The voxels of a series, and what is wrong with one."""

import copy
from dataclasses import replace

import numpy as np
import pydicom
import pytest
from dicom_study import HEADERS, objects, same_place, small_volume

from ProtoSegBrainLib.dicom.series import read_folder
from ProtoSegBrainLib.dicom.stack import fault_of, read_stack, short_fault, without_copies
from ProtoSegBrainLib.simulation.dicom_series import SYNTAXES, write_objects, write_series


def only_series(folder):
    (series,) = read_folder(folder).series
    return series


@pytest.mark.parametrize("enhanced", [False, True])
@pytest.mark.parametrize("plane", ["axial", "sagittal", "coronal", "oblique"])
def test_voxels_lie_where_they_were(plane, enhanced, tmp_path):
    volume = small_volume(plane=plane)
    write_series(tmp_path, volume, HEADERS["t2w"], enhanced=enhanced)
    series = only_series(tmp_path)
    found = read_stack(series)
    assert same_place(found, volume)
    first, second = (found.affine @ [0, 0, k, 1] for k in (0, 1))
    assert np.allclose(first[:3] * [-1, -1, 1], series.frames[0].position_mm, atol=1e-3)
    assert np.allclose(second[:3] * [-1, -1, 1], series.frames[1].position_mm, atol=1e-3)


def test_orientations_that_differ_by_rounding_are_one(tmp_path):
    volume = small_volume(plane="oblique")
    series = objects(volume=volume)
    for n, each in enumerate(series):
        each.ImageOrientationPatient = [float(value) + 1e-5 * (n % 3) for value in each.ImageOrientationPatient]
    write_objects(tmp_path, series)
    assert same_place(read_stack(only_series(tmp_path)), volume)


def test_a_scale_for_each_slice(tmp_path):
    volume = small_volume()
    series = objects(volume=volume)
    for n, each in enumerate(series):
        each.RescaleSlope, each.RescaleIntercept = str(1 + n), str(-n)
    write_objects(tmp_path, series)
    found = read_stack(only_series(tmp_path)).array
    expected = volume.array * (1 + np.arange(10)) - np.arange(10)
    assert np.array_equal(found, expected) or np.array_equal(found, expected[:, :, ::-1])


# -- faults ----------------------------------------------------------------------------------------------------------


def damaged(folder, series):
    write_objects(folder, series)
    found = only_series(folder)
    with pytest.raises(ValueError, match="Series 5") as caught:
        read_stack(without_copies(found))
    return str(caught.value)


def shift(each, by):
    each.ImagePositionPatient = (np.array(each.ImagePositionPatient, float) + by).tolist()


def test_a_missing_slice_is_named(tmp_path):
    series = objects()
    del series[4]
    assert "1 slice is missing between image 4 and image 6" in damaged(tmp_path, series)


def test_missing_slices_are_counted(tmp_path):
    said = damaged(tmp_path, objects()[:3] + objects()[5:])
    assert "2 slices are missing between image 3 and image 6" in said
    assert short_fault(said) == "2 slices are missing between image 3 and image 6"


def test_a_gap_is_named(tmp_path):
    series = objects()
    for each in series[6:]:
        shift(each, [0, 0, 1.7])
    assert "the step between image 6 and image 7 is 6.70 mm, elsewhere 5.00 mm" in damaged(tmp_path, series)


def test_a_tilted_gantry_is_refused(tmp_path):
    series = objects()
    for n, each in enumerate(series):
        shift(each, [0, 1.2 * n, 0])
    said = damaged(tmp_path, series)
    assert "tilted gantry" in said
    assert "image 10 lies 10.8 mm beside" in said


def test_one_slice_that_lies_aside_is_named(tmp_path):
    series = objects()
    shift(series[5], [3, 0, 0])
    assert "image 6 lies 3.0 mm beside" in damaged(tmp_path, series)


def test_one_slice_is_no_stack(tmp_path):
    write_objects(tmp_path, objects()[:1])
    assert "one slice only" in fault_of(only_series(tmp_path))


def test_positions_in_two_decimals_are_no_fault(tmp_path):
    volume = small_volume(plane="oblique", spacing_mm=(0.5, 0.5, 0.8))
    series = objects(volume=volume)
    for each in series:
        each.ImagePositionPatient = [f"{float(value):.2f}" for value in each.ImagePositionPatient]
    write_objects(tmp_path, series)
    assert fault_of(only_series(tmp_path)) == ""


# -- the same place twice --------------------------------------------------------------------------------------------


def again(series):
    twins = copy.deepcopy(series)
    for n, each in enumerate(twins):
        each.SOPInstanceUID = f"{each.SOPInstanceUID}.{n}"[-60:].lstrip(".0")
    return twins


def test_exact_copies_are_dropped_and_said(tmp_path):
    volume = small_volume()
    series = objects(volume=volume)
    write_objects(tmp_path, series + again(series[2:4]))
    found = without_copies(only_series(tmp_path))
    assert (len(found.frames), found.copies) == (10, 2)
    read = read_stack(found)
    assert same_place(read, volume)
    assert read.remarks == ('Series 5 "AX T2 TSE": 2 slices are there twice, alike; each was taken once.',)


def test_a_whole_series_that_is_there_twice(tmp_path):
    series = objects()
    write_objects(tmp_path, series + again(series))
    assert without_copies(only_series(tmp_path)).copies == 10


def test_copies_of_slices_that_each_have_a_time(tmp_path):
    series = objects()
    for n, each in enumerate(series):
        each.AcquisitionTime = f"0900{n:02}"
    write_objects(tmp_path, series)
    write_objects(tmp_path / "copy", series)
    assert without_copies(only_series(tmp_path)).copies == 10


def test_two_images_of_one_place_are_refused(tmp_path):
    series = objects()
    other = objects(volume=small_volume(2))[3:5]
    said = damaged(tmp_path, series + again(other))
    assert "image 4 and image 4 are two images of one place" in said


# -- files -----------------------------------------------------------------------------------------------------------


def test_a_file_that_is_cut_off_is_named(tmp_path):
    paths = write_series(tmp_path, small_volume(), HEADERS["t2w"])
    paths[7].write_bytes(paths[7].read_bytes()[:-300])
    with pytest.raises(ValueError, match=r'Series 5 "AX T2 TSE": image 8 cannot be read .*cut off\?'):
        read_stack(only_series(tmp_path))


@pytest.mark.parametrize("syntax", ["rle", "jpegls"])
def test_a_compressed_file_that_is_cut_off_is_named(syntax, tmp_path):
    paths = write_series(tmp_path, small_volume(), HEADERS["t2w"], syntax=syntax)
    paths[2].write_bytes(paths[2].read_bytes()[:-400])
    with pytest.raises(ValueError, match="image 3 cannot be read"):
        read_stack(only_series(tmp_path))


def test_a_file_without_pixels_is_named(tmp_path):
    series = objects()
    del series[0].PixelData
    assert "image 1 cannot be read" in damaged(tmp_path, series)


def test_what_reads_a_syntax_is_named(tmp_path, monkeypatch):
    write_series(tmp_path, small_volume(), HEADERS["t2w"], syntax="jpegls")
    series = only_series(tmp_path)

    def nothing(path):
        raise RuntimeError("no decoder")

    class Decoder:
        is_available = False

    monkeypatch.setattr("ProtoSegBrainLib.dicom.stack._pixels", nothing)
    monkeypatch.setattr("pydicom.pixels.get_decoder", lambda _: Decoder())
    with pytest.raises(ValueError, match=r"compressed \(JPEG-LS Lossless.* pip install pyjpegls"):
        read_stack(series)


def test_a_syntax_that_nothing_reads(tmp_path):
    """MPEG-2, which is no image at all for us."""
    for path in write_series(tmp_path, small_volume(), HEADERS["t2w"]):
        each = pydicom.dcmread(path)
        each.PixelData = pydicom.encaps.encapsulate([each.PixelData])
        each["PixelData"].is_undefined_length = True
        each.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.100"
        each.save_as(path)
    with pytest.raises(ValueError, match=r"compressed .*export it uncompressed"):
        read_stack(only_series(tmp_path))


def test_every_compressed_syntax_of_ours_has_a_reader_or_needs_none():
    assert {SYNTAXES[name] for name in ("rle", "jpegls", "jpeg2000")} <= set(_readers())


def _readers():
    from ProtoSegBrainLib.dicom.stack import READERS

    return READERS


def test_a_copy_keeps_its_series(tmp_path):
    write_series(tmp_path, small_volume(), HEADERS["t2w"])
    series = only_series(tmp_path)
    assert without_copies(series) is series
    assert replace(series, copies=1).name == series.name
