"""What a result says in numbers and words: the same for ``prediction.json``, the report and a user interface."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from ProtoSegBrainLib.explanation.explain import all_region_shares
from ProtoSegBrainLib.explanation.names import names_of
from ProtoSegBrainLib.images.volume import Volume
from ProtoSegBrainLib.labels import CLASSES, REGIONS
from ProtoSegBrainLib.network.evidence import Evidence
from ProtoSegBrainLib.result.familiarity import assess
from ProtoSegBrainLib.result.lesion import count_foci, crop, largest_diameters_mm, locate
from ProtoSegBrainLib.result.prediction import Prediction
from ProtoSegBrainLib.result.reliability import assess_region, short

BRAIN_STEP_MM = 3.0
"""Fine enough for the outline of a brain."""


def findings(prediction: Prediction) -> dict[str, Any]:
    """Everything that a result is reported with, in plain types for JSON.

    Returns:
        regions: By WT, TC, ET, as far as the model finds them: what ``reliability.assess_region`` says (volume and its
            interval in ml, expected Dice, calibration error), and the number of foci.
        enhancing_diameters_mm: The two diameters of the enhancing tumour, their product in mm² and their ends in RAS
            mm, see ``lesion.largest_diameters_mm``; None without enhancing tumour, or where the model does not find it.
        location: Centre, side, distance from the midline, and a sentence, see ``lesion.locate``; None without tumour.
        out_of_distribution: Flag, score, reasons and a sentence, see ``familiarity.assess``.
        prototypes: By region: which prototypes carried it with what share of the evidence, largest first; none where
            the model has none.
    """
    tumour = crop(prediction.label, prediction.affine) or _nothing(prediction)
    shares = all_region_shares(prediction)
    return {
        "regions": {name: _region(prediction, tumour, name) for name in prediction.regions},
        "enhancing_diameters_mm": _enhancing_diameters(tumour),
        "location": _location(tumour, coarse_brain(prediction)),
        "out_of_distribution": assess(prediction),
        "prototypes": {name: _deciding_prototypes(prediction.evidence, shares[name]) for name in REGIONS},
    }


def doubts(found: Mapping[str, Any]) -> tuple[str, ...]:
    """What a user must read before all else: that the scan is unlike the training data, and why; () for any other.

    Args:
        found: What ``findings`` returned.
    """
    familiar = found["out_of_distribution"]
    if not familiar["flag"]:
        return ()
    dices = {name: region["predicted_dice"] for name, region in found["regions"].items()}
    expected = ", ".join(f"{name} {short(dice)}" for name, dice in dices.items() if dice is not None)
    sentence = f"This result is probably poor: {'; '.join(familiar['reasons'])}. The scan is unlike the training data"
    return (f"{sentence}; expected Dice {expected}." if expected else f"{sentence}.",)


def _region(prediction: Prediction, tumour: Volume, name: str) -> dict[str, Any]:
    foci = count_foci(np.isin(tumour.array, REGIONS[name]), tumour.affine)
    return {**assess_region(prediction, name), "foci": foci}


def _nothing(prediction: Prediction) -> Volume:
    return Volume(np.zeros((1, 1, 1), np.uint8), prediction.affine)


def _enhancing_diameters(tumour: Volume) -> dict[str, Any] | None:
    enhancing, core = tumour.array == CLASSES.index("ET"), np.isin(tumour.array, REGIONS["TC"])
    diameters = largest_diameters_mm(enhancing, tumour.affine, core)
    if diameters is None:
        return None
    return {
        "longest": round(diameters.longest_mm, 2),
        "perpendicular": round(diameters.perpendicular_mm, 2),
        "product_mm2": round(diameters.product_mm2, 1),
        "measurable": diameters.measurable,
        "longest_ends": np.round(diameters.longest_ends_mm, 2).tolist(),
        "perpendicular_ends": np.round(diameters.perpendicular_ends_mm, 2).tolist(),
    }


def _location(tumour: Volume, brain: Volume) -> dict[str, Any] | None:
    location = locate(tumour.array > 0, tumour.affine, brain)
    if location is None:
        return None
    values = {name: np.round(value, 3).tolist() for name, value in asdict(location).items() if name != "side"}
    return {"side": location.side, **values, "sentence": location.sentence}


def coarse_brain(prediction: Prediction) -> Volume:
    """The brain, bool, at every few voxels of the case's grid."""
    spacing = np.linalg.norm(prediction.affine[:3, :3], axis=0)
    i, j, k = np.maximum(np.rint(BRAIN_STEP_MM / spacing), 1).astype(int)
    brain = prediction.probabilities[0, ::i, ::j, ::k] < 1
    return Volume(brain, prediction.affine @ np.diag([i, j, k, 1.0]))


def _deciding_prototypes(evidence: Evidence, shares: Mapping[int, float]) -> list[dict[str, Any]]:
    names = names_of(evidence)
    records = {prototype.index: prototype for prototype in evidence.prototypes}
    return [
        {
            "prototype": index,
            "class": evidence.prototype_class[index],
            "name": names.get(index),
            "share": round(share, 4),
            "case_id": records[index].case_id if index in records else None,
        }
        for index, share in shares.items()
    ]
