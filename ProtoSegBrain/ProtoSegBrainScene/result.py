"""All nodes of a result: shown, changed, found again after a scene was reloaded, removed.

The segmentation node refers to all others, so that whoever has it has the result.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import slicer
import vtk

from ProtoSegBrainLib.images.volume import Volume, same_grid
from ProtoSegBrainLib.labels import CLASSES, MODALITIES
from ProtoSegBrainLib.result.prediction import Prediction
from ProtoSegBrainLib.result.uncertainty import entropy
from ProtoSegBrainScene.grid import matrixOf, setVoxels, worldAffineOf
from ProtoSegBrainScene.heatmap import fillSimilarity, setUpMapDisplay
from ProtoSegBrainScene.inputs import RESULT_ATTRIBUTE, ROLE, SURFACE_ROLE
from ProtoSegBrainScene.rendering import paintSurface, surfaceIsPainted
from ProtoSegBrainScene.segmentation import FILL_OPACITY, fillRegions, segmentNames, setUpDisplay, showClasses
from ProtoSegBrainScene.stored import storePrediction
from ProtoSegBrainScene.tables import fillPrototypeTable, fillVolumeTable

OF_PROTOTYPES = ("similarities", "similarity")
"""Nodes that the result of a model without prototypes does not have."""
OF_NO_PROTOTYPES = ("probabilities",)
"""Nodes that it has instead."""
NOT_ALWAYS = ("disagreement", *OF_PROTOTYPES, *OF_NO_PROTOTYPES)


@dataclass(frozen=True)
class ResultNodes:
    """The nodes of a result.

    Attributes:
        segmentation: Segments NCR, ED, ET; refers to the others.
        regions: Segments WT, TC, ET, to be shown instead.
        uncertainty: Entropy, 0 to 1, on the grid of the label.
        brain: 1 in the brain, on the grid of the label.
        details: JSON of everything else that a ``Prediction`` holds.
        volumes: Table of volumes.
        prototypes: Table of prototypes.
        disagreement: Between views, 0 to 1, on the grid of the label; None where there was one view.
        similarities: Of all P prototypes, P values per voxel, on their own grid; None where the model has none.
        similarity: The one that is shown, 0 to 1, on the same grid; None where the model has no prototypes.
        probabilities: Of NCR, ED and ET, 3 values per voxel, in the brain; None where the model has prototypes.
    """

    segmentation: Any
    regions: Any
    uncertainty: Any
    brain: Any
    details: Any
    volumes: Any
    prototypes: Any
    disagreement: Any = None
    similarities: Any = None
    similarity: Any = None
    probabilities: Any = None


def showPrediction(
    context: Any, prediction: Prediction, inputs: Mapping[str, Any], segmentation: Any = None
) -> ResultNodes:
    """Add a result to the scene, all or nothing; an older result of the same segmentation node is replaced.

    Args:
        context: ``SceneContext``.
        prediction: Of the library.
        inputs: Volume nodes by modality, from which it was made; may be empty.
        segmentation: Node to be filled, perhaps with other segments; None makes one.

    Raises:
        ValueError: What is given cannot be shown; the scene, and the segmentation, are as before.
    """
    scene = context.scene
    older = None if segmentation is None else findResult(scene, segmentation)
    with _allOrNothing(scene):
        parts = _addParts(context, prediction)
        if segmentation is None:
            segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", prediction.case_id)
        nodes = ResultNodes(segmentation=segmentation, **parts)
        folder = _addFolder(scene, prediction.case_id, inputs)
        _fillSegmentation(nodes, prediction, inputs)  # last: nothing that can fail comes after it
        _sortIn(scene, nodes, folder)
        _refer(nodes, inputs)
    if older is not None:
        _removeParts(scene, older)
    return nodes


def updateResult(context: Any, nodes: ResultNodes, prediction: Prediction) -> None:
    """Show a changed result (what-if) in the same nodes: segments keep ids, display and 3D.

    What is stored stays the model's own result: ``restorePrediction`` gives that.

    Args:
        context: ``SceneContext``.
        nodes: Of the result.
        prediction: The changed one, on the same grids.
    """
    label = Volume(prediction.label, prediction.affine)
    showClasses(nodes.segmentation, label)
    if nodes.regions.GetDisplayNode().GetVisibility():
        fillRegions(nodes.regions, label)
    setVoxels(nodes.uncertainty, entropy(prediction.probabilities))
    fillVolumeTable(nodes.volumes, prediction)
    fillPrototypeTable(nodes.prototypes, prediction)
    if surfaceIsPainted(nodes):
        paintSurface(context, nodes, prediction, True)


def findResult(scene: Any, segmentation: Any) -> ResultNodes | None:
    """The result that a segmentation node belongs to; None where it has none, or a part of it was deleted."""
    parts = {field.name: segmentation.GetNodeReference(ROLE + field.name) for field in fields(ResultNodes)}
    parts["segmentation"] = segmentation
    there = {name for name, node in parts.items() if node is not None and node.GetScene() is scene}
    needed = set(parts) - set(NOT_ALWAYS)
    isWhole = any(needed | set(others) <= there for others in (OF_PROTOTYPES, OF_NO_PROTOTYPES))
    return ResultNodes(**parts) if isWhole else None


def findResults(scene: Any) -> list[ResultNodes]:
    """All results of a scene, in the order in which they were added."""
    kind = "vtkMRMLSegmentationNode"
    found = [findResult(scene, scene.GetNthNodeByClass(n, kind)) for n in range(scene.GetNumberOfNodesByClass(kind))]
    return [nodes for nodes in found if nodes is not None]


def inputsOf(nodes: ResultNodes) -> dict[str, Any]:
    """The volume nodes, by modality, from which a result was made, as far as they are still there."""
    found = {role: nodes.segmentation.GetNodeReference(ROLE + role) for role in MODALITIES}
    return {role: node for role, node in found.items() if node is not None}


def removeResult(nodes: ResultNodes) -> None:
    """Take all nodes of a result out of its scene, and its folder where that is empty then."""
    scene = nodes.segmentation.GetScene()
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    folder = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(nodes.segmentation))
    _removeNode(scene, nodes.segmentation.GetNodeReference(SURFACE_ROLE))
    _removeNode(scene, nodes.segmentation)
    _removeParts(scene, nodes)
    _removeIfEmpty(hierarchy, folder)


# --- adding ---


def _addParts(context: Any, prediction: Prediction) -> dict[str, Any]:
    """All nodes but the segmentation, by field of ``ResultNodes``."""
    scene, case_id = context.scene, prediction.case_id
    regions = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", f"{case_id} regions")
    fillRegions(regions, Volume(prediction.label, prediction.affine))
    setUpDisplay(regions, 0.0)
    regions.GetDisplayNode().SetVisibility(False)
    regions.SetHideFromEditors(True)  # whoever chooses a result chooses the segmentation
    volumes = scene.AddNewNodeByClass("vtkMRMLTableNode", f"{case_id} volumes")
    fillVolumeTable(volumes, prediction)
    prototypes = scene.AddNewNodeByClass("vtkMRMLTableNode", f"{case_id} prototypes")
    fillPrototypeTable(prototypes, prediction)
    parts = {"regions": regions, "volumes": volumes, "prototypes": prototypes}
    return {**parts, **_addMaps(context, prediction), **storePrediction(scene, prediction)}


def _addMaps(context: Any, prediction: Prediction) -> dict[str, Any]:
    grid = prediction.affine
    maps = {"uncertainty": Volume(entropy(prediction.probabilities), grid)}
    if len(prediction.similarities):
        maps["similarity"] = Volume(prediction.similarities[0], prediction.similarity_affine)
    if prediction.disagreement is not None:
        maps["disagreement"] = Volume(prediction.disagreement, grid)
    nodes = {name: _addMap(context, f"{prediction.case_id} {name}", map_) for name, map_ in maps.items()}
    if "similarity" in nodes:
        fillSimilarity(nodes["similarity"], prediction, 0)
    return nodes


def _addMap(context: Any, name: str, map_: Volume) -> Any:
    node = context.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    setUpMapDisplay(context, node)  # before the voxels: it would look for the best grey levels of them
    node.SetIJKToRASMatrix(matrixOf(map_.affine))
    setVoxels(node, map_.array)
    return node


def _fillSegmentation(nodes: ResultNodes, prediction: Prediction, inputs: Mapping[str, Any]) -> None:
    """Segments, and the grid on which they are edited and exported: that of the input that has it, or the brain's."""
    isNew = not set(CLASSES) & set(segmentNames(nodes.segmentation))
    showClasses(nodes.segmentation, Volume(prediction.label, prediction.affine))
    if isNew:
        setUpDisplay(nodes.segmentation, FILL_OPACITY)
    alike = [node for role in MODALITIES if (node := inputs.get(role)) is not None and _onGrid(node, prediction)]
    for segmentation in (nodes.segmentation, nodes.regions):
        segmentation.SetReferenceImageGeometryParameterFromVolumeNode((alike or [nodes.brain])[0])


def _onGrid(node: Any, prediction: Prediction) -> bool:
    grid = Volume(np.broadcast_to(np.float32(0), node.GetImageData().GetDimensions()), worldAffineOf(node))
    return same_grid(grid, prediction.label.shape, prediction.affine)


def _addFolder(scene: Any, case_id: str, inputs: Mapping[str, Any]) -> int:
    """A folder for the result beside its inputs, in their study."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    first = next((inputs[role] for role in MODALITIES if inputs.get(role) is not None), None)
    above = hierarchy.GetItemParent(_itemOf(hierarchy, first)) if first else 0
    return hierarchy.CreateFolderItem(above or hierarchy.GetSceneItemID(), f"ProtoSegBrain {case_id}")


def _sortIn(scene: Any, nodes: ResultNodes, folder: int) -> None:
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    for field in fields(nodes):
        node = getattr(nodes, field.name)
        if node is not None:
            hierarchy.SetItemParent(_itemOf(hierarchy, node), folder)


def _itemOf(hierarchy: Any, node: Any) -> int:
    return hierarchy.GetItemByDataNode(node) or hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)


def _refer(nodes: ResultNodes, inputs: Mapping[str, Any]) -> None:
    for field in fields(nodes):
        node = getattr(nodes, field.name)
        if node is None:
            continue
        node.SetAttribute(RESULT_ATTRIBUTE, field.name)
        if field.name != "segmentation":
            nodes.segmentation.SetNodeReferenceID(ROLE + field.name, node.GetID())
    for role in MODALITIES:
        if inputs.get(role) is not None:
            nodes.segmentation.SetNodeReferenceID(ROLE + role, inputs[role].GetID())


# --- removing ---


@contextmanager
def _allOrNothing(scene: Any) -> Iterator[None]:
    """On an error all nodes and folders that were added since go."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    nodes, items = _nodes(scene), _items(hierarchy)
    try:
        yield
    except BaseException:
        for node in _nodes(scene) - nodes:
            scene.RemoveNode(node)
        for item in _items(hierarchy) - items:
            hierarchy.RemoveItem(item, False)  # the items only: what was there before stays in the scene
        raise


def _removeParts(scene: Any, nodes: ResultNodes) -> None:
    """All nodes but the segmentation, with their displays, and the folder where that is empty then."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    folder = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(nodes.regions))
    for field in fields(nodes):
        if field.name != "segmentation":
            _removeNode(scene, getattr(nodes, field.name))
    _removeIfEmpty(hierarchy, folder)


def _removeNode(scene: Any, node: Any) -> None:
    """A node with what only it refers to: displays and storage; the colours are everyone's."""
    if node is None or node.GetScene() is not scene:
        return
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
    if folder not in (0, hierarchy.GetSceneItemID()) and not hierarchy.GetNumberOfItemChildren(folder):
        hierarchy.RemoveItem(folder, False)


def _nodes(scene: Any) -> set[Any]:
    return {scene.GetNthNode(n) for n in range(scene.GetNumberOfNodes())}


def _items(hierarchy: Any) -> set[int]:
    found = vtk.vtkIdList()
    hierarchy.GetItemChildren(hierarchy.GetSceneItemID(), found, True)
    return {found.GetId(n) for n in range(found.GetNumberOfIds())}
