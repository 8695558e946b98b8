"""What was measured, read back from the report as other programs do."""

import numpy as np
import pydicom
import pytest

from ProtoSegBrainLib.dicom.codes import FOUND
from ProtoSegBrainLib.dicom.measurement_report import measurement_report
from ProtoSegBrainLib.dicom.objects import highdicom
from ProtoSegBrainLib.dicom.segmentation_object import classes_in, segmentation_object
from ProtoSegBrainLib.result.prediction import VOLUMES


@pytest.fixture
def tracking() -> dict[str, str]:
    return {name: str(highdicom().UID()) for name in VOLUMES}


def read_again(report, folder):
    """As another program has it."""
    report.save_as(folder / "report.dcm")
    return highdicom().sr.srread(folder / "report.dcm")


def groups(report) -> dict[str, dict[str, float]]:
    """Numbers by meaning, by tracking UID."""
    found = {}
    for measurements in (
        report.content.get_volumetric_roi_measurement_groups() + report.content.get_image_measurement_groups()
    ):
        values = {each.name.meaning: float(each.value) for each in measurements.get_measurements()}
        found[str(measurements.tracking_uid)] = values
    return found


def test_volumes_and_diameters_come_back(source, tracking, tmp_path):
    segmentation = segmentation_object(source.prediction, source.series, tracking)
    report = measurement_report(source.prediction, source.series, segmentation, tracking)
    found = groups(read_again(report, tmp_path))
    assert set(found) == set(tracking.values())
    for name, volume in source.prediction.volumes_ml.items():
        assert found[tracking[name]]["Volume"] == pytest.approx(volume, abs=1e-3)
    diameters = source.prediction.findings["enhancing_diameters_mm"]
    assert found[tracking["ET"]]["Long Axis"] == pytest.approx(diameters["longest"], abs=1e-3)
    assert found[tracking["ET"]]["Short Axis"] == pytest.approx(diameters["perpendicular"], abs=1e-3)
    assert "Long Axis" not in found[tracking["ED"]]


def test_classes_refer_to_their_segments(axial, tracking, tmp_path):
    segmentation = segmentation_object(axial.prediction, axial.series, tracking)
    report = read_again(measurement_report(axial.prediction, axial.series, segmentation, tracking), tmp_path)
    for number, name in enumerate(classes_in(axial.prediction), 1):
        (group,) = report.content.get_volumetric_roi_measurement_groups(tracking_uid=tracking[name])
        items = group[0].ContentSequence
        (segment,) = [item for item in items if item.name.meaning == "Referenced Segment"]
        assert segment.ReferencedSOPSequence[0].ReferencedSegmentNumber == number
        assert group.finding_type.value == FOUND[name].value
    evidence = {
        item.ReferencedSOPInstanceUID
        for study in report.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }
    assert segmentation.SOPInstanceUID in evidence


def test_nobody_is_named_as_the_observer(axial, tracking, tmp_path):
    report = measurement_report(axial.prediction, axial.series, None, tracking)
    report.save_as(tmp_path / "report.dcm")
    text = str(pydicom.dcmread(tmp_path / "report.dcm"))
    assert "Device" in text
    assert "Person Observer" not in text


def test_intervals_are_said_where_the_model_knows_them(axial, tracking, tmp_path):
    known = {**axial.prediction.findings["regions"]["WT"], "interval_ml": [1.25, 9.5], "coverage": 0.9}
    axial.prediction.findings["regions"]["WT"] = known
    report = read_again(measurement_report(axial.prediction, axial.series, None, tracking), tmp_path)
    values = groups(report)[tracking["WT"]]
    assert values["Lower limit of the 90% prediction interval of the volume"] == 1.25
    assert values["Upper limit of the 90% prediction interval of the volume"] == 9.5
    assert np.isfinite(list(values.values())).all()
