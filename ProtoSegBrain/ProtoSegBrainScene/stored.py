"""A prediction in nodes: what it says is kept whole, so that a scene that was reloaded gives the same prediction.

That is the similarities of all prototypes, what is brain, and the rest as JSON. Probabilities are not kept but computed
again; of a model without prototypes they are kept in place of the similarities.
"""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import numpy as np
import slicer

from ProtoSegBrainLib.explanation.whatif import whatif
from ProtoSegBrainLib.images.volume import Volume, begin_at, bounding_box
from ProtoSegBrainLib.network.evidence import Evidence
from ProtoSegBrainLib.result.decision import Decision, decide
from ProtoSegBrainLib.result.prediction import Prediction
from ProtoSegBrainScene.grid import addVolume, voxelsOf, worldAffineOf

ARRAYS = ("label", "probabilities", "similarities", "similarity_affine", "affine", "disagreement")
"""Fields of a ``Prediction`` that are not in the details' JSON."""


def storePrediction(scene: Any, prediction: Prediction, name: str) -> dict[str, Any]:
    """Add the nodes that keep a prediction; its disagreement is kept by the map that shows it.

    Args:
        scene: Where they go.
        prediction: Of the library.
        name: With which their names begin.

    Returns:
        By field of ``result.ResultNodes``: details, brain, and similarities or, without prototypes, probabilities.
    """
    brain = Volume((prediction.probabilities[0] < 1).astype(np.uint8), prediction.affine)
    details = scene.AddNewNodeByClass("vtkMRMLTextNode", f"{name} details")
    details.SetText(_detailsOf(prediction))
    if len(prediction.similarities):
        part = "similarities"
        kept = Volume(np.moveaxis(prediction.similarities, 0, -1), prediction.similarity_affine)
    else:
        part, kept = "probabilities", _tumourIn(prediction, brain)
    return {
        "details": details,
        part: addChannels(scene, f"{name} {part}", kept),
        "brain": addVolume(scene, "vtkMRMLLabelMapVolumeNode", f"{name} brain", brain),
    }


def restorePrediction(nodes: Any) -> Prediction:
    """The model's own result from its nodes, for example of a scene that was reloaded.

    Label and probabilities are computed again from the similarities, which gives what ``predict`` gave; of a model
    without prototypes the label is, from the probabilities.

    Args:
        nodes: ``result.ResultNodes``.

    Raises:
        ValueError: The nodes do not hold a result of this version.
    """
    try:
        values = json.loads(nodes.details.GetText())
        stored = Prediction(
            **{
                **values,
                "evidence": Evidence.from_dict(values["evidence"]),
                "warnings": tuple(values["warnings"]),
            },
            **_storedArrays(nodes),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{nodes.segmentation.GetName()} does not hold a result of this version of ProtoSegBrain "
            f"({type(error).__name__}: {error}); segment the case again."
        ) from error
    decided = _decidedAgain(nodes, stored) if nodes.similarities is None else whatif(stored)
    return replace(stored, label=decided.label, probabilities=decided.probabilities)


# --- storing ---


def _tumourIn(prediction: Prediction, brain: Volume) -> Volume:
    """Probabilities of NCR, ED, ET, (X, Y, Z, 3), in the box around the brain: outside it they are 0."""
    box = bounding_box(brain.array) or tuple(slice(0, n) for n in brain.shape)
    tumour = np.moveaxis(prediction.probabilities[1:], 0, -1)[box]
    return Volume(tumour, begin_at(prediction.affine, [side.start for side in box]))


def addChannels(scene: Any, name: str, volume: Volume) -> Any:
    """A node for a volume of several values per voxel, (I, J, K, C), as it can be saved."""
    kind = "vtkMRMLVectorVolumeNode" if volume.array.shape[-1] > 1 else "vtkMRMLScalarVolumeNode"
    node = addVolume(scene, kind, name, volume)
    node.SetVoxelVectorType(slicer.vtkMRMLVolumeNode.VoxelVectorTypeUndefined)  # not to be turned from LPS
    storage = scene.AddNewNodeByClass("vtkMRMLNRRDStorageNode")  # the only one for so many values per voxel
    node.SetAndObserveStorageNodeID(storage.GetID())
    return node


def _detailsOf(prediction: Prediction) -> str:
    values = {field.name: getattr(prediction, field.name) for field in fields(prediction) if field.name not in ARRAYS}
    return json.dumps({**values, "evidence": prediction.evidence.to_dict()})


# --- restoring ---


def _storedArrays(nodes: Any) -> dict[str, np.ndarray | None]:
    brain = voxelsOf(nodes.brain) > 0
    return {
        "label": np.zeros_like(brain, np.uint8),
        "probabilities": np.where(brain, np.float32(0), np.float32(1))[None],
        **_storedSimilarities(nodes),
        "affine": worldAffineOf(nodes.brain),
        "disagreement": None if nodes.disagreement is None else voxelsOf(nodes.disagreement).copy(order="K"),
    }


def _storedSimilarities(nodes: Any) -> dict[str, np.ndarray]:
    if nodes.similarities is None:
        shape = voxelsOf(nodes.brain).shape
        return {"similarities": np.empty((0, *shape), np.float32), "similarity_affine": worldAffineOf(nodes.brain)}
    maps = voxelsOf(nodes.similarities)
    maps = maps[..., None] if maps.ndim == 3 else maps
    similarities = np.moveaxis(maps, -1, 0).copy(order="K")
    return {"similarities": similarities, "similarity_affine": worldAffineOf(nodes.similarities)}


def _decidedAgain(nodes: Any, stored: Prediction) -> Decision:
    """From the probabilities of NCR, ED and ET; they are calibrated already."""
    tumour = np.moveaxis(voxelsOf(nodes.probabilities), -1, 0)
    brain = stored.probabilities[0] < 1
    affine = worldAffineOf(nodes.probabilities)
    return decide(tumour, affine, brain, stored.affine, stored.evidence.calibration)
