"""The report of a result for a person: one HTML file that needs nothing else, on a screen or on paper.

Its numbers are those of ``findings``, which stand in ``prediction.json`` too; its words and its order are those of
``report.html``.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ProtoSegBrainLib.explanation.findings import findings
from ProtoSegBrainLib.files import write_whole
from ProtoSegBrainLib.images.case import Case
from ProtoSegBrainLib.labels import CLASS_COLOURS, CLASSES, MODALITY_NAMES, REGION_NAMES
from ProtoSegBrainLib.network.evidence import no_prototypes
from ProtoSegBrainLib.pictures.page import page
from ProtoSegBrainLib.pictures.prepared import prepared_pictures
from ProtoSegBrainLib.pictures.report_pictures import SHOWN, report_pictures
from ProtoSegBrainLib.pictures.slices import HEAT, css
from ProtoSegBrainLib.result.prediction import RESEARCH_USE, Prediction


def write_report(case: Case, prediction: Prediction, path: str | os.PathLike[str]) -> Path:
    """Write the report of a result as one HTML file, whole or not at all.

    Args:
        case: The images the result belongs to.
        prediction: Of this case; what it lacks in ``findings`` is computed here.
        path: Of the file; its folder must exist.

    Raises:
        ValueError: The result lies on another grid than the case.
    """
    if prediction.label.shape != case.images.shape[1:] or not np.allclose(prediction.affine, case.affine, atol=1e-3):
        raise ValueError(
            f"The result of {prediction.case_id}, {prediction.label.shape}, and the images of {case.case_id}, "
            f"{case.images.shape[1:]}, lie on different grids; give the case that was segmented."
        )
    said = prediction.findings or findings(prediction)
    pictures = report_pictures(case, prediction, said)
    prepared = prepared_pictures(case)
    values = {
        "prediction": prediction,
        "said": said,
        "pictures": pictures,
        "prepared": prepared,
        **_known(prediction, said),
        **_names(),
    }
    write_whole(path, page("report.html", values))
    return Path(path)


def _known(prediction: Prediction, said: Mapping[str, Any]) -> dict[str, Any]:
    """What follows from the result and its findings."""
    regions = said["regions"].values()
    deciding = {region: prototypes for region, prototypes in said["prototypes"].items() if prototypes}
    shares = [prototype["share"] for prototypes in deciding.values() for prototype in prototypes]
    return {
        "has_prototypes": bool(prediction.evidence.prototype_class),
        "no_prototypes": no_prototypes(prediction.model["name"]),
        "coverage": next((region["coverage"] for region in regions if region["coverage"]), None),
        "deciding": deciding,
        "largest_share": max(shares, default=1.0),
    }


def _names() -> dict[str, Any]:
    """What is the same in every report of a day; the colours are those of classes and of regions."""
    of_classes = {name: css(colour) for name, colour in zip(CLASSES, CLASS_COLOURS, strict=True)}
    return {
        "colours": of_classes | {region: of_classes[owner] for region, (_, owner) in SHOWN.items()},
        "heat_colours": [css(colour) for colour in HEAT],
        "region_names": REGION_NAMES,
        "modality_names": MODALITY_NAMES,
        "research_use": RESEARCH_USE,
        "today": datetime.date.today(),
    }
