"""The label of a result as a DICOM segmentation: binary, a segment for each class, in standard codes."""

from __future__ import annotations

from typing import Any

import numpy as np

from ProtoSegBrainLib.dicom.codes import BRAIN, CATEGORY, FOUND, PROGRAM
from ProtoSegBrainLib.dicom.objects import concept, highdicom, made_by, placed, quietly, sources, version
from ProtoSegBrainLib.dicom.series import Series
from ProtoSegBrainLib.images.volume import Volume
from ProtoSegBrainLib.labels import CLASS_COLOURS, CLASSES
from ProtoSegBrainLib.result.prediction import Prediction

FAMILY = ("123109", "DCM", "Artificial Intelligence")


def segmentation_object(prediction: Prediction, source: Series, tracking: dict[str, str]) -> Any:
    """The DICOM segmentation of a result that has tumour; classes without a voxel have no segment.

    Args:
        prediction: What to write, on the grid of the source or on any other in its space.
        source: The series of T1ce.
        tracking: UID by class, the same in the report.

    Raises:
        ValueError: The result has no tumour: a segmentation without segments cannot be written.
        ImportError: highdicom is not installed.
    """
    present = classes_in(prediction)
    if not present:
        raise ValueError(f"Case {prediction.case_id}: no tumour was found, so there is nothing to segment in DICOM.")
    numbers = np.zeros(len(CLASSES), np.uint8)
    for number, name in enumerate(present, 1):
        numbers[CLASSES.index(name)] = number
    hd = highdicom()
    with quietly():
        made = hd.seg.Segmentation(
            source_images=sources(source),
            pixel_array=placed(Volume(numbers[prediction.label], prediction.affine), source),
            segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=[_segment(prediction, name, n, tracking[name]) for n, name in enumerate(present, 1)],
            content_label="TUMOUR",
            content_description=f"{PROGRAM}, research use only",
            **made_by(prediction, f"{PROGRAM} segmentation", 1),
        )
    made.BodyPartExamined = "BRAIN"
    return made


def classes_in(prediction: Prediction) -> list[str]:
    """Names of the tumour classes that have a voxel; the number of a segment is its place here, from 1."""
    return [name for index, name in enumerate(CLASSES) if index and (prediction.label == index).any()]


def _segment(prediction: Prediction, name: str, number: int, tracking_uid: str) -> Any:
    hd = highdicom()
    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=name,
        segmented_property_category=concept(CATEGORY),
        segmented_property_type=concept(FOUND[name]),
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=PROGRAM,
            family=hd.sr.CodedConcept(*FAMILY),
            version=version(),
            source=f"{prediction.model['name']} {str(prediction.model.get('identity', ''))[:12]}".strip(),
        ),
        tracking_uid=tracking_uid,
        tracking_id=f"{PROGRAM} {name}",
        anatomic_regions=[concept(BRAIN)],
        display_color=hd.color.CIELabColor.from_rgb(*CLASS_COLOURS[CLASSES.index(name)]),
    )
