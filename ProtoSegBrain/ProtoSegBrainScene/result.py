"""All nodes of a result: shown, changed, found again after a scene was reloaded, removed.

The segmentation node refers to all others, so that whoever has it has the result.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
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
from ProtoSegBrainScene.fingerprint import fingerprintsOf, hasChanged
from ProtoSegBrainScene.grid import matrixOf, setVoxels
from ProtoSegBrainScene.heatmap import fillSimilarity, setUpMapDisplay
from ProtoSegBrainScene.hierarchy import itemOf, studyOf
from ProtoSegBrainScene.moves import addMoves, asScanned, asScannedFor
from ProtoSegBrainScene.parts import MOVE, RESULT_ATTRIBUTE, ROLE, addPart, partsOf, removeParts
from ProtoSegBrainScene.rendering import paintSurface, surfaceIsPainted
from ProtoSegBrainScene.segmentation import (
    FILL_OPACITY,
    fillBrain,
    fillRegions,
    makeSurfaces,
    segmentNames,
    setUpDisplay,
    showClasses,
)
from ProtoSegBrainScene.stored import storePrediction
from ProtoSegBrainScene.tables import fillPrototypeTable, fillVolumeTable

OF_PROTOTYPES = ("similarities", "similarity")
"""Nodes that the result of a model without prototypes does not have."""
OF_NO_PROTOTYPES = ("probabilities",)
"""Nodes that it has instead."""
OF_PREPARED = ("mask", *(MOVE + role for role in MODALITIES if role != "t1c"))
"""Nodes that only the result of a raw study has, as far as its brain was found and its images were moved."""
FIRST = ("t1c", *MODALITIES)
"""Of the inputs, that to whose grid and study a result belongs, as far as may be."""
NOT_ALWAYS = ("disagreement", *OF_PROTOTYPES, *OF_NO_PROTOTYPES, *OF_PREPARED)


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
        mask: The brain of a raw study as a segment, to be seen and mended; None where it was not looked for.
        move_t1n: Transform by which T1 was aligned to T1ce; None where it was not moved. So those below.
        move_t2w: Of T2.
        move_t2f: Of FLAIR.
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
    mask: Any = None
    move_t1n: Any = None
    move_t2w: Any = None
    move_t2f: Any = None


def showPrediction(
    context: Any,
    prediction: Prediction,
    inputs: Mapping[str, Any],
    segmentation: Any = None,
    fingerprints: Mapping[str, str] | None = None,
) -> ResultNodes:
    """Add a result to the scene, all or nothing; an older result of the same segmentation node is replaced.

    Args:
        context: ``SceneContext``.
        prediction: Of the library.
        inputs: Volume nodes by modality, from which it was made; may be empty.
        segmentation: Node to be filled, perhaps with other segments; None makes one, with the name of the case, and a
            number where another result has that.
        fingerprints: Of the inputs when they were read, by modality; None takes them now.

    Raises:
        ValueError: What is given cannot be shown; the scene, and the segmentation, are as before.
    """
    return _show(context, prediction, inputs, segmentation, fingerprints, isWhole=True)


def showFirst(
    context: Any,
    prediction: Prediction,
    inputs: Mapping[str, Any],
    segmentation: Any = None,
    fingerprints: Mapping[str, str] | None = None,
) -> ResultNodes:
    """As ``showPrediction``, but what takes longest and is not seen at once is left to the steps of ``rest``."""
    return _show(context, prediction, inputs, segmentation, fingerprints, isWhole=False)


def updateResult(context: Any, nodes: ResultNodes, prediction: Prediction) -> None:
    """Show a changed result (what-if) in the same nodes: segments keep ids, display and 3D.

    What is stored stays the model's own result: ``restorePrediction`` gives that.

    Args:
        context: ``SceneContext``.
        nodes: Of the result.
        prediction: The changed one, on the same grids.
    """
    updateFirst(nodes, prediction)
    for step in rest(context, nodes, prediction).values():
        step()


def updateFirst(nodes: ResultNodes, prediction: Prediction) -> None:
    """As ``updateResult``, but only what is seen at once: labels and volumes."""
    label = Volume(prediction.label, prediction.affine)
    showClasses(nodes.segmentation, label)
    if nodes.regions.GetDisplayNode().GetVisibility():
        fillRegions(nodes.regions, label)
    fillVolumeTable(nodes.volumes, prediction)


def rest(context: Any, nodes: ResultNodes, prediction: Prediction) -> dict[str, Callable[[], None]]:
    """What is still to be done after ``showFirst`` and ``updateFirst``, by name, in this order.

    A step does nothing when a part of the result has gone meanwhile.
    """

    def paint() -> None:
        if surfaceIsPainted(nodes):
            paintSurface(context, nodes, prediction, True)

    def whileWhole(step: Callable[[], None]) -> Callable[[], None]:
        return lambda: step() if findResult(context.scene, nodes.segmentation) == nodes else None

    steps: dict[str, Callable[[], None]] = {
        "surfaces": lambda: makeSurfaces(context, nodes),
        "painted surface": paint,
        "uncertainty": lambda: setVoxels(nodes.uncertainty, entropy(prediction.probabilities)),
        "table of prototypes": lambda: fillPrototypeTable(nodes.prototypes, prediction),
    }
    return {name: whileWhole(step) for name, step in steps.items()}


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
    return imagesOf(nodes.segmentation)


def imagesOf(segmentation: Any) -> dict[str, Any]:
    """The same of a segmentation node, whether its result is whole or not."""
    found = {role: segmentation.GetNodeReference(ROLE + role) for role in MODALITIES}
    return {role: node for role, node in found.items() if node is not None}


def changedInputs(segmentation: Any) -> list[str]:
    """Modalities of a result whose volumes are still there, but moved, or with other voxels than were segmented."""
    taken = {role: segmentation.GetAttribute(ROLE + role) for role in MODALITIES}
    return [role for role, node in imagesOf(segmentation).items() if taken[role] and hasChanged(node, taken[role])]


def removeResult(nodes: ResultNodes) -> None:
    """Take all nodes of a result out of its scene, and its folder where that is empty then."""
    removeParts(nodes.segmentation.GetScene(), partsOf(nodes.segmentation))


# --- adding ---


def _show(
    context: Any,
    prediction: Prediction,
    inputs: Mapping[str, Any],
    segmentation: Any,
    fingerprints: Mapping[str, str] | None,
    isWhole: bool,
) -> ResultNodes:
    _check(prediction)
    scene = context.scene
    older = [] if segmentation is None else [node for node in partsOf(segmentation) if node is not segmentation]
    with _allOrNothing(scene):
        taken = fingerprintsOf(inputs) if fingerprints is None else fingerprints
        if segmentation is None:
            segmentation = _addSegmentation(scene, prediction.case_id)
        name = segmentation.GetName()
        nodes = ResultNodes(segmentation=segmentation, **_addParts(context, prediction, name))
        if isWhole:
            setVoxels(nodes.uncertainty, entropy(prediction.probabilities))
            fillPrototypeTable(nodes.prototypes, prediction)
        folder = _addFolder(scene, name, inputs)
        _fillSegmentation(nodes, prediction, inputs)  # last: nothing that can fail comes after it
        _sortIn(scene, nodes, folder)
        _refer(nodes, inputs, taken)
    removeParts(scene, older)
    if isWhole:  # of a segmentation that had surfaces
        makeSurfaces(context, nodes)
    return nodes


def _check(prediction: Prediction) -> None:
    """Before anything is added: what is left for later is found not to fit when it is too late."""
    known, maps = len(prediction.evidence.prototype_class), len(prediction.similarities)
    shapes = {prediction.label.shape, prediction.probabilities.shape[1:]}
    if known != maps or len(shapes) > 1:
        raise ValueError(
            f"{prediction.case_id}: expected maps of {known} prototypes, and label and probabilities of one shape; got "
            f"{maps} maps and the shapes {' and '.join(map(str, shapes))}."
        )


def _addSegmentation(scene: Any, case_id: str) -> Any:
    """The node of the classes, by which a result is chosen; it comes first: modules take the first that they find."""
    kind = "vtkMRMLSegmentationNode"
    others = [scene.GetNthNodeByClass(n, kind) for n in range(scene.GetNumberOfNodesByClass(kind))]
    taken = {node.GetName() for node in others}
    names = itertools.chain([case_id], (f"{case_id} {number}" for number in itertools.count(2)))
    return addPart(scene, kind, next(name for name in names if name not in taken), "segmentation")


def _addParts(context: Any, prediction: Prediction, name: str) -> dict[str, Any]:
    """All nodes but the segmentation, by field of ``ResultNodes``."""
    scene = context.scene
    regions = addPart(scene, "vtkMRMLSegmentationNode", f"{name} regions", "regions", hidden=True)
    fillRegions(regions, Volume(prediction.label, prediction.affine))
    setUpDisplay(regions, 0.0)
    regions.GetDisplayNode().SetVisibility(False)
    volumes = addPart(scene, "vtkMRMLTableNode", f"{name} volumes", "volumes")
    fillVolumeTable(volumes, prediction)
    prototypes = addPart(scene, "vtkMRMLTableNode", f"{name} prototypes", "prototypes")
    parts = {"regions": regions, "volumes": volumes, "prototypes": prototypes, **_addPrepared(scene, prediction, name)}
    return {**parts, **_addMaps(context, prediction, name), **storePrediction(scene, prediction, name)}


def _addPrepared(scene: Any, prediction: Prediction, name: str) -> dict[str, Any]:
    """What was done to a raw study, to be seen: ``OF_PREPARED``."""
    nodes = addMoves(scene, prediction.preparation, name)
    if prediction.preparation.get("brain"):
        nodes["mask"] = addPart(scene, "vtkMRMLSegmentationNode", f"{name} brain mask", "mask")
        fillBrain(nodes["mask"], Volume((prediction.probabilities[0] < 1).astype(np.uint8), prediction.affine))
        setUpDisplay(nodes["mask"], FILL_OPACITY)
        nodes["mask"].GetDisplayNode().SetVisibility(False)
    return nodes


def _addMaps(context: Any, prediction: Prediction, name: str) -> dict[str, Any]:
    grid = prediction.affine
    maps = {}
    if len(prediction.similarities):
        maps["similarity"] = Volume(prediction.similarities[0], prediction.similarity_affine)
    if prediction.disagreement is not None:
        maps["disagreement"] = Volume(prediction.disagreement, grid)
    nodes = {part: _addMap(context, f"{name} {part}", part, map_.affine) for part, map_ in maps.items()}
    for part, map_ in maps.items():
        setVoxels(nodes[part], map_.array)
    nodes["uncertainty"] = _addMap(context, f"{name} uncertainty", "uncertainty", grid)
    if "similarity" in nodes:
        fillSimilarity(nodes["similarity"], prediction, 0)
    return nodes


def _addMap(context: Any, name: str, part: str, affine: np.ndarray) -> Any:
    """A node for a map; its display before the voxels: it would look for the best grey levels of them."""
    node = addPart(context.scene, "vtkMRMLScalarVolumeNode", name, part)
    setUpMapDisplay(context, node)
    node.SetIJKToRASMatrix(matrixOf(affine))
    return node


def _fillSegmentation(nodes: ResultNodes, prediction: Prediction, inputs: Mapping[str, Any]) -> None:
    """Segments, and the grid on which they are edited and exported: that of the input that has it, or the brain's."""
    isNew = not set(CLASSES) & set(segmentNames(nodes.segmentation))
    showClasses(nodes.segmentation, Volume(prediction.label, prediction.affine))
    if isNew:
        setUpDisplay(nodes.segmentation, FILL_OPACITY)
    alike = [node for role in FIRST if (node := inputs.get(role)) is not None and _onGrid(node, prediction)]
    reference = (alike or [nodes.brain])[0]
    with asScannedFor([reference]):
        for segmentation in (nodes.segmentation, nodes.regions, nodes.mask):
            if segmentation is not None:
                segmentation.SetReferenceImageGeometryParameterFromVolumeNode(reference)


def _onGrid(node: Any, prediction: Prediction) -> bool:
    grid = Volume(np.broadcast_to(np.float32(0), node.GetImageData().GetDimensions()), asScanned(node))
    return same_grid(grid, prediction.label.shape, prediction.affine)


def _addFolder(scene: Any, name: str, inputs: Mapping[str, Any]) -> int:
    """A folder for the result in the study of T1ce, from where it is exported to DICOM; beside it where it has none."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    first = next((inputs[role] for role in FIRST if inputs.get(role) is not None), None)
    above = studyOf(hierarchy, first) if first else 0
    folder = hierarchy.CreateFolderItem(above or hierarchy.GetSceneItemID(), f"ProtoSegBrain {name}")
    hierarchy.SetItemAttribute(folder, RESULT_ATTRIBUTE, "folder")
    return folder


def _sortIn(scene: Any, nodes: ResultNodes, folder: int) -> None:
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    for field in fields(nodes):
        node = getattr(nodes, field.name)
        if node is not None:
            hierarchy.SetItemParent(itemOf(hierarchy, node), folder)


def _refer(nodes: ResultNodes, inputs: Mapping[str, Any], fingerprints: Mapping[str, str]) -> None:
    for field in fields(nodes):
        node = getattr(nodes, field.name)
        if node is None:
            continue
        node.SetAttribute(RESULT_ATTRIBUTE, field.name)
        if field.name != "segmentation":
            nodes.segmentation.SetNodeReferenceID(ROLE + field.name, node.GetID())
    for role in MODALITIES:
        node = inputs.get(role)
        nodes.segmentation.SetNodeReferenceID(ROLE + role, None if node is None else node.GetID())
        nodes.segmentation.SetAttribute(ROLE + role, fingerprints.get(role))


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


def _nodes(scene: Any) -> set[Any]:
    return {scene.GetNthNode(n) for n in range(scene.GetNumberOfNodes())}


def _items(hierarchy: Any) -> set[int]:
    found = vtk.vtkIdList()
    hierarchy.GetItemChildren(hierarchy.GetSceneItemID(), found, True)
    return {found.GetId(n) for n in range(found.GetNumberOfIds())}
