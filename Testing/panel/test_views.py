"""The module's own arrangement of views comes and goes with the module."""

from __future__ import annotations

import types

import numpy as np
from open_panel import OBLIQUE, a_prediction, add_inputs, open_panel
from slicer_stand_ins import QtWidgets, slicer


def test_the_layout_is_ours_in_the_module_and_what_it_was_outside(panel):
    from ProtoSegBrainScene.layout import LAYOUT_ID

    layout = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    assert layout.GetViewArrangement() == LAYOUT_ID
    panel.widget.exit()
    assert layout.GetViewArrangement() != LAYOUT_ID
    panel.widget.enter()
    assert layout.GetViewArrangement() == LAYOUT_ID


def test_the_layout_that_slicer_starts_with_comes_back(monkeypatch):
    with open_panel(monkeypatch, entered=False) as panel:
        layout = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")
        layout.SetViewArrangement(layout.SlicerLayoutInitialView)
        panel.widget.enter()
        panel.widget.exit()
        assert layout.GetViewArrangement() == layout.SlicerLayoutInitialView


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


def test_what_the_title_of_a_view_says_is_what_it_shows_whatever_is_chosen(panel):
    from ProtoSegBrainScene.layout import VIEWS, compositeNodes

    from ProtoSegBrainLib.labels import MODALITY_NAMES

    panel.segment()
    nodes = panel.inputs.nodes()
    names = {node.GetID(): MODALITY_NAMES[role] for role, node in nodes.items()}

    def titles():
        for name in VIEWS.values():
            title = slicer.mrmlScene.GetSingletonNode(name, "vtkMRMLSliceNode").GetLayoutLabel()
            assert names[compositeNodes(slicer.mrmlScene)[name].GetBackgroundVolumeID()] == title
            yield title

    own = ["FLAIR", "T1", "T1ce", "T2"]
    assert list(titles()) == own
    for chosen in ("T1ce", "Each view's own", "FLAIR", "T2", "Each view's own"):
        panel.ui.backgroundComboBox.setCurrentText(chosen)
        assert list(titles()) == (own if chosen == "Each view's own" else [chosen] * 4)
        panel.click("showMapCheckBox")
        assert list(titles()) == (own if chosen == "Each view's own" else [chosen] * 4)
    panel.click("showUncertaintyCheckBox")
    assert list(titles()) == own


def test_after_segmenting_slices_crosshair_and_camera_are_at_the_tumour_once(panel):
    from ProtoSegBrainScene.sight import placeToLook

    camera = slicer.mrmlScene.AddNode(slicer.vtkMRMLCameraNode())
    camera.SetLayoutName("1")
    prediction = panel.segment().original
    place = placeToLook(prediction)
    for view in slicer.util.getNodesByClass("vtkMRMLSliceNode", slicer.mrmlScene):
        matrix = view.GetSliceToRAS()
        across = [matrix.GetElement(row, 2) for row in range(3)]
        origin = [matrix.GetElement(row, 3) for row in range(3)]
        through = placeToLook(prediction, across)
        assert abs(sum(n * (p - o) for n, p, o in zip(across, through, origin, strict=True))) < 1e-3
    crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    assert max(abs(a - b) for a, b in zip(crosshair.GetCrosshairRAS(), place, strict=True)) < 1e-3
    assert max(abs(a - b) for a, b in zip(camera.GetFocalPoint(), place, strict=True)) < 20
    turned = (1.0, 2.0, 3.0)
    camera.SetPosition(*turned)
    panel.tick(2, False)
    panel.click("showOutlinesCheckBox")
    panel.click("showThreeDCheckBox")
    panel.choose(3)
    panel.rest()
    assert camera.GetPosition() == turned


def test_a_result_that_is_chosen_again_is_looked_at_again(panel):
    from ProtoSegBrainScene.sight import placeToLook

    first = panel.segment()
    panel.inputs.choose(add_inputs("other "))
    panel.segment()
    crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    crosshair.SetCrosshairRAS(0, 0, 0)
    panel.ui.segmentationSelector.setCurrentNode(first.nodes.segmentation)
    place = placeToLook(first.original)
    assert max(abs(a - b) for a, b in zip(crosshair.GetCrosshairRAS(), place, strict=True)) < 1e-3


def test_titles_are_wide_enough_for_their_words():
    from ProtoSegBrainPanel.views import showWholeTitles

    window = QtWidgets.QWidget()
    bar = QtWidgets.QLabel("FLAIR", window)
    bar.setObjectName("ViewLabel")
    bar.setFixedWidth(12)
    found = types.SimpleNamespace(name="", children=lambda: [_WithName(bar)])
    showWholeTitles(types.SimpleNamespace(sliceWidget=lambda name: found if name == "PSB-FLAIR" else None))
    assert bar.width() >= bar.fontMetrics().horizontalAdvance("FLAIR")


class _WithName:
    """A label as PythonQt shows it: name and text are attributes."""

    def __init__(self, label):
        self.name, self.text = label.objectName(), label.text()
        self.setFixedWidth, self.fontMetrics, self.children = label.setFixedWidth, label.fontMetrics, list


def test_a_scene_of_the_batch_opens_as_after_segmenting(panel, tmp_path):
    from ProtoSegBrainPanel.inputs import PARAMETERS
    from ProtoSegBrainScene.layout import VIEWS, compositeNodes
    from ProtoSegBrainScene.savedscene import CHOSEN, writeScene

    from ProtoSegBrainLib.images.case import Case

    assert CHOSEN == PARAMETERS
    images = np.random.default_rng(0).integers(1, 900, (4, 24, 20, 16)).astype(np.float32)
    prediction = a_prediction()
    path = writeScene(Case("by_hand", images, OBLIQUE), prediction, tmp_path / "case.mrb")
    slicer.mrmlScene.Clear(False)
    assert slicer.mrmlScene.ReadFromMRB(str(path), True)
    panel.rest()
    assert panel.result is not None
    assert panel.result.original.volumes_ml == prediction.volumes_ml
    assert panel.ui.volumesTable.rowCount() == 5
    assert panel.ui.prototypesTable.currentRow() == 0
    assert {node.GetName() for node in panel.inputs.nodes().values()} == {
        f"by_hand {name}" for name in ("FLAIR", "T1", "T1ce", "T2")
    }
    composites = compositeNodes(slicer.mrmlScene)
    for role, name in VIEWS.items():
        assert composites[name].GetBackgroundVolumeID() == panel.inputs.nodes()[role].GetID()
    assert panel.result.nodes.segmentation.GetDisplayNode().GetVisibility3D()
    assert not panel.ui.messageFrame.isVisible()
