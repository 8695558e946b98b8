"""Two results of one patient at two dates, side by side: both scans in one place, and what changed between them.

Nothing of the results is moved: T1ce and FLAIR of the later date are shown by nodes of the comparison's own, which
share the voxels and lie where the registration says. All that a comparison made goes with ``removeComparison``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import slicer
import vtk

from ProtoSegBrainLib.followup.follow import FollowConfig, FollowUp, follow
from ProtoSegBrainLib.followup.maps import CHANGE_COLOURS, CHANGES, ChangeMap
from ProtoSegBrainLib.followup.visit import Visit, date_of, parse_date
from ProtoSegBrainLib.images.preparation import Preparation
from ProtoSegBrainLib.images.volume import Volume
from ProtoSegBrainLib.labels import MODALITY_NAMES
from ProtoSegBrainLib.progress import Progress
from ProtoSegBrainLib.result.prediction import Prediction
from ProtoSegBrainScene.grid import matrixOf, orientedImage
from ProtoSegBrainScene.hierarchy import itemOf
from ProtoSegBrainScene.inputs import volumeOf
from ProtoSegBrainScene.layout import compositeNodes
from ProtoSegBrainScene.parts import removeParts
from ProtoSegBrainScene.result import ResultNodes, inputsOf
from ProtoSegBrainScene.resultfiles import caseOfResult
from ProtoSegBrainScene.segmentation import LABELMAP
from ProtoSegBrainScene.shown import takeOff

ATTRIBUTE = "ProtoSegBrain.comparison"
"""Of every node of a comparison: which part."""
LAYOUT_ID = 5173
SHOWN = ("t1c", "t2f")
"""Modalities in which the dates stand side by side."""
DATES = ("Earlier", "Later")
VIEWS = {(date, role): f"PSB-{date}-{MODALITY_NAMES[role]}" for date in DATES for role in SHOWN}
"""Name of the slice view of each date and modality."""
FILL_OPACITY = 0.35
COLUMNS = ("Region", "Earlier", "Later", "Change", "Beyond the interval")
STUDY_DATE = "DICOM.StudyDate"
_DAY = re.compile(r"\d{8}")


@dataclass(eq=False)
class Comparison:
    """What was found, and the nodes that show it.

    Attributes:
        followup: The two dates in order.
        images: Volume nodes by date (Earlier, Later) and modality, laid on each other.
        changes: Segmentation with what stayed, is new and is gone of a region.
        table: Volumes and diameters at both dates.
    """

    followup: FollowUp
    images: dict[tuple[str, str], Any]
    changes: Any
    table: Any


def compare(
    scene: Any,
    results: Sequence[tuple[ResultNodes, Prediction]],
    config: FollowConfig | None = None,
    onProgress: Progress | None = None,
) -> Comparison:
    """Compare two results of a patient and add the nodes that show what changed; an earlier comparison goes.

    Args:
        scene: With both.
        results: Nodes and prediction of the earlier and of the later date; where the study's dates say otherwise, these
            count.
        config: When two scans count as one head.
        onProgress: Called with a fraction from 0 to 1 and what is being done.

    Raises:
        ValueError: Images of a result are gone, one scan twice, two patients; nothing is changed then.
    """
    visits = _dated([_visitOf(nodes, prediction) for nodes, prediction in results])
    followup = follow(visits, config, onProgress)
    removeComparison(scene)
    owners = [next(n for n, visit in enumerate(visits) if visit.case is ordered.case) for ordered in followup.visits]
    motions = [registration.motion for registration in followup.registrations]
    images = {
        (date, role): _imageOf(scene, *results[owner], role, motion, date)
        for date, owner, motion in zip(DATES, owners, motions, strict=True)
        for role in SHOWN
    }
    name = f"Change {followup.visits[0].name} to {followup.visits[1].name}"
    changes = _add(scene, "vtkMRMLSegmentationNode", name, "changes")
    table = _add(scene, "vtkMRMLTableNode", f"{name}: volumes", "table")
    made = Comparison(followup, images, changes, table)
    _fillTable(table, followup)
    _putTogether(scene, [*images.values(), changes, table], name)
    showChange(made, "WT")
    return made


def showChange(comparison: Comparison, region: str) -> None:
    """Show what stayed, is new and is gone of a region.

    Args:
        comparison: Of two dates.
        region: WT, TC or ET.
    """
    found = next(each for each in comparison.followup.maps if each.region == region)
    node = comparison.changes
    inside = node.GetSegmentation()
    modifying = node.StartModify()
    inside.RemoveAllSegments()
    inside.SetSourceRepresentationName(LABELMAP)
    for kind, colour in CHANGE_COLOURS.items():
        inside.AddSegment(_segment(found, kind, colour), f"{region} {kind}")
    node.EndModify(modifying)
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetOpacity2DFill(FILL_OPACITY)


def showSideBySide(scene: Any, layoutNode: Any, comparison: Comparison) -> int:
    """Arrange the views: the earlier date on the left, the later one on the right, linked; the arrangement before."""
    earlier = layoutNode.GetViewArrangement()
    if not layoutNode.IsLayoutDescription(LAYOUT_ID):
        layoutNode.AddLayoutDescription(LAYOUT_ID, layoutXml())
    layoutNode.SetViewArrangement(LAYOUT_ID)
    found = compositeNodes(scene)
    for (date, role), name in VIEWS.items():
        if name in found:
            composite = found[name]
            composite.SetBackgroundVolumeID(comparison.images[date, role].GetID())
            other = "Later" if date == "Earlier" else "Earlier"
            composite.SetForegroundVolumeID(comparison.images[other, role].GetID())
            composite.SetLinkedControl(True)
            composite.SetHotLinkedControl(True)
    blend(scene, 0.0)
    return int(earlier)


def blend(scene: Any, share: float) -> None:
    """Fade the views on the left into the later date, 0 to 1; those on the right show the later one always."""
    found = compositeNodes(scene)
    for (date, _), name in VIEWS.items():
        if name in found:
            found[name].SetLinkedControl(False)  # else all views would fade
            found[name].SetForegroundOpacity(share if date == "Earlier" else 0.0)
            found[name].SetLinkedControl(True)


def removeComparison(scene: Any) -> None:
    """Take all that a comparison made out of the scene, whoever made it; the results stay as they are."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    every = [scene.GetNthNode(n) for n in range(scene.GetNumberOfNodes())]
    nodes = [node for node in every if node.GetAttribute(ATTRIBUTE)]
    folders = {hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) for node in nodes}
    ids = {node.GetID() for node in nodes}
    for composite in compositeNodes(scene).values():
        takeOff(composite, ids)
    removeParts(scene, nodes)
    for folder in folders:
        if hierarchy.GetItemAttribute(folder, ATTRIBUTE) and not hierarchy.GetNumberOfItemChildren(folder):
            hierarchy.RemoveItem(folder, False)


def layoutXml() -> str:
    """The description of the arrangement in Slicer's words: two rows, in each the two dates of a modality."""
    rows = ["".join(_item(VIEWS[date, role], f"{date} {MODALITY_NAMES[role]}") for date in DATES) for role in SHOWN]
    lines = "".join(f'<item><layout type="horizontal">{row}</layout></item>' for row in rows)
    return f'<layout type="vertical">{lines}</layout>'


def tableRows(followup: FollowUp) -> list[tuple[str, ...]]:
    """Volumes and diameters at both dates, as a table shows them."""
    known = {None: "not known", False: "no", True: "yes"}
    rows = []
    for name, change in followup.regions.items():
        percent = change.change_percent[1]
        changed = f"{change.change_ml[1]:+.1f} ml" + ("" if percent is None else f" ({percent:+.0f}%)")
        volumes = [f"{ml:.1f} ml" for ml in change.volumes_ml]
        rows.append((name, *volumes, changed, known[change.is_beyond_interval[1]]))
    diameters = followup.diameters
    sizes = [f"{a:.0f} × {b:.0f} mm" for a, b in zip(diameters.longest_mm, diameters.perpendicular_mm, strict=True)]
    percent = diameters.change_percent[1]
    return [*rows, ("ET diameters", *sizes, "" if percent is None else f"product {percent:+.0f}%", "")]


# -- visits --------------------------------------------------------------------------------------------------------


def _visitOf(nodes: ResultNodes, prediction: Prediction) -> Visit:
    case = caseOfResult(nodes, prediction)
    return Visit(case, prediction, date_of(case) or _studyDate(inputsOf(nodes)["t1c"]))


def _studyDate(node: Any) -> Any:
    """The day of the study in which a node stands; None where nobody said."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(node.GetScene())
    item = itemOf(hierarchy, node)
    while item and item != hierarchy.GetSceneItemID():
        said = (hierarchy.GetItemAttribute(item, STUDY_DATE) or "").replace("-", "")
        if _DAY.fullmatch(said):
            try:
                return parse_date(said)
            except ValueError:
                return None
        item = hierarchy.GetItemParent(item)
    return None


def _dated(visits: list[Visit]) -> list[Visit]:
    """One date alone puts nothing into order."""
    return visits if all(visit.date for visit in visits) else [replace(visit, date=None) for visit in visits]


# -- nodes ---------------------------------------------------------------------------------------------------------


def _imageOf(scene: Any, nodes: ResultNodes, prediction: Prediction, role: str, motion: np.ndarray, date: str) -> Any:
    """A node that shares the voxels of an image and lies where it was aligned, and moved, to."""
    source = inputsOf(nodes)[role]
    moves = Preparation.from_dict(prediction.preparation).moves if prediction.preparation else {}
    aligned = moves[role].motion if role in moves else np.eye(4)
    node = _add(scene, "vtkMRMLScalarVolumeNode", f"{source.GetName()} ({date.lower()})", f"{date} {role}")
    node.SetIJKToRASMatrix(matrixOf(motion @ aligned @ volumeOf(source).affine))
    node.SetAndObserveImageData(source.GetImageData())
    node.CreateDefaultDisplayNodes()
    theirs = source.GetDisplayNode()
    if theirs is not None:
        node.GetDisplayNode().SetAutoWindowLevel(theirs.GetAutoWindowLevel())
        node.GetDisplayNode().SetWindowLevel(theirs.GetWindow(), theirs.GetLevel())
    return node


def _add(scene: Any, kind: str, name: str, part: str) -> Any:
    node = scene.CreateNodeByClass(kind)
    node.UnRegister(None)
    node.SetName(name)
    node.SetAttribute(ATTRIBUTE, part)
    return scene.AddNode(node)


def _putTogether(scene: Any, nodes: Sequence[Any], name: str) -> None:
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    folder = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), name)
    hierarchy.SetItemAttribute(folder, ATTRIBUTE, "folder")
    for node in nodes:
        hierarchy.SetItemParent(itemOf(hierarchy, node), folder)


def _segment(found: ChangeMap, kind: str, colour: tuple[int, int, int]) -> Any:
    segment = slicer.vtkSegment()
    segment.SetName(f"{found.region} {kind}, {found.volumes_ml[kind]:.1f} ml")
    segment.SetColor(*[value / 255 for value in colour])
    mask = (found.on_earlier.array == CHANGES.index(kind)).astype(np.uint8)
    segment.AddRepresentation(LABELMAP, orientedImage(Volume(mask, found.on_earlier.affine)))
    return segment


def _fillTable(node: Any, followup: FollowUp) -> None:
    table = vtk.vtkTable()
    for number, head in enumerate(COLUMNS):
        column = vtk.vtkStringArray()
        column.SetName(head)
        for row in tableRows(followup):
            column.InsertNextValue(row[number])
        table.AddColumn(column)
    node.SetAndObserveTable(table)


def _item(name: str, label: str) -> str:
    return (
        f'<item><view class="vtkMRMLSliceNode" singletontag="{name}">'
        '<property name="orientation" action="default">Axial</property>'
        f'<property name="viewlabel" action="default">{label}</property>'
        "</view></item>"
    )
