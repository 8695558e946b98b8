"""The nodes of which a result consists: added with their marks, found by its segmentation, removed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import slicer

from ProtoSegBrainLib.labels import MODALITIES
from ProtoSegBrainScene.inputs import RESULT_ATTRIBUTE, ROLE


def addPart(scene: Any, kind: str, name: str, part: str, hidden: bool = False) -> Any:
    """A node that says which part it is, and whether it is hidden, before anything that offers nodes looks at it."""
    node = scene.CreateNodeByClass(kind)
    node.UnRegister(None)
    node.SetName(name)
    node.SetAttribute(RESULT_ATTRIBUTE, part)
    node.SetHideFromEditors(hidden)
    return scene.AddNode(node)


def partsOf(segmentation: Any) -> list[Any]:
    """All nodes of the result that a segmentation node belongs to, itself first, as far as they are still there."""
    roles = [segmentation.GetNthNodeReferenceRole(n) for n in range(segmentation.GetNumberOfNodeReferenceRoles())]
    ours = [role for role in roles if role.startswith(ROLE) and role.removeprefix(ROLE) not in MODALITIES]
    nodes = [segmentation, *(segmentation.GetNodeReference(role) for role in ours)]
    return [node for node in nodes if node is not None and node.GetScene() is segmentation.GetScene()]


def removeParts(scene: Any, parts: Iterable[Any]) -> None:
    """Nodes with their displays, and those folders of ours that are empty then."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    parts = list(parts)
    folders = {hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) for node in parts}
    for node in parts:
        _removeNode(scene, node)
    for folder in folders:
        _removeIfEmpty(hierarchy, folder)


def removeOrphans(scene: Any) -> None:
    """Regions whose classes were deleted: hidden, nobody could delete them, but Segment Editor would find them."""
    kind = "vtkMRMLSegmentationNode"
    every = [scene.GetNthNodeByClass(n, kind) for n in range(scene.GetNumberOfNodesByClass(kind))]
    owned = {node.GetNodeReferenceID(f"{ROLE}regions") for node in every}
    regions = [node for node in every if node.GetAttribute(RESULT_ATTRIBUTE) == "regions"]
    removeParts(scene, [node for node in regions if node.GetID() not in owned])


def _removeNode(scene: Any, node: Any) -> None:
    """A node with what only it refers to: displays and storage; the colours are everyone's."""
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
