"""The label of a result as segments: classes, regions, their meaning and their surfaces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import slicer

from ProtoSegBrainLib.dicom.codes import BRAIN, CATEGORY, FOUND, Code
from ProtoSegBrainLib.images.volume import Volume, bounding_box
from ProtoSegBrainLib.labels import CLASS_COLOURS, CLASSES, REGION_NAMES, REGIONS
from ProtoSegBrainScene.context import TERMINOLOGY
from ProtoSegBrainScene.grid import orientedImage, toWorld

LABELMAP = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
SURFACE = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
FILL_OPACITY = 0.25
"""In slices: the image is still to be read below."""
SEGMENT_COLOURS = {
    **dict(zip(CLASSES[1:], CLASS_COLOURS[1:], strict=True)),
    "WT": (242, 206, 66),
    "TC": (226, 106, 214),
    "Brain": (238, 198, 170),
}
"""Red, green, blue (0 to 255); regions have colours that no class has, but ET, which is both."""
MEANINGS = {
    "NCR": "NCR  necrotic core",
    "ED": "ED  oedema",
    "ET": "ET  enhancing",
    "WT": "WT  whole tumour",
    "TC": "TC  tumour core",
}
"""What a legend says of a colour."""
SURFACE_OPACITY = {"NCR": 1.0, "ED": 0.35, "ET": 0.7, "WT": 0.25, "TC": 0.5}
"""What lies inside shows through."""

SURFACE_NETS = "1"
"""Slicer's number for making surfaces by surface nets; 0 is flying edges, which take a third longer."""

BRAIN_SEGMENT = "Brain"
PLACES = "Anatomic codes - DICOM master list"
STANDARD = ("SCT", "NCIt")
"""Schemes of codes that others know, too."""
_ANATOMICAL = Code("123037004", "SCT", "Anatomical Structure")
_TUMOUR = Code("86049000", "SCT", "Neoplasm, Primary")


def _tag(category: Code, meaning: Code, modifier: Code | None = None, place: Code | None = None) -> str:
    return "~".join([TERMINOLOGY, _said(category), _said(meaning), _said(modifier), PLACES, _said(place), "^^"])


def _said(code: Code | None) -> str:
    return "^^" if code is None else f"{code.scheme}^{code.value}^{code.meaning}"


def _found(code: Code) -> str:
    """What standard codes have no word for is a modifier of our own (99PSB, see ProtoSegBrain.term.json)."""
    return _tag(CATEGORY, *((code, None) if code.scheme in STANDARD else (_TUMOUR, code)), BRAIN)


TERMINOLOGY_TAG = {**{name: _found(code) for name, code in FOUND.items()}, BRAIN_SEGMENT: _tag(_ANATOMICAL, BRAIN)}
"""What each segment means, as Slicer writes it."""
_EARLIER_TAG = {"ET": _tag(CATEGORY, _TUMOUR, Code("ET", "99PSB", "Enhancing with contrast agent"), BRAIN)}
"""What earlier versions said, as it stands in scenes that they saved."""


class _Layer(NamedTuple):
    """An image of segments and, by segment id, its value in the image."""

    image: Any
    values: dict[str, int]


def showClasses(segmentation: Any, label: Volume) -> None:
    """Make the segments NCR, ED and ET of a segmentation node those of a label map of class indices.

    Segments that are there keep their id, name, colour and display; ``makeSurfaces`` makes surfaces follow. Other
    segments stay.

    Args:
        segmentation: vtkMRMLSegmentationNode, perhaps under a linear transform.
        label: (I, J, K) class indices; the affine is to world RAS mm.
    """
    values = {name: index for index, name in enumerate(CLASSES) if index}
    _fill(segmentation, [_Layer(_croppedImage(segmentation, label), values)])


def showRegions(nodes: Any, prediction: Any) -> None:
    """Show WT, TC and ET as outlines in place of the classes; ``hideRegions`` goes back, ``makeSurfaces`` is for 3D.

    Args:
        nodes: ``result.ResultNodes``.
        prediction: Of the library.
    """
    fillRegions(nodes.regions, Volume(prediction.label, prediction.affine))
    _alternate(nodes.regions, nodes.segmentation)


def hideRegions(nodes: Any) -> None:
    """Show the classes again in place of the regions."""
    _alternate(nodes.segmentation, nodes.regions)


def fillRegions(segmentation: Any, label: Volume) -> None:
    """Make the segments WT, TC and ET of a segmentation node those of a label map; arguments as of ``showClasses``."""
    tight = _tight(label)
    layers = [
        _Layer(_image(segmentation, label, tight, np.isin(label.array[tight], members).astype(np.uint8)), {name: 1})
        for name, members in REGIONS.items()
    ]
    _fill(segmentation, layers)


def show3D(context: Any, nodes: Any, visible: bool) -> None:
    """Show or hide the surfaces of the classes, or of the regions where those are shown.

    Args:
        context: ``SceneContext``; its segmentations logic makes the surfaces.
        nodes: ``result.ResultNodes``.
        visible: Whether to show them.
    """
    let3D(nodes, visible)
    makeSurfaces(context, nodes)


def let3D(nodes: Any, visible: bool) -> None:
    """Let the surfaces be seen, or not, once they are made."""
    for node in (nodes.segmentation, nodes.regions):
        display = node.GetDisplayNode()
        if bool(display.GetVisibility3D()) != visible:
            display.SetVisibility3D(visible)


def makeSurfaces(context: Any, nodes: Any) -> None:
    """Make the surfaces that are to be seen and are not there; arguments as of ``show3D``.

    Raises:
        ValueError: The logic is of another scene.
    """
    if context.segmentations.GetMRMLScene() is not context.scene:
        raise ValueError("The segmentations logic belongs to another scene, so it cannot make surfaces of this one.")
    for node in (nodes.segmentation, nodes.regions):
        display = node.GetDisplayNode()
        if display.GetVisibility3D() and display.GetVisibility() and node.GetSegmentation().GetNumberOfSegments():
            node.CreateClosedSurfaceRepresentation()


def shown3D(nodes: Any) -> bool:
    """Whether the surfaces are to be seen."""
    return bool(nodes.segmentation.GetDisplayNode().GetVisibility3D())


def setUpDisplay(segmentation: Any, fillOpacity: float) -> None:
    """A display node with our opacities; surfaces hidden, and to be made by the quicker of Slicer's two ways."""
    rule = slicer.vtkBinaryLabelmapToClosedSurfaceConversionRule
    segmentation.GetSegmentation().SetConversionParameter(rule.GetConversionMethodParameterName(), SURFACE_NETS)
    segmentation.CreateDefaultDisplayNodes()
    display = segmentation.GetDisplayNode()
    display.SetOpacity2DFill(fillOpacity)
    display.SetVisibility3D(False)
    for name, opacity in SURFACE_OPACITY.items():
        if segmentation.GetSegmentation().GetSegment(name):
            display.SetSegmentOpacity3D(name, opacity)


def segmentNames(segmentation: Any) -> tuple[str, ...]:
    """Ids of all segments in order."""
    inside = segmentation.GetSegmentation()
    return tuple(inside.GetNthSegmentID(n) for n in range(inside.GetNumberOfSegments()))


def _alternate(shown: Any, hidden: Any) -> None:
    hidden.GetDisplayNode().SetVisibility(False)
    shown.GetDisplayNode().SetVisibility(True)


def fillBrain(segmentation: Any, brain: Volume) -> None:
    """Make the segment Brain of a segmentation node that of a mask, 1 in the brain; arguments as of ``showClasses``."""
    _fill(segmentation, [_Layer(_croppedImage(segmentation, brain), {BRAIN_SEGMENT: 1})])


def _fill(segmentation: Any, layers: Sequence[_Layer]) -> None:
    """Put images into the segments of these names; make the segments that are missing. Their surfaces go."""
    inside = segmentation.GetSegmentation()
    if inside.GetNumberOfSegments() == 0:
        inside.SetSourceRepresentationName(LABELMAP)
    modifying = segmentation.StartModify()
    for image, values in layers:
        for name, value in values.items():
            segment = inside.GetSegment(name)
            new = segment is None
            if new:
                segment = _newSegment(name)
            elif segment.GetTerminology() == _EARLIER_TAG.get(name):
                segment.SetTerminology(TERMINOLOGY_TAG[name])
            segment.RemoveRepresentation(SURFACE)
            segment.SetLabelValue(value)
            segment.AddRepresentation(LABELMAP, image)
            if new:
                inside.AddSegment(segment, name)
    segmentation.EndModify(modifying)


def _newSegment(name: str) -> Any:
    segment = slicer.vtkSegment()
    segment.SetName(REGION_NAMES.get(name, name) if name not in CLASSES else name)
    segment.SetColor(*[value / 255 for value in SEGMENT_COLOURS[name]])
    segment.SetTag(slicer.vtkSegment.GetTerminologyEntryTagName(), TERMINOLOGY_TAG[name])
    segment.SetTag("DICOM.SegmentAlgorithmType", "AUTOMATIC")  # else an export would call it drawn by hand
    segment.SetTag("DICOM.SegmentAlgorithmName", "ProtoSegBrain")
    return segment


def _croppedImage(segmentation: Any, label: Volume) -> Any:
    tight = _tight(label)
    return _image(segmentation, label, tight, label.array[tight])


def _tight(label: Volume) -> tuple[slice, ...]:
    """The box of the tumour; where there is none, as few voxels as make a volume."""
    return bounding_box(label.array) or (slice(0, 2), slice(0, 2), slice(0, 2))


def _image(segmentation: Any, label: Volume, box: tuple[slice, ...], part: np.ndarray) -> Any:
    """A vtkOrientedImageData of a part of the label's grid, in the segmentation's own coordinates."""
    affine = np.linalg.inv(toWorld(segmentation)) @ label.affine
    i, j, k = (side.start for side in box)
    return orientedImage(Volume(part, affine), (i, j, k))
