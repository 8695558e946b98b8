"""A result corrected by points, kept in nodes beside the model's own, and restored from them.

That is the points' channels, which only the network could make again, and the last layer with its sentences as JSON.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from ProtoSegBrainLib.explanation.whatif import decided_anew
from ProtoSegBrainLib.images.volume import Volume
from ProtoSegBrainLib.network.evidence import Evidence
from ProtoSegBrainLib.result.prediction import Prediction
from ProtoSegBrainScene.grid import setVoxels, voxelsOf
from ProtoSegBrainScene.hierarchy import putBeside
from ProtoSegBrainScene.parts import RESULT_ATTRIBUTE, ROLE
from ProtoSegBrainScene.stored import addChannels

CHANNELS, LAYER = "taught", "correction"
"""Parts of a result that only a corrected one has."""
LEAST_CHANNELS = 2
"""A volume of one value per voxel would not be read again as what it is."""


def storeCorrection(segmentation: Any, corrected: Prediction | None) -> None:
    """Keep a corrected result in the scene; None: nobody has corrected it, or all points were removed.

    Args:
        segmentation: Of the result.
        corrected: Of ``teach``, with all its points on.
    """
    scene = segmentation.GetScene()
    channels, layer = (_part(segmentation, part) for part in (CHANNELS, LAYER))
    if corrected is None:
        if layer is not None:
            layer.SetText("")
        return
    maps = corrected.similarities[corrected.evidence.n_learned :]
    padding = [(0, max(LEAST_CHANNELS - len(maps), 0)), *[(0, 0)] * 3]
    voxels = np.moveaxis(np.pad(maps, padding), 0, -1)
    if channels is None:
        volume = Volume(voxels, corrected.similarity_affine)
        _refer(segmentation, CHANNELS, addChannels(scene, f"{segmentation.GetName()} points' similarities", volume))
    else:
        setVoxels(channels, voxels)
    if layer is None:
        layer = scene.AddNewNodeByClass("vtkMRMLTextNode", f"{segmentation.GetName()} correction")
        _refer(segmentation, LAYER, layer)
    layer.SetText(json.dumps({"evidence": corrected.evidence.to_dict(), "warnings": corrected.warnings}))


def restoreCorrection(segmentation: Any, original: Prediction) -> Prediction | None:
    """The corrected result as it was stored; None where there is none.

    Args:
        segmentation: Of the result.
        original: The model's own, as restored.

    Raises:
        ValueError: The nodes do not hold a correction of this result.
    """
    channels, layer = (_part(segmentation, part) for part in (CHANNELS, LAYER))
    if channels is None or layer is None or not layer.GetText():
        return None
    try:
        values = json.loads(layer.GetText())
        evidence = Evidence.from_dict(values["evidence"])
        maps = np.moveaxis(voxelsOf(channels), -1, 0)[: len(evidence.taught)]
        similarities = np.concatenate([original.similarities, maps])
        said = [sentence for sentence in values["warnings"] if sentence not in original.warnings]
        return decided_anew(original, similarities, evidence, said)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{segmentation.GetName()}: its correction by points cannot be read ({type(error).__name__}: {error}); "
            f"delete the node {layer.GetName()} to have the model's own result."
        ) from error


def _part(segmentation: Any, part: str) -> Any:
    node = segmentation.GetNodeReference(ROLE + part)
    return node if node is not None and node.GetScene() is segmentation.GetScene() else None


def _refer(segmentation: Any, part: str, node: Any) -> None:
    node.SetAttribute(RESULT_ATTRIBUTE, part)
    segmentation.SetNodeReferenceID(ROLE + part, node.GetID())
    putBeside(node, segmentation)
