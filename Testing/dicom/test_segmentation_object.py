"""The label as a DICOM segmentation: every voxel, in standard codes."""

from dataclasses import replace

import numpy as np
import pytest

from ProtoSegBrainLib.dicom.codes import FOUND
from ProtoSegBrainLib.dicom.objects import highdicom
from ProtoSegBrainLib.dicom.segmentation_object import classes_in, segmentation_object
from ProtoSegBrainLib.images.volume import LPS_TO_RAS, Volume, resample
from ProtoSegBrainLib.labels import CLASSES, MODALITIES
from ProtoSegBrainLib.result.prediction import VOLUMES


def uids() -> dict[str, str]:
    return {name: str(highdicom().UID()) for name in VOLUMES}


def classes_of(path, prediction) -> np.ndarray:
    """Class indices on the grid of the result, as another program reads them: with their own positions."""
    read = highdicom().seg.segread(path)
    volume = read.get_volume(combine_segments=True)
    affine = LPS_TO_RAS @ volume.affine
    segments = resample(Volume(volume.array, affine), prediction.label.shape, prediction.affine, order=0).array
    values = np.zeros(read.number_of_segments + 1, np.uint8)
    for number in read.segment_numbers:
        values[number] = CLASSES.index(read.get_segment_description(number).segment_label)
    return values[segments]


def test_every_voxel_is_that_of_the_label(source, tmp_path):
    segmentation_object(source.prediction, source.series, uids()).save_as(tmp_path / "seg.dcm")
    np.testing.assert_array_equal(classes_of(tmp_path / "seg.dcm", source.prediction), source.prediction.label)


def test_itk_finds_the_same_segments(axial, tmp_path):
    import SimpleITK

    made = segmentation_object(axial.prediction, axial.series, uids())
    made.save_as(tmp_path / "seg.dcm")
    image = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / "seg.dcm")))
    counts = [int((axial.prediction.label == index).sum()) for index in (1, 2, 3)]
    assert int((image != 0).sum()) == sum(counts)


def test_segments_are_named_in_standard_codes(axial):
    made = segmentation_object(axial.prediction, axial.series, tracking := uids())
    assert made.SegmentationType == "BINARY"
    assert made.BodyPartExamined == "BRAIN"
    assert [segment.SegmentNumber for segment in made.SegmentSequence] == [1, 2, 3]
    for segment in made.SegmentSequence:
        code = segment.SegmentedPropertyTypeCodeSequence[0]
        known = FOUND[segment.SegmentLabel]
        assert (code.CodeValue, code.CodingSchemeDesignator) == (known.value, known.scheme)
        assert segment.SegmentAlgorithmType == "AUTOMATIC"
        assert segment.TrackingUID == tracking[segment.SegmentLabel]
        assert segment.AnatomicRegionSequence[0].CodeMeaning == "Brain"
    assert {series.SeriesInstanceUID for series in made.ReferencedSeriesSequence} == {axial.series.uid}


def test_a_class_without_voxels_has_no_segment(axial, tmp_path):
    label = np.where(axial.prediction.label == 1, 2, axial.prediction.label).astype(np.uint8)
    without = replace(axial.prediction, label=label)
    assert classes_in(without) == ["ED", "ET"]
    segmentation_object(without, axial.series, uids()).save_as(tmp_path / "seg.dcm")
    np.testing.assert_array_equal(classes_of(tmp_path / "seg.dcm", without), label)


def test_no_tumour_is_no_segmentation(axial):
    none = replace(axial.prediction, label=np.zeros_like(axial.prediction.label))
    with pytest.raises(ValueError, match=r"p1: no tumour"):
        segmentation_object(none, axial.series, uids())


def test_the_codes_hold_for_everything_that_is_found():
    assert set(FOUND) == set(VOLUMES)
    assert len(MODALITIES) == 4
