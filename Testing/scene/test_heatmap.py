"""Maps over slices: the numbers, the blended pixels, the legend. Pixels need no OpenGL unless marked."""

import time

import numpy as np
import pytest
from by_hand import without_prototypes
from mrml import GRIDS, OBLIQUE, a_context, a_prediction, add_inputs, needs_opengl
from ProtoSegBrainScene.grid import voxelsOf
from ProtoSegBrainScene.heatmap import (
    bestSimilarities,
    brainOnMaps,
    heatColours,
    hideHeatmap,
    setThreshold,
    shownPrototype,
    showPrototype,
    showUncertainty,
    strongestSpot,
)
from ProtoSegBrainScene.offscreen import SliceView
from ProtoSegBrainScene.result import showPrediction

from ProtoSegBrainLib.network.evidence import Evidence
from ProtoSegBrainLib.pictures.slices import HEAT
from ProtoSegBrainLib.result.uncertainty import entropy

MOST = float(np.log(100))
"""Largest log-similarity of epsilon 0.01."""


def shown(affine=OBLIQUE, size=64):
    context = a_context()
    view = SliceView(context, "PSB-T1ce", "Axial", size, size)
    inputs = add_inputs(context.scene, affine)
    for node in inputs.values():
        node.CreateDefaultDisplayNodes()
        node.GetDisplayNode().AutoWindowLevelOff()
        node.GetDisplayNode().SetWindowLevelMinMax(1e6, 2e6)  # all black: what is not black is the map
    prediction = a_prediction(affine)
    return context, view, inputs, prediction, showPrediction(context, prediction, inputs)


def pixel_at(view, ras):
    """What the slice view shows at a place in RAS mm, after moving there: the pixel in its middle."""
    view.look(ras, 4.0)
    pixels = view.blended()
    return pixels[pixels.shape[0] // 2, pixels.shape[1] // 2]


def colour_of(share):
    places = np.linspace(0, 1, len(HEAT))
    return np.array([np.interp(share, places, channel) for channel in np.array(HEAT).T])


def place(prediction, voxel):
    return (prediction.similarity_affine @ [*voxel, 1.0])[:3]


@pytest.mark.parametrize("affine", GRIDS.values(), ids=GRIDS)
@pytest.mark.parametrize(("voxel", "similarity"), [((2, 3, 3), 4.5), ((3, 4, 4), 4.5), ((2, 2, 2), 0.0)])
def test_a_pixel_has_the_colour_of_its_voxel(affine, voxel, similarity):
    context, view, inputs, prediction, nodes = shown(affine)
    showPrototype(context, nodes, prediction, 1, inputs["t1c"], [view.composite], 0.0, 1.0)
    seen = pixel_at(view, place(prediction, voxel))
    assert np.abs(seen[:3] - colour_of(similarity / MOST)).max() <= 4


def test_values_are_shares_of_the_largest_similarity():
    context, view, inputs, prediction, nodes = shown()
    showPrototype(context, nodes, prediction, 3, inputs["t1c"], [view.composite], 0.0, 1.0)
    assert np.allclose(voxelsOf(nodes.similarity), prediction.similarities[3] / MOST, atol=1e-6)
    assert shownPrototype(nodes) == 3
    display = nodes.similarity.GetDisplayNode()
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (0, 1)
    assert not display.GetAutoWindowLevel()
    assert not display.GetInterpolate()


def test_the_same_similarity_has_the_same_colour_for_every_prototype():
    context, view, inputs, prediction, nodes = shown()
    maps = prediction.similarities
    maps[1], maps[3] = 0, 0
    maps[1, 2, 3, 3] = maps[3, 2, 3, 3] = 2.0
    maps[3, 0, 0, 0] = 4.6  # a stronger spot elsewhere changes nothing
    colours = []
    for index in (1, 3):
        showPrototype(context, nodes, prediction, index, inputs["t1c"], [view.composite], 0.0, 1.0)
        colours.append(pixel_at(view, place(prediction, (2, 3, 3))))
    assert np.array_equal(*colours)


def test_below_the_threshold_it_is_transparent_and_above_it_is_mixed():
    context, view, inputs, prediction, nodes = shown()
    showPrototype(context, nodes, prediction, 3, inputs["t1c"], [view.composite], 2.1 / MOST, 0.5)
    spot = place(prediction, (1, 2, 2))  # similarity 2.0
    assert pixel_at(view, spot)[:3].max() == 0
    setThreshold(nodes.similarity, 1.9 / MOST)
    assert np.abs(pixel_at(view, spot)[:3] - 0.5 * colour_of(2.0 / MOST)).max() <= 4


def test_a_map_is_not_smoothed_between_its_voxels():
    """Across a border of two voxels of the map there are two colours and no third."""
    context, view, inputs, prediction, nodes = shown(np.eye(4), 64)
    showPrototype(context, nodes, prediction, 1, inputs["t1c"], [view.composite], 0.0, 1.0)
    view.look(place(prediction, (1.5, 3, 3)), 3.0)  # of the voxels of 2 mm one is 0 and one 4.5
    row = view.blended()[32, :, :3]
    assert len({tuple(pixel) for pixel in row}) == 2


def test_uncertainty_is_shown_from_0_to_1():
    context, view, inputs, prediction, nodes = shown()
    showUncertainty(context, nodes, inputs["t1c"], [view.composite], 0.0, 1.0)
    value = float(entropy(prediction.probabilities)[4, 5, 6])
    seen = pixel_at(view, (prediction.affine @ [4, 5, 6, 1])[:3])
    assert 0.1 < value < 0.99
    assert np.abs(seen[:3] - colour_of(value)).max() <= 4


def test_hidden_it_is_gone_and_the_segments_are_filled_again():
    context, view, inputs, prediction, nodes = shown()
    fill = nodes.segmentation.GetDisplayNode().GetOpacity2DFill()
    other = inputs["t2w"]
    showPrototype(context, nodes, prediction, 1, inputs["t1c"], [view.composite], 0.0, 1.0)
    assert view.composite.GetBackgroundVolumeID() == inputs["t1c"].GetID()
    assert nodes.segmentation.GetDisplayNode().GetOpacity2DFill() == 0  # a fill would tint the map
    hideHeatmap(context, nodes, [view.composite])
    assert view.composite.GetForegroundVolumeID() is None
    assert not context.colors.GetColorLegendDisplayNode(nodes.similarity).GetVisibility()
    assert nodes.segmentation.GetDisplayNode().GetOpacity2DFill() == fill
    view.composite.SetForegroundVolumeID(other.GetID())
    hideHeatmap(context, nodes, [view.composite])
    assert view.composite.GetForegroundVolumeID() == other.GetID()  # not ours


def test_one_legend_at_a_time():
    context, view, inputs, prediction, nodes = shown()
    showPrototype(context, nodes, prediction, 3, inputs["t1c"], [view.composite], 0.2, 1.0)
    legend = context.colors.GetColorLegendDisplayNode(nodes.similarity)
    assert legend.GetVisibility()
    assert legend.GetLabelFormat() == "similarity: %.0f"
    showUncertainty(context, nodes, inputs["t1c"], [view.composite], 0.2, 1.0)
    assert not legend.GetVisibility()
    assert context.colors.GetColorLegendDisplayNode(nodes.uncertainty).GetVisibility()
    showPrototype(context, nodes, prediction, 1, None, [view.composite], 0.2, 1.0)
    assert context.scene.GetNumberOfNodesByClass("vtkMRMLColorLegendDisplayNode") == 2


@needs_opengl
def test_the_legend_is_drawn():
    context, view, inputs, prediction, nodes = shown(size=400)
    view.look(place(prediction, (2, 3, 3)), 4000.0)  # the image is a few pixels: what else is bright is the legend
    before = view.pixels()
    showPrototype(context, nodes, prediction, 1, inputs["t1c"], [view.composite], 0.0, 1.0)
    drawn = view.pixels()[:, 240:].astype(int)
    assert (np.abs(drawn - before[:, 240:]).max(axis=2) > 60).sum() > 300
    for share in (0.25, 0.5, 0.75):
        assert np.abs(drawn - colour_of(share)).max(axis=2).min() < 12, share


def test_no_such_prototype():
    context, view, _, prediction, nodes = shown()
    with pytest.raises(ValueError, match="0 to 3; got 4"):
        showPrototype(context, nodes, prediction, 4, None, [view.composite], 0.0, 1.0)


@pytest.mark.parametrize("affine", GRIDS.values(), ids=GRIDS)
def test_the_strongest_spot_is_in_the_brain(affine):
    prediction = a_prediction(affine)
    maps = prediction.similarities
    maps[3, 3, 1, 5] = 3.3
    assert np.allclose(strongestSpot(prediction, 3), place(prediction, (3, 1, 5)))
    prediction.probabilities[0, 6:8] = 1  # now outside the brain
    assert not np.allclose(strongestSpot(prediction, 3), place(prediction, (3, 1, 5)))
    assert bestSimilarities(prediction)[3] == 2.0


def test_without_a_brain_every_voxel_counts():
    prediction = a_prediction()
    prediction.probabilities[0] = 1
    assert brainOnMaps(prediction).shape == (3, prediction.similarities[0].size)


def test_cosine_similarities_are_shares_of_one():
    context, view, inputs, prediction, nodes = shown()
    evidence = Evidence(**{**vars(prediction.evidence), "similarity": "cosine"})
    cosine = type(prediction)(**{**vars(prediction), "evidence": evidence, "similarities": prediction.similarities / 5})
    showPrototype(context, nodes, cosine, 3, inputs["t1c"], [view.composite], 0.0, 1.0)
    assert np.allclose(voxelsOf(nodes.similarity), cosine.similarities[3])


def test_there_is_one_colour_table():
    context, *_ = shown()
    colours = heatColours(context.scene)
    assert heatColours(context.scene) is colours
    assert not colours.GetHideFromEditors()
    seen = [0.0] * 4
    colours.GetColor(255, seen)
    assert np.allclose(np.array(seen[:3]) * 255, HEAT[-1], atol=0.5)


def test_switching_is_quick_on_a_large_map():
    context, view, inputs, prediction, nodes = shown()
    large = type(prediction)(
        **{**vars(prediction), "similarities": np.zeros((4, 80, 96, 80), np.float32)},
    )
    showPrototype(context, nodes, large, 1, inputs["t1c"], [view.composite], 0.0, 1.0)
    start = time.perf_counter()
    showPrototype(context, nodes, large, 3, inputs["t1c"], [view.composite], 0.0, 1.0)
    assert time.perf_counter() - start < 0.5  # it takes 2 ms


def test_without_prototypes_only_the_uncertainty_is_shown():
    context = a_context()
    mute = without_prototypes(a_prediction())
    nodes = showPrediction(context, mute, add_inputs(context.scene))
    composite = context.scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    with pytest.raises(ValueError, match=r"This model \(mute\) has no prototypes, so it cannot say why\."):
        showPrototype(context, nodes, mute, 0, None, [composite], 0.1, 0.5)
    showUncertainty(context, nodes, None, [composite], 0.1, 0.5)
    assert composite.GetForegroundVolumeID() == nodes.uncertainty.GetID()
    hideHeatmap(context, nodes, [composite])
    assert composite.GetForegroundVolumeID() is None
