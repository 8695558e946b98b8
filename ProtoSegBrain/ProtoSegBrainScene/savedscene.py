"""A case and its result as a scene file, or as a picture, without the application: a scene of their own for each."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import slicer

from ProtoSegBrainLib.files import check_folder, write_whole
from ProtoSegBrainLib.images.case import Case
from ProtoSegBrainLib.images.volume import Volume
from ProtoSegBrainLib.labels import MODALITIES, MODALITY_NAMES
from ProtoSegBrainLib.result.prediction import RESEARCH_USE, Prediction
from ProtoSegBrainScene.context import SceneContext, contextForCore
from ProtoSegBrainScene.grid import addVolume, affineOfMatrix
from ProtoSegBrainScene.heatmap import hideHeatmap, showPrototype, showUncertainty, strongestSpot
from ProtoSegBrainScene.layout import THREE_D_VIEW, VIEWS, assignVolumes, compositeNodes, nameViews
from ProtoSegBrainScene.legends import showClassLegend
from ProtoSegBrainScene.moves import asMoved
from ProtoSegBrainScene.offscreen import NO_OPENGL, SliceView, ThreeDView, canRender
from ProtoSegBrainScene.rendering import showBrain
from ProtoSegBrainScene.result import ResultNodes, showPrediction
from ProtoSegBrainScene.segmentation import show3D
from ProtoSegBrainScene.sight import (
    ROOM_IN_SQUARE,
    cornersOfBrain,
    frameTumour,
    lookAtTumour,
    middleOfBrain,
    placeToLook,
)
from ProtoSegBrainScene.tables import prototypeRows

GREY_PERCENTILES = (1, 99.5)
PANEL = 400
"""Pixels of a part of the picture, each way."""
CAPTION = 26
THRESHOLD, OPACITY = 0.1, 0.75
MARGIN = 1.14
"""Height of a view in those of the brain: its corners are free for the legends."""
COLUMNS = 3
PAPER, INK = (16, 16, 20), (235, 235, 235)
OWN_VIEWS = dict.fromkeys(VIEWS.values(), "Axial")
SLICER_VIEWS = {"Red": "Axial", "Green": "Coronal", "Yellow": "Sagittal"}
"""Orientation of the slice views by name."""
BEHIND = {"Red": "t1c", "Green": "t2f", "Yellow": "t1c"}
"""Modality behind the segments in a picture."""
MODULE = "ProtoSegBrain"
CHOSEN = {"t2f": "inputFlair", "t1n": "inputT1", "t1c": "inputT1ce", "t2w": "inputT2"}
"""What the panel calls the images; as it does, the scene says what is chosen."""


@dataclass(frozen=True)
class LoadedCase:
    """A case and its result in a scene of their own."""

    context: SceneContext
    inputs: dict[str, Any]
    nodes: ResultNodes


@dataclass(frozen=True)
class Framing:
    """The whole brain in view.

    Attributes:
        prediction: Whose brain it is.
        middle: Of the brain, RAS mm.
        heightMm: Of the views.
    """

    prediction: Prediction
    middle: np.ndarray
    heightMm: float

    @classmethod
    def of(cls, prediction: Prediction) -> Framing:
        """Of the brain of a result, or of the whole image where there is none."""
        ends = cornersOfBrain(prediction)
        return cls(prediction, ends.mean(axis=1), float(np.ptp(ends, axis=1).max()) * MARGIN)

    def show(self, view: SliceView, place: Sequence[float] | None = None) -> None:
        """The slice through a place, or that with most tumour, the brain in its middle."""
        toRas = affineOfMatrix(view.node.GetSliceToRAS())[:3, :3]
        across = toRas[:, 2] / np.linalg.norm(toRas[:, 2])
        place = placeToLook(self.prediction, across) if place is None else np.asarray(place)
        view.look(self.middle + across * (across @ (place - self.middle)), self.heightMm)


def writeScene(case: Case, prediction: Prediction, path: str | os.PathLike[str]) -> Path:
    """Write images, segmentation, maps, tables and views as one .mrb file for 3D Slicer, whole or not at all.

    It opens as the panel shows a result that has just come.

    Raises:
        ValueError: The name does not end in .mrb.
        OSError: It could not be written.
    """
    path = Path(path)
    if path.suffix != ".mrb":
        raise ValueError(f"{path}: expected a name ending in .mrb.")
    scene = slicer.vtkMRMLScene()
    context = contextForCore(scene)
    _addViews(context)
    loaded = loadCase(context, case, prediction)
    _showFirst(loaded, prediction)
    _choose(loaded, prediction)
    check_folder(path.parent)
    with tempfile.TemporaryDirectory(prefix=".writing_", dir=path.parent) as folder:
        temporary = Path(folder) / path.name
        if not scene.WriteToMRB(str(temporary)):
            raise OSError(f"{path} could not be written; is there room, and may this folder be written to?")
        os.replace(temporary, path)
    return path


def drawScene(case: Case, prediction: Prediction, path: str | os.PathLike[str]) -> Path:
    """Write a PNG: segments in three planes, the leading prototype's map, uncertainty, and 3D; whole or not at all.

    Of a model without prototypes the axial FLAIR in place of the map.

    Raises:
        OSError: There is no OpenGL, or it could not be written.
    """
    from PIL import Image  # loads on first use

    if not canRender():
        raise OSError(NO_OPENGL)
    picture = io.BytesIO()
    Image.fromarray(composed(_panels(case, prediction), prediction, COLUMNS)).save(picture, "PNG", optimize=True)
    write_whole(path, picture.getvalue())
    return Path(path)


def loadCase(context: SceneContext, case: Case, prediction: Prediction) -> LoadedCase:
    """The images of a case and its result as nodes of a scene."""
    inputs = {role: _addImage(context, case, index) for index, role in enumerate(MODALITIES)}
    prediction = replace(prediction, preparation=asMoved(prediction.preparation))
    return LoadedCase(context, inputs, showPrediction(context, prediction, inputs))


def composed(panels: Mapping[str, np.ndarray], prediction: Prediction, columns: int) -> np.ndarray:
    """(rows, columns, 3) uint8: parts of ``PANEL`` pixels each way with their captions, and whose they are."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(14)
    rows = -(-len(panels) // columns)
    page = Image.new("RGB", (columns * PANEL, rows * (PANEL + CAPTION) + CAPTION), PAPER)
    write = ImageDraw.Draw(page).text
    for number, (caption, pixels) in enumerate(panels.items()):
        left, top = number % columns * PANEL, number // columns * (PANEL + CAPTION)
        page.paste(Image.fromarray(pixels), (left, top + CAPTION))
        write((left + 6, top + 5), caption, INK, font)
    mark = "SIMULATED, NO PATIENT. " if prediction.simulated else ""
    write((6, page.height - CAPTION + 5), f"{prediction.case_id}. {mark}{RESEARCH_USE}", INK, font)
    return np.asarray(page)


def _addImage(context: SceneContext, case: Case, index: int) -> Any:
    """A modality as a volume node; whole numbers are stored as such, in half the space."""
    image = case.images[index]
    whole = image.astype(np.int16)
    image = whole if np.array_equal(whole, image) else image
    name = f"{case.case_id} {MODALITY_NAMES[MODALITIES[index]]}"
    node = addVolume(context.scene, "vtkMRMLScalarVolumeNode", name, Volume(image, case.affine))
    node.CreateDefaultDisplayNodes()
    some = image[::2, ::2, ::2]
    low, high = np.percentile(some[some != 0], GREY_PERCENTILES) if some.any() else (0, 1)
    node.GetDisplayNode().AutoWindowLevelOff()
    node.GetDisplayNode().SetWindowLevelMinMax(float(low), float(high))
    return node


def _addViews(context: SceneContext) -> None:
    """The nodes of our own slice views and of Slicer's, so that the scene opens well without the extension, too.

    How views are arranged is left to whoever opens it.
    """
    for name, orientation in {**OWN_VIEWS, **SLICER_VIEWS}.items():
        logic = slicer.vtkMRMLSliceLogic()
        logic.SetMRMLApplicationLogic(context.application)
        context.application.GetSliceLogics().AddItem(logic)
        logic.SetMRMLScene(context.scene)
        logic.AddSliceNode(name).SetOrientation(orientation)
    nameViews(context.scene)
    solid = slicer.vtkMRMLViewLogic()
    solid.SetMRMLApplicationLogic(context.application)
    context.application.GetViewLogics().AddItem(solid)
    solid.SetMRMLScene(context.scene)
    solid.AddViewNode(THREE_D_VIEW)
    camera = slicer.vtkMRMLCameraNode()
    camera.SetLayoutName(THREE_D_VIEW)
    context.scene.AddNode(camera)


def _showFirst(loaded: LoadedCase, prediction: Prediction) -> None:
    """What is seen of a result first: images with the classes, at the tumour; 3D within the brain."""
    context = loaded.context
    assignVolumes(context.scene, loaded.inputs)
    composites = compositeNodes(context.scene)
    for name in SLICER_VIEWS:
        composites[name].SetBackgroundVolumeID(loaded.inputs["t1c"].GetID())
    for name in composites:
        context.scene.GetSingletonNode(name, "vtkMRMLSliceNode").JumpSliceByCentering(*middleOfBrain(prediction))
    lookAtTumour(context.scene, prediction)
    showClassLegend(context, loaded.nodes)
    show3D(context, loaded.nodes, True)
    showBrain(context, loaded.nodes, prediction, True)


def _choose(loaded: LoadedCase, prediction: Prediction) -> None:
    """Say in the words of the panel's parameter node what is chosen: images, result, leading prototype."""
    node = slicer.vtkMRMLScriptedModuleNode()
    node.SetSingletonTag(MODULE)
    node.SetModuleName(MODULE)
    node.SetName(MODULE)
    node = loaded.context.scene.AddNode(node)
    for role, name in CHOSEN.items():
        node.SetNodeReferenceID(name, loaded.inputs[role].GetID())
    node.SetNodeReferenceID("segmentation", loaded.nodes.segmentation.GetID())
    for leading in prototypeRows(prediction)[:1]:
        node.SetParameter("prototype", str(leading.index))


def _panels(case: Case, prediction: Prediction) -> dict[str, np.ndarray]:
    """Pixels of each part of the picture by its caption."""
    context = contextForCore(slicer.vtkMRMLScene())
    planes = {name: SliceView(context, name, plane, PANEL, PANEL) for name, plane in SLICER_VIEWS.items()}
    solid = ThreeDView(context, THREE_D_VIEW, PANEL, PANEL)
    loaded = loadCase(context, case, prediction)
    showClassLegend(context, loaded.nodes)
    panels = {}
    for name, role in BEHIND.items():
        planes[name].composite.SetBackgroundVolumeID(loaded.inputs[role].GetID())
        Framing.of(prediction).show(planes[name])
        panels[f"{SLICER_VIEWS[name]} {MODALITY_NAMES[role]}"] = planes[name].pixels()
    panels |= _maps(loaded, prediction, planes["Red"])
    show3D(context, loaded.nodes, True)
    showBrain(context, loaded.nodes, prediction, True)
    frameTumour(context.scene.GetSingletonNode(THREE_D_VIEW, "vtkMRMLCameraNode"), prediction, ROOM_IN_SQUARE)
    panels["3D: NCR red, ED green, ET blue"] = solid.pixels()
    return panels


def _maps(loaded: LoadedCase, prediction: Prediction, axial: SliceView) -> dict[str, np.ndarray]:
    """The leading prototype's map, or without prototypes FLAIR alone, and the uncertainty, by caption."""
    context, nodes, inputs = loaded.context, loaded.nodes, loaded.inputs
    framing = Framing.of(prediction)
    axial.composite.SetBackgroundVolumeID(inputs["t2f"].GetID())
    caption = f"Axial {MODALITY_NAMES['t2f']}"
    for leading in prototypeRows(prediction)[:1]:
        showPrototype(context, nodes, prediction, leading.index, inputs["t2f"], [axial.composite], THRESHOLD, OPACITY)
        framing.show(axial, strongestSpot(prediction, leading.index))
        caption = f"Prototype {leading.index}: {leading.name.split(': ')[-1]}"
    panels = {caption: axial.pixels()}
    framing.show(axial)
    showUncertainty(context, nodes, inputs["t1c"], [axial.composite], THRESHOLD, OPACITY)
    panels["Uncertainty"] = axial.pixels()
    hideHeatmap(context, nodes, [axial.composite])
    return panels
