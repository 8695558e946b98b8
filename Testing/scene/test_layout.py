"""The module's arrangement of views."""

from xml.etree import ElementTree

import numpy as np
import slicer
import vtk
from mrml import a_context, add_inputs
from ProtoSegBrainScene.layout import (
    LAYOUT_ID,
    VIEWS,
    assignVolumes,
    compositeNodes,
    jumpTo,
    layoutXml,
    ownCompositeNodes,
    restoreLayout,
    showLayout,
)
from ProtoSegBrainScene.offscreen import SliceView

from ProtoSegBrainLib.labels import MODALITIES


def a_layout_node(scene):
    node = scene.AddNode(slicer.vtkMRMLLayoutNode())
    node.AddLayoutDescription(3, "<layout/>")
    node.SetViewArrangement(3)
    return node


def test_the_description_has_four_slices_and_one_3d_view():
    views = ElementTree.fromstring(layoutXml()).findall(".//view")
    assert [view.get("singletontag") for view in views] == [*VIEWS.values(), "1"]
    assert [view.get("class") for view in views] == ["vtkMRMLSliceNode"] * 4 + ["vtkMRMLViewNode"]
    names = [view.find("property[@name='viewlabel']").text for view in views[:4]]
    assert names == ["FLAIR", "T1", "T1ce", "T2"]


def test_mrml_understands_the_description():
    """The layout logic makes the nodes of the views from it, as in the application."""
    context = a_context()
    layout = a_layout_node(context.scene)
    logic = slicer.vtkMRMLLayoutLogic()
    logic.SetMRMLScene(context.scene)
    showLayout(logic.GetLayoutNode() or layout)
    made = vtk.vtkCollection()
    for n in range(context.scene.GetNumberOfNodesByClass("vtkMRMLSliceNode")):
        made.AddItem(context.scene.GetNthNodeByClass(n, "vtkMRMLSliceNode"))
    names = {made.GetItemAsObject(n).GetLayoutName() for n in range(made.GetNumberOfItems())}
    assert set(VIEWS.values()) <= names


def test_the_earlier_arrangement_comes_back():
    layout = a_layout_node(a_context().scene)
    earlier = showLayout(layout)
    assert (earlier, layout.GetViewArrangement()) == (3, LAYOUT_ID)
    restoreLayout(layout, earlier)
    assert layout.GetViewArrangement() == 3
    assert showLayout(layout) == 3
    assert showLayout(layout) == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView  # not ours again


def test_another_arrangement_that_a_user_chose_stays():
    layout = a_layout_node(a_context().scene)
    earlier = showLayout(layout)
    layout.AddLayoutDescription(7, "<layout/>")
    layout.SetViewArrangement(7)
    restoreLayout(layout, earlier)
    assert layout.GetViewArrangement() == 7


def test_each_modality_has_its_view_and_all_are_linked():
    context = a_context()
    views = {role: SliceView(context, name, "Axial", 20, 20) for role, name in VIEWS.items()}
    other = SliceView(context, "Red", "Axial", 20, 20)
    inputs = add_inputs(context.scene)
    found = assignVolumes(context.scene, inputs)
    assert found == [views[role].composite for role in VIEWS]
    for role in MODALITIES:
        composite = views[role].composite
        assert composite.GetBackgroundVolumeID() == inputs[role].GetID()
        assert composite.GetLinkedControl()
        assert composite.GetHotLinkedControl()
    assert other.composite.GetBackgroundVolumeID() is None
    assignVolumes(context.scene, {})
    assert views["t2f"].composite.GetBackgroundVolumeID() is None


def test_views_that_are_not_there_are_left_out():
    context = a_context()
    assert assignVolumes(context.scene, add_inputs(context.scene)) == []
    view = SliceView(context, VIEWS["t1c"], "Axial", 20, 20)
    assert ownCompositeNodes(context.scene) == [view.composite]
    assert compositeNodes(context.scene) == {VIEWS["t1c"]: view.composite}


def test_all_slices_and_the_crosshair_jump():
    context = a_context()
    axial, coronal = (SliceView(context, name, name, 20, 20) for name in ("Axial", "Coronal"))
    jumpTo(context.scene, (1.0, -20.0, 33.0))
    for view in (axial, coronal):
        matrix = view.node.GetSliceToRAS()
        assert np.allclose([matrix.GetElement(row, 3) for row in range(3)], (1, -20, 33), atol=1e-6)
    assert context.scene.GetFirstNodeByClass("vtkMRMLCrosshairNode").GetCrosshairRAS() == (1, -20, 33)
