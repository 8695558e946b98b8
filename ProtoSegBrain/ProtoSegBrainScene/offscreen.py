"""Slice and 3D views without a window: the application's own views, drawn into arrays of pixels.

The blended layers of a slice need no graphics at all. Segments, legends and 3D are drawn by OpenGL, which a machine has
from its graphics driver or from Mesa; VTK's own packages bring none.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

SLICE_MANAGERS = (
    "vtkMRMLVolumeGlyphSliceDisplayableManager",
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLCrosshairDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLScalarBarDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLColorLegendDisplayableManager",
)
THREE_D_MANAGERS = (
    "vtkMRMLCameraDisplayableManager",
    "vtkMRMLViewDisplayableManager",
    "vtkMRMLModelDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager3D",
    "vtkMRMLVolumeRenderingDisplayableManager",
    "vtkMRMLColorLegendDisplayableManager",
)
OPENGL_LIBRARIES = ("libEGL.so.1", "libOSMesa.so.8", "libOSMesa.so.6", "libOSMesa.so")
"""On Linux, of which VTK needs one to draw without a display."""
NO_OPENGL = (
    "Pictures need OpenGL, and this machine has none that works without a display. On Debian or Ubuntu: "
    "apt-get install libegl1 libgl1-mesa-dri."
)


@cache
def canRender() -> bool:
    """Whether OpenGL works here; without a library of it VTK would end the whole process, so that is asked first."""
    libraries = (*OPENGL_LIBRARIES, *(("libGL.so.1",) if os.environ.get("DISPLAY") else ()))
    if sys.platform == "linux" and not any(map(_loads, libraries)):
        return False
    heard = vtk.vtkObject.GetGlobalWarningDisplay()
    vtk.vtkObject.SetGlobalWarningDisplay(False)
    try:
        window = vtk.vtkRenderWindow()
        window.SetOffScreenRendering(True)
        window.Initialize()  # asked whether it supports OpenGL, a window of X says yes and does not try
        return bool(window.IsCurrent())
    finally:
        vtk.vtkObject.SetGlobalWarningDisplay(heard)


class SliceView:
    """A slice view. Make it before what it shows: a colour legend only appears in views that are already there.

    Args:
        context: ``SceneContext``.
        name: Of the view; its node in the scene is used, or made.
        orientation: Axial, Coronal or Sagittal.
        width: Pixels.
        height: Pixels.
    """

    def __init__(self, context: Any, name: str, orientation: str, width: int, height: int) -> None:
        self.logic = slicer.vtkMRMLSliceLogic()
        self.logic.SetMRMLApplicationLogic(context.application)
        context.application.GetSliceLogics().AddItem(self.logic)
        self.logic.SetMRMLScene(context.scene)
        self.node = self.logic.AddSliceNode(name)
        self.node.SetOrientation(orientation)
        self.logic.ResizeSliceNode(width, height)
        self.node.SetDimensions(width, height, 1)
        factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        self._canvas = _Canvas(context, factory, SLICE_MANAGERS, self.node, width, height) if canRender() else None
        if self._canvas is not None:
            self._canvas.showBehind(self.logic)

    @property
    def composite(self) -> Any:
        """The composite node: which volumes the view shows."""
        return self.logic.GetSliceCompositeNode()

    def look(self, centre: Sequence[float], heightMm: float) -> None:
        """Show so many mm in height around a place in RAS mm."""
        width, height, _ = self.node.GetDimensions()
        self.node.SetFieldOfView(heightMm * width / height, heightMm, 1.0)
        self.node.JumpSliceByCentering(*centre)

    def blended(self) -> np.ndarray:
        """(rows, columns, 4) uint8: the blended layers alone, the first row at the top; needs no OpenGL."""
        self.logic.UpdatePipeline()
        blend = self.logic.GetBlend()
        blend.Update()
        return _pixelsOf(blend.GetOutput())

    def pixels(self) -> np.ndarray:
        """(rows, columns, 3) uint8: everything that is shown, the first row at the top.

        Raises:
            OSError: There is no OpenGL.
        """
        self.logic.UpdatePipeline()
        return _drawn(self._canvas)


class ThreeDView:
    """A 3D view; arguments as of ``SliceView``."""

    def __init__(self, context: Any, name: str, width: int, height: int) -> None:
        self.logic = slicer.vtkMRMLViewLogic()
        self.logic.SetMRMLApplicationLogic(context.application)
        context.application.GetViewLogics().AddItem(self.logic)
        self.logic.SetMRMLScene(context.scene)
        self.node = self.logic.AddViewNode(name)
        self.node.SetBoxVisible(False)
        self.node.SetAxisLabelsVisible(False)
        factory = slicer.vtkMRMLThreeDViewDisplayableManagerFactory.GetInstance()
        self._canvas = _Canvas(context, factory, THREE_D_MANAGERS, self.node, width, height) if canRender() else None

    def look(self, direction: Sequence[float], zoom: float) -> None:
        """Look from a direction (RAS) at all that is shown; at a zoom of 1 all of it is in view."""
        if self._canvas is not None:
            self._canvas.look(direction, zoom)

    def pixels(self) -> np.ndarray:
        """As of ``SliceView``."""
        return _drawn(self._canvas)


class _Canvas:
    """A window in memory, and the group of what draws the nodes of a scene into it."""

    def __init__(
        self, context: Any, factory: Any, managers: Sequence[str], viewNode: Any, width: int, height: int
    ) -> None:
        for name in managers:
            if not factory.IsDisplayableManagerRegistered(name):
                factory.RegisterDisplayableManager(name)
        self.window, self.renderer = vtk.vtkRenderWindow(), vtk.vtkRenderer()
        self.window.SetOffScreenRendering(True)
        self.window.SetAlphaBitPlanes(True)  # with the next two lines what is translucent is drawn in order of depth
        self.window.SetMultiSamples(0)
        self.renderer.SetUseDepthPeeling(True)
        self.window.AddRenderer(self.renderer)
        self.window.SetSize(width, height)
        interactor = vtk.vtkRenderWindowInteractor()
        interactor.SetRenderWindow(self.window)
        self.group = slicer.vtkMRMLDisplayableManagerGroup()
        self.group.SetRenderer(self.renderer)
        earlier = factory.GetMRMLApplicationLogic()
        factory.SetMRMLApplicationLogic(context.application)
        self.group.Initialize(factory, self.renderer)
        factory.SetMRMLApplicationLogic(earlier)  # the factory is everyone's, also the application's
        self.group.SetMRMLDisplayableNode(viewNode)

    def showBehind(self, sliceLogic: Any) -> None:
        """Draw the blended layers of a slice behind all else."""
        mapper, image = vtk.vtkImageMapper(), vtk.vtkActor2D()
        mapper.SetColorWindow(255)
        mapper.SetColorLevel(127.5)
        mapper.SetInputConnection(sliceLogic.GetBlend().GetOutputPort())
        image.SetMapper(mapper)
        image.GetProperty().SetDisplayLocationToBackground()
        self.renderer.AddViewProp(image)
        self.renderer.GetActiveCamera().ParallelProjectionOn()

    def look(self, direction: Sequence[float], zoom: float) -> None:
        self.window.Render()
        camera = self.renderer.GetActiveCamera()
        camera.SetFocalPoint(0, 0, 0)
        camera.SetPosition(*direction)
        camera.SetViewUp(0, 0, 1)
        self.renderer.ResetCamera()
        camera.Zoom(zoom)
        self.renderer.ResetCameraClippingRange()


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _drawn(canvas: _Canvas | None) -> np.ndarray:
    if canvas is None:
        raise OSError(NO_OPENGL)
    canvas.window.Render()
    shot = vtk.vtkWindowToImageFilter()
    shot.SetInput(canvas.window)
    shot.SetInputBufferTypeToRGB()
    shot.ReadFrontBufferOff()
    shot.Update()
    return _pixelsOf(shot.GetOutput())


def _pixelsOf(image: Any) -> np.ndarray:
    """(rows, columns, channels) of a vtkImageData, the first row at the top."""
    width, height, _ = image.GetDimensions()
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1)[::-1].copy()
