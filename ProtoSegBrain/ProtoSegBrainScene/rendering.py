"""Similarity in 3D: as a cloud, and painted on the surface of the tumour."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import slicer
import vtk
from scipy import ndimage
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from ProtoSegBrainLib.images.volume import Volume, begin_at, bounding_box
from ProtoSegBrainLib.labels import CLASSES, REGIONS
from ProtoSegBrainLib.pictures.slices import HEAT
from ProtoSegBrainLib.result.prediction import Prediction
from ProtoSegBrainScene.grid import matrixOf
from ProtoSegBrainScene.heatmap import heatColours, shownPrototype
from ProtoSegBrainScene.hierarchy import putBeside
from ProtoSegBrainScene.parts import RESULT_ATTRIBUTE, ROLE, SURFACE_ROLE

CLOUD = ((0.0, 0.0), (0.2, 0.0), (0.5, 0.15), (1.0, 0.9))
"""Similarity and opacity of the cloud: little similarity is not seen at all."""
SMOOTHING_STEPS = 15
AMBIENT = 0.4
DEPTHS_MM = (0.0, 2.0, 4.0)
"""Below the surface; the largest similarity of these is painted. A border is where a tumour is least like anything."""
SIMILARITY_ARRAY = "similarity"
BRAIN_ROLE = ROLE + "brainSurface"
"""Of the surface of the brain, which not every result has."""
BRAIN_VOXEL_MM = 3.0
"""About so coarse is the grid of the brain's surface: it only says where in the head the tumour is."""
BRAIN_COLOUR, BRAIN_OPACITY = (0.83, 0.8, 0.76), 0.16


def showVolumeRendering(context: Any, nodes: Any, visible: bool) -> None:
    """Show or hide the shown similarity as a cloud in the 3D views, in the colours of the slices.

    Args:
        context: ``SceneContext``; its volume rendering logic makes the display.
        nodes: ``result.ResultNodes``.
        visible: Whether to show it.
    """
    logic = context.volumeRendering
    display = logic.GetFirstVolumeRenderingDisplayNode(nodes.similarity)
    if display is None and not visible:
        return
    if display is None:
        display = logic.CreateDefaultVolumeRenderingNodes(nodes.similarity)
        _setUpCloud(display.GetVolumePropertyNode().GetVolumeProperty())
    display.SetVisibility(visible)


def paintSurface(context: Any, nodes: Any, prediction: Prediction, visible: bool) -> None:
    """Show a surface of the tumour coloured by the shown similarity, in place of the segments' surfaces.

    It is the surface of the tumour core for prototypes of its classes, where there is a core, and of the whole tumour
    for all others: nothing is to be seen of an enhancing rim on the border of the oedema.

    Args:
        context: ``SceneContext``.
        nodes: ``result.ResultNodes``.
        prediction: The result whose tumour is painted.
        visible: Whether to show it; the segments' surfaces come back when it is hidden.
    """
    model = nodes.segmentation.GetNodeReference(SURFACE_ROLE)
    if not visible:
        if surfaceIsPainted(nodes):
            model.GetDisplayNode().SetVisibility(False)
            _letSegmentsShow(nodes, True)
        return
    if model is None:
        model = _addModel(context, nodes)
    model.SetAndObservePolyData(_paintedSurface(prediction, shownPrototype(nodes)))
    display = model.GetDisplayNode()
    display.SetActiveScalar(SIMILARITY_ARRAY, vtk.vtkAssignAttribute.POINT_DATA)
    display.SetVisibility(True)
    _letSegmentsShow(nodes, False)


def showBrain(context: Any, nodes: Any, prediction: Prediction, visible: bool) -> None:
    """Show or hide the surface of the brain, so faint that the tumour is seen within it; arguments as of the others."""
    model = nodes.segmentation.GetNodeReference(BRAIN_ROLE)
    if model is None and visible:
        model = _addBrain(context, nodes)
        model.SetAndObservePolyData(smoothSurface(_coarseBrain(prediction)))
    if model is not None and bool(model.GetDisplayNode().GetVisibility()) != visible:
        model.GetDisplayNode().SetVisibility(visible)


def surfaceIsPainted(nodes: Any) -> bool:
    """Whether the painted surface is to be seen."""
    model = nodes.segmentation.GetNodeReference(SURFACE_ROLE)
    return model is not None and bool(model.GetDisplayNode().GetVisibility())


def smoothSurface(region: Volume) -> Any:
    """VtkPolyData in RAS mm around all that is not 0, smoothed; empty where all is 0."""
    box = bounding_box(region.array)
    if box is None:
        return vtk.vtkPolyData()
    contour = vtk.vtkFlyingEdges3D()
    contour.SetInputData(_mask(region.array[box]))
    contour.SetValue(0, 0.5)
    contour.ComputeNormalsOff()
    smooth = vtk.vtkWindowedSincPolyDataFilter()
    smooth.SetInputConnection(contour.GetOutputPort())
    smooth.SetNumberOfIterations(SMOOTHING_STEPS)
    smooth.SetPassBand(0.1)
    smooth.NonManifoldSmoothingOn()
    smooth.NormalizeCoordinatesOn()
    turned = vtk.vtkTransformPolyDataFilter()
    turned.SetInputConnection(smooth.GetOutputPort())
    turned.SetTransform(_toRas(region.affine, [side.start - 1 for side in box]))
    normals = vtk.vtkPolyDataNormals()
    normals.SetInputConnection(turned.GetOutputPort())
    normals.SplittingOff()
    normals.AutoOrientNormalsOn()  # a flipped grid turns the triangles inside out
    normals.Update()
    return normals.GetOutput()


def similarityAt(prediction: Prediction, index: int, points: np.ndarray) -> np.ndarray:
    """(n,) similarity to a prototype, 0 to 1, at (n, 3) places in RAS mm, interpolated as the network's output is."""
    inverse = np.linalg.inv(prediction.similarity_affine)
    voxels = inverse[:3, :3] @ points.T + inverse[:3, 3:]
    values = ndimage.map_coordinates(prediction.similarities[index], voxels, order=1, mode="nearest")
    return values / np.float32(prediction.evidence.largest_similarity)


def _mask(region: np.ndarray) -> Any:
    """A vtkImageData of what is not 0, with a voxel of nothing around it: the surface is closed."""
    padded = np.pad(region > 0, 1).astype(np.uint8)
    image = vtk.vtkImageData()
    image.SetDimensions(*padded.shape)
    image.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(padded.T).ravel(), deep=True))
    return image


def _toRas(affine: np.ndarray, first: Sequence[int]) -> Any:
    transform = vtk.vtkTransform()
    transform.SetMatrix(matrixOf(begin_at(affine, first)))
    return transform


def _paintedSurface(prediction: Prediction, index: int) -> Any:
    surface = smoothSurface(Volume(_regionOf(prediction, index), prediction.affine))
    if surface.GetNumberOfPoints():
        places = vtk_to_numpy(surface.GetPoints().GetData()).astype(np.float64)
        inwards = -vtk_to_numpy(surface.GetPointData().GetNormals()).astype(np.float64)
        below = [similarityAt(prediction, index, places + depth * inwards) for depth in DEPTHS_MM]
        values = numpy_to_vtk(np.max(below, axis=0), deep=True)
        values.SetName(SIMILARITY_ARRAY)
        surface.GetPointData().AddArray(values)
    return surface


def _regionOf(prediction: Prediction, index: int) -> np.ndarray:
    """Bool on the grid of the label: the region on whose surface a prototype is painted."""
    owner = CLASSES.index(prediction.evidence.prototype_class[index])
    core = np.isin(prediction.label, REGIONS["TC"])
    return core if owner in REGIONS["TC"] and core.any() else prediction.label > 0


def _coarseBrain(prediction: Prediction) -> Volume:
    """1 in the brain, on every so many voxels of the label's grid."""
    sizes = np.linalg.norm(prediction.affine[:3, :3], axis=0)
    steps = np.maximum(np.rint(BRAIN_VOXEL_MM / sizes), 1).astype(int)
    coarse = prediction.probabilities[0][tuple(slice(None, None, step) for step in steps)]
    return Volume(coarse < 1, prediction.affine @ np.diag([*steps, 1]))


def _addModel(context: Any, nodes: Any) -> Any:
    model = _addPart(context, nodes, SURFACE_ROLE, "painted surface")
    display = model.GetDisplayNode()
    display.SetAndObserveColorNodeID(heatColours(context.scene).GetID())
    display.SetScalarRangeFlag(slicer.vtkMRMLDisplayNode.UseManualScalarRange)
    display.SetScalarRange(0, 1)
    display.SetScalarVisibility(True)
    display.SetAmbient(AMBIENT)  # less shadow: the colours are to be read
    display.SetDiffuse(1 - AMBIENT)
    display.SetSpecular(0.25)  # what is black keeps its shape
    display.SetPower(8)
    return model


def _addBrain(context: Any, nodes: Any) -> Any:
    model = _addPart(context, nodes, BRAIN_ROLE, "brain surface")
    display = model.GetDisplayNode()
    display.SetVisibility(False)
    display.SetColor(*BRAIN_COLOUR)
    display.SetOpacity(BRAIN_OPACITY)
    display.SetBackfaceCulling(True)  # one veil before the tumour, none behind it
    display.SetSpecular(0)
    model.SetSelectable(False)  # what is behind it is clicked on
    return model


def _addPart(context: Any, nodes: Any, role: str, what: str) -> Any:
    """A model node that is part of the result and stands in its folder; not cut by slices."""
    model = context.scene.AddNewNodeByClass("vtkMRMLModelNode", f"{nodes.segmentation.GetName()} {what}")
    model.CreateDefaultDisplayNodes()
    model.GetDisplayNode().SetVisibility2D(False)
    model.SetAttribute(RESULT_ATTRIBUTE, role.removeprefix(ROLE))
    nodes.segmentation.SetNodeReferenceID(role, model.GetID())
    putBeside(model, nodes.segmentation)
    return model


def _letSegmentsShow(nodes: Any, visible: bool) -> None:
    for node in (nodes.segmentation, nodes.regions):
        node.GetDisplayNode().SetVisibility3D(visible)


def _setUpCloud(properties: Any) -> None:
    colours, opacity, steepness = (
        vtk.vtkColorTransferFunction(),
        vtk.vtkPiecewiseFunction(),
        vtk.vtkPiecewiseFunction(),
    )
    for share, colour in zip(np.linspace(0, 1, len(HEAT)), HEAT, strict=True):
        colours.AddRGBPoint(share, *[value / 255 for value in colour])
    for share, value in CLOUD:
        opacity.AddPoint(share, value)
    for share in (0.0, 1.0):  # Slicer's own has points as near as a map's values: a table larger than a texture can be
        steepness.AddPoint(share, 1.0)
    properties.SetColor(colours)
    properties.SetScalarOpacity(opacity)
    properties.SetGradientOpacity(steepness)
    properties.SetInterpolationTypeToLinear()
    properties.ShadeOff()
