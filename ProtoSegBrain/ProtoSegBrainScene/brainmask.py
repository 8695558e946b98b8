"""A person's segmentation of the brain, as a mask of the library."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from ProtoSegBrainLib.images.checks import LEAST_OVERLAP
from ProtoSegBrainLib.images.volume import Volume, overlap
from ProtoSegBrainScene.grid import affineOfMatrix, toWorld
from ProtoSegBrainScene.segmentation import LABELMAP, segmentNames


def brainMaskOf(segmentation: Any, t1ce: Volume) -> Volume:
    """The brain of a segmentation node: (I, J, K) uint8, 1 in it, on a grid of its own around it, to world RAS mm.

    That segment is taken which is called "brain"; else the only one, or the only one with that word in its name.

    Args:
        segmentation: vtkMRMLSegmentationNode, perhaps under a linear transform.
        t1ce: On which it must lie.

    Raises:
        ValueError: No such segment or several, an empty one, one that lies elsewhere, or a transform that is not
            linear.
    """
    segment, name = _brainIn(segmentation), segmentation.GetName()
    mask = maskOfSegment(segmentation, segment)
    if mask is None or not mask.array.any():
        raise ValueError(f"The brain mask {name} is empty; draw the brain, or choose no mask.")
    if overlap(mask, t1ce) < LEAST_OVERLAP:
        raise ValueError(f"The brain mask {name} does not lie on T1ce; choose one that was drawn on it, or none.")
    return mask


def maskOfSegment(segmentation: Any, segment: str) -> Volume | None:
    """(I, J, K) uint8, 1 in a segment, on a grid of its own around it, to world RAS mm; None where nothing is drawn."""
    if not segmentation.GetSegmentation().ContainsRepresentation(LABELMAP):
        segmentation.CreateBinaryLabelmapRepresentation()
    image = slicer.vtkOrientedImageData()
    segmentation.GetBinaryLabelmapRepresentation(segment, image)
    return _volumeOf(image, toWorld(segmentation))


def _brainIn(segmentation: Any) -> str:
    """The id of the segment that is the brain."""
    inside, ids = segmentation.GetSegmentation(), segmentNames(segmentation)
    names = {each: inside.GetSegment(each).GetName() or "" for each in ids}
    called = [each for each in ids if names[each].strip().lower() == "brain"]
    likely = [each for each in ids if "brain" in names[each].lower()]
    for found in (called, ids, likely):
        if len(found) == 1:
            return str(found[0])
    there = ", ".join(names.values()) or "none"
    needed = f"The brain mask {segmentation.GetName()} needs a segment that is called brain, or one alone"
    raise ValueError(f"{needed}; it has: {there}.")


def _volumeOf(image: Any, toWorldRas: np.ndarray) -> Volume | None:
    """None where the image has no voxels."""
    scalars, extent = image.GetPointData().GetScalars(), image.GetExtent()
    size = image.GetDimensions()
    if scalars is None or min(size) < 1:
        return None
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    start = np.eye(4)
    start[:3, 3] = extent[::2]
    array = (vtk_to_numpy(scalars).reshape(*reversed(size)).transpose(2, 1, 0) != 0).astype(np.uint8)
    return Volume(array, toWorldRas @ affineOfMatrix(matrix) @ start)
