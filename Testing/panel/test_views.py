"""The module's own arrangement of views comes and goes with the module."""

from __future__ import annotations

from open_panel import add_inputs
from slicer_stand_ins import slicer


def test_the_layout_is_ours_in_the_module_and_what_it_was_outside(panel):
    from ProtoSegBrainScene.layout import LAYOUT_ID

    layout = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    assert layout.GetViewArrangement() == LAYOUT_ID
    panel.widget.exit()
    assert layout.GetViewArrangement() != LAYOUT_ID
    panel.widget.enter()
    assert layout.GetViewArrangement() == LAYOUT_ID


def test_a_layout_that_was_chosen_meanwhile_stays(panel):
    layout = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    layout.SetViewArrangement(layout.SlicerLayoutOneUp3DView)
    panel.segment()
    panel.widget.exit()
    assert layout.GetViewArrangement() == layout.SlicerLayoutOneUp3DView


def test_each_modality_has_its_view(panel):
    from ProtoSegBrainScene.layout import VIEWS, compositeNodes

    panel.inputs.choose(add_inputs())
    views, nodes = compositeNodes(slicer.mrmlScene), panel.inputs.nodes()
    shown = {role: views[name].GetBackgroundVolumeID() for role, name in VIEWS.items()}
    assert shown == {role: node.GetID() for role, node in nodes.items()}
