"""The scene and the logics that scene code needs, given by whoever calls it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import slicer
import vtk

TERMINOLOGY = "ProtoSegBrain"
"""Name of our own terminology: Slicer's has no enhancing tumour."""
TERMINOLOGY_FILE = Path(__file__).resolve().parents[1] / "Resources" / "Terminologies" / "ProtoSegBrain.term.json"


@dataclass(frozen=True)
class SceneContext:
    """A scene with its logics.

    Attributes:
        scene: Where nodes go.
        application: For slice and view logics.
        colors: Makes colour legends.
        volumeRendering: Makes volume renderings.
        segmentations: Registered with the scene; without it there are no closed surfaces.
        terminologies: Knows the meaning of segments.
    """

    scene: Any
    application: Any
    colors: Any
    volumeRendering: Any
    segmentations: Any
    terminologies: Any


def contextForModules(scene: Any, modules: Any, application: Any) -> SceneContext:
    """In the application: from ``slicer.mrmlScene``, ``slicer.modules`` and ``slicer.app.applicationLogic()``."""
    context = SceneContext(
        scene=scene,
        application=application,
        colors=modules.colors.logic(),
        volumeRendering=modules.volumerendering.logic(),
        segmentations=modules.segmentations.logic(),
        terminologies=modules.terminologies.logic(),
    )
    _loadTerminology(context.terminologies)
    return context


def contextForCore(scene: Any) -> SceneContext:
    """Outside the application: logics of their own for a scene, with the nodes that the application always has."""
    application = slicer.vtkSlicerApplicationLogic()
    application.SetMRMLScene(scene)
    application.SetSliceLogics(vtk.vtkCollection())
    application.SetViewLogics(vtk.vtkCollection())
    _addDefaultNodes(scene)
    terminologies = slicer.vtkSlicerTerminologiesModuleLogic()  # with a scene it would look for Slicer's own files
    _loadTerminology(terminologies)
    _logic(slicer.vtkSlicerMarkupsLogic, "Markups", scene, application)  # knows how points are saved
    return SceneContext(
        scene=scene,
        application=application,
        colors=_colourLogic(scene, application),
        volumeRendering=_logic(slicer.vtkSlicerVolumeRenderingLogic, "VolumeRendering", scene, application),
        segmentations=_logic(slicer.vtkSlicerSegmentationsModuleLogic, "Segmentations", scene, application),
        terminologies=terminologies,
    )


def _logic(kind: Any, name: str, scene: Any, application: Any) -> Any:
    logic = kind()
    logic.SetMRMLApplicationLogic(application)
    logic.SetMRMLScene(scene)
    application.SetModuleLogic(name, logic)
    return logic


def _colourLogic(scene: Any, application: Any) -> Any:
    """It looks for colour files of the application, and complains that there are none."""
    heard = vtk.vtkObject.GetGlobalWarningDisplay()
    vtk.vtkObject.SetGlobalWarningDisplay(False)
    try:
        return _logic(slicer.vtkSlicerColorLogic, "Colors", scene, application)
    finally:
        vtk.vtkObject.SetGlobalWarningDisplay(heard)


def _addDefaultNodes(scene: Any) -> None:
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)  # the patient's right is on the left
    slicer.vtkMRMLSubjectHierarchyNode.ResolveSubjectHierarchy(scene)
    if scene.GetFirstNodeByClass("vtkMRMLCrosshairNode") is None:
        crosshair = slicer.vtkMRMLCrosshairNode()
        crosshair.SetCrosshairName("default")
        scene.AddNode(crosshair)


def _loadTerminology(terminologies: Any) -> None:
    if TERMINOLOGY_FILE.is_file() and not terminologies.IsTerminologyContextLoaded(TERMINOLOGY):
        terminologies.LoadTerminologyFromFile(str(TERMINOLOGY_FILE))
