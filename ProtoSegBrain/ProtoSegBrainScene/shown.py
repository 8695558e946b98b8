"""One patient at a time: what belongs to any other result is hidden, in slices, in 3D and in tables."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from ProtoSegBrainLib.labels import MODALITIES
from ProtoSegBrainScene.layout import VIEWS, compositeNodes
from ProtoSegBrainScene.moves import putAllBack
from ProtoSegBrainScene.parts import RESULT_ATTRIBUTE, isMove, partsOf

FIRST_ADDED_LAYER = 3
"""Of a slice view; those before it are background, foreground and label."""


def showOnly(scene: Any, segmentation: Any) -> None:
    """Hide all parts of all results but one, and what is left of those that were deleted in part.

    Images that others moved go back to where they were scanned. What of the one is to be seen is left as it is.

    Args:
        scene: With the results.
        segmentation: Of the result that may be seen; None hides all.
    """
    parts = [] if segmentation is None else partsOf(segmentation)
    own = {node.GetID() for node in parts}
    putAllBack(scene, but=[node for node in parts if isMove(node)])
    others = {node.GetID(): node for node in _nodesOfResults(scene) if node.GetID() not in own}
    for node in others.values():
        for display in _displaysOf(node):
            if display.GetVisibility():
                display.SetVisibility(False)
    for composite in compositeNodes(scene).values():
        takeOff(composite, others)
    for view in _nodesOfClass(scene, "vtkMRMLTableViewNode"):
        if view.GetTableNodeID() in others:
            view.SetTableNodeID(None)


def bringImages(scene: Any, inputs: Mapping[str, Any]) -> None:
    """In Slicer's own slice views that show an image, show one of these where it is none of them.

    Args:
        scene: With the views.
        inputs: Volume nodes by modality; None where none is chosen. T1ce is taken, or what there is.
    """
    ids = [node.GetID() for role in ("t1c", *MODALITIES) if (node := inputs.get(role)) is not None]
    for name, composite in compositeNodes(scene).items():
        background = composite.GetBackgroundVolumeID()
        if ids and background and name not in VIEWS.values() and background not in ids:
            composite.SetBackgroundVolumeID(ids[0])


def _nodesOfResults(scene: Any) -> Iterator[Any]:
    """All nodes that are or were part of a result."""
    for kind in ("vtkMRMLDisplayableNode", "vtkMRMLTableNode"):
        for node in _nodesOfClass(scene, kind):
            if node.GetAttribute(RESULT_ATTRIBUTE):
                yield node


def _nodesOfClass(scene: Any, kind: str) -> list[Any]:
    return [scene.GetNthNodeByClass(n, kind) for n in range(scene.GetNumberOfNodesByClass(kind))]


def _displaysOf(node: Any) -> Iterator[Any]:
    """Displays that are seen by themselves: surfaces, clouds, legends; those of a volume say how slices show it."""
    if node.IsA("vtkMRMLDisplayableNode"):
        for n in range(node.GetNumberOfDisplayNodes()):
            display = node.GetNthDisplayNode(n)
            if display is not None and not display.IsA("vtkMRMLVolumeDisplayNode"):
                yield display


def takeOff(composite: Any, ids: Collection[str]) -> None:
    """Show nothing of these volumes in a slice view."""
    modifying = composite.StartModify()
    if composite.GetBackgroundVolumeID() in ids:
        composite.SetBackgroundVolumeID(None)
    if composite.GetForegroundVolumeID() in ids:
        composite.SetForegroundVolumeID(None)
    if composite.GetLabelVolumeID() in ids:
        composite.SetLabelVolumeID(None)
    for n in range(composite.GetNumberOfAdditionalLayers()):
        if composite.GetNthLayerVolumeID(FIRST_ADDED_LAYER + n) in ids:
            composite.SetNthLayerVolumeID(FIRST_ADDED_LAYER + n, None)
    composite.EndModify(modifying)
