"""The tumour in sight: the slices that show most of it, and 3D seen from its side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ProtoSegBrainLib.images.volume import begin_at, bounding_box, corners
from ProtoSegBrainLib.result.prediction import Prediction
from ProtoSegBrainScene.grid import affineOfMatrix
from ProtoSegBrainScene.layout import THREE_D_VIEW

UPWARDS = (0.0, 0.0, 1.0)
VIEW_FROM = (1.0, 0.7, 0.5)
"""Right, front, above; of a tumour on the left, or behind, from there."""
ROOM, ROOM_IN_SQUARE = 1.15, 0.72
"""Half the height of the 3D view as a share of the brain's half diagonal: our arrangement's is higher than wide."""
NEARNESS = 0.7
"""Where the 3D view's middle lies on the way from that of the brain to that of the tumour: both are to be seen."""


def lookAtTumour(scene: Any, prediction: Prediction) -> None:
    """Move all slice views, the crosshair and the 3D view to the tumour; slices keep what they show in their plane."""
    for view in _nodesOf(scene, "vtkMRMLSliceNode"):
        across = affineOfMatrix(view.GetSliceToRAS())[:3, 2]
        view.JumpSliceByOffsetting(*placeToLook(prediction, across))
    for crosshair in _nodesOf(scene, "vtkMRMLCrosshairNode")[:1]:
        crosshair.SetCrosshairRAS(*placeToLook(prediction))
    camera = scene.GetSingletonNode(THREE_D_VIEW, "vtkMRMLCameraNode")
    if camera is not None and not camera.GetInteracting():
        frameTumour(camera, prediction)


def placeToLook(prediction: Prediction, across: Sequence[float] = UPWARDS) -> np.ndarray:
    """A voxel of the tumour in the slice that has most of it, nearest the middle of what lies there, in RAS mm.

    Args:
        prediction: Without tumour, the middle of the brain, or of the image where there is no brain.
        across: Direction (RAS) in which slices follow each other; of the grid's three the nearest is taken.
    """
    box = bounding_box(prediction.label)
    if box is None:
        return middleOfBrain(prediction)
    tumour = prediction.label[box] > 0
    axis = _axisAlong(prediction.affine, across)
    slices = np.moveaxis(tumour, axis, 0)
    fullest = int(slices.sum(axis=(1, 2)).argmax())
    inSlice = np.argwhere(slices[fullest])
    nearest = inSlice[np.linalg.norm(inSlice - inSlice.mean(axis=0), axis=1).argmin()]
    voxel = np.insert(nearest, axis, fullest) + [side.start for side in box]
    return (prediction.affine @ [*voxel, 1.0])[:3]


def middleOfBrain(prediction: Prediction) -> np.ndarray:
    """Middle of the box around the brain in RAS mm; of the image where there is no brain."""
    return cornersOfBrain(prediction).mean(axis=1)


def cornersOfBrain(prediction: Prediction) -> np.ndarray:
    """(3, 8) RAS mm: the corners of the box around the brain, or of the whole image where there is none."""
    box = bounding_box(prediction.probabilities[0] < 1)
    shape = prediction.label.shape if box is None else [side.stop - side.start for side in box]
    first = [0, 0, 0] if box is None else [side.start for side in box]
    return (begin_at(prediction.affine, first) @ corners(shape, rim=0.5))[:3]


def frameTumour(camera: Any, prediction: Prediction, room: float = ROOM) -> None:
    """Look at the tumour from its side of the head, from so far that the brain around it is in view.

    Args:
        camera: vtkMRMLCameraNode.
        prediction: Without tumour the brain is looked at.
        room: Half the height of the view as a share of the brain's half diagonal.
    """
    brain = cornersOfBrain(prediction)
    middle = brain.mean(axis=1)
    centre = _centreOfTumour(prediction, middle)
    towards = np.where(centre < middle, -1, 1) * [1, 1, 0] + [0, 0, 1]
    direction = np.array(VIEW_FROM) * towards
    halfHeight = room * float(np.linalg.norm(np.ptp(brain, axis=1))) / 2
    distance = halfHeight / np.tan(np.radians(camera.GetViewAngle()) / 2)
    focus = middle + NEARNESS * (centre - middle)
    modifying = camera.StartModify()
    camera.SetFocalPoint(*focus)
    camera.SetPosition(*(focus + direction / np.linalg.norm(direction) * distance))
    camera.SetViewUp(*UPWARDS)
    camera.EndModify(modifying)
    camera.ResetClippingRange()


def _centreOfTumour(prediction: Prediction, middle: np.ndarray) -> np.ndarray:
    """Its centre of mass in RAS mm."""
    box = bounding_box(prediction.label)
    if box is None:
        return middle
    voxel = np.argwhere(prediction.label[box]).mean(axis=0) + [side.start for side in box]
    return (prediction.affine @ [*voxel, 1.0])[:3]


def _axisAlong(affine: np.ndarray, across: Sequence[float]) -> int:
    """The axis of the grid along which one walks through slices of this direction."""
    return int(np.abs(np.linalg.inv(affine)[:3, :3] @ across * np.linalg.norm(affine[:3, :3], axis=0)).argmax())


def _nodesOf(scene: Any, kind: str) -> list[Any]:
    return [scene.GetNthNodeByClass(n, kind) for n in range(scene.GetNumberOfNodesByClass(kind))]
