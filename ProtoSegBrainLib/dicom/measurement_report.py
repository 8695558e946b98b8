"""What was measured as a DICOM structured report (TID 1500): volumes with their intervals, diameters after RANO."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ProtoSegBrainLib.dicom.codes import BRAIN, CATEGORY, FOUND, PROGRAM, Code
from ProtoSegBrainLib.dicom.objects import concept, highdicom, made_by, quietly, sources, version
from ProtoSegBrainLib.dicom.segmentation_object import classes_in
from ProtoSegBrainLib.dicom.series import Series
from ProtoSegBrainLib.result.prediction import VOLUMES, Prediction

ML = Code("ml", "UCUM", "milliliter")
MM = Code("mm", "UCUM", "millimeter")
VOLUME = Code("118565006", "SCT", "Volume")
LONG_AXIS = Code("103339001", "SCT", "Long Axis")
SHORT_AXIS = Code("103340004", "SCT", "Short Axis")
MR_BRAIN = Code("24590-2", "LN", "MR Brain")
NOT_OF_REPORTS = ("manufacturer_model_name", "software_versions", "device_serial_number")
REPORT = Code("126000", "DCM", "Imaging Measurement Report")


def measurement_report(
    prediction: Prediction, source: Series, segmentation: Any | None, tracking: dict[str, str]
) -> Any:
    """The report of a result.

    Args:
        prediction: With its findings.
        source: The series of T1ce.
        segmentation: What ``segmentation_object`` gave; None where there is no tumour.
        tracking: UID by class and region.

    Raises:
        ImportError: highdicom is not installed.
    """
    hd = highdicom()
    device = hd.sr.DeviceObserverIdentifyingAttributes(
        uid=hd.UID(), name=PROGRAM, manufacturer_name=PROGRAM, model_name=str(prediction.model["name"])
    )
    observer = hd.sr.ObserverContext(hd.sr.CodedConcept("121007", "DCM", "Device"), device)
    with quietly():
        content = hd.sr.MeasurementReport(
            observation_context=hd.sr.ObservationContext(observer_device_context=observer),
            procedure_reported=concept(MR_BRAIN),
            title=concept(REPORT),
            imaging_measurements=[_group(prediction, source, name, segmentation, tracking) for name in VOLUMES],
        )
        return hd.sr.Comprehensive3DSR(
            evidence=[*sources(source), *([segmentation] if segmentation is not None else [])],
            content=content[0],
            is_complete=True,
            **_equipment(prediction),
        )


def _equipment(prediction: Prediction) -> dict[str, Any]:
    known = made_by(prediction, f"{PROGRAM} measurements", 2)
    return {name: value for name, value in known.items() if name not in NOT_OF_REPORTS}


def _group(
    prediction: Prediction, source: Series, name: str, segmentation: Any | None, tracking: dict[str, str]
) -> Any:
    """The measurements of one class or region; of a class, with its segment."""
    hd = highdicom()
    present = classes_in(prediction)
    known = {
        "tracking_identifier": hd.sr.TrackingIdentifier(tracking[name], f"{PROGRAM} {name}"),
        "finding_type": concept(FOUND[name]),
        "finding_category": concept(CATEGORY),
        "finding_sites": [hd.sr.FindingSite(concept(BRAIN))],
        "algorithm_id": hd.sr.AlgorithmIdentification(PROGRAM, version()),
        "measurements": [
            hd.sr.Measurement(concept(what), value, concept(unit)) for what, value, unit in _values(prediction, name)
        ],
    }
    if segmentation is None or name not in present:
        return hd.sr.MeasurementsAndQualitativeEvaluations(**known)
    segment = hd.sr.ReferencedSegment(
        segmentation.SOPClassUID,
        segmentation.SOPInstanceUID,
        present.index(name) + 1,
        source_series=hd.sr.SourceSeriesForSegmentation(source.uid),
    )
    return hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(referenced_segment=segment, **known)


def _values(prediction: Prediction, name: str) -> Iterator[tuple[Code, float, Code]]:
    """What was measured of a class or region: concept, number, unit."""
    yield VOLUME, prediction.volumes_ml[name], ML
    region = prediction.findings.get("regions", {}).get(name, {})
    if region.get("interval_ml"):
        percent = f"{region['coverage']:.0%}"
        for end, value in zip(("Lower", "Upper"), region["interval_ml"], strict=True):
            meaning = f"{end} limit of the {percent} prediction interval of the volume"
            yield Code(f"{end}Limit{percent[:-1]}", "99PSB", meaning), float(value), ML
    diameters = prediction.findings.get("enhancing_diameters_mm")
    if name == "ET" and diameters:
        yield LONG_AXIS, float(diameters["longest"]), MM
        yield SHORT_AXIS, float(diameters["perpendicular"]), MM
