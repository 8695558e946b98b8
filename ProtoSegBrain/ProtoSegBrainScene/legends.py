"""What the colours mean: a legend of the classes and one of the map, in corners that a brain leaves free."""

from __future__ import annotations

from typing import Any

from ProtoSegBrainScene.layout import VIEWS, compositeNodes
from ProtoSegBrainScene.segmentation import MEANINGS, segmentNames

IN_VIEWS = (VIEWS["t2f"], "Red")
"""Views that have the legends: the first of our own, and of Slicer's; of these two an arrangement has one."""
FONT_SIZE = 12
CLASSES_SIZE, CLASSES_PLACE = (0.32, 0.14), (0.99, 0.99)
"""Shares of a view's width and height; of the room that is left, how far right and up. Text grows with the width."""
MAP_SIZE, MAP_PLACE = (0.25, 0.12), (0.99, 0.01)
MAP_COLOURS = 256


def showClassLegend(context: Any, nodes: Any) -> None:
    """Name the colours of the classes, or of the regions where those are shown in their place.

    Args:
        context: ``SceneContext``; its colour logic makes the legend.
        nodes: ``result.ResultNodes``.
    """
    for segmentation in (nodes.segmentation, nodes.regions):
        if segmentation.GetDisplayNode().GetVisibility():
            _showNames(context, segmentation)
        else:
            hideLegend(context, segmentation)


def showMapLegend(context: Any, node: Any, what: str) -> None:
    """Say what the colours of a map mean, from 0 to 1; what they are stands beside the ends: a title would be large."""
    legend = context.colors.GetColorLegendDisplayNode(node)
    if legend is None:
        legend = _addLegend(context, node, MAP_SIZE, MAP_PLACE)
        legend.SetTitleText("")
        legend.SetNumberOfLabels(2)
        legend.SetMaxNumberOfColors(MAP_COLOURS)
        legend.SetUseColorNamesForLabels(False)
    _placeIn(context.scene, legend)
    legend.SetLabelFormat(f"{what}: %.0f")
    legend.SetVisibility(True)


def hideLegend(context: Any, node: Any) -> None:
    """Take the legend of a map, or of segments, off the views."""
    legend = context.colors.GetColorLegendDisplayNode(node)
    if legend is not None:
        legend.SetVisibility(False)


def _showNames(context: Any, segmentation: Any) -> None:
    legend = context.colors.GetColorLegendDisplayNode(segmentation)
    if legend is None:
        segmentation.GetDisplayNode().SetAndObserveColorNodeID(_coloursOf(context.scene, segmentation).GetID())
        legend = _addLegend(context, segmentation, CLASSES_SIZE, CLASSES_PLACE)
        legend.SetUseColorNamesForLabels(True)
        legend.SetMaxNumberOfColors(len(segmentNames(segmentation)))
        legend.SetNumberOfLabels(len(segmentNames(segmentation)))
        legend.SetTitleText("")
    _placeIn(context.scene, legend)
    legend.SetVisibility(True)


def _addLegend(context: Any, node: Any, size: tuple[float, float], place: tuple[float, float]) -> Any:
    legend = context.colors.AddDefaultColorLegendDisplayNode(node)
    legend.SetSize(*size)
    legend.SetPosition(*place)
    for text in (legend.GetTitleTextProperty(), legend.GetLabelTextProperty()):
        text.SetFontSize(FONT_SIZE)
        text.SetFontFamilyToArial()
        text.ItalicOff()
        text.BoldOff()
    return legend


def _placeIn(scene: Any, legend: Any) -> None:
    """Into one view of an arrangement; where the scene has none of these, into all that there are."""
    composites = compositeNodes(scene)
    kind = "vtkMRMLSliceNode"
    found = [scene.GetSingletonNode(name, kind) for name in IN_VIEWS if name in composites]
    ids = [view.GetID() for view in found if view is not None]
    if ids and list(legend.GetViewNodeIDs()) != ids:
        legend.SetViewNodeIDs(ids)


def _coloursOf(scene: Any, segmentation: Any) -> Any:
    """A colour table of the segments, the first on top; it is part of the scene and saved with it."""
    inside = segmentation.GetSegmentation()
    names = segmentNames(segmentation)
    title = f"ProtoSegBrain {' '.join(names)}"
    node = scene.GetFirstNode(title, "vtkMRMLColorTableNode")
    if node is None:
        node = scene.AddNewNodeByClass("vtkMRMLColorTableNode", title)
        node.SetTypeToUser()
        node.SetNumberOfColors(len(names))
        for index, name in enumerate(reversed(names)):
            node.SetColor(index, MEANINGS.get(name, name), *inside.GetSegment(name).GetColor(), 1.0)
        node.SetHideFromEditors(False)  # hidden colour nodes are not saved
    return node
