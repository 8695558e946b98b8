"""Places that a person points at: control points, in one markups node per class of a result.

A node has one colour, so each class has its own. Which point was made when stands in its description, from which the
points of all classes have one order; the label that is seen says class and number, "ET 2".
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import slicer

from ProtoSegBrainLib.correction.points import Point, points_of_label
from ProtoSegBrainLib.labels import CLASS_COLOURS, CLASSES
from ProtoSegBrainLib.network.evidence import TaughtPrototype
from ProtoSegBrainLib.result.prediction import Prediction
from ProtoSegBrainScene.brainmask import maskOfSegment
from ProtoSegBrainScene.hierarchy import putBeside
from ProtoSegBrainScene.parts import RESULT_ATTRIBUTE, ROLE, addPart
from ProtoSegBrainScene.segmentation import segmentNames

PART = "points_"
"""With which the part of a node begins; the class follows."""
KIND = "vtkMRMLMarkupsFiducialNode"
CLASS_WORDS = {CLASSES[0]: "No tumour"} | {name: name for name in CLASSES[1:]}
"""What a class is called beside a point."""
NO_TUMOUR_COLOUR = (235, 235, 235)
"""Of points in a dark image: the class itself is black."""
DESCRIPTION = "Your point "
PLACES_ATTRIBUTE = "ProtoSegBrain.places."
"""Of a node, and the ID of a control point: all places of the painted piece that it stands for, as JSON."""
SAME_PLACE_MM = 0.01
GLYPH_SCALE, TEXT_SCALE = 2.0, 3.0


class _Control(NamedTuple):
    """A control point."""

    node: Any
    index: int
    class_name: str

    @property
    def id(self) -> str:
        return str(self.node.GetNthControlPointID(self.index))

    @property
    def number(self) -> float:
        """When it was made; of one that has no number yet, after all others."""
        said = (self.node.GetNthControlPointDescription(self.index) or "").removeprefix(DESCRIPTION)
        return float(said) if said.isdecimal() else float("inf")

    @property
    def point(self) -> Point:
        r, a, s = self.node.GetNthControlPointPositionWorld(self.index)
        places = json.loads(self.node.GetAttribute(PLACES_ATTRIBUTE + self.id) or "[]")
        return Point((r, a, s), self.class_name, tuple((x, y, z) for x, y, z in places))


def colourOf(class_name: str) -> tuple[int, int, int]:
    """Of the points of a class, and of its button: red, green, blue, 0 to 255."""
    return NO_TUMOUR_COLOUR if class_name == CLASSES[0] else CLASS_COLOURS[CLASSES.index(class_name)]


def pointNodes(segmentation: Any) -> dict[str, Any]:
    """The markups nodes of a result by class, as far as there are any.

    Args:
        segmentation: Of the result.
    """
    found = {name: segmentation.GetNodeReference(ROLE + PART + name) for name in CLASSES}
    return {
        name: node for name, node in found.items() if node is not None and node.GetScene() is segmentation.GetScene()
    }


def pointNode(segmentation: Any, class_name: str) -> Any:
    """The markups node of a class, made in the folder of the result where it is not there yet."""
    node = pointNodes(segmentation).get(class_name)
    if node is not None:
        return node
    word = CLASS_WORDS[class_name]
    node = addPart(segmentation.GetScene(), KIND, f"{segmentation.GetName()} points {word}", PART + class_name)
    node.SetControlPointLabelFormat(word)
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    colour = [value / 255 for value in colourOf(class_name)]
    display.SetSelectedColor(*colour)
    display.SetColor(*colour)
    display.SetGlyphScale(GLYPH_SCALE)
    display.SetTextScale(TEXT_SCALE)
    segmentation.SetNodeReferenceID(ROLE + PART + class_name, node.GetID())
    putBeside(node, segmentation)
    return node


def isPoints(node: Any) -> bool:
    """Whether a node holds points of a result."""
    return (node.GetAttribute(RESULT_ATTRIBUTE) or "").startswith(PART)


def pointsOf(segmentation: Any) -> list[Point]:
    """All points of a result in the order in which they were made, in world RAS mm; not one that is being placed."""
    return [control.point for control in _controls(segmentation)]


def setPoints(segmentation: Any, points: Sequence[Point]) -> None:
    """Make these the points of a result, in this order; those that are there already stay as they are."""
    missing = list(points)
    for control in reversed(_byNode(segmentation)):  # from the end: those before it keep their indices
        known = next((point for point in missing if _isSame(point, control.point)), None)
        if known is None:
            _remove(control)
        else:
            missing.remove(known)
    for point in missing:
        _add(segmentation, point)
    _number(_byNode(segmentation), points)


def numberPoints(segmentation: Any) -> None:
    """Give new points their numbers and labels, and close the gaps of those that went."""
    _number(_byNode(segmentation), pointsOf(segmentation))


def paintedPoints(segmentation: Any) -> list[Point]:
    """A point for each connected piece that a person painted, of the class that its segment is called after.

    Args:
        segmentation: vtkMRMLSegmentationNode with segments NCR, ED, ET or "No tumour".

    Raises:
        ValueError: A segment is called otherwise, or nothing was painted.
    """
    byName = {word.lower(): name for name, word in CLASS_WORDS.items()} | {CLASSES[0]: CLASSES[0], "none": CLASSES[0]}
    inside, points = segmentation.GetSegmentation(), []
    for segment in segmentNames(segmentation):
        called = inside.GetSegment(segment).GetName() or ""
        if called.strip().lower() not in byName:
            words = ", ".join(CLASS_WORDS.values())
            raise ValueError(f"Segment {called!r} of {segmentation.GetName()}: expected one called {words}; rename it.")
        mask = maskOfSegment(segmentation, segment)
        if mask is not None and mask.array.any():
            points += points_of_label(mask, [byName[called.strip().lower()]])
    if not points:
        raise ValueError(f"Nothing is painted in {segmentation.GetName()}.")
    return points


def areTaught(points: Sequence[Point], taught: Sequence[TaughtPrototype]) -> bool:
    """Whether a corrected result was made with these points, all of them, in this order."""
    return len(points) == len(taught) and all(
        point.class_name == prototype.class_name and _isAt(point, prototype.position_mm)
        for point, prototype in zip(points, taught, strict=True)
    )


def inBrain(prediction: Prediction, places: np.ndarray) -> np.ndarray:
    """(n,) whether places (n, 3), RAS mm, lie in the brain of a result."""
    toVoxel = np.linalg.inv(prediction.affine)
    voxels = np.rint(places @ toVoxel[:3, :3].T + toVoxel[:3, 3]).astype(int)
    inside = np.asarray(((voxels >= 0) & (voxels < prediction.label.shape)).all(axis=1))
    inside[inside] = prediction.probabilities[0][tuple(voxels[inside].T)] < 1
    return inside


def showPoints(segmentation: Any, visible: bool) -> None:
    """Show or hide all points of a result."""
    for node in pointNodes(segmentation).values():
        node.SetDisplayVisibility(visible)


# --- placing, by Slicer's own place mode ---


def startPlacing(segmentation: Any, class_name: str, isPersistent: bool) -> None:
    """Let the next click into a slice view be a point of a class, or each click until ``stopPlacing``."""
    scene, node = segmentation.GetScene(), pointNode(segmentation, class_name)
    selection, interaction = _selection(scene), interactionOf(scene)
    selection.SetReferenceActivePlaceNodeClassName(KIND)
    selection.SetActivePlaceNodeID(node.GetID())
    if isPersistent:
        interaction.SwitchToPersistentPlaceMode()
    else:
        interaction.SwitchToSinglePlaceMode()


def stopPlacing(segmentation: Any) -> None:
    """Place no more points of this result; what else is being placed goes on."""
    if placedClass(segmentation) is not None:
        interactionOf(segmentation.GetScene()).SwitchToViewTransformMode()


def placedClass(segmentation: Any) -> str | None:
    """The class of which a click would make a point of this result; None where it would make none."""
    scene = segmentation.GetScene()
    interaction = interactionOf(scene)
    if interaction is None or interaction.GetCurrentInteractionMode() != interaction.Place:
        return None
    placed = _selection(scene).GetActivePlaceNodeID()
    return next((name for name, node in pointNodes(segmentation).items() if node.GetID() == placed), None)


def _selection(scene: Any) -> Any:
    return scene.GetNodeByID("vtkMRMLSelectionNodeSingleton")


def interactionOf(scene: Any) -> Any:
    """The node that says what a click does; None in a scene without one."""
    return scene.GetNodeByID("vtkMRMLInteractionNodeSingleton")


# --- control points ---


def _byNode(segmentation: Any) -> list[_Control]:
    return [
        _Control(node, index, name)
        for name, node in pointNodes(segmentation).items()
        for index in range(node.GetNumberOfControlPoints())
        if node.GetNthControlPointPositionStatus(index) == slicer.vtkMRMLMarkupsNode.PositionDefined
    ]


def _controls(segmentation: Any) -> list[_Control]:
    """In the order in which they were made."""
    return sorted(_byNode(segmentation), key=lambda control: control.number)


def _add(segmentation: Any, point: Point) -> None:
    node = pointNode(segmentation, point.class_name)
    index = node.AddControlPointWorld(point.position_ras_mm)
    if point.places_ras_mm:
        node.SetAttribute(PLACES_ATTRIBUTE + node.GetNthControlPointID(index), json.dumps(point.places_ras_mm))
        node.SetNthControlPointLocked(index, True)  # a piece does not move


def _remove(control: _Control) -> None:
    control.node.RemoveAttribute(PLACES_ATTRIBUTE + control.id)
    control.node.RemoveNthControlPoint(control.index)


def _number(controls: Sequence[_Control], order: Sequence[Point]) -> None:
    """Say in control points what their place is in an order."""
    left = list(controls)
    for number, point in enumerate(order, start=1):
        control = next(control for control in left if _isSame(control.point, point))
        left.remove(control)
        label, description = f"{CLASS_WORDS[control.class_name]} {number}", f"{DESCRIPTION}{number}"
        if control.number != number:
            control.node.SetNthControlPointDescription(control.index, description)
        if control.node.GetNthControlPointLabel(control.index) != label:
            control.node.SetNthControlPointLabel(control.index, label)


def _isSame(one: Point, other: Point) -> bool:
    """Up to what transforms and files lose of a number."""
    alike = (one.class_name, len(one.places_ras_mm)) == (other.class_name, len(other.places_ras_mm))
    return alike and _isAt(one, other.position_ras_mm)


def _isAt(point: Point, position: Sequence[float]) -> bool:
    return bool(np.abs(np.subtract(point.position_ras_mm, position)).max() < SAME_PLACE_MM)
