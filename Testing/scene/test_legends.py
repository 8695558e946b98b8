"""Legends: what they name, where they are drawn, that there is one of each and in one view."""

import numpy as np
from mrml import a_context, a_prediction, add_inputs, needs_opengl, nodes_of
from ProtoSegBrainScene.heatmap import hideHeatmap, showPrototype
from ProtoSegBrainScene.layout import VIEWS, assignVolumes
from ProtoSegBrainScene.legends import showClassLegend
from ProtoSegBrainScene.offscreen import SliceView, ThreeDView
from ProtoSegBrainScene.result import showPrediction
from ProtoSegBrainScene.segmentation import SEGMENT_COLOURS, hideRegions, showRegions

SIZE = 200


def shown(affine=None):
    context = a_context()
    views = {role: SliceView(context, name, "Axial", SIZE, SIZE) for role, name in VIEWS.items()}
    affine = np.eye(4) if affine is None else affine
    inputs = add_inputs(context.scene, affine)
    prediction = a_prediction(affine)
    nodes = showPrediction(context, prediction, inputs)
    assignVolumes(context.scene, inputs)
    for view in views.values():
        view.look((affine @ [4.5, 5.5, 6.5, 1])[:3], 40.0)  # the brain is a quarter of the view
    return context, views, prediction, nodes


def seen(view, colours):
    """Of each colour, the share of the pixels of the view's upper right corner that have it."""
    corner = view.pixels()[: SIZE // 4, SIZE // 2 :].astype(int)
    return {name: (np.abs(corner - colour).max(axis=2) < 14).mean() for name, colour in colours.items()}


@needs_opengl
def test_classes_then_regions_then_classes_are_named_in_the_first_view_only():
    context, views, prediction, nodes = shown()
    classes = {name: SEGMENT_COLOURS[name] for name in ("NCR", "ED", "ET")}
    regions = {name: SEGMENT_COLOURS[name] for name in ("WT", "TC", "ET")}
    showClassLegend(context, nodes)
    assert min(seen(views["t2f"], classes).values()) > 0.01
    assert max(seen(views["t1c"], classes).values()) == 0
    showRegions(nodes, prediction)
    showClassLegend(context, nodes)
    assert min(seen(views["t2f"], regions).values()) > 0.01
    assert seen(views["t2f"], classes)["NCR"] == 0
    hideRegions(nodes)
    showClassLegend(context, nodes)
    assert min(seen(views["t2f"], classes).values()) > 0.01
    nodes.segmentation.GetDisplayNode().SetVisibility(False)
    showClassLegend(context, nodes)
    assert max(seen(views["t2f"], classes).values()) == 0


def test_no_two_of_classes_and_regions_look_alike_but_enhancement():
    colours = list(SEGMENT_COLOURS.values())
    for number, one in enumerate(colours):
        for other in colours[:number]:
            assert np.abs(np.subtract(one, other)).max() > 60


def test_a_legend_says_in_words_what_a_colour_means():
    context, _, _, nodes = shown()
    showClassLegend(context, nodes)
    table = nodes.segmentation.GetDisplayNode().GetColorNode()
    assert [table.GetColorName(n) for n in range(3)] == ["ET  enhancing", "ED  oedema", "NCR  necrotic core"]
    for number, name in enumerate(("ET", "ED", "NCR")):
        colour = [0.0] * 4
        table.GetColor(number, colour)
        assert np.allclose(np.array(colour[:3]) * 255, SEGMENT_COLOURS[name])


def test_a_second_result_makes_no_second_colour_table():
    context, _, prediction, nodes = shown()
    showClassLegend(context, nodes)
    other = showPrediction(context, prediction, {})
    before = len([node for node in nodes_of(context.scene) if node.IsA("vtkMRMLColorTableNode")])
    showClassLegend(context, other)
    assert len([node for node in nodes_of(context.scene) if node.IsA("vtkMRMLColorTableNode")]) == before


@needs_opengl
def test_a_map_has_one_legend_below_the_brain_and_none_in_3d():
    context, views, prediction, nodes = shown()
    solid = ThreeDView(context, "1", SIZE, SIZE)
    empty = solid.pixels()
    before = {role: view.pixels().astype(int) for role, view in views.items()}
    composites = [view.composite for view in views.values()]
    showPrototype(context, nodes, prediction, 1, None, composites, 0.9, 1.0)
    changed = {role: np.abs(view.pixels().astype(int) - before[role]).max(axis=2) > 40 for role, view in views.items()}
    corner = np.zeros((SIZE, SIZE), bool)
    corner[-SIZE // 4 :, SIZE // 2 :] = True
    assert changed["t2f"][corner].sum() > 200
    for role in ("t1n", "t1c", "t2w"):
        assert not changed[role][corner].any()
    assert np.array_equal(solid.pixels(), empty)
    hideHeatmap(context, nodes, composites)
    assert np.array_equal(views["t2f"].pixels()[corner], before["t2f"].astype(np.uint8)[corner])
