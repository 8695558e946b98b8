"""Similarity in 3D: what is drawn where, in which colours."""

import numpy as np
import pytest
import vtk
from mrml import FLIPPED, GRIDS, OBLIQUE, SHAPE, a_context, a_prediction, add_inputs, contents, needs_opengl
from ProtoSegBrainScene.heatmap import fillSimilarity
from ProtoSegBrainScene.offscreen import ThreeDView
from ProtoSegBrainScene.rendering import paintSurface, showVolumeRendering, similarityAt, smoothSurface
from ProtoSegBrainScene.result import removeResult, showPrediction, updateResult
from ProtoSegBrainScene.segmentation import show3D, shown3D
from vtk.util.numpy_support import vtk_to_numpy

from ProtoSegBrainLib.explanation.whatif import whatif
from ProtoSegBrainLib.images.volume import Volume

MOST = float(np.log(100))


def shown(affine=OBLIQUE):
    context = a_context()
    view = ThreeDView(context, "1", 120, 120)
    prediction = a_prediction(affine)
    return context, view, prediction, showPrediction(context, prediction, add_inputs(context.scene, affine))


@pytest.mark.parametrize("affine", GRIDS.values(), ids=GRIDS)
def test_a_surface_surrounds_its_region_and_looks_outwards(affine):
    region = np.zeros((20, 20, 20), bool)
    region[5:15, 6:14, 8:16] = True
    surface = smoothSurface(Volume(region, affine))
    centre = (affine @ [9.5, 9.5, 11.5, 1])[:3]
    assert np.allclose(surface.GetCenter(), centre, atol=0.3)
    measured = vtk.vtkMassProperties()
    measured.SetInputData(surface)
    voxel = abs(np.linalg.det(affine[:3, :3]))
    assert abs(measured.GetVolume() / (region.sum() * voxel) - 1) < 0.1
    points, normals = (
        vtk_to_numpy(data) for data in (surface.GetPoints().GetData(), surface.GetPointData().GetNormals())
    )
    assert (((points - centre) * normals).sum(axis=1) > 0).mean() > 0.95


def test_no_region_gives_an_empty_surface():
    assert smoothSurface(Volume(np.zeros(SHAPE, bool), OBLIQUE)).GetNumberOfPoints() == 0


def test_similarity_between_voxels_is_linear():
    prediction = a_prediction(FLIPPED)
    ends = [(prediction.similarity_affine @ [*voxel, 1.0])[:3] for voxel in ((1, 3, 3), (2, 3, 3))]
    prediction.similarities[1, 1, 3, 3] = 1.0
    places = np.array([*ends, (ends[0] + 3 * ends[1]) / 4])
    assert np.allclose(similarityAt(prediction, 1, places) * MOST, [1, 4.5, 3.625])


def painted(nodes):
    return nodes.segmentation.GetNodeReference("ProtoSegBrain.surface")


def test_the_painted_surface_has_the_similarity_from_0_to_1():
    context, _, prediction, nodes = shown(np.diag([4.0, 4, 4, 1]))  # voxels larger than the depths that are looked at
    prediction.similarities[3] = 2.3
    fillSimilarity(nodes.similarity, prediction, 3)
    show3D(context, nodes, True)
    paintSurface(context, nodes, prediction, True)
    model, display = painted(nodes), painted(nodes).GetDisplayNode()
    values = vtk_to_numpy(model.GetPolyData().GetPointData().GetArray("similarity"))
    assert np.allclose(values, 2.3 / MOST, atol=1e-4)
    assert display.GetScalarRange() == (0, 1)
    assert display.GetScalarVisibility()
    assert not shown3D(nodes)  # the segments would lie on it
    paintSurface(context, nodes, prediction, False)
    assert not display.GetVisibility()
    assert shown3D(nodes)


def test_prototypes_of_the_core_are_painted_on_the_core():
    context, _, prediction, nodes = shown()
    sizes = {}
    for index in (2, 3):
        fillSimilarity(nodes.similarity, prediction, index)
        paintSurface(context, nodes, prediction, True)
        bounds = np.array(painted(nodes).GetPolyData().GetBounds())
        sizes[index] = np.prod(bounds[1::2] - bounds[::2])
    assert sizes[3] < 0.8 * sizes[2]
    assert context.scene.GetNumberOfNodesByClass("vtkMRMLModelNode") == 1


def test_a_painted_surface_follows_a_what_if():
    context, _, prediction, nodes = shown()
    fillSimilarity(nodes.similarity, prediction, 2)
    paintSurface(context, nodes, prediction, True)
    before = painted(nodes).GetPolyData().GetNumberOfPoints()
    updateResult(context, nodes, whatif(prediction, disabled=[2]))  # without oedema the whole tumour is its core
    assert 0 < painted(nodes).GetPolyData().GetNumberOfPoints() < before
    paintSurface(context, nodes, prediction, False)
    updateResult(context, nodes, prediction)
    assert not painted(nodes).GetDisplayNode().GetVisibility()


def test_hiding_what_was_never_shown_adds_nothing():
    context, _, prediction, nodes = shown()
    before = contents(context.scene)
    paintSurface(context, nodes, prediction, False)
    showVolumeRendering(context, nodes, False)
    assert contents(context.scene) == before


def test_the_cloud_has_the_colours_of_the_slices():
    context, _, _, nodes = shown()
    showVolumeRendering(context, nodes, True)
    display = context.volumeRendering.GetFirstVolumeRenderingDisplayNode(nodes.similarity)
    property_ = display.GetVolumePropertyNode().GetVolumeProperty()
    assert display.GetVisibility()
    assert np.allclose(np.array(property_.GetRGBTransferFunction().GetColor(1.0)) * 255, (252, 255, 164), atol=1)
    assert property_.GetScalarOpacity().GetValue(0.1) == 0
    assert property_.GetScalarOpacity().GetValue(1.0) > 0.5
    showVolumeRendering(context, nodes, False)
    assert not display.GetVisibility()
    showVolumeRendering(context, nodes, True)
    assert context.scene.GetNumberOfNodesByClass("vtkMRMLVolumeRenderingDisplayNode") == 1


@pytest.mark.parametrize("index", range(4))
def test_the_tables_of_the_cloud_are_small(index):
    """A map of nearly one value, such as that of prototype 0 here, must not make a table of millions."""
    context, _, prediction, nodes = shown()
    fillSimilarity(nodes.similarity, prediction, index)
    showVolumeRendering(context, nodes, True)
    display = context.volumeRendering.GetFirstVolumeRenderingDisplayNode(nodes.similarity)
    property_ = display.GetVolumePropertyNode().GetVolumeProperty()
    for function in (property_.GetRGBTransferFunction(), property_.GetScalarOpacity(), property_.GetGradientOpacity()):
        assert function.EstimateMinNumberOfSamples(0, 1) <= 256


def test_surface_and_cloud_go_with_the_result():
    context, _, prediction, nodes = shown()
    removeResult(nodes)
    before = contents(context.scene)
    nodes = showPrediction(context, prediction, {})
    showVolumeRendering(context, nodes, True)
    paintSurface(context, nodes, prediction, True)
    removeResult(nodes)
    assert contents(context.scene) == before


def drawn(view):
    """(n, 3) pixels that differ from the empty view's."""
    view.look((0, 1, 0), 1.0)
    pixels = view.pixels().astype(int)
    background = pixels[:, :1]
    return pixels[np.abs(pixels - background).max(axis=2) > 12]


@needs_opengl
def test_3d_shows_nothing_then_the_segments_then_the_painted_surface():
    context, view, prediction, nodes = shown()
    assert len(drawn(view)) == 0
    show3D(context, nodes, True)
    segments = drawn(view)
    assert len(segments) > 500
    assert (segments[:, 1] > segments[:, 0] + 10).any()  # oedema is green
    prediction.similarities[2] = 4.6
    fillSimilarity(nodes.similarity, prediction, 2)
    paintSurface(context, nodes, prediction, True)
    surface = drawn(view)
    assert len(surface) > 500
    assert (surface[:, 0] > surface[:, 2] + 20).mean() > 0.8  # the brightest colour is yellow


@needs_opengl
def test_the_cloud_is_drawn():
    context, view, prediction, nodes = shown(np.eye(4))
    fillSimilarity(nodes.similarity, prediction, 1)
    showVolumeRendering(context, nodes, True)
    assert len(drawn(view)) > 20
