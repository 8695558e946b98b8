"""Similarity and uncertainty over the slices: each map on its own grid, in the same colours from 0 to 1."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ProtoSegBrainLib.network.evidence import require_prototypes
from ProtoSegBrainLib.pictures.slices import HEAT
from ProtoSegBrainLib.result.prediction import Prediction
from ProtoSegBrainScene.grid import setVoxels
from ProtoSegBrainScene.legends import hideLegend, showMapLegend
from ProtoSegBrainScene.segmentation import FILL_OPACITY

COLOURS = 256
COLOUR_NODE = "ProtoSegBrain heat"
PROTOTYPE_ATTRIBUTE = "ProtoSegBrain.prototype"
"""Of the node of the shown similarity: the prototype's number."""
ABOVE_ALL = 2.0
"""Above every value of a map."""


def showPrototype(
    context: Any,
    nodes: Any,
    prediction: Prediction,
    index: int,
    background: Any,
    compositeNodes: Iterable[Any],
    threshold: float,
    opacity: float,
) -> None:
    """Show the similarity to a prototype over a volume.

    A map says similarity / largest possible similarity: 1 where a place is the same as the prototype's patch to the
    network, 0 where it is unlike. The colours mean the same for every prototype, as in the report.

    Args:
        context: ``SceneContext``; its colour logic makes the legend.
        nodes: ``result.ResultNodes``.
        prediction: Of the library.
        index: Number of the prototype.
        background: Volume node below the map; None leaves the views' own.
        compositeNodes: Of the slice views that show it.
        threshold: Below it, 0 to 1, the map is transparent.
        opacity: Of the map, 0 to 1.

    Raises:
        ValueError: No such prototype, or a model without any.
    """
    owners = prediction.evidence.prototype_class
    require_prototypes(owners, prediction.model["name"])
    if not 0 <= index < len(owners):
        raise ValueError(f"Expected the number of a prototype, 0 to {len(owners) - 1}; got {index}.")
    fillSimilarity(nodes.similarity, prediction, index)
    _showMap(context, nodes, nodes.similarity, "similarity", background, compositeNodes, threshold, opacity)


def showUncertainty(
    context: Any, nodes: Any, background: Any, compositeNodes: Iterable[Any], threshold: float, opacity: float
) -> None:
    """Show how unsure the result is over a volume: entropy, 0 certain, 1 all classes equally likely.

    Arguments as of ``showPrototype``.
    """
    _showMap(context, nodes, nodes.uncertainty, "uncertainty", background, compositeNodes, threshold, opacity)


def hideHeatmap(context: Any, nodes: Any, compositeNodes: Iterable[Any]) -> None:
    """Take similarity and uncertainty off the slices, with their legends; segments are filled again."""
    maps = {node.GetID() for node in _mapsOf(nodes)}
    for composite in compositeNodes:
        if composite.GetForegroundVolumeID() in maps:
            composite.SetForegroundVolumeID(None)
    for node in _mapsOf(nodes):
        hideLegend(context, node)
    nodes.segmentation.GetDisplayNode().SetOpacity2DFill(FILL_OPACITY)


def setThreshold(node: Any, threshold: float) -> None:
    """Below it, 0 to 1, a map is transparent over the slices; at 0 nothing is."""
    display = node.GetDisplayNode()
    display.SetThreshold(threshold, ABOVE_ALL)
    display.SetApplyThreshold(threshold > 0)


def shownPrototype(nodes: Any) -> int:
    """Number of the prototype whose map the similarity node holds."""
    return int(nodes.similarity.GetAttribute(PROTOTYPE_ATTRIBUTE))


def strongestSpot(prediction: Prediction, index: int) -> tuple[float, float, float]:
    """The place in the brain most similar to a prototype, centre of a voxel of its map, in RAS mm."""
    voxels = brainOnMaps(prediction)
    voxel = voxels[:, int(np.argmax(prediction.similarities[index][tuple(voxels)]))]
    x, y, z, _ = prediction.similarity_affine @ (*voxel, 1.0)
    return float(x), float(y), float(z)


def bestSimilarities(prediction: Prediction) -> np.ndarray:
    """(P,) the similarity to each prototype at the place in the brain most like it."""
    voxels = brainOnMaps(prediction)
    maps = prediction.similarities.transpose(0, 3, 2, 1)  # index i runs fastest in memory
    places = np.ravel_multi_index(tuple(voxels[::-1]), maps.shape[1:])
    return np.array([one.reshape(-1)[places].max() for one in maps])


def brainOnMaps(prediction: Prediction) -> np.ndarray:
    """(3, n) the voxels of the similarities whose centres lie in the brain; all voxels where there is none."""
    i, j, k = np.ogrid[tuple(slice(n) for n in prediction.similarities.shape[1:])]
    steps = np.linalg.inv(prediction.affine) @ prediction.similarity_affine
    places = [np.rint(x * i + y * j + z * k + shift).astype(np.intp) for x, y, z, shift in steps[:3]]
    inside = np.ones(places[0].shape, bool)
    for place, count in zip(places, prediction.label.shape, strict=True):
        inside &= (place >= 0) & (place < count)
    inside[inside] = prediction.probabilities[0][tuple(place[inside] for place in places)] < 1
    return np.stack(np.nonzero(inside if inside.any() else ~inside))


def fillSimilarity(node: Any, prediction: Prediction, index: int) -> None:
    """Give the node of the shown similarity the map of a prototype."""
    share = prediction.similarities[index] * np.float32(1 / prediction.evidence.largest_similarity_to(index))
    setVoxels(node, share)
    node.SetAttribute(PROTOTYPE_ATTRIBUTE, str(index))


def setUpMapDisplay(context: Any, node: Any) -> None:
    """A display node with our colours from 0 to 1; voxels are shown as they are, not smoothed."""
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(0, 1)
    display.SetInterpolate(False)
    display.SetAndObserveColorNodeID(heatColours(context.scene).GetID())
    setThreshold(node, 0.0)


def heatColours(scene: Any) -> Any:
    """The colour table of all maps, one per scene; it is saved with the scene."""
    node = scene.GetFirstNode(COLOUR_NODE, "vtkMRMLColorTableNode")
    if node is not None:
        return node
    node = scene.AddNewNodeByClass("vtkMRMLColorTableNode", COLOUR_NODE)
    node.SetTypeToUser()
    node.SetNumberOfColors(COLOURS)
    places = np.linspace(0, 1, len(HEAT))
    shares = np.linspace(0, 1, COLOURS)
    colours = np.stack([np.interp(shares, places, channel) for channel in np.array(HEAT).T / 255], axis=1)
    for index, (red, green, blue) in enumerate(colours):
        node.SetColor(index, f"{shares[index]:.2f}", red, green, blue, 1.0)
    node.SetHideFromEditors(False)  # hidden colour nodes are not saved
    return node


def _mapsOf(nodes: Any) -> list[Any]:
    """The maps that a result has."""
    return [node for node in (nodes.similarity, nodes.uncertainty) if node is not None]


def _showMap(
    context: Any,
    nodes: Any,
    node: Any,
    what: str,
    background: Any,
    compositeNodes: Iterable[Any],
    threshold: float,
    opacity: float,
) -> None:
    setThreshold(node, threshold)
    for composite in compositeNodes:
        modifying = composite.StartModify()
        if background is not None:
            composite.SetBackgroundVolumeID(background.GetID())
        composite.SetForegroundVolumeID(node.GetID())
        composite.SetForegroundOpacity(opacity)
        composite.EndModify(modifying)
    nodes.segmentation.GetDisplayNode().SetOpacity2DFill(0.0)  # it would tint the map; the outlines stay
    for other in _mapsOf(nodes):
        if other is not node:
            hideLegend(context, other)
    showMapLegend(context, node, what)
