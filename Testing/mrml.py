"""A scene of slicer-core with a small case in it, and the result of a model that a pencil can compute."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("slicer", reason="needs slicer-core (pip install slicer-core)", exc_type=ImportError)

import slicer
import vtk
from by_hand import evidence_for, prediction_for, without_prototypes
from ProtoSegBrainScene.context import contextForCore
from ProtoSegBrainScene.grid import addVolume, matrixOf, voxelsOf
from ProtoSegBrainScene.offscreen import NO_OPENGL, canRender
from ProtoSegBrainScene.result import showPrediction

from ProtoSegBrainLib.images.volume import Volume
from ProtoSegBrainLib.labels import MODALITIES, MODALITY_NAMES
from ProtoSegBrainLib.network.calibration import Calibration

CLASSES_BY_HAND = ("background", "NCR", "ED", "ET")
SHAPE = (10, 12, 14)
"""Of the case; that of the similarities is half of it."""
OBLIQUE = np.array(
    [[-1.2, 0.3, 0.0, 20.0], [0.25, 1.0, -0.4, -30.0], [0.1, 0.35, 2.0, 5.0], [0.0, 0.0, 0.0, 1.0]], np.float64
)
"""Turned, of unequal voxels, slightly sheared, left-handed: nothing that is wrong comes out right by chance."""
FLIPPED = np.array([[-1.0, 0, 0, 9.0], [0, -2.0, 0, 4.0], [0, 0, 3.0, -7.0], [0, 0, 0, 1.0]])
GRIDS = {"straight": np.eye(4), "flipped": FLIPPED, "oblique": OBLIQUE}

needs_opengl = pytest.mark.skipif(not canRender(), reason=NO_OPENGL)


def a_context() -> Any:
    """Keep it as long as its nodes: with the last reference to it the scene goes."""
    return contextForCore(slicer.vtkMRMLScene())


def a_prediction(affine: np.ndarray = OBLIQUE) -> Any:
    """Oedema with a rim of enhancement and a core, on one side of the brain; similarities 0 to 4.5 of 4.6."""
    maps = np.zeros((4, *(n // 2 for n in SHAPE)), np.float32)
    maps[0] = 0.8
    maps[2, 1:5, 0:6, 1:7] = 1.2
    maps[3, 1:4, 2:6, 2:6] = 2.0
    maps[1, 2:4, 3:5, 3:5] = 4.5
    brain = np.ones(SHAPE, bool)
    brain[0] = False
    return prediction_for(maps, evidence_for(CLASSES_BY_HAND), affine, brain)


def a_mute_prediction(affine: np.ndarray = OBLIQUE) -> Any:
    """A result without prototypes whose rules changed the label: ET that is too small to be believed became NCR."""
    made = a_prediction(affine)
    rules = replace(made.evidence, calibration=Calibration(minimum_et_ml=made.volumes_ml["ET"] + 1))
    label = np.where(made.label == 3, np.uint8(1), made.label)
    return without_prototypes(replace(made, evidence=rules, label=label), regions=("WT",))


def add_inputs(scene: Any, affine: np.ndarray = OBLIQUE, shape: tuple[int, int, int] = SHAPE) -> dict[str, Any]:
    """Four volumes, each with other numbers."""
    numbers = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    return {
        role: addVolume(
            scene, "vtkMRMLScalarVolumeNode", f"case {MODALITY_NAMES[role]}", Volume(numbers + 1000 * n, affine)
        )
        for n, role in enumerate(MODALITIES)
    }


def shown(affine: np.ndarray = OBLIQUE, **changes: Any) -> tuple[Any, dict[str, Any], Any, Any]:
    """Context, inputs, prediction (with these fields changed) and nodes of a result that is shown."""
    context = a_context()
    inputs = add_inputs(context.scene, affine)
    prediction = a_prediction(affine)
    prediction = type(prediction)(**{**vars(prediction), **changes})
    return context, inputs, prediction, showPrediction(context, prediction, inputs)


def read_scene(path: Any, folder: Any) -> Any:
    """The context of a scene that a .mrb file holds, unpacked into a new folder."""
    context = a_context()
    cache, manager = slicer.vtkCacheManager(), slicer.vtkDataIOManager()
    folder.mkdir()
    cache.SetRemoteCacheDirectory(str(folder))
    manager.SetCacheManager(cache)
    context.scene.SetCacheManager(cache)
    context.scene.SetDataIOManager(manager)
    assert context.scene.ReadFromMRB(str(path))
    return context


def label_seen(segmentation: Any, volume: Any, names: tuple[str, ...] = ("NCR", "ED", "ET")) -> np.ndarray:
    """(I, J, K) on the grid of a volume: the number (from 1) of the segment there, as Slicer itself resamples them."""
    seen = np.zeros(volume.GetImageData().GetDimensions(), np.uint8)
    scene = volume.GetScene()
    before = nodes_of(scene)
    exported = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
    for number, name in enumerate(names, start=1):
        segments = vtk.vtkStringArray()
        segments.InsertNextValue(name)
        slicer.vtkSlicerSegmentationsModuleLogic.ExportSegmentsToLabelmapNode(segmentation, segments, exported, volume)
        seen[voxelsOf(exported) > 0] = number
    for node in set(nodes_of(scene)) - set(before):
        scene.RemoveNode(node)
    return seen


def move(scene: Any, node: Any, matrix: np.ndarray) -> None:
    """Put a node under a linear transform."""
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    transform.SetMatrixTransformToParent(matrixOf(matrix))
    node.SetAndObserveTransformNodeID(transform.GetID())


def bend(scene: Any, node: Any) -> None:
    """Put a node under a transform that is not linear."""
    transform = scene.AddNewNodeByClass("vtkMRMLBSplineTransformNode")
    spline = vtk.vtkThinPlateSplineTransform()
    points = [(0, 0, 0), (10, 0, 0), (0, 10, 0), (0, 0, 10), (9, 9, 9)]
    source, target = vtk.vtkPoints(), vtk.vtkPoints()
    for n, point in enumerate(points):
        source.InsertNextPoint(point)
        target.InsertNextPoint([value + n * n for value in point])
    spline.SetSourceLandmarks(source)
    spline.SetTargetLandmarks(target)
    spline.SetBasisToR()
    transform.SetAndObserveTransformToParent(spline)
    node.SetAndObserveTransformNodeID(transform.GetID())


def contents(scene: Any) -> set[tuple[str, str]]:
    """Id and name of every node, so that two moments can be compared."""
    return {(node.GetID(), node.GetName()) for node in nodes_of(scene)}


def nodes_of(scene: Any) -> list[Any]:
    return [scene.GetNthNode(n) for n in range(scene.GetNumberOfNodes())]


def hierarchy_of(scene: Any) -> Any:
    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
