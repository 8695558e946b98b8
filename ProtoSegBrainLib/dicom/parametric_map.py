"""Maps as DICOM parametric maps, float32, each on its own grid: uncertainty, likeness to a prototype."""

from __future__ import annotations

from typing import Any

import numpy as np

from ProtoSegBrainLib.dicom.codes import PROGRAM, Code
from ProtoSegBrainLib.dicom.objects import concept, highdicom, made_by, placed, quietly, sources
from ProtoSegBrainLib.dicom.series import Series
from ProtoSegBrainLib.images.volume import Volume
from ProtoSegBrainLib.result.prediction import Prediction
from ProtoSegBrainLib.result.uncertainty import entropy

NO_UNIT = Code("1", "UCUM", "no units")
UNCERTAINTY = Code("Uncertainty", "99PSB", "Entropy of the class probabilities, 0 to 1")


def uncertainty_map(prediction: Prediction, source: Series) -> Any:
    """The entropy of the probabilities, 0 (certain) to 1."""
    values = Volume(entropy(prediction.probabilities), prediction.affine)
    return _map(prediction, source, values, UNCERTAINTY, "uncertainty", 1.0, 3)


def similarity_map(prediction: Prediction, source: Series, index: int) -> Any:
    """How alike each place is to a prototype, unrounded, on the grid on which the network computed it."""
    owner = prediction.evidence.prototype_class[index]
    values = Volume(prediction.similarities[index], prediction.similarity_affine)
    code = Code(f"Similarity{index}", "99PSB", f"Similarity to prototype {index} ({owner})")
    most = float(prediction.evidence.largest_similarity)
    return _map(prediction, source, values, code, f"prototype {index} {owner}", most, 10 + index)


def _map(
    prediction: Prediction, source: Series, values: Volume, quantity: Code, what: str, most: float, number: int
) -> Any:
    hd = highdicom()
    mapping = hd.pm.RealWorldValueMapping(
        lut_label=quantity.value[:16],
        lut_explanation=quantity.meaning[:64],
        unit=concept(NO_UNIT),
        value_range=(0.0, float(max(most, values.array.max(initial=0.0)))),
        slope=1.0,
        intercept=0.0,
        quantity_definition=concept(quantity),
    )
    with quietly():
        made = hd.pm.ParametricMap(
            source_images=sources(source),
            pixel_array=placed(Volume(values.array.astype(np.float32), values.affine), source),
            contains_recognizable_visual_features=False,
            real_world_value_mappings=[mapping],
            window_center=most / 2,
            window_width=most,
            content_label="MAP",
            content_description=f"{PROGRAM}, research use only",
            **made_by(prediction, f"{PROGRAM} {what}", number),
        )
    made.BodyPartExamined = "BRAIN"
    return made
