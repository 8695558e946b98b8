"""Where nodes stand in the tree of the Data module (subject hierarchy)."""

from __future__ import annotations

from typing import Any

import slicer


def itemOf(hierarchy: Any, node: Any) -> int:
    """The item of a node, made where it has none."""
    return hierarchy.GetItemByDataNode(node) or hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)


def studyOf(hierarchy: Any, node: Any) -> int:
    """The item of the study in which a node stands, in folders perhaps; what it stands in where there is no study."""
    item = itemOf(hierarchy, node)
    return hierarchy.GetItemAncestorAtLevel(item, "Study") or hierarchy.GetItemParent(item)


def putBeside(node: Any, other: Any) -> None:
    """Into the folder in which another node stands."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(node.GetScene())
    hierarchy.SetItemParent(itemOf(hierarchy, node), hierarchy.GetItemParent(itemOf(hierarchy, other)))
