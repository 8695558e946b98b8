"""A case and its result as a scene file, or as a picture, without the application: a scene of their own for each."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import slicer

from ProtoSegBrainLib.files import check_folder, write_whole
from ProtoSegBrainLib.images.case import Case
from ProtoSegBrainLib.images.volume import Volume, begin_at, bounding_box, corners
from ProtoSegBrainLib.labels import MODALITIES, MODALITY_NAMES
from ProtoSegBrainLib.result.prediction import RESEARCH_USE, Prediction
from ProtoSegBrainScene.context import SceneContext, contextForCore
from ProtoSegBrainScene.grid import addVolume, affineOfMatrix
from ProtoSegBrainScene.heatmap import hideHeatmap, showPrototype, showUncertainty, strongestSpot
from ProtoSegBrainScene.layout import VIEWS, assignVolumes, compositeNodes, jumpTo
from ProtoSegBrainScene.offscreen import NO_OPENGL, SliceView, ThreeDView, canRender
from ProtoSegBrainScene.result import ResultNodes, showPrediction
from ProtoSegBrainScene.segmentation import show3D
from ProtoSegBrainScene.tables import prototypeRows

GREY_PERCENTILES = (1, 99.5)
PANEL = 400
"""Pixels of a part of the picture, each way."""
CAPTION = 26
THRESHOLD, OPACITY = 0.1, 0.75
VIEW_FROM = (1.0, 0.6, 0.4)
ZOOM = 1.3
COLUMNS = 3
PAPER, INK = (16, 16, 20), (235, 235, 235)
PLANES = {"Axial": "t1c", "Coronal": "t2f", "Sagittal": "t1c"}
"""Modality behind the segments in each plane."""
OWN_VIEWS = dict.fromkeys(VIEWS.values(), "Axial")
SLICER_VIEWS = {"Red": "Axial", "Yellow": "Sagittal", "Green": "Coronal"}
"""Orientation of the slice views of a saved scene by name."""


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
        middle: Of the brain, RAS mm.
        heightMm: Of the views.
    """

    middle: np.ndarray
    heightMm: float

    @classmethod
    def of(cls, prediction: Prediction) -> Framing:
        """Of the brain of a result, or of the whole image where there is none."""
        box = bounding_box(prediction.probabilities[0] < 1)
        shape = prediction.label.shape if box is None else [side.stop - side.start for side in box]
        first = [0, 0, 0] if box is None else [side.start for side in box]
        ends = (begin_at(prediction.affine, first) @ corners(shape, rim=0.5))[:3]
        return cls(ends.mean(axis=1), float(np.ptp(ends, axis=1).max()) * 1.04)

    def show(self, view: SliceView, place: Sequence[float]) -> None:
        """The slice through a place, the brain in its middle."""
        toRas = affineOfMatrix(view.node.GetSliceToRAS())[:3, :3]
        across = toRas[:, 2] / np.linalg.norm(toRas[:, 2])
        view.look(self.middle + across * (across @ (np.asarray(place) - self.middle)), self.heightMm)


def writeScene(case: Case, prediction: Prediction, path: str | os.PathLike[str]) -> Path:
    """Write images, segmentation, maps, tables and views as one .mrb file for 3D Slicer, whole or not at all.

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
    assignVolumes(scene, loaded.inputs)
    _showInSlicerViews(loaded)
    jumpTo(scene, placeToLook(prediction))
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


def placeToLook(prediction: Prediction) -> np.ndarray:
    """The voxel of the tumour nearest its centre, in RAS mm; without tumour the middle of the image."""
    voxels = np.argwhere(prediction.label)
    if not len(voxels):
        return (prediction.affine @ corners(prediction.label.shape))[:3].mean(axis=1)
    voxel = voxels[np.linalg.norm(voxels - voxels.mean(axis=0), axis=1).argmin()]
    return (prediction.affine @ [*voxel, 1.0])[:3]


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


def _showInSlicerViews(loaded: LoadedCase) -> None:
    composites = compositeNodes(loaded.context.scene)
    for name in SLICER_VIEWS:
        composites[name].SetBackgroundVolumeID(loaded.inputs["t1c"].GetID())


def _panels(case: Case, prediction: Prediction) -> dict[str, np.ndarray]:
    """Pixels of each part of the picture by its caption."""
    context = contextForCore(slicer.vtkMRMLScene())
    planes = {name: SliceView(context, name, name, PANEL, PANEL) for name in ("Axial", "Coronal", "Sagittal")}
    solid = ThreeDView(context, "3D", PANEL, PANEL)
    loaded = loadCase(context, case, prediction)
    nodes, inputs = loaded.nodes, loaded.inputs
    framing = Framing.of(prediction)
    for name, role in PLANES.items():
        planes[name].composite.SetBackgroundVolumeID(inputs[role].GetID())
        framing.show(planes[name], placeToLook(prediction))
    panels = {f"{name} {MODALITY_NAMES[role]}": planes[name].pixels() for name, role in PLANES.items()}
    axial = planes["Axial"]
    axial.composite.SetBackgroundVolumeID(inputs["t2f"].GetID())
    caption = f"Axial {MODALITY_NAMES['t2f']}"
    for leading in prototypeRows(prediction)[:1]:
        showPrototype(context, nodes, prediction, leading.index, inputs["t2f"], [axial.composite], THRESHOLD, OPACITY)
        framing.show(axial, strongestSpot(prediction, leading.index))
        caption = f"Prototype {leading.index}: {leading.name.split(': ')[-1]}"
    panels[caption] = axial.pixels()
    framing.show(axial, placeToLook(prediction))
    showUncertainty(context, nodes, inputs["t1c"], [axial.composite], THRESHOLD, OPACITY)
    panels["Uncertainty"] = axial.pixels()
    hideHeatmap(context, nodes, [axial.composite])
    show3D(context, nodes, True)
    solid.look(VIEW_FROM, ZOOM)
    panels["3D: NCR red, ED green, ET blue"] = solid.pixels()
    return panels
