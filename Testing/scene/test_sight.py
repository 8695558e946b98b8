"""The tumour in sight: slices, crosshair, camera; pixels of a fresh scene."""

from dataclasses import replace

import numpy as np
import pytest
from mrml import GRIDS, OBLIQUE, SHAPE, a_context, a_prediction, add_inputs, needs_opengl
from ProtoSegBrainScene.grid import affineOfMatrix
from ProtoSegBrainScene.offscreen import SliceView, ThreeDView
from ProtoSegBrainScene.rendering import showBrain
from ProtoSegBrainScene.result import showPrediction
from ProtoSegBrainScene.segmentation import show3D
from ProtoSegBrainScene.sight import lookAtTumour, placeToLook

FAR = np.array([[1.0, 0, 0, 300], [0, 1, 0, -400], [0, 0, 1, 500], [0, 0, 0, 1]])
"""Images in millimetres that begin far from the origin, where a new 3D view looks."""


def with_label(prediction, label):
    return replace(prediction, label=label.astype(np.uint8))


def voxel_of(prediction, place):
    return tuple(np.rint(np.linalg.inv(prediction.affine) @ [*place, 1.0])[:3].astype(int))


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("affine", GRIDS.values(), ids=GRIDS)
def test_the_place_is_in_the_slice_with_most_tumour(affine, axis):
    """By hand: a plate of 9 voxels in one slice of each direction, and a rod that draws the centre of mass away."""
    label = np.zeros(SHAPE)
    across = [slice(2, 5)] * 3
    across[axis] = slice(7, 8)
    label[tuple(across)] = 3
    along = [3] * 3
    along[axis] = slice(0, 7)
    label[tuple(along)] = 1
    prediction = with_label(a_prediction(affine), label)
    normal = affine[:3, axis] / np.linalg.norm(affine[:3, axis])
    voxel = voxel_of(prediction, placeToLook(prediction, normal))
    assert voxel[axis] == 7
    assert label[voxel]


def test_of_equal_voxels_that_nearest_the_middle_of_the_slice_is_taken():
    label = np.zeros(SHAPE)
    label[1:8, 5, 6] = 1
    prediction = with_label(a_prediction(np.eye(4)), label)
    assert voxel_of(prediction, placeToLook(prediction)) == (4, 5, 6)


@pytest.mark.parametrize("affine", GRIDS.values(), ids=GRIDS)
def test_without_tumour_the_brain_is_looked_at(affine):
    prediction = with_label(a_prediction(affine), np.zeros(SHAPE))
    assert np.allclose(placeToLook(prediction), (affine @ [5, 5.5, 6.5, 1])[:3])  # slice 0 is no brain
    prediction.probabilities[0] = 1
    assert np.allclose(placeToLook(prediction), (affine @ [4.5, 5.5, 6.5, 1])[:3])


@pytest.mark.parametrize("affine", GRIDS.values(), ids=GRIDS)
def test_every_slice_view_stands_in_the_tumour_and_keeps_its_middle(affine):
    context = a_context()
    views = [SliceView(context, name, name, 40, 40) for name in ("Axial", "Sagittal", "Coronal")]
    for view in views:
        view.look((0, 0, 0), 500)
    prediction = a_prediction(affine)
    lookAtTumour(context.scene, prediction)
    for view in views:
        matrix = affineOfMatrix(view.node.GetSliceToRAS())
        across, origin = matrix[:3, 2], matrix[:3, 3]
        place = placeToLook(prediction, across)
        assert prediction.label[voxel_of(prediction, place)]
        assert np.isclose(across @ (place - origin), 0, atol=1e-4)
        assert np.allclose(origin - across * (across @ origin), 0, atol=1e-4)
    crosshair = context.scene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    assert np.allclose(crosshair.GetCrosshairRAS(), placeToLook(prediction))


def test_the_camera_looks_from_the_side_of_the_tumour_with_the_head_upright():
    context = a_context()
    ThreeDView(context, "1", 40, 40)
    camera = context.scene.GetSingletonNode("1", "vtkMRMLCameraNode")
    for side, voxels in ((-1, slice(1, 3)), (1, slice(7, 9))):
        label = np.zeros(SHAPE)
        label[voxels, 2:4, 5:8] = 2
        lookAtTumour(context.scene, with_label(a_prediction(np.eye(4)), label))
        away = np.array(camera.GetPosition()) - camera.GetFocalPoint()
        assert np.sign(away).tolist() == [side, -1, 1]
        assert camera.GetViewUp() == (0, 0, 1)


def test_a_camera_in_somebodys_hand_stays():
    context = a_context()
    ThreeDView(context, "1", 40, 40)
    camera = context.scene.GetSingletonNode("1", "vtkMRMLCameraNode")
    before = camera.GetPosition()
    camera.SetInteracting(True)
    lookAtTumour(context.scene, a_prediction())
    assert camera.GetPosition() == before


def tumour_seen(view):
    """(rows, columns): where a pixel is green, red or blue rather than of the view's or the brain's greys."""
    pixels = view.pixels().astype(int)
    background = pixels[:, :1]
    shade = pixels - pixels.mean(axis=2, keepdims=True)
    return np.abs(shade - (background - background.mean(axis=2, keepdims=True))).max(axis=2) > 30


@needs_opengl
@pytest.mark.parametrize("affine", [*GRIDS.values(), FAR, FAR @ OBLIQUE], ids=[*GRIDS, "far", "far and oblique"])
def test_in_a_fresh_scene_the_tumour_is_in_the_middle_of_3d_within_the_brain(affine):
    context = a_context()
    view = ThreeDView(context, "1", 160, 200)
    prediction = a_prediction(affine)
    nodes = showPrediction(context, prediction, add_inputs(context.scene, affine))
    empty = view.pixels().astype(int)
    lookAtTumour(context.scene, prediction)
    show3D(context, nodes, True)
    tumour = tumour_seen(view)
    assert tumour[70:130, 50:110].mean() > 0.15
    assert 0.02 < tumour.mean() < 0.6
    showBrain(context, nodes, prediction, True)
    brain = np.abs(view.pixels().astype(int) - empty).max(axis=2) > 4
    assert brain.sum() > 1.3 * tumour.sum()
    assert tumour_seen(view)[70:130, 50:110].mean() > 0.1  # it is seen through the brain
    rim = np.concatenate([brain[0], brain[-1], brain[:, 0], brain[:, -1]])
    assert rim.mean() < 0.25  # the brain is in view
