"""A corrected result as a labelled case to train on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from ProtoSegBrainLib.files import write_whole
from ProtoSegBrainLib.images.case import Case
from ProtoSegBrainLib.images.codings import encode_label
from ProtoSegBrainLib.images.formats import write_volume
from ProtoSegBrainLib.images.volume import Volume, same_grid
from ProtoSegBrainLib.labels import SHORT_NAMES
from ProtoSegBrainLib.result.prediction import RESEARCH_USE, Prediction

NOTE = "correction.json"
"""Beside the images: who says that the label is right."""
DESCRIPTION = "label corrected by a person"
"""In the header of the label; it is no result of the model alone, which would never be read as a label."""
CODING = "brats2020"


def write_corrected_case(prediction: Prediction, case: Case, folder: str | Path) -> Path:
    """Write a case with its corrected label under BraTS 2021 names, labels 1/2/4; returns the case's own folder.

    The images are those of the case, on its grid, in single precision. ``correction.json`` beside them says that a
    person corrected the label of which model, with which points.

    Args:
        prediction: Corrected by points.
        case: Its images.
        folder: Where the folder of the case, named after it, is made.

    Raises:
        FileExistsError: That folder exists and is not empty.
        ValueError: Nobody has corrected the result, or it is none of this case.
    """
    if not prediction.evidence.taught:
        raise ValueError(f"Case {prediction.case_id} was not corrected; only what a person has corrected is a label.")
    reference = Volume(case.images[0], case.affine)
    if not same_grid(reference, prediction.label.shape, prediction.affine):
        raise ValueError(f"Case {prediction.case_id}: the result lies on another grid than the images of the case.")
    target = Path(folder) / prediction.case_id
    if target.exists() and any(target.iterdir()):
        raise FileExistsError(f"{target} already holds files; choose another folder for the corrected case.")
    target.mkdir(parents=True, exist_ok=True)
    for name, image in zip(SHORT_NAMES.values(), case.images, strict=True):
        write_volume(target / f"{prediction.case_id}_{name}.nii.gz", Volume(np.asarray(image), case.affine))
    label = Volume(encode_label(prediction.label, CODING), prediction.affine)
    write_volume(target / f"{prediction.case_id}_seg.nii.gz", label, description=DESCRIPTION)
    write_whole(target / NOTE, json.dumps(_note(prediction), indent=2) + "\n")
    return target


def _note(prediction: Prediction) -> dict[str, object]:
    points = [
        {"class": each.class_name, "position_mm": list(each.position_mm), "voxels": each.voxels}
        for each in prediction.evidence.taught
    ]
    return {
        "statement": RESEARCH_USE,
        "label": "A person corrected the label of the model by pointing; it is no expert's drawing.",
        "case_id": prediction.case_id,
        "label_coding": CODING,
        "model": {name: prediction.model.get(name) for name in ("name", "identity")},
        "points": points,
    }
