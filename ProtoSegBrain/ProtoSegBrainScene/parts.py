"""The nodes of which a result consists: added with their marks, found by its segmentation, removed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import slicer

from ProtoSegBrainLib.labels import MODALITIES

RESULT_ATTRIBUTE = "ProtoSegBrain.part"
"""Of every node that is part of a result: which part. What is seen of it is hidden while another result is shown."""
ROLE = "ProtoSegBrain."
"""Of a node reference of a result's segmentation: this and a field of ``ResultNodes``, or this and a modality."""
MOVE = "move_"
"""With which a part begins that is a transform by which an image was moved; the modality follows."""
SURFACE_ROLE = ROLE + "surface"
"""Of the painted surface, which not every result has."""


def addPart(scene: Any, kind: str, name: str, part: str, hidden: bool = False) -> Any:
    """A node that says which part it is, and whether it is hidden, before anything that offers nodes looks at it."""
    node = scene.CreateNodeByClass(kind)
    node.UnRegister(None)
    node.SetName(name)
    node.SetAttribute(RESULT_ATTRIBUTE, part)
    node.SetHideFromEditors(hidden)
    return scene.AddNode(node)


def isMove(transform: Any) -> bool:
    """Whether a transform node, or None, is one by which an image of a result was moved."""
    return transform is not None and (transform.GetAttribute(RESULT_ATTRIBUTE) or "").startswith(MOVE)


def partsOf(segmentation: Any) -> list[Any]:
    """All nodes of the result that a segmentation node belongs to, itself first, as far as they are still there."""
    roles = [segmentation.GetNthNodeReferenceRole(n) for n in range(segmentation.GetNumberOfNodeReferenceRoles())]
    ours = [role for role in roles if role.startswith(ROLE) and role.removeprefix(ROLE) not in MODALITIES]
    nodes = [segmentation, *(segmentation.GetNodeReference(role) for role in ours)]
    return [node for node in nodes if node is not None and node.GetScene() is segmentation.GetScene()]


def liftContents(transform: Any) -> bool:
    """Put all that lies under a transform under what lies above it; whether there was anything."""
    scene, kind = transform.GetScene(), "vtkMRMLTransformableNode"
    every = [scene.GetNthNodeByClass(n, kind) for n in range(scene.GetNumberOfNodesByClass(kind))]
    below = [node for node in every if node.GetParentTransformNode() is transform]
    above = transform.GetParentTransformNode()
    for node in below:
        node.SetAndObserveTransformNodeID(None if above is None else above.GetID())
    return bool(below)


def removeParts(scene: Any, parts: Iterable[Any]) -> None:
    """Nodes with their displays, and those folders of ours that are empty then; what lies under them stays."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    parts = list(parts)
    folders = {hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) for node in parts}
    for node in parts:
        _removeNode(scene, node)
    for folder in folders:
        _removeIfEmpty(hierarchy, folder)


def removeOrphans(scene: Any) -> None:
    """What is left of results whose classes were deleted and does harm: hidden regions, and moves of images.

    Nobody could delete the regions, but Segment Editor would find them.
    """
    kind = "vtkMRMLSegmentationNode"
    every = [scene.GetNthNodeByClass(n, kind) for n in range(scene.GetNumberOfNodesByClass(kind))]
    owned = {node.GetID() for segmentation in every for node in partsOf(segmentation)[1:]}
    kind = "vtkMRMLLinearTransformNode"
    every += [scene.GetNthNodeByClass(n, kind) for n in range(scene.GetNumberOfNodesByClass(kind))]
    ours = [node for node in every if node.GetAttribute(RESULT_ATTRIBUTE) == "regions" or isMove(node)]
    removeParts(scene, [node for node in ours if node.GetID() not in owned])


def setFree(segmentation: Any, node: Any) -> None:
    """Make a node a part of a result no longer: it stays when that goes, beside its folder, and says so in its name."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(node.GetScene())
    item = hierarchy.GetItemByDataNode(node)
    hierarchy.SetItemParent(item, hierarchy.GetItemParent(hierarchy.GetItemParent(item)))
    segmentation.SetNodeReferenceID(ROLE + node.GetAttribute(RESULT_ATTRIBUTE), None)
    node.SetAttribute(RESULT_ATTRIBUTE, None)
    node.SetName(f"{node.GetName()}, kept")


def _removeNode(scene: Any, node: Any) -> None:
    """A node with what only it refers to: displays and storage; the colours are everyone's."""
    if node.IsA("vtkMRMLTransformNode"):
        liftContents(node)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    hierarchy.RemoveItem(hierarchy.GetItemByDataNode(node), False)
    own = [node.GetStorageNode()] if node.IsA("vtkMRMLStorableNode") else []
    if node.IsA("vtkMRMLDisplayableNode"):
        displays = [node.GetNthDisplayNode(n) for n in range(node.GetNumberOfDisplayNodes())]
        clouds = [display for display in displays if display.IsA("vtkMRMLVolumeRenderingDisplayNode")]
        own += [*displays, *(part for cloud in clouds for part in (cloud.GetVolumePropertyNode(), cloud.GetROINode()))]
    for each in (node, *own):
        if each is not None:
            scene.RemoveNode(each)


def _removeIfEmpty(hierarchy: Any, folder: int) -> None:
    isOurs = folder and hierarchy.GetItemAttribute(folder, RESULT_ATTRIBUTE) == "folder"
    if isOurs and not hierarchy.GetNumberOfItemChildren(folder):
        hierarchy.RemoveItem(folder, False)
